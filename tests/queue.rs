//! Usage from the queue: sent by the AWS SDK, counted once, whatever is delivered how often.

use aws_sdk_sqs::{Client as Sqs, types::SendMessageBatchRequestEntry};
use metering_edge::aws::sqs_client;
use serde_json::{Value, json};

use crate::{
    books::Books,
    series::{Row, rows},
    support::{ADMIN, Client, SERVICE},
};

const API_CALLS: &str = "api_calls";
/// SQS takes ten messages in one request.
const SENDS_MAX: usize = 10;

/// The queue as a producer has it.
struct Producer {
    sqs: Sqs,
    url: String,
}

impl Producer {
    async fn of(client: &Client) -> Self {
        let about = client.get("/_local", "").await.body;
        Self {
            sqs: sqs_client(&client.stack.sqs_endpoint(), None),
            url: about["queues"]["UsageEventsQueue"]
                .as_str()
                .expect("a queue")
                .to_owned(),
        }
    }

    async fn send(&self, body: impl ToString) -> String {
        let send = self
            .sqs
            .send_message()
            .queue_url(&self.url)
            .message_body(body.to_string());
        send.send().await.expect("sent").message_id.expect("an id")
    }

    async fn send_all(&self, bodies: &[Value]) {
        for chunk in bodies.chunks(SENDS_MAX) {
            let entry = |(index, body): (usize, &Value)| {
                let entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
                entry.message_body(body.to_string()).build().expect("complete")
            };
            let entries = chunk.iter().enumerate().map(entry).collect();
            let send = self
                .sqs
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries));
            assert!(send.send().await.expect("sent").failed.is_empty());
        }
    }
}

fn event(key: &str, value: u32) -> Value {
    json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": value, "idempotency_key": key})
}

async fn drain(client: &Client) {
    let drained = client.post("/_local/drain", "", json!({})).await;
    assert_eq!(
        (drained.status, &drained.body["drained"]),
        (200, &json!(true)),
        "{drained:?}"
    );
}

