//! What is refused, and by which name.

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, SendMessageBatchRequestEntry};

use super::*;

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    let entry = SendMessageBatchRequestEntry::builder().id(id).message_body(body);
    entry.build().expect("built")
}

impl Rig {
    async fn send_batch(&self, entries: Vec<SendMessageBatchRequestEntry>) -> Result<[usize; 2], String> {
        let send = self.client.send_message_batch().queue_url(&self.url);
        match send.set_entries(Some(entries)).send().await {
            Ok(sent) => Ok([sent.successful().len(), sent.failed().len()]),
            refused => Err(code(refused)),
        }
    }
}

#[tokio::test]
async fn a_message_is_at_most_a_mebibyte_attributes_included() {
    let rig = Rig::new().await;
    let send = || rig.client.send_message().queue_url(&rig.url);
    let largest = "x".repeat(1_048_576);
    send().message_body(&largest).send().await.expect("just small enough");
    let larger = format!("{largest}x");
    assert_eq!(code(send().message_body(larger).send().await), "InvalidParameterValue");
    let attribute = MessageAttributeValue::builder().data_type("String").string_value("v");
    let with_attribute = send().message_body(&largest);
    let with_attribute = with_attribute.message_attributes("n", attribute.build().expect("built"));
    assert_eq!(code(with_attribute.send().await), "InvalidParameterValue");
    assert_eq!(rig.attributes().await, ["1", "0", "0"]);
}

#[tokio::test]
async fn a_batch_has_one_to_ten_entries_with_names_of_their_own() {
    let rig = Rig::new().await;
    let entries = |count: usize| (0..count).map(|number| entry(&number.to_string(), "a")).collect();
    assert_eq!(rig.send_batch(entries(10)).await, Ok([10, 0]));
    let name = |code: &str| Err(format!("AWS.SimpleQueueService.{code}"));
    assert_eq!(rig.send_batch(entries(11)).await, name("TooManyEntriesInBatchRequest"));
    assert_eq!(rig.send_batch(vec![]).await, name("EmptyBatchRequest"));
    let twice = vec![entry("a", "1"), entry("a", "2")];
    assert_eq!(rig.send_batch(twice).await, name("BatchEntryIdsNotDistinct"));
    for id in ["", "a b", &"a".repeat(81)] {
        assert_eq!(
            rig.send_batch(vec![entry(id, "1")]).await,
            name("InvalidBatchEntryId"),
            "{id}"
        );
    }
    let half = "x".repeat(524_288);
    assert_eq!(
        rig.send_batch(vec![entry("a", &half), entry("b", &half)]).await,
        Ok([2, 0])
    );
    let over = vec![entry("a", &half), entry("b", &half), entry("c", "1")];
    assert_eq!(rig.send_batch(over).await, name("BatchRequestTooLong"));
    assert_eq!(rig.attributes().await, ["12", "0", "0"]);
}

#[tokio::test]
async fn a_bad_entry_fails_alone() {
    let rig = Rig::new().await;
    let delayed = SendMessageBatchRequestEntry::builder()
        .id("c")
        .message_body("c")
        .delay_seconds(901);
    let entries = vec![entry("a", "a"), entry("b", "\u{1}"), delayed.build().expect("built")];
    let send = rig.client.send_message_batch().queue_url(&rig.url);
    let sent = send.set_entries(Some(entries)).send().await.expect("answered");
    assert_eq!(sent.successful()[0].id(), "a");
    let failed: Vec<_> = sent
        .failed()
        .iter()
        .map(|entry| (entry.id(), entry.code(), entry.sender_fault()))
        .collect();
    assert_eq!(
        failed,
        [
            ("b", "InvalidMessageContents", true),
            ("c", "InvalidParameterValue", true)
        ]
    );
    assert_eq!(rig.bodies().await, ["a"]);

    let hide = ChangeMessageVisibilityBatchRequestEntry::builder()
        .id("x")
        .receipt_handle("nonsense");
    let hide = hide.visibility_timeout(1).build().expect("built");
    let hidden = rig
        .client
        .change_message_visibility_batch()
        .queue_url(&rig.url)
        .entries(hide);
    let hidden = hidden.send().await.expect("answered");
    assert_eq!(hidden.failed()[0].code(), "ReceiptHandleIsInvalid");
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_name() {
    let rig = Rig::new().await;
    let send = |body: &str| rig.client.send_message().queue_url(&rig.url).message_body(body);
    assert_eq!(code(send("").send().await), "MissingParameter");
    let refused = send("a\u{0}b").send().await.expect_err("refused").into_service_error();
    assert!(refused.is_invalid_message_contents(), "{refused:?}");
    send("tab\t, line\r\n, \u{10FFFF}").send().await.expect("allowed");
    for seconds in [-1, 901] {
        assert_eq!(
            code(send("a").delay_seconds(seconds).send().await),
            "InvalidParameterValue"
        );
    }
    let attribute = |kind: &str, value: &str| {
        let attribute = MessageAttributeValue::builder().data_type(kind).string_value(value);
        attribute.build().expect("built")
    };
    for (name, kind, value) in [
        ("a", "Text", "v"),
        ("a", "String", ""),
        ("a", "Binary", "v"),
        ("AWS.a", "String", "v"),
        ("a b", "String", "v"),
        (".a", "String", "v"),
    ] {
        let sent = send("a").message_attributes(name, attribute(kind, value)).send().await;
        assert_eq!(code(sent), "InvalidParameterValue", "{name} {kind} {value}");
    }
    let mut many = send("a");
    for number in 0..11 {
        many = many.message_attributes(format!("a{number}"), attribute("String", "v"));
    }
    assert_eq!(code(many.send().await), "InvalidParameterValue");

    let receive = || rig.client.receive_message().queue_url(&rig.url);
    for wrong in [
        receive().max_number_of_messages(0),
        receive().max_number_of_messages(11),
        receive().wait_time_seconds(21),
        receive().visibility_timeout(43_201),
    ] {
        assert_eq!(code(wrong.send().await), "InvalidParameterValue");
    }
    let delete = rig
        .client
        .delete_message()
        .queue_url(&rig.url)
        .receipt_handle("nonsense");
    let refused = delete.send().await.expect_err("refused").into_service_error();
    assert!(refused.is_receipt_handle_is_invalid(), "{refused:?}");
    let made = rig.client.create_queue().queue_name("New").send().await;
    assert_eq!(code(made), "AWS.SimpleQueueService.UnsupportedOperation");
    let sent = rig
        .client
        .send_message()
        .queue_url("http://127.0.0.1/0/None")
        .message_body("a")
        .send()
        .await;
    assert!(
        sent.expect_err("refused")
            .into_service_error()
            .is_queue_does_not_exist()
    );
    let get = rig.client.get_queue_attributes().queue_url(&rig.url);
    let get = get.attribute_names(QueueAttributeName::FifoQueue).send().await;
    assert!(
        get.expect_err("refused")
            .into_service_error()
            .is_invalid_attribute_name()
    );
}
