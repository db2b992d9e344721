//! The queues through the ordinary AWS SDK.

mod limits;
mod restart;

use std::time::Duration;

use aws_sdk_sqs::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{
        DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
        SendMessageBatchRequestEntry,
    },
};
use chrono::TimeDelta;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::{
    front::{Port, Server},
    template::Redrive,
};

/// Queues in a folder of their own, served.
struct Rig {
    client: Client,
    clock: Clock,
    url: String,
    dead_url: String,
    _server: Server,
    dir: TempDir,
}

fn declared() -> [Queue; 2] {
    let dead = Queue {
        name: "Dead".to_owned(),
        visibility: Duration::from_secs(30),
        retention: Duration::from_secs(1_209_600),
        delay: Duration::ZERO,
        wait: Duration::ZERO,
        bytes_max: 1_048_576,
        redrive: None,
    };
    let work = Queue {
        name: "Work".to_owned(),
        visibility: Duration::from_secs(60),
        retention: Duration::from_secs(3_600),
        redrive: Some(Redrive {
            queue: "Dead".to_owned(),
            receives_max: 2,
        }),
        ..dead.clone()
    };
    [work, dead]
}

impl Rig {
    async fn new() -> Self {
        Self::over(tempfile::tempdir().expect("a folder"))
    }

    fn over(dir: TempDir) -> Self {
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        let port = Port::hold(0, &Handle::current()).expect("a port");
        let base = format!("http://{}", port.address().expect("an address"));
        let queues = Queues::open(&dir.path().join("queues.db"), &declared(), &clock, &base).expect("queues");
        let server = port.serve_plainly(router(queues), &Handle::current()).expect("served");
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&base)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Self {
            client: Client::from_conf(config),
            clock,
            url: queue_url(&base, "Work"),
            dead_url: queue_url(&base, "Dead"),
            _server: server,
            dir,
        }
    }

    async fn send(&self, body: &str) -> String {
        let sent = self.client.send_message().queue_url(&self.url).message_body(body);
        let sent = sent.send().await.expect("sent");
        assert_eq!(sent.md5_of_message_body, Some(body_md5(body)));
        sent.message_id.expect("a name")
    }

    async fn receive(&self, url: &str) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(url).max_number_of_messages(10);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        let received = receive.message_attribute_names("All").send().await;
        received.expect("received").messages.unwrap_or_default()
    }

    async fn bodies(&self) -> Vec<String> {
        let messages = self.receive(&self.url).await;
        messages.into_iter().filter_map(|message| message.body).collect()
    }

    async fn attributes(&self) -> [String; 3] {
        let get = self.client.get_queue_attributes().queue_url(&self.url);
        let got = get
            .attribute_names(QueueAttributeName::All)
            .send()
            .await
            .expect("answered");
        let got = got.attributes.expect("attributes");
        [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ]
        .map(|name| got[&name].clone())
    }

    async fn delete(&self, message: &Message) {
        let delete = self.client.delete_message().queue_url(&self.url);
        let delete = delete.set_receipt_handle(message.receipt_handle.clone());
        delete.send().await.expect("deleted");
    }

    fn advance(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds)).expect("moved");
    }
}

fn system(message: &Message, name: MessageSystemAttributeName) -> String {
    message.attributes.as_ref().expect("attributes")[&name].clone()
}

/// The name of an error.
fn code<Output, Error: ProvideErrorMetadata + std::fmt::Debug>(result: Result<Output, SdkError<Error>>) -> String {
    let Err(error) = result else {
        panic!("must be refused");
    };
    error.code().expect("an error with a name").to_owned()
}

#[tokio::test]
async fn a_message_comes_back_until_it_is_deleted_by_its_last_handle() {
    let rig = Rig::new().await;
    let id = rig.send("hello").await;
    let first = rig.receive(&rig.url).await.remove(0);
    assert_eq!(first.message_id.as_deref(), Some(id.as_str()));
    assert_eq!(first.body.as_deref(), Some("hello"));
    assert_eq!(first.md5_of_body.as_deref(), Some("5d41402abc4b2a76b9719d911017c592"));
    let sent_ms = system(&first, MessageSystemAttributeName::SentTimestamp).parse::<i64>();
    assert!((rig.clock.now().timestamp_millis() - sent_ms.expect("a number")).abs() < 10_000);
    assert_eq!(system(&first, MessageSystemAttributeName::ApproximateReceiveCount), "1");

    rig.advance(59);
    assert!(rig.receive(&rig.url).await.is_empty(), "hidden");
    rig.advance(2);
    let second = rig.receive(&rig.url).await.remove(0);
    assert_eq!(
        system(&second, MessageSystemAttributeName::ApproximateReceiveCount),
        "2"
    );
    assert_ne!(first.receipt_handle, second.receipt_handle);

    rig.delete(&first).await;
    assert_eq!(rig.attributes().await, ["0", "1", "0"], "an old handle deletes nothing");
    rig.delete(&second).await;
    assert_eq!(rig.attributes().await, ["0", "0", "0"]);
}

