//! A level that outlives its period.

use metering_store::context::Source as _;
use serde_json::{Value, json};

use crate::support::{Client, count};

fn gauge(mode: &str, value: &str, more: Value) -> Value {
    let mut body = json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": value, "mode": mode});
    body.as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_and_differences() {
    let client = Client::start().await;
    client.subscribe("u", "enterprise").await;
    let now = client.stack.clock().now();
    let earlier = json!({"timestamp": (now - std::time::Duration::from_secs(600)).to_rfc3339()});
    let set = client.track(gauge("level", "5.1", json!({}))).await;
    assert_eq!((set.status, &set.body["quota"]["peak"]), (201, &json!(5.1)));
    let old = client.track(gauge("level", "9", earlier)).await;
    assert_eq!(old.status, 201);
    assert_eq!(
        client.used("u", "storage_usage").await,
        json!(5.1),
        "an older level changes nothing"
    );
    let below = client.track(gauge("delta", "-6", json!({}))).await;
    assert_eq!((below.status, &below.body["code"]), (422, &json!("below_zero")));
    client.track(gauge("delta", "-6", json!({"enforce": false}))).await;
    assert_eq!(client.used("u", "storage_usage").await, json!(0));
    let answers = client
        .track_all(&[client.stack.url()], vec![gauge("delta", "0.5", json!({})); 40], 40)
        .await;
    assert_eq!(count(&answers, 201), 40);
    assert_eq!(client.used("u", "storage_usage").await, json!(20));
    client.clock(json!({"advance_seconds": 40 * 86_400})).await;
    let quota = client.track(gauge("delta", "-1", json!({}))).await.body["quota"].clone();
    assert_eq!(
        (&quota["current_usage"], &quota["peak"]),
        (&json!(19), &json!(20)),
        "carried into the next period"
    );
}
