//! What administrators see of all users: totals by user and metric, single events, where everybody
//! stands.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{ADMIN, Client, SERVICE};

const METRICS: &str = "/api/v1/usage/admin/metrics";
const USERS: &str = "/api/v1/usage/admin/users";

async fn track(client: &Client, user: &str, metric: &str, value: u32, at: DateTime<Utc>, more: Value) {
    let mut body = json!({
        "user_id": user, "metric_type": metric, "metric_value": value, "timestamp": at.to_rfc3339(),
    });
    let fields = more.as_object().cloned().unwrap_or_default();
    body.as_object_mut().expect("an object").extend(fields);
    let tracked = client.track(body).await;
    assert_eq!(tracked.status, 201, "{tracked:?}");
}

fn totals(rows: &[Value]) -> Vec<(String, String, i64, i64)> {
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        let number = |name: &str| row[name].as_i64().expect("a number");
        (
            text("user_id"),
            text("metric_type"),
            number("event_count"),
            number("total_value"),
        )
    };
    rows.iter().map(row).collect()
}

/// Noon; three users made one after the other.
async fn three_users() -> (Client, DateTime<Utc>) {
    let client = Client::start().await;
    let noon: DateTime<Utc> = "2026-03-20T12:30:00Z".parse().expect("an instant");
    client.clock(json!({"now": "2026-03-20T12:00:00Z"})).await;
    for id in ["sub_a", "sub_b"] {
        let body = json!({"id": id, "user_id": "a", "plan": "basic", "starts_at": "2026-01-01T00:00:00Z"});
        let made = client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    client.clock(json!({"now": "2026-03-20T12:10:00Z"})).await;
    track(&client, "b", "api_calls", 1, noon - TimeDelta::days(2), json!({})).await;
    client.clock(json!({"now": "2026-03-20T12:20:00Z"})).await;
    client.subscribe("c", "basic").await;
    client.clock(json!({"now": noon.to_rfc3339()})).await;
    (client, noon)
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_of_the_last_days_and_over_all_subscriptions() {
    let (client, noon) = three_users().await;
    let back = |days: i64, hours: i64| noon - TimeDelta::days(days) - TimeDelta::hours(hours);
    let other = json!({"subscription_id": "sub_b"});
    track(
        &client,
        "a",
        "api_calls",
        5,
        back(0, 1),
        json!({"error_occurred": true}),
    )
    .await;
    track(&client, "a", "api_calls", 7, back(1, 0), other.clone()).await;
    // Within the week, and before it.
    track(&client, "a", "api_calls", 11, back(6, 23), json!({})).await;
    track(&client, "a", "api_calls", 100, back(7, 2), json!({})).await;
    track(&client, "a", "api_calls", 1_000, back(10, 0), other.clone()).await;
    track(&client, "a", "llm_operations", 3, back(20, 0), json!({})).await;
    let level = json!({"mode": "level"});
    track(&client, "a", "storage_usage", 4, back(9, 0), level.clone()).await;
    track(&client, "a", "storage_usage", 2, back(3, 0), json!({"mode": "delta"})).await;
    let level_other = json!({"mode": "level", "subscription_id": "sub_b"});
    track(&client, "a", "storage_usage", 1, back(2, 0), level_other).await;
    client.drain().await;

    let rows = client.all(METRICS, "metrics").await;
    let row = |user: &str, metric: &str, count, total| (user.to_owned(), metric.to_owned(), count, total);
    assert_eq!(
        totals(&rows),
        [
            row("b", "api_calls", 1, 1),
            row("a", "api_calls", 3, 23),
            row("a", "storage_usage", 2, 7),
        ]
    );
    assert_eq!(
        (&rows[1]["error_count"], &rows[1]["unit"]),
        (&json!(1), &json!("calls"))
    );
    let last: DateTime<Utc> = rows[1]["last_event_at"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time");
    assert_eq!(last, back(0, 1));
    for limit in [1, 2] {
        let paged = client.all(&format!("{METRICS}?limit={limit}"), "metrics").await;
        assert_eq!(paged, rows, "in pages of {limit}");
    }
    let of = async |query: &str| totals(&client.all(&format!("{METRICS}?{query}"), "metrics").await);
    assert_eq!(
        of("user_id=a&metric_type=api_calls&days=1").await,
        [row("a", "api_calls", 2, 12)]
    );
    assert_eq!(of("metric_type=llm_operations").await, []);
    assert_eq!(
        of("metric_type=llm_operations&days=90").await,
        [row("a", "llm_operations", 1, 3)]
    );
    assert_eq!(
        of("user_id=a&metric_type=api_calls&days=90").await,
        [row("a", "api_calls", 5, 1_123)]
    );
    assert_eq!(of("metric_type=user_sessions").await, [], "leases are held");
    assert_eq!(of("user_id=nobody").await, []);
    assert_eq!(client.get(METRICS, SERVICE).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_events_are_listed_over_all_subscriptions() {
    let (client, noon) = three_users().await;
    for hours in 0..6 {
        let subscription = if hours % 2 == 0 { "sub_a" } else { "sub_b" };
        let more = json!({"subscription_id": subscription});
        track(
            &client,
            "a",
            "api_calls",
            hours + 1,
            noon - TimeDelta::hours(hours.into()),
            more,
        )
        .await;
    }
    track(&client, "a", "ocr_operations", 9, noon - TimeDelta::days(3), json!({})).await;
    for limit in [2, 200] {
        let path = format!("{METRICS}?view=events&user_id=a&limit={limit}");
        let events = client.all(&path, "metrics").await;
        let values: Vec<i64> = events
            .iter()
            .filter_map(|event| event["metric_value"].as_i64())
            .collect();
        assert_eq!(values, [1, 2, 3, 4, 5, 6, 9], "newest first, in pages of {limit}");
        let own = client
            .get(
                &format!("/api/v1/usage/events/{}", events[0]["id"].as_str().expect("an id")),
                ADMIN,
            )
            .await;
        assert_eq!(events[0], own.body, "as everywhere else");
    }
    let path = format!("{METRICS}?view=events&user_id=a&days=1&metric_type=api_calls");
    assert_eq!(client.all(&path, "metrics").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_listed_with_where_they_stand() {
    let (client, noon) = three_users().await;
    client.limit("c", "document_processing", 10).await;
    track(&client, "c", "document_processing", 8, noon, json!({})).await;
    track(&client, "c", "api_calls", 1, noon - TimeDelta::days(1), json!({})).await;
    let cancel = "/api/v1/usage/admin/subscriptions/sub_b/cancel";
    assert_eq!(client.post(cancel, ADMIN, json!({})).await.status, 200);
    client.drain().await;
    let users = client.all(USERS, "users").await;
    let names: Vec<&str> = users.iter().filter_map(|user| user["user_id"].as_str()).collect();
    assert_eq!(names, ["c", "b", "a"], "those made last first");
    let (c, b, a) = (&users[0], &users[1], &users[2]);
    assert_eq!(
        (&c["highest_usage_percentage"], &c["open_alerts"]),
        (&json!(80), &json!(1)),
        "{c}"
    );
    let last: DateTime<Utc> = c["last_event_at"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(last, noon);
    assert_eq!(
        (&b["highest_usage_percentage"], &b["subscriptions"], &b["open_alerts"]),
        (&Value::Null, &json!([]), &json!(0)),
        "nothing of b is limited: {b}"
    );
    assert!(b["last_event_at"].is_string());
    assert_eq!(
        a["subscriptions"],
        json!([{"id": "sub_a", "plan": "basic", "status": "active"}, {"id": "sub_b", "plan": "basic", "status": "cancelled"}])
    );
    assert_eq!(
        (&a["last_event_at"], &a["highest_usage_percentage"]),
        (&Value::Null, &json!(0))
    );
    let paged = client.all(&format!("{USERS}?limit=1"), "users").await;
    assert_eq!(paged, users);
    assert_eq!(client.get(USERS, SERVICE).await.status, 403);
}

/// Many users made in the same moment, each on one page.
#[tokio::test(flavor = "multi_thread")]
async fn every_user_is_on_one_page() {
    let client = Client::start().await;
    let names: Vec<String> = (0..45).map(|number| format!("u{number}")).collect();
    let bodies = names
        .iter()
        .map(|user| json!({"user_id": user, "metric_type": "api_calls", "metric_value": 1}));
    let bases = [client.stack.url()];
    client.track_all(&bases, bodies.collect(), 16).await;
    client.drain().await;
    let expected: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for (path, name) in [(METRICS, "metrics"), (USERS, "users")] {
        for limit in [7, 20, 200] {
            let listed = client.all(&format!("{path}?limit={limit}"), name).await;
            let found: BTreeSet<&str> = listed.iter().filter_map(|row| row["user_id"].as_str()).collect();
            assert_eq!((listed.len(), &found), (45, &expected), "{path} in pages of {limit}");
        }
    }
}
