//! URLs that want to reach what they must not.

use super::*;

const PUBLIC: &str = "93.184.215.14";

/// Hosts that are, in whatever spelling, addresses out of bounds.
const ADDRESSES: [&str; 47] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.255.255.254",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0X7F.0.0.0x1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "１２７.０.０.１",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "①②⑦.⓪.⓪.①",
    "%31%32%37.0.0.1",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[5f00::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
];

/// Hosts that are no public names.
const NAMES: [&str; 16] = [
    "localhost",
    "LocalHost",
    "localhost.",
    "ⓛocalhost",
    "ｌｏｃａｌｈｏｓｔ",
    "a.localhost",
    "a.localhost.",
    "printer.local",
    "metadata.google.internal",
    "internal",
    "nas.home.arpa",
    "localhost.localdomain",
    "router",
    "example.com.",
    "a..example.com",
    "exa!mple.com",
];

/// Other URLs, with `{port}` for the public one.
const OTHERS: [(&str, UrlFault); 26] = [
    ("http://127.0.0.1:{port}/", UrlFault::Scheme),
    ("http://2130706433:{port}/", UrlFault::Scheme),
    ("http://example.com/", UrlFault::Scheme),
    ("ftp://127.0.0.1:{port}/", UrlFault::Scheme),
    ("gopher://127.0.0.1:{port}/_x", UrlFault::Scheme),
    ("ws://127.0.0.1:{port}/", UrlFault::Scheme),
    ("file:///etc/passwd", UrlFault::Scheme),
    ("data:text/plain,x", UrlFault::Scheme),
    ("https://user@127.0.0.1:{port}/", UrlFault::UserInfo),
    ("https://user@example.com:{port}/", UrlFault::UserInfo),
    ("https://:word@example.com:{port}/", UrlFault::UserInfo),
    ("https://example.com:443@127.0.0.1:{port}/", UrlFault::UserInfo),
    ("https://example.com%2f@127.0.0.1:{port}/", UrlFault::UserInfo),
    ("https://127.0.0.1:22/", UrlFault::Port),
    ("https://example.com:22/", UrlFault::Port),
    ("https://example.com:0/", UrlFault::Port),
    ("https://example.com:{port}/#part", UrlFault::Fragment),
    ("https://example.com\\@127.0.0.1:{port}/", UrlFault::Unreadable),
    ("https:\\\\127.0.0.1:{port}/", UrlFault::Unreadable),
    ("https://example.com:{port}/\r\nHost: other", UrlFault::Unreadable),
    ("https://127.0.\t0.1:{port}/", UrlFault::Unreadable),
    (" https://127.0.0.1:{port}/", UrlFault::Unreadable),
    ("https://[fe80::1%25lo]:{port}/", UrlFault::Unreadable),
    ("https://256.256.256.256:{port}/", UrlFault::Unreadable),
    ("//127.0.0.1:{port}/", UrlFault::Unreadable),
    ("https://", UrlFault::Unreadable),
];

#[tokio::test]
async fn no_spelling_reaches_a_private_address() {
    let (listener, port) = listener();
    // Should a name get as far as the resolver, it leads to the listener.
    let webhooks = webhooks(Reach::Public, port, Script::of([&["127.0.0.1"]]), None);
    for host in ADDRESSES {
        assert_refused(&webhooks, &format!("https://{host}:{port}/"), &UrlFault::Address).await;
    }
    for host in NAMES {
        assert_refused(&webhooks, &format!("https://{host}:{port}/"), &UrlFault::Name).await;
    }
    for (url, fault) in &OTHERS {
        assert_refused(&webhooks, &url.replace("{port}", &port.to_string()), fault).await;
    }
    assert_untouched(&listener);
}

#[tokio::test]
async fn no_answer_of_a_resolver_leads_to_a_private_address() {
    let (listener, port) = listener();
    let url = format!("https://hooks.example.com:{port}/");
    for answer in [
        &["127.0.0.1"][..],
        &[PUBLIC, "127.0.0.1"],
        &["127.0.0.1", PUBLIC],
        &[PUBLIC, "::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["2002:7f00:1::"],
        &["100.64.0.1"],
        &["169.254.169.254"],
        &["10.0.0.1"],
        &["0.0.0.0"],
        &["fd00:ec2::254"],
    ] {
        let webhooks = webhooks(Reach::Public, port, Script::of([answer]), None);
        assert_refused(&webhooks, &url, &UrlFault::Resolved).await;
    }
    assert_untouched(&listener);
}

#[tokio::test]
async fn a_resolver_that_changes_its_answer_is_judged_again() {
    let (listener, port) = listener();
    let url = format!("https://hooks.example.com:{port}/");
    let script = Script::of([&[PUBLIC], &["127.0.0.1"]]);
    let webhooks = webhooks(Reach::Public, port, script.clone(), None);
    assert_eq!(webhooks.check(&url).await, Ok(url.clone()));
    let sent = try_once(&webhooks, &url).await;
    assert!(
        matches!(sent, Err(SendError::NotAllowed(UrlFault::Resolved))),
        "{sent:?}"
    );
    assert_eq!(script.calls(), 2);
    assert_untouched(&listener);
}

/// The answer that was judged is the one that is used: nobody asks again, who would be led elsewhere.
#[tokio::test]
async fn what_was_judged_is_what_is_connected_to() {
    let (listener, port) = listener();
    let server = serve(listener, "HTTP/1.1 204 No Content\r\n\r\n");
    let script = Script::of([&["127.0.0.1"], &["127.0.0.2"]]);
    let webhooks = webhooks(Reach::Local, 443, script.clone(), None);
    let sent = try_once(&webhooks, &format!("http://localhost:{port}/")).await;
    assert_eq!(sent.expect("a status"), 204);
    assert_eq!(script.calls(), 1);
    assert_eq!(server.join().expect("a request").body, "{}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (first, port) = listener();
        let (second, second_port) = listener();
        let answer = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: http://127.0.0.1:{second_port}/\r\ncontent-length: 0\r\n\r\n"
        );
        let server = serve(first, answer);
        let webhooks = webhooks(Reach::Local, 443, Script::of([&[]]), None);
        let sent = try_once(&webhooks, &format!("http://127.0.0.1:{port}/")).await;
        assert!(
            matches!(sent, Err(SendError::Refused(told)) if told == status),
            "{sent:?}"
        );
        server.join().expect("a request");
        assert_untouched(&second);
    }
}

