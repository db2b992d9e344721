//! A level that outlives its period.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{ADMIN, Client, SERVICE, count},
};

const STORAGE: &str = "storage_usage";

fn gauge(mode: &str, value: &str) -> Value {
    json!({"user_id": "u", "metric_type": STORAGE, "metric_value": value, "mode": mode})
}

fn at(instant: DateTime<Utc>, mut event: Value) -> Value {
    event["timestamp"] = json!(instant.to_rfc3339());
    event
}

/// A subscription that began a year ago.
async fn enterprise() -> Client {
    let client = Client::start().await;
    let a_year_ago = client.now() - Duration::from_secs(365 * 86_400);
    let body = json!({"user_id": "u", "plan": "enterprise", "starts_at": a_year_ago.to_rfc3339()});
    let created = client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    assert_eq!(created.status, 201, "{created:?}");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_set_and_differences_move() {
    let client = enterprise().await;
    let set = client.track(gauge("level", "5.1")).await;
    assert_eq!((set.status, &set.body["quota"]["peak"]), (201, &json!(5.1)));
    assert_eq!(set.body["quota"]["next_reset"], Value::Null, "a gauge is not reset");
    let moved = client.track(gauge("delta", "-1.1")).await;
    assert_eq!(moved.body["quota"]["current_usage"], json!(4));
    assert_eq!(moved.body["quota"]["peak"], json!(5.1));
    assert_eq!(client.track(gauge("level", "0")).await.status, 201, "0 is a level");
    assert_eq!(client.used("u", STORAGE).await, json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_level_changes_nothing_and_a_difference_always_counts() {
    let client = enterprise().await;
    let now = client.now();
    let earlier = |seconds| now - Duration::from_secs(seconds);
    client.track(at(earlier(300), gauge("level", "5"))).await;
    let older = client.track(at(earlier(600), gauge("level", "9"))).await;
    assert_eq!((older.status, &older.body["quota"]["current_usage"]), (201, &json!(5)));
    let id = older.body["usage_id"].as_str().expect("an id");
    let stored = client.get(&format!("/api/v1/usage/events/{id}"), SERVICE).await;
    assert_eq!(stored.body["superseded"], json!(true));
    let late_difference = client.track(at(earlier(900), gauge("delta", "2"))).await;
    assert_eq!(late_difference.body["quota"]["current_usage"], json!(7));
    let same_instant = client.track(at(earlier(300), gauge("level", "6"))).await;
    assert_eq!(same_instant.body["quota"]["current_usage"], json!(6), "not older");
    // Levels of one day, shuffled and from many at once: the latest holds.
    let levels = (0..40_u64).map(|index| index * 17 % 40);
    let bodies = levels.map(|minute| at(now + Duration::from_secs(minute), gauge("level", &minute.to_string())));
    let answers = client.track_all(&[client.stack.url()], bodies.collect(), 40).await;
    assert_eq!(count(&answers, 201), 40);
    assert_eq!(client.used("u", STORAGE).await, json!(39));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_below_zero() {
    let client = enterprise().await;
    client.track(gauge("level", "5")).await;
    let below = client.track(gauge("delta", "-6")).await;
    assert_eq!((below.status, &below.body["code"]), (422, &json!("below_zero")));
    assert_eq!(client.used("u", STORAGE).await, json!(5));
    let mut applied = gauge("delta", "-6");
    applied["enforce"] = json!(false);
    assert_eq!(client.track(applied).await.status, 201, "applied down to 0");
    assert_eq!(client.used("u", STORAGE).await, json!(0));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_raise_the_level_is_never_refused() {
    let client = enterprise().await;
    client.limit("u", STORAGE, 10).await;
    client.track(gauge("level", "10")).await;
    let more = client.track(gauge("delta", "0.000000001")).await;
    assert_eq!((more.status, &more.body["code"]), (429, &json!("quota_exceeded")));
    assert!(!more.headers.contains_key("retry-after"), "nobody knows when it falls");
    client.limit("u", STORAGE, 5).await;
    for (event, level) in [
        (gauge("delta", "-1"), 9),
        (gauge("level", "9"), 9),
        (gauge("delta", "0"), 9),
        (gauge("level", "8"), 8),
    ] {
        let answer = client.track(event.clone()).await;
        assert_eq!(
            (answer.status, &answer.body["quota"]["current_usage"]),
            (201, &json!(level)),
            "{event}"
        );
    }
    assert_eq!(client.track(gauge("level", "8.5")).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_in_parallel_all_count_and_none_passes_the_cap() {
    let client = enterprise().await;
    client.limit("u", STORAGE, 15).await;
    let other = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), other.url()];
    let answers = client.track_all(&bases, vec![gauge("delta", "0.5"); 40], 40).await;
    assert_eq!((count(&answers, 201), count(&answers, 429)), (30, 10));
    assert_eq!(client.used("u", STORAGE).await, json!(15));
    let down = client.track_all(&bases, vec![gauge("delta", "-0.5"); 40], 40).await;
    assert_eq!((count(&down, 201), count(&down, 422)), (30, 10));
    assert_eq!(client.used("u", STORAGE).await, json!(0));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_carried_into_the_next_period_with_its_peak() {
    let client = enterprise().await;
    client.clock(json!({"now": "2026-01-31T23:00:00Z"})).await;
    client.track(gauge("level", "20")).await;
    client.track(gauge("delta", "-5")).await;
    client.clock(json!({"now": "2026-02-01T00:00:00Z"})).await;
    assert_eq!(client.used("u", STORAGE).await, json!(15));
    let before = client.quota("u", STORAGE).await;
    assert_eq!(before["peak"], json!(15), "the level carried in counts as reached");
    assert_eq!(before["period_start"], json!("2026-02-01T00:00:00Z"));
    // An event of January that comes in February moves the level and raises no peak of January.
    let late = "2026-01-31T23:30:00Z".parse().expect("an instant");
    let late = client.track(at(late, gauge("delta", "3"))).await;
    assert_eq!(late.body["quota"]["current_usage"], json!(18));
    assert_eq!(client.quota("u", STORAGE).await["peak"], json!(18));
    let quota = client.track(gauge("delta", "-1")).await.body["quota"].clone();
    assert_eq!((&quota["current_usage"], &quota["peak"]), (&json!(17), &json!(18)));
    client.clock(json!({"now": "2026-03-01T00:00:00Z"})).await;
    assert_eq!(client.quota("u", STORAGE).await["peak"], json!(17));
}
