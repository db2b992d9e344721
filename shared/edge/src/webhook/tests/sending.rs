//! What goes out, and what its answers mean.

use std::time::Instant;

use chrono::DateTime;
use standardwebhooks::Webhook;

use super::{
    super::{MessageFault, Sent},
    *,
};

const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn local() -> Webhooks {
    webhooks(Reach::Local, 443, Script::of([&[]]), None)
}

fn observed() -> (Webhooks, Arc<Mutex<Vec<Sent>>>) {
    let seen = Arc::<Mutex<Vec<Sent>>>::default();
    let kept = seen.clone();
    let observer: Observer = Arc::new(move |sent| kept.lock().expect("a lock").push(sent));
    (webhooks(Reach::Local, 443, Script::of([&[]]), Some(observer)), seen)
}

#[tokio::test]
async fn both_secrets_verify_while_they_change() {
    let (listener, port) = listener();
    let server = serve(listener, DONE);
    let ((old_text, old), (new_text, new)) = (secret(1), secret(2));
    let (webhooks, seen) = observed();
    let url = format!("http://127.0.0.1:{port}/hook?a=b");
    let now = metering_store::Context::system().now();
    let body = r#"{"type":"usage.threshold_reached","data":{"name":"Köln"}}"#;
    let sent = webhooks.send(&url, "evt_0198", now, body, &[new, old]).await;
    assert_eq!(sent.expect("a status"), 204);

    let received = server.join().expect("a request");
    assert_eq!(received.request_line, "POST /hook?a=b HTTP/1.1");
    assert_eq!(received.body, body);
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(received.headers["webhook-id"], "evt_0198");
    assert_eq!(received.headers["webhook-timestamp"], now.timestamp().to_string());
    assert!(
        received.headers["user-agent"]
            .to_str()
            .expect("a text")
            .starts_with("usage-metering/")
    );
    let verify = |text: &str, body: &str| {
        let webhook = Webhook::new(text).expect("a secret");
        webhook.verify(body.as_bytes(), &received.headers)
    };
    for text in [&old_text, &new_text] {
        verify(text, &received.body).expect("a good signature");
        verify(text, "{}").expect_err("another body");
    }
    verify(&secret(3).0, &received.body).expect_err("another secret");

    let seen = seen.lock().expect("a lock");
    let [seen] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(
        (seen.url.as_str(), seen.body.as_str(), seen.status),
        (url.as_str(), body, Some(204))
    );
    assert_eq!(seen.headers.len(), 5);
    for (name, value) in &seen.headers {
        assert_eq!(received.headers[name], value.as_str());
    }
    let told = format!("{webhooks:?} {seen:?}");
    assert!(
        [old_text, new_text]
            .iter()
            .all(|text| !told.contains(text.trim_start_matches("whsec_")))
    );
}