/// The local stack reaches this machine, by its own names only, and nothing else that is private.
#[tokio::test]
async fn the_local_reach_ends_at_loopback() {
    let (listener, port) = listener();
    let here = webhooks(Reach::Local, 443, Script::of([&["127.0.0.1"]]), None);
    for (url, fault) in [
        ("http://10.0.0.1/", UrlFault::Scheme),
        ("https://10.0.0.1/", UrlFault::Address),
        ("https://169.254.169.254/", UrlFault::Address),
        ("https://[::ffff:127.0.0.1]/", UrlFault::Address),
        ("http://[::ffff:127.0.0.1]:{port}/", UrlFault::Scheme),
        ("http://0.0.0.0:{port}/", UrlFault::Scheme),
        ("http://user@127.0.0.1:{port}/", UrlFault::UserInfo),
        ("ftp://127.0.0.1:{port}/", UrlFault::Scheme),
        ("http://example.com/", UrlFault::Scheme),
        ("https://example.com:8443/", UrlFault::Port),
        // A public name that leads here is still no business of its owner's.
        ("https://hooks.example.com/", UrlFault::Resolved),
    ] {
        assert_refused(&here, &url.replace("{port}", &port.to_string()), &fault).await;
    }
    let elsewhere = webhooks(Reach::Local, 443, Script::of([&["127.0.0.1", "10.0.0.1"]]), None);
    assert_refused(&elsewhere, &format!("http://localhost:{port}/"), &UrlFault::Resolved).await;
    assert_untouched(&listener);
    for url in [
        "http://127.0.0.1:1234/a",
        "https://[::1]:8443/",
        "http://localhost/",
        "https://8.8.8.8/",
    ] {
        assert_eq!(here.check(url).await.as_deref(), Ok(url));
    }
}

/// With the rule of production, where the port is 443.
#[tokio::test]
async fn good_urls_are_taken_in_their_normal_form() {
    let unknown = Webhooks::resolving(Reach::Public, None, Script::of([&[]])).expect("a sender");
    let public = Webhooks::resolving(Reach::Public, None, Script::of([&[PUBLIC, "2606:2800:21f:cb07::1"]]));
    let public = public.expect("a sender");
    for (url, normal) in [
        ("https://example.com", "https://example.com/"),
        (
            "HTTPS://Hooks.EXAMPLE.com:443/a/../b?c=d",
            "https://hooks.example.com/b?c=d",
        ),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]/x", "https://[2606:4700:4700::1111]/x"),
        ("https://notlocalhost.example.com/", "https://notlocalhost.example.com/"),
        ("https://local.example.com/", "https://local.example.com/"),
    ] {
        assert_eq!(unknown.check(url).await.as_deref(), Ok(normal));
        assert_eq!(public.check(url).await.as_deref(), Ok(normal));
    }
    for (url, fault) in [
        ("https://8.8.8.8:22/", UrlFault::Port),
        ("https://example.com:8443/", UrlFault::Port),
        ("https://127.1:443/", UrlFault::Address),
    ] {
        assert_eq!(public.check(url).await, Err(fault), "{url}");
    }
}

#[tokio::test]
async fn length_is_bounded() {
    let webhooks = webhooks(Reach::Public, 443, Script::of([&[PUBLIC]]), None);
    let of = |length: usize| {
        format!(
            "https://example.com/{}",
            "a".repeat(length - "https://example.com/".len())
        )
    };
    assert_eq!(webhooks.check(&of(2_048)).await, Ok(of(2_048)));
    assert_eq!(webhooks.check(&of(2_049)).await, Err(UrlFault::Length));
    // Six characters each in the normal form.
    let umlauts = format!("https://example.com/{}", "ü".repeat(400));
    assert_eq!(webhooks.check(&umlauts).await, Err(UrlFault::Length));
    let label = |length: usize| format!("https://{}.example.com/", "a".repeat(length));
    assert_eq!(webhooks.check(&label(63)).await, Ok(label(63)));
    assert_eq!(webhooks.check(&label(64)).await, Err(UrlFault::Name));
    let name = format!("https://{}com/", "a.".repeat(126));
    assert_eq!(webhooks.check(&name).await, Err(UrlFault::Name));
}
