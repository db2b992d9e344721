//! Mails through the ordinary AWS SDK.

use std::time::Duration;

use aws_sdk_sesv2::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::ProvideErrorMetadata as _,
    types::{Body as MailBody, Content as Part, Destination, EmailContent, Message},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::front::{Port, Server};

struct Rig {
    client: Client,
    outbox: Outbox,
    url: String,
    _server: Server,
    _dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        let outbox = Outbox::new(&clock);
        let server = Port::hold(0, &Handle::current()).expect("a port");
        let server = server.serve_plainly(router(outbox.clone(), clock), &Handle::current());
        let server = server.expect("served");
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(server.url())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        Self {
            client: Client::from_conf(config.build()),
            outbox,
            url: server.url(),
            _server: server,
            _dir: dir,
        }
    }

    /// Sends a mail; the name of the error if it is refused.
    async fn send(&self, from: &str, to: &[&str]) -> Result<String, String> {
        let part = |text: &str| Part::builder().data(text).charset("UTF-8").build().expect("built");
        let body = MailBody::builder().text(part("plain")).html(part("<p>rich</p>"));
        let message = Message::builder().subject(part("Überzogen")).body(body.build());
        let content = EmailContent::builder().simple(message.build());
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        let send = self
            .client
            .send_email()
            .from_email_address(from)
            .content(content.build());
        let send = send.destination(Destination::builder().set_to_addresses(Some(to)).build());
        match send.send().await {
            Ok(sent) => Ok(sent.message_id.expect("a name")),
            Err(error) => Err(error.code().expect("an error with a name").to_owned()),
        }
    }

    fn emails(&self) -> Vec<Value> {
        self.outbox.shown()["emails"].as_array().expect("a list").clone()
    }
}

#[tokio::test]
async fn each_recipient_has_a_mail_in_the_outbox() {
    let rig = Rig::new();
    let to = ["a@example.com", "b+label@sub.example.com"];
    let first = rig.send("Usage <usage@localhost.example>", &to).await.expect("sent");
    let second = rig.send("usage@localhost.example", &["success@simulator.amazonses.com"]);
    assert_ne!(second.await.expect("sent"), first);
    let emails = rig.emails();
    let sent: Vec<&str> = emails.iter().filter_map(|email| email["to"].as_str()).collect();
    assert_eq!(
        sent,
        [
            "a@example.com",
            "b+label@sub.example.com",
            "success@simulator.amazonses.com"
        ]
    );
    assert_eq!(emails[0]["subject"], json!("Überzogen"));
    assert_eq!(
        (&emails[0]["text"], &emails[0]["html"]),
        (&json!("plain"), &json!("<p>rich</p>"))
    );
    assert!(emails[0]["at"].is_string());
}

#[tokio::test]
async fn addresses_that_are_none_and_those_for_tests_are_refused_and_nothing_is_noted() {
    let rig = Rig::new();
    let sender = "usage@localhost.example";
    for (from, to, expected) in [
        (sender, "nobody", "BadRequestException"),
        (sender, "a b@example.com", "BadRequestException"),
        (sender, "@example.com", "BadRequestException"),
        (sender, "a@example..com", "BadRequestException"),
        (sender, "a@-example.com", "BadRequestException"),
        (sender, "a@example.com\r\nBcc: b@example.com", "BadRequestException"),
        (sender, "ä@example.com", "BadRequestException"),
        ("usage", "a@example.com", "BadRequestException"),
        (sender, "reject@simulator.amazonses.com", "MessageRejected"),
        (sender, "reject+a@simulator.amazonses.com", "MessageRejected"),
        (sender, "throttle@simulator.amazonses.com", "TooManyRequestsException"),
    ] {
        let refused = rig.send(from, &["good@example.com", to]).await;
        assert_eq!(refused, Err(expected.to_owned()), "{from} {to}");
    }
    assert_eq!(rig.send(sender, &[]).await, Err("BadRequestException".to_owned()));
    assert_eq!(
        rig.send(sender, &["a@example.com"; 51]).await,
        Err("BadRequestException".to_owned())
    );
    assert!(rig.emails().is_empty(), "also not to the good one");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_by_name() {
    let rig = Rig::new();
    let mail = json!({
        "FromEmailAddress": "usage@localhost.example",
        "Destination": {"ToAddresses": ["a@example.com"]},
        "Content": {"Simple": {
            "Subject": {"Data": "s", "Charset": "UTF-8"},
            "Body": {"Text": {"Data": "t", "Charset": "UTF-8"}},
        }},
    });
    let send = async |pointer: &str, name: &str, value: Value| {
        let mut mail = mail.clone();
        mail.pointer_mut(pointer).expect("a place")[name] = value;
        let sent = reqwest::Client::new()
            .post(format!("{}{PATH}", rig.url))
            .json(&mail)
            .send();
        let answer = sent.await.expect("answered");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a body"))
    };
    assert_eq!(send("/Content/Simple/Body/Text", "Data", json!("u")).await.0, 200);
    assert_eq!(rig.emails()[0]["html"], Value::Null);
    for (pointer, name, value, expected) in [
        ("", "ReplyToAddresses", json!([]), "ReplyToAddresses"),
        ("/Destination", "BccAddresses", json!([]), "BccAddresses"),
        ("/Content", "Raw", json!({"Data": ""}), "Raw"),
        ("/Content/Simple/Subject", "Charset", json!("US-ASCII"), "US-ASCII"),
        ("/Content/Simple/Subject", "Data", json!("a\nb"), "control characters"),
        ("/Content/Simple/Body", "Text", Value::Null, "Text or Html"),
    ] {
        let (status, problem) = send(pointer, name, value).await;
        assert_eq!(status, 400, "{name}");
        assert!(problem.contains(expected), "{problem}\nshould say: {expected}");
    }
    let other = reqwest::get(format!("{}/v2/email/identities", rig.url))
        .await
        .expect("answered");
    assert_eq!(other.status(), 400);
    assert_eq!(rig.emails().len(), 1);
}
