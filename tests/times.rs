//! When an event happened decides what it is charged to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{ADMIN, Client, SERVICE},
};

const API_CALLS: &str = "api_calls";

/// The tenth of March; a Basic subscription since the first of January.
async fn in_march() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T12:00:00Z"})).await;
    let body = json!({"id": "sub_u", "user_id": "u", "plan": "basic", "starts_at": "2026-01-01T00:00:00Z"});
    let created = client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    assert_eq!(created.status, 201, "{created:?}");
    client
}

fn at(timestamp: &str, more: Value) -> Value {
    let mut event = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 1, "timestamp": timestamp});
    let fields = more.as_object().cloned().unwrap_or_default();
    event.as_object_mut().expect("an object").extend(fields);
    event
}

/// How many events the API lists since January.
async fn listed(client: &Client) -> usize {
    let path = "/api/v1/usage/events?user_id=u&from=2025-01-01T00:00:00Z";
    client.get(path, SERVICE).await.body["events"]
        .as_array()
        .map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_counts_in_the_period_of_its_own_time() {
    let client = in_march().await;
    for (timestamp, used) in [
        ("2026-02-28T23:59:59.999Z", 0),
        ("2026-03-01T00:00:00Z", 1),
        ("2026-03-01T00:59:59+01:00", 1),
        ("2026-03-10T12:04:00Z", 2),
    ] {
        let tracked = client.track(at(timestamp, json!({}))).await;
        assert_eq!(tracked.status, 201, "{timestamp}: {tracked:?}");
        assert_eq!(client.used("u", API_CALLS).await, json!(used), "{timestamp}");
    }
    let february = client.track(at("2026-02-28T12:00:00Z", json!({}))).await;
    let quota = &february.body["quota"];
    assert_eq!(
        quota["current_usage"],
        json!(3),
        "the answer shows the counter it was charged to"
    );
    assert_eq!(quota["period_end"], json!("2026-03-01T00:00:00Z"));
    assert_eq!(listed(&client).await, 5);
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_before_the_start_is_history() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", API_CALLS, 0).await;
    let an_hour_ago = (client.now() - Duration::from_secs(3600)).to_rfc3339();
    let event = at(&an_hour_ago, json!({"idempotency_key": "k"}));
    let stored = client.track(event.clone()).await;
    assert_eq!(
        (stored.status, &stored.body["quota"]),
        (201, &Value::Null),
        "{stored:?}"
    );
    let again = client.track(event).await;
    assert_eq!((again.status, &again.body["usage_id"]), (200, &stored.body["usage_id"]));
    assert_eq!(client.used("u", API_CALLS).await, json!(0));
    assert_eq!(listed(&client).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_reaches_further_and_is_never_refused() {
    let client = in_march().await;
    let january = "2026-01-02T00:00:00Z";
    assert_eq!(
        client.track(at(january, json!({}))).await.status,
        422,
        "36 days at most"
    );
    client.limit("u", API_CALLS, 0).await;
    let filled = client.track(at(january, json!({"backfill": true}))).await;
    assert_eq!(
        (filled.status, &filled.body["late"]),
        (201, &json!(false)),
        "{filled:?}"
    );
    assert_eq!(filled.body["quota"]["period_start"], json!("2026-01-01T00:00:00Z"));
    assert_eq!(
        filled.body["quota"]["quota_limit"],
        json!(1000),
        "the limit at that period's end"
    );
    let now = client
        .track(at("2026-03-10T12:00:00Z", json!({"backfill": true})))
        .await;
    assert_eq!((now.status, &now.body["over_limit"]), (201, &json!(true)));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_of_a_closed_period_is_charged_to_the_present_one() {
    let client = in_march().await;
    client.track(at("2026-02-20T00:00:00Z", json!({}))).await;
    client.clock(json!({"now": "2026-03-12T00:00:00Z"})).await;
    let event = at("2026-02-21T00:00:00Z", json!({"idempotency_key": "k"}));
    let late = client.track(event.clone()).await;
    assert_eq!((late.status, &late.body["late"]), (201, &json!(true)), "{late:?}");
    assert_eq!(late.body["quota"]["period_start"], json!("2026-03-01T00:00:00Z"));
    let again = client.track(event).await;
    assert_eq!((again.status, &again.body["late"]), (200, &json!(true)));
    assert_eq!(client.used("u", API_CALLS).await, json!(1));
    let ledger = client
        .get("/api/v1/usage/admin/adjustments?user_id=u", ADMIN)
        .await
        .body;
    let entries = ledger["adjustments"].as_array().expect("entries");
    assert_eq!(entries.len(), 1, "{ledger}");
    assert_eq!(
        (&entries[0]["kind"], &entries[0]["amount"], &entries[0]["usage_id"]),
        (&json!("late"), &json!(1), &late.body["usage_id"])
    );
    let path = format!(
        "/api/v1/usage/events/{}",
        late.body["usage_id"].as_str().expect("an id")
    );
    let event = client.get(&path, SERVICE).await;
    assert_eq!(
        event.body["timestamp"],
        json!("2026-02-21T00:00:00Z"),
        "it keeps its own time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_subscription_has_the_implicit_one_until_there_is_one() {
    let client = Client::start().await;
    let event = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 7});
    let first = client.track(event.clone()).await;
    assert_eq!((first.status, &first.body["quota"]["quota_limit"]), (201, &Value::Null));
    assert!(!first.headers.contains_key("ratelimit-limit"), "nothing is limited");
    let summary = client.get("/api/v1/usage/summary?user_id=u", SERVICE).await.body;
    assert_eq!(
        (&summary["subscription_id"], &summary["plan"]),
        (&json!("none"), &Value::Null)
    );
    client.subscribe("u", "basic").await;
    let next = client.track(event).await;
    assert_eq!(next.body["quota"]["current_usage"], json!(7), "absence is never cached");
    assert_eq!(next.headers["ratelimit-limit"], "1000");
    assert_eq!(next.headers["ratelimit-remaining"], "993");
}