/// The example of the reference libraries, as it goes over the wire.
#[tokio::test]
async fn the_reference_example_is_sent_as_printed() {
    let (listener, port) = listener();
    let server = serve(listener, DONE);
    let secret = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a secret");
    let at = DateTime::from_timestamp(1_649_367_553, 900_000_000).expect("an instant");
    let body = r#"{"email":"test@example.com","username":"test_user"}"#;
    let url = format!("http://127.0.0.1:{port}/");
    let sent = local()
        .send(&url, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", at, body, &[secret])
        .await;
    assert_eq!(sent.expect("a status"), 204);
    let received = server.join().expect("a request");
    assert_eq!(received.headers["webhook-timestamp"], "1649367553");
    assert_eq!(
        received.headers["webhook-signature"],
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
    );
}

#[tokio::test]
async fn answers_are_judged_by_their_status() {
    for status in [200, 202, 204, 299, 304, 400, 404, 410, 429, 500, 503] {
        let (listener, port) = listener();
        let server = serve(listener, format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"));
        let (webhooks, seen) = observed();
        let sent = try_once(&webhooks, &format!("http://127.0.0.1:{port}/")).await;
        match (&sent, status) {
            (Ok(told), 200..=299) => assert_eq!(*told, status),
            (Err(error @ SendError::Gone), 410) => assert!(!error.retryable()),
            (Err(error @ SendError::Refused(told)), 300..) if status != 410 => {
                assert_eq!(*told, status);
                assert!(error.retryable());
            }
            _ => panic!("{status}: {sent:?}"),
        }
        assert_eq!(seen.lock().expect("a lock")[0].status, Some(status));
        server.join().expect("a request");
    }
}

#[tokio::test]
async fn the_answers_body_is_not_waited_for() {
    let (listener, port) = listener();
    let server = serve(listener, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\nx");
    let sent = try_once(&local(), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(sent.expect("a status"), 200);
    server.join().expect("a request");
}

/// What cannot be reached within the time, or speaks no TLS, may be tried again, and the URL's path
/// does not get into the log.
#[tokio::test]
async fn nobody_is_waited_for() {
    let (silent, silent_port) = listener();
    let (plain, plain_port) = listener();
    let closed_port = listener().1;
    let answering = thread::spawn(move || {
        let (mut stream, _) = plain.accept().expect("a connection");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .expect("an answer");
    });
    for url in [
        format!("http://127.0.0.1:{silent_port}/hush"),
        format!("https://127.0.0.1:{plain_port}/hush"),
        format!("http://127.0.0.1:{closed_port}/hush"),
        "https://hooks.example.com/hush".to_owned(),
    ] {
        let (webhooks, seen) = observed();
        let since = Instant::now();
        let error = try_once(&webhooks, &url).await.expect_err("no answer");
        assert!(since.elapsed() < Duration::from_secs(2), "{url}");
        assert!(
            matches!(error, SendError::Unreachable(_)) && error.retryable(),
            "{url}: {error:?}"
        );
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        assert_eq!(seen.lock().expect("a lock")[0].status, None, "{url}");
    }
    answering.join().expect("an answer");
    silent.accept().expect("the connection that got no answer");
}

#[tokio::test]
async fn a_resolver_that_never_answers_is_given_up() {
    let webhooks = webhooks(Reach::Public, 443, Script::silent(), None);
    let url = "https://hooks.example.com/";
    let since = Instant::now();
    assert_eq!(webhooks.check(url).await.as_deref(), Ok(url));
    let sent = try_once(&webhooks, url).await;
    assert!(matches!(sent, Err(SendError::Unreachable(_))), "{sent:?}");
    assert!(since.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn what_cannot_be_signed_is_not_sent() {
    let (listener, port) = listener();
    let url = format!("http://127.0.0.1:{port}/");
    let now = metering_store::Context::system().now();
    let (webhooks, seen) = observed();
    for id in ["", "evt.1", "evt 1", "evt\r\nx: y", "évt"] {
        let error = webhooks
            .send(&url, id, now, "{}", &[secret(1).1])
            .await
            .expect_err("a fault");
        assert!(matches!(error, SendError::Message(MessageFault::Id)), "{id}: {error:?}");
        assert!(!error.retryable());
    }
    let error = webhooks.send(&url, "evt_1", now, "{}", &[]).await.expect_err("a fault");
    assert!(matches!(error, SendError::Message(MessageFault::NoSecret)), "{error:?}");
    let error = try_once(&webhooks, "https://10.0.0.1/").await.expect_err("a fault");
    assert!(matches!(error, SendError::NotAllowed(UrlFault::Address)), "{error:?}");
    assert!(seen.lock().expect("a lock").is_empty(), "nothing went out");
    assert_untouched(&listener);
}

/// As the local stack is built, with the machine's own resolver.
#[tokio::test]
async fn the_machines_resolver_finds_this_machine() {
    let (listener, port) = listener();
    let server = serve(listener, DONE);
    let webhooks = Webhooks::new(Reach::Local, None).expect("a sender");
    let url = format!("http://localhost:{port}/");
    assert_eq!(webhooks.check(&url).await, Ok(url.clone()));
    assert_eq!(try_once(&webhooks, &url).await.expect("a status"), 204);
    server.join().expect("a request");
}