/// The dead letters, opened.
async fn dead_letters(client: &Client) -> Vec<Value> {
    let listed = client.get("/_local/queues/UsageEventsDeadLetters/messages", "").await;
    let messages = listed.body["messages"].as_array().cloned().unwrap_or_default();
    let open = |message: &Value| serde_json::from_str(message["body"].as_str().expect("a body")).expect("JSON");
    messages.iter().map(open).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_good_bad_good_two_count_and_the_bad_one_is_put_aside_with_its_reason() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let producer = Producer::of(&client).await;
    producer.send(event("a", 1)).await;
    let bad = producer
        .send(json!({"user_id": "u", "metric_type": "teapots", "metric_value": -1}))
        .await;
    producer.send(event("b", 2)).await;
    drain(&client).await;
    assert_eq!(client.used("u", API_CALLS).await, json!(3));
    let letters = dead_letters(&client).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let about = &letters[0]["dead_letter"];
    assert_eq!(about["message_id"], json!(bad));
    assert_eq!(about["reason"], json!("1 of 1 elements cannot be counted"));
    let pointers: Vec<_> = about["errors"][0]["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| &error["pointer"])
        .collect();
    assert_eq!(pointers, ["/metric_type", "/metric_value"]);
    let queues = client.get("/_local/queues", "").await.body;
    let of = |name: &str| {
        queues["queues"]
            .as_array()
            .and_then(|all| all.iter().find(|queue| queue["name"] == name))
            .cloned()
    };
    let queue = of("UsageEventsQueue").expect("a queue");
    assert_eq!(
        (&queue["visible"], &queue["in_flight"], &queue["dead_letters"]),
        (&json!(0), &json!(0), &json!(1)),
        "{queues}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_hold_anything_that_is_an_event() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", API_CALLS, 0).await;
    let producer = Producer::of(&client).await;
    let cloud_event =
        |id: &str| json!({"specversion": "1.0", "id": id, "source": "/q", "type": API_CALLS, "subject": "u"});
    let unnamed = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 1});
    producer.send(cloud_event("1")).await;
    producer
        .send(json!([
            cloud_event("1"),
            cloud_event("2"),
            unnamed,
            unnamed,
            event("a", 1)
        ]))
        .await;
    producer.send(json!([])).await;
    drain(&client).await;
    assert_eq!(
        client.used("u", API_CALLS).await,
        json!(5),
        "above the cap too: the work has happened"
    );
    assert_eq!(dead_letters(&client).await, Vec::<Value>::new());
    let listed = client.get("/api/v1/usage/events?user_id=u", SERVICE).await.body;
    for stored in listed["events"].as_array().expect("events") {
        assert_eq!(
            (&stored["source"], &stored["over_limit"]),
            (&json!("queue"), &json!(true)),
            "{stored}"
        );
    }
    assert_eq!(
        client.track(event("a", 1)).await.status,
        200,
        "over HTTP it is the same event"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_array_the_good_count_and_the_bad_are_named() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.track(event("taken", 9)).await;
    let producer = Producer::of(&client).await;
    let unnamed = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 2});
    let elements = json!([
        unnamed,
        {"user_id": "u", "metric_type": API_CALLS, "metric_value": 1, "enforce": true},
        {"user_id": "u", "metric_type": API_CALLS, "metric_value": 1, "subscription_id": "nobodys"},
        event("taken", 1),
        {"user_id": "u", "metric_type": "user_sessions", "metric_value": 1},
    ]);
    let id = producer.send(&elements).await;
    drain(&client).await;
    assert_eq!(client.used("u", API_CALLS).await, json!(11));
    let letters = dead_letters(&client).await;
    let about = &letters[0]["dead_letter"];
    let named: Vec<_> = about["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| (&error["position"], &error["code"]))
        .collect();
    let expected = [
        (json!(1), json!("validation_failed")),
        (json!(2), json!("not_found")),
        (json!(3), json!("idempotency_conflict")),
        (json!(4), json!("metric_kind_mismatch")),
    ];
    assert_eq!(
        named,
        expected
            .iter()
            .map(|(position, code)| (position, code))
            .collect::<Vec<_>>(),
        "{about}"
    );
    assert_eq!(
        (&about["message_id"], &letters[0]["body"]),
        (&json!(id), &json!(elements.to_string()))
    );
    // Sent back as it lies there, it is the same message: what counted does not count again.
    producer.send(&letters[0]).await;
    drain(&client).await;
    assert_eq!(client.used("u", API_CALLS).await, json!(11));
    let again = dead_letters(&client).await;
    assert_eq!((again.len(), &again[1]["dead_letter"]["message_id"]), (2, &json!(id)));
    assert_eq!(again[1]["body"], letters[0]["body"], "wrapped once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_at_all_is_put_aside() {
    let client = Client::start().await;
    let producer = Producer::of(&client).await;
    for body in ["nonsense", "5", "null", "{}", "{\"specversion\":\"1.0\"}"] {
        producer.send(body).await;
    }
    drain(&client).await;
    let letters = dead_letters(&client).await;
    assert_eq!(letters.len(), 5, "{letters:?}");
    for letter in &letters {
        assert!(letter["dead_letter"]["errors"][0]["code"].is_string(), "{letter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_receipt_is_when_it_was_sent() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-01-31T23:59:00Z"})).await;
    let body = json!({"id": "sub_u", "user_id": "u", "plan": "basic", "starts_at": "2026-01-01T00:00:00Z"});
    client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    let producer = Producer::of(&client).await;
    // Ten minutes in the queue, over the end of the month.
    let unnamed = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 1});
    let send = producer
        .sqs
        .send_message()
        .queue_url(&producer.url)
        .message_body(unnamed.to_string());
    send.delay_seconds(600).send().await.expect("sent");
    client.clock(json!({"now": "2026-02-01T00:10:00Z"})).await;
    drain(&client).await;
    assert_eq!(client.used("u", API_CALLS).await, json!(0), "nothing in February");
    let path = "/api/v1/usage/events?user_id=u&from=2026-01-01T00:00:00Z";
    let events = client.get(path, SERVICE).await.body;
    let stored = &events["events"][0];
    assert!(
        stored["timestamp"]
            .as_str()
            .is_some_and(|at| at.starts_with("2026-01-31T23:59")),
        "{events}"
    );
    assert_eq!(stored["received_at"], stored["timestamp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_through_the_queue_twice_and_over_http_is_counted_once() {
    let client = Client::start().await;
    client.clock(json!({"now": "2014-04-25T00:00:00Z"})).await;
    let body = json!({"id": "elb", "user_id": "u", "plan": "enterprise", "starts_at": "2014-04-01T00:00:00Z"});
    assert_eq!(
        client
            .post("/api/v1/usage/admin/subscriptions", ADMIN, body)
            .await
            .status,
        201
    );
    let (rows, total) = rows();
    let event = |(index, (at, value)): (usize, &Row)| {
        json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": value, "timestamp": at,
            "idempotency_key": format!("row-{index}")})
    };
    let events: Vec<Value> = rows.iter().enumerate().map(event).collect();
    // Ten rows in a message, then each by itself, then in a batch: the same identities.
    let tens: Vec<Value> = events.chunks(10).map(|ten| json!(ten)).collect();
    let producer = Producer::of(&client).await;
    producer.send_all(&tens).await;
    drain(&client).await;
    assert_eq!(client.used("u", API_CALLS).await, json!(total));
    producer.send_all(&events[..1_000]).await;
    producer.send_all(&tens).await;
    drain(&client).await;
    let batch = json!({"events": events[..1_000]});
    let again = client.post("/api/v1/usage/track/batch", SERVICE, batch).await;
    assert_eq!(again.body["duplicates"], json!(1_000));
    assert_eq!(client.used("u", API_CALLS).await, json!(total));
    assert_eq!(dead_letters(&client).await, Vec::<Value>::new());
    Books::read(&client.stack).await.assert_exact();
}