#[tokio::test]
async fn messages_come_in_order_and_each_to_one_receiver() {
    let rig = Rig::new().await;
    for number in 0..25 {
        rig.send(&number.to_string()).await;
    }
    let mut bodies = rig.bodies().await;
    assert_eq!(bodies.len(), 10);
    bodies.extend(rig.bodies().await);
    bodies.extend(rig.bodies().await);
    let sent: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    assert_eq!(bodies, sent);
    assert!(rig.bodies().await.is_empty());
}

#[tokio::test]
async fn a_delayed_message_waits_for_the_clock_and_wakes_its_receiver() {
    let rig = Rig::new().await;
    let send = rig.client.send_message().queue_url(&rig.url).message_body("later");
    send.delay_seconds(600).send().await.expect("sent");
    assert!(rig.bodies().await.is_empty());
    assert_eq!(rig.attributes().await, ["0", "0", "1"]);
    let waiting = rig.client.receive_message().queue_url(&rig.url).wait_time_seconds(20);
    let waiting = tokio::spawn(waiting.send());
    // Long enough for the receiver to be waiting, in most runs; right either way.
    rig.clock.sleep(Duration::from_millis(50)).await;
    rig.advance(601);
    let received = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    let received = received.expect("woken at once").expect("ran").expect("received");
    assert_eq!(received.messages().len(), 1);
}

#[tokio::test]
async fn each_message_of_a_batch_has_its_own_delay() {
    let rig = Rig::new().await;
    let entry = |body: &str, seconds: i32| {
        let entry = SendMessageBatchRequestEntry::builder().id(body).message_body(body);
        entry.delay_seconds(seconds).build().expect("built")
    };
    let send = rig.client.send_message_batch().queue_url(&rig.url);
    let send = send
        .entries(entry("later", 600))
        .entries(entry("now", 0))
        .entries(entry("never", 901));
    let sent = send.send().await.expect("sent");
    assert_eq!((sent.successful().len(), sent.failed().len()), (2, 1));
    assert_eq!(rig.attributes().await, ["1", "0", "1"]);
    assert_eq!(rig.bodies().await, ["now"]);
    rig.advance(601);
    assert!(rig.bodies().await.contains(&"later".to_owned()));
}

#[tokio::test]
async fn a_waiting_receiver_gets_what_is_sent_or_nothing_in_the_end() {
    let rig = Rig::new().await;
    let receive = || rig.client.receive_message().queue_url(&rig.url);
    let waiting = tokio::spawn(receive().wait_time_seconds(20).send());
    rig.clock.sleep(Duration::from_millis(50)).await;
    rig.send("now").await;
    let received = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    let received = received.expect("woken at once").expect("ran").expect("received");
    assert_eq!(received.messages()[0].body(), Some("now"));
    let began = rig.clock.now();
    let nothing = receive().wait_time_seconds(1).send().await.expect("answered");
    assert!(nothing.messages().is_empty());
    assert!(rig.clock.now() - began >= TimeDelta::seconds(1));
}

#[tokio::test]
async fn a_message_received_too_often_moves_to_the_dead_letters_with_its_age() {
    let rig = Rig::new().await;
    let id = rig.send("poison").await;
    rig.send("good").await;
    for _ in 0..2 {
        assert_eq!(rig.bodies().await, ["poison", "good"]);
        assert!(rig.receive(&rig.dead_url).await.is_empty());
        rig.advance(61);
    }
    assert!(rig.bodies().await.is_empty());
    let dead = rig.receive(&rig.dead_url).await;
    assert_eq!(dead.len(), 2);
    assert_eq!(dead[0].message_id.as_deref(), Some(id.as_str()));
    let source = system(&dead[0], MessageSystemAttributeName::DeadLetterQueueSourceArn);
    assert_eq!(source, "arn:aws:sqs:us-east-1:000000000000:Work");
    assert_eq!(
        system(&dead[0], MessageSystemAttributeName::ApproximateReceiveCount),
        "3"
    );
    rig.advance(14 * 86_400);
    assert!(rig.receive(&rig.dead_url).await.is_empty(), "past its retention");
}

#[tokio::test]
async fn a_message_is_kept_as_long_as_its_queue_says() {
    let rig = Rig::new().await;
    rig.send("old").await;
    rig.advance(3_500);
    rig.send("young").await;
    rig.advance(200);
    assert_eq!(rig.attributes().await, ["1", "0", "0"]);
    assert_eq!(rig.bodies().await, ["young"]);
}

