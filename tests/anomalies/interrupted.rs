//! The job stopped at each of its waits, its messages delivered again, and messages that say nothing.

use metering_store::{hour::Series, keys::Owner};
use serde_json::{Value, json};

use super::{METRIC, alerts, hour, hundred, listed, start, told, used};
use crate::{
    support::Client,
    wire::{Fate, Wire},
};

/// More waits than the job has.
const WAITS_MAX: usize = 160;

fn message(body: &Value) -> Value {
    json!({
        "messageId": "m1", "receiptHandle": "r1", "body": body.to_string(),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1773145800000"},
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:AnomalyQueue",
        "awsRegion": "us-east-1"
    })
}

fn changed(user: &str) -> Value {
    json!({"owner": format!("NONE#{user}"), "user_id": user, "metric_type": METRIC, "gauge": false})
}

/// Computes the hours of a user at once, without what would follow from that on the stack.
async fn aggregated(client: &Client, user: &str, hours: i64) {
    let (store, series) = (
        client.store(),
        Series {
            owner: Owner::None(user.to_owned()),
            metric_type: METRIC.to_owned(),
            gauge: false,
        },
    );
    for back in 0..=hours {
        let at = hour() - chrono::TimeDelta::hours(back);
        let stored = store.hour_get(&series, at).await.expect("an hour");
        store
            .hour_compute(&series, &stored, &[], true, None)
            .await
            .expect("computed");
        store.day_compute(&series, at).await.expect("a day");
    }
}

/// Runs the job until this wait, where it stops for good; whether it came so far.
async fn dies_at(client: &Client, event: &str, wait: usize) -> bool {
    let (wire, gate) = Wire::stopping(wait);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    tokio::select! {
        answer = instance.invoke("AnomalyJob", event.to_owned()) => {
            let answer = answer.expect("an answer");
            assert!(answer.contains(r#""batchItemFailures":[]"#), "{answer}");
            false
        }
        () = gate.reached() => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_anywhere_and_delivered_again_it_records_each_once() {
    let client = start().await;
    let event = json!({"Records": [message(&changed("u"))]}).to_string();
    used(&client, "u", &hundred(900), 0).await;
    aggregated(&client, "u", 45).await;
    let mut stops = 0;
    while stops < WAITS_MAX && dies_at(&client, &event, stops).await {
        stops += 1;
    }
    assert!((8..WAITS_MAX).contains(&stops), "{stops} waits");
    client.drain().await;
    let recorded = listed(&client, "user_id=u").await;
    let mut ids: Vec<String> = recorded.iter().map(|one| one["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert!(recorded.len() >= 2 && ids.len() == recorded.len(), "{recorded:?}");
    let grave = recorded
        .iter()
        .filter(|one| one["risk_score"].as_u64() >= Some(50))
        .count();
    assert_eq!(alerts(&client).await.len(), grave);
    assert_eq!(told(&client).await.1.len(), grave, "a mail each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_names_nothing_is_put_aside() {
    let client = start().await;
    for body in ["nonsense".to_owned(), json!({"owner": "NONE#u"}).to_string()] {
        let sent = client
            .post("/_local/queues/AnomalyQueue", "", json!({"body": body}))
            .await;
        assert_eq!(sent.status, 202, "{sent:?}");
    }
    client.drain().await;
    let queues = client.get("/_local/queues", "").await;
    let queue = queues.body["queues"].as_array().expect("queues").iter();
    let queue = queue.clone().find(|queue| queue["name"] == "AnomalyQueue").cloned();
    assert_eq!(queue.expect("the queue")["dead_letters"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_records_nothing_twice() {
    let client = start().await;
    used(&client, "u", &hundred(900), 0).await;
    aggregated(&client, "u", 45).await;
    let wire = Wire::new(|call| match call.operation.as_str() {
        "TransactWriteItems" => Fate::Double,
        _ => Fate::Pass,
    });
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let event = json!({"Records": [message(&changed("u")), message(&changed("u"))]}).to_string();
    for _ in 0..2 {
        let answer = instance.invoke("AnomalyJob", event.clone()).await.expect("an answer");
        assert!(answer.contains(r#""batchItemFailures":[]"#), "{answer}");
    }
    client.drain().await;
    let recorded = listed(&client, "user_id=u").await;
    assert!(recorded.len() >= 2, "{recorded:?}");
    let (bus, _) = told(&client).await;
    assert!(bus.len() >= recorded.len());
}
