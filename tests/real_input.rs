//! Real input by every way in, each row at its own time, counted once.

use serde_json::{Value, json};

use crate::{
    books::Books,
    series::{Row, rows},
    support::{ADMIN, Answer, Client, SERVICE, count},
};

const BATCH: &str = "/api/v1/usage/track/batch";
const EVENTS: &str = "/api/v1/events";

/// The evening of the series, with a subscription that began before it.
async fn in_april() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": "2014-04-25T00:00:00Z"})).await;
    subscribe(&client, "elb").await;
    client
}

async fn subscribe(client: &Client, id: &str) {
    let body = json!({"id": id, "user_id": "u", "plan": "enterprise", "starts_at": "2014-04-01T00:00:00Z"});
    let created = client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    assert_eq!(created.status, 201, "{created:?}");
}

fn event((index, (at, value)): (usize, &Row)) -> Value {
    json!({"user_id": "u", "metric_type": "api_calls", "metric_value": value, "timestamp": at,
        "idempotency_key": format!("row-{index}")})
}

fn cloud_event(row: (usize, &Row)) -> Value {
    let (index, (at, value)) = row;
    json!({"specversion": "1.0", "id": format!("row-{index}"), "source": "/elb", "type": "api_calls", "subject": "u",
        "time": at, "data": {"value": value, "subscription_id": "second"}})
}

async fn used(client: &Client, subscription: &str) -> Value {
    let path = format!("/api/v1/usage/quotas?user_id=u&subscription_id={subscription}&metric_type=api_calls");
    client.get(&path, SERVICE).await.body["quotas"][0]["current_usage"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_by_itself_counts_once_and_again_not() {
    let client = in_april().await;
    let (rows, total) = rows();
    let unenforced = |row| {
        let mut event = event(row);
        event["enforce"] = json!(false);
        event
    };
    let bodies: Vec<Value> = rows.iter().enumerate().map(unenforced).collect();
    for (status, sent) in [(201, "first"), (200, "again")] {
        let answers = client.track_all(&[client.stack.url()], bodies.clone(), 16).await;
        assert_eq!(count(&answers, status), rows.len(), "sent {sent}");
        assert_eq!(used(&client, "elb").await, json!(total), "sent {sent}");
    }
    // The same identities in batches are the same events.
    let again = batches(&client, &rows).await;
    assert_eq!(sums(&again), (0, rows.len()));
    assert_eq!(used(&client, "elb").await, json!(total));
}

/// Sends all rows in batches of 1,000.
async fn batches(client: &Client, rows: &[Row]) -> Vec<Answer> {
    let events: Vec<Value> = rows.iter().enumerate().map(event).collect();
    let mut answers = Vec::new();
    for chunk in events.chunks(1_000) {
        let answer = client
            .post(BATCH, SERVICE, json!({"events": chunk, "enforce": false}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answers.push(answer);
    }
    answers
}

/// How many were accepted, and how many were there before.
fn sums(answers: &[Answer]) -> (usize, usize) {
    let sum = |field: &str| {
        let counts = answers
            .iter()
            .map(|answer| answer.body[field].as_u64().expect("a count"));
        usize::try_from(counts.sum::<u64>()).expect("a count")
    };
    assert_eq!((sum("denied"), sum("failed")), (0, 0));
    (sum("accepted"), sum("duplicates"))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_batches_and_as_cloud_events_twice() {
    let client = in_april().await;
    let (rows, total) = rows();
    assert_eq!(sums(&batches(&client, &rows).await), (rows.len(), 0));
    assert_eq!(used(&client, "elb").await, json!(total));
    assert_eq!(sums(&batches(&client, &rows).await), (0, rows.len()));
    assert_eq!(used(&client, "elb").await, json!(total));
    subscribe(&client, "second").await;
    let events: Vec<Value> = rows.iter().enumerate().map(cloud_event).collect();
    for _ in 0..2 {
        for chunk in events.chunks(1_000) {
            let body = json!(chunk).to_string().into_bytes();
            let headers = [("content-type", "application/cloudevents-batch+json")];
            let answer = client.send_raw(&client.stack.url(), EVENTS, &headers, body).await;
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        assert_eq!(used(&client, "second").await, json!(total));
    }
    assert_eq!(used(&client, "elb").await, json!(total));
    Books::read(&client.stack).await.assert_exact();
}