#[tokio::test]
async fn a_clock_moved_back_hides_nothing_for_years() {
    let rig = Rig::new().await;
    rig.send("hidden").await;
    assert_eq!(rig.bodies().await.len(), 1);
    rig.advance(-10 * 365 * 86_400);
    assert_eq!(rig.attributes().await, ["1", "0", "0"]);
    assert_eq!(rig.bodies().await, ["hidden"]);
}

#[tokio::test]
async fn visibility_is_changed_while_a_message_is_hidden_only() {
    let rig = Rig::new().await;
    rig.send("a").await;
    let message = rig.receive(&rig.url).await.remove(0);
    let hide = |seconds: i32| {
        let hide = rig.client.change_message_visibility().queue_url(&rig.url);
        let hide = hide.set_receipt_handle(message.receipt_handle.clone());
        hide.visibility_timeout(seconds).send()
    };
    hide(600).await.expect("hidden for longer");
    rig.advance(300);
    assert!(rig.bodies().await.is_empty());
    hide(0).await.expect("shown");
    let refused = hide(10).await.expect_err("not hidden any more").into_service_error();
    assert!(refused.is_message_not_inflight(), "{refused:?}");
    assert_eq!(rig.bodies().await, ["a"]);
    assert_eq!(
        code(hide(10).await),
        "InvalidParameterValue",
        "the handle is not the last"
    );
}

#[tokio::test]
async fn attributes_come_back_with_the_sums_that_aws_documents() {
    let rig = Rig::new().await;
    let attribute = |kind: &str| MessageAttributeValue::builder().data_type(kind);
    let city = attribute("String").string_value("Any City").build().expect("built");
    let count = attribute("Number.int").string_value("1250800").build().expect("built");
    let bytes = attribute("Binary")
        .binary_value(Blob::new([0, 1, 255]))
        .build()
        .expect("built");
    let send = rig.client.send_message().queue_url(&rig.url).message_body("x");
    let send = send
        .message_attributes("City", city.clone())
        .message_attributes("Population", count)
        .message_attributes("Bytes", bytes.clone());
    let sent = send.send().await.expect("sent");
    let received = rig.receive(&rig.url).await.remove(0);
    assert!(sent.md5_of_message_attributes.is_some());
    assert_eq!(received.md5_of_message_attributes, sent.md5_of_message_attributes);
    let attributes = received.message_attributes.expect("attributes");
    assert_eq!(attributes.len(), 3);
    assert_eq!((&attributes["City"], &attributes["Bytes"]), (&city, &bytes));
}

/// The service's own sum of this attribute, as moto's tests record it.
#[test]
fn the_sum_of_attributes_is_the_services_own() {
    let attribute = Attribute {
        data_type: "Number.java.lang.Long".to_owned(),
        string_value: Some("1493147359900".to_owned()),
        binary_value: None,
    };
    let attributes = message::Attributes::from([("timestamp".to_owned(), attribute)]);
    let sum = attributes_md5(&attributes);
    assert_eq!(sum.as_deref(), Some("2e2e4876d8e0bd6b8c2c8f556831c349"));
    assert_eq!(attributes_md5(&message::Attributes::new()), None);
}

#[tokio::test]
async fn queues_are_found_listed_and_emptied() {
    let rig = Rig::new().await;
    let found = rig
        .client
        .get_queue_url()
        .queue_name("Work")
        .send()
        .await
        .expect("found");
    assert_eq!(found.queue_url.as_deref(), Some(rig.url.as_str()));
    let missing = rig.client.get_queue_url().queue_name("None").send().await;
    assert!(
        missing
            .expect_err("missing")
            .into_service_error()
            .is_queue_does_not_exist()
    );
    let listed = rig.client.list_queues().send().await.expect("listed");
    assert_eq!(listed.queue_urls(), [rig.dead_url.clone(), rig.url.clone()]);
    let listed = rig
        .client
        .list_queues()
        .queue_name_prefix("Wo")
        .send()
        .await
        .expect("listed");
    assert_eq!(listed.queue_urls(), std::slice::from_ref(&rig.url));
    for body in ["a", "b"] {
        rig.send(body).await;
    }
    let first = rig.receive(&rig.url).await;
    let entries = first.iter().enumerate().map(|(index, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(format!("m{index}"));
        entry
            .set_receipt_handle(message.receipt_handle.clone())
            .build()
            .expect("built")
    });
    let deleted = rig.client.delete_message_batch().queue_url(&rig.url);
    let deleted = deleted
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .expect("deleted");
    assert_eq!((deleted.successful().len(), deleted.failed().len()), (2, 0));
    rig.send("c").await;
    rig.client
        .purge_queue()
        .queue_url(&rig.url)
        .send()
        .await
        .expect("purged");
    assert_eq!(rig.attributes().await, ["0", "0", "0"]);
}
