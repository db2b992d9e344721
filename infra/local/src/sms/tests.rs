//! Text messages through the ordinary AWS SDK.

use std::time::Duration;

use aws_sdk_sns::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::ProvideErrorMetadata as _,
    operation::publish::builders::PublishFluentBuilder,
    types::MessageAttributeValue,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::front::{Port, Server};

struct Rig {
    client: Client,
    outbox: Outbox,
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
            _server: server,
            _dir: dir,
        }
    }

    fn to(&self, number: &str, text: &str) -> PublishFluentBuilder {
        self.client.publish().phone_number(number).message(text)
    }
}

/// The name of the error, if there is one.
async fn sent(publish: PublishFluentBuilder) -> Result<(), String> {
    match publish.send().await {
        Ok(sent) => {
            assert!(sent.message_id().is_some_and(|id| !id.is_empty()));
            Ok(())
        }
        Err(error) => Err(error.code().expect("an error with a name").to_owned()),
    }
}

#[tokio::test]
async fn a_text_message_is_in_the_outbox() {
    let rig = Rig::new();
    let kind = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("Transactional");
    let kind = kind.build().expect("built");
    let publish = rig.to("+15555550100", "80 % & more: <ä>");
    let publish = publish.message_attributes("AWS.SNS.SMS.SMSType", kind.clone());
    assert_eq!(sent(publish).await, Ok(()));
    let shown = rig.outbox.shown();
    let sms = &shown["sms"][0];
    assert_eq!(
        (&sms["to"], &sms["text"]),
        (&json!("+15555550100"), &json!("80 % & more: <ä>"))
    );
    assert!(sms["at"].is_string());
    let other = rig.to("+15555550100", "a").message_attributes("colour", kind);
    assert_eq!(sent(other).await, Err("InvalidParameter".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_not_noted() {
    let rig = Rig::new();
    let good = "+15555550100";
    for (publish, expected) in [
        (rig.to("5555550100", "a"), "InvalidParameter"),
        (rig.to("+05555550100", "a"), "InvalidParameter"),
        (rig.to("+1555<>", "a"), "InvalidParameter"),
        (rig.to("+1234567890123456", "a"), "InvalidParameter"),
        (rig.to(good, ""), "InvalidParameter"),
        (rig.to(good, &"ä".repeat(1_601)), "InvalidParameter"),
        (rig.to(good, "a").subject("b"), "InvalidParameter"),
        (
            rig.client.publish().topic_arn("arn:aws:sns:a").message("a"),
            "InvalidParameter",
        ),
        (rig.to("+15555550400", "a"), "InvalidParameter"),
        (rig.to("+15555550429", "a"), "Throttling"),
    ] {
        assert_eq!(sent(publish).await, Err(expected.to_owned()));
    }
    assert_eq!(sent(rig.to(good, &"ä".repeat(1_600))).await, Ok(()));
    let topics = rig.client.list_topics().send().await.expect_err("not offered");
    assert_eq!(topics.code(), Some("InvalidAction"));
    assert_eq!(rig.outbox.shown()["sms"].as_array().map(Vec::len), Some(1));
}
