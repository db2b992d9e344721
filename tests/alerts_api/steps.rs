//! How an alert goes forward, and by whom.

use metering_domain::alert::{AlertStatus, Channel};
use metering_store::alert::{Delivery, Outcome};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ALERTS, code, is_replayed, send};
use crate::support::{ADMIN, Answer, Client, SERVICE};

async fn acknowledge(client: &Client, id: &str, credentials: &str) -> Answer {
    send(client, &format!("PATCH {ALERTS}/{id}/acknowledge"), credentials, None).await
}

async fn resolve(client: &Client, id: &str, credentials: &str) -> Answer {
    send(client, &format!("PATCH {ALERTS}/{id}/resolve"), credentials, None).await
}

async fn open_alerts(client: &Client, user: &str) -> Value {
    let path = format!("/api/v1/usage/summary?user_id={user}");
    client.get(&path, SERVICE).await.body["alerts_count"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_only_goes_forward() {
    let client = Client::start().await;
    let user = client.token(json!({"user_id": "u"})).await;
    client.raise("alr_1", "u", |_| {}).await;
    client.raise("alr_2", "u", |_| {}).await;
    assert_eq!(open_alerts(&client, "u").await, json!(2));

    client.clock(json!({"now": "2026-05-01T10:00:00Z"})).await;
    let first = acknowledge(&client, "alr_1", &user).await;
    assert_eq!(
        (first.status, &first.body["status"]),
        (200, &json!("acknowledged")),
        "{first:?}"
    );
    assert_eq!(first.body["acknowledged_by"], "u");
    let at = first.body["acknowledged_at"].clone();
    assert!(
        at.as_str().is_some_and(|at| at.starts_with("2026-05-01T10:00:0")),
        "{at}"
    );
    assert_eq!(open_alerts(&client, "u").await, json!(1));

    client.clock(json!({"advance_seconds": 60})).await;
    let again = acknowledge(&client, "alr_1", SERVICE).await;
    assert_eq!((again.status, &again.body), (200, &first.body), "unchanged");

    let resolved = resolve(&client, "alr_1", SERVICE).await;
    assert_eq!((resolved.status, &resolved.body["status"]), (200, &json!("resolved")));
    assert_eq!(resolved.body["acknowledged_at"], at);
    let again = resolve(&client, "alr_1", &user).await;
    assert_eq!((again.status, &again.body), (200, &resolved.body), "unchanged");
    let back = acknowledge(&client, "alr_1", &user).await;
    assert_eq!(code(&back), (409, "invalid_transition"));

    // Straight to its end: nobody acknowledged it.
    let resolved = resolve(&client, "alr_2", ADMIN).await;
    assert_eq!(
        (resolved.status, &resolved.body["acknowledged_at"]),
        (200, &Value::Null)
    );
    assert_eq!(open_alerts(&client, "u").await, json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_not_ones_own_is_not_there() {
    let client = Client::start().await;
    let (own, other) = (
        client.token(json!({"user_id": "u"})).await,
        client.token(json!({"user_id": "v"})).await,
    );
    client.raise("alr_1", "u", |_| {}).await;
    assert_eq!(code(&acknowledge(&client, "alr_1", &other).await), (404, "not_found"));
    assert_eq!(code(&resolve(&client, "alr_1", &other).await), (404, "not_found"));
    assert_eq!(code(&acknowledge(&client, "alr_0", &own).await), (404, "not_found"));
    let of = |user: &str| format!("PATCH {ALERTS}/alr_1/acknowledge?user_id={user}");
    assert_eq!(code(&send(&client, &of("v"), SERVICE, None).await), (404, "not_found"));
    assert_eq!(code(&send(&client, &of("v"), &own, None).await), (403, "forbidden"));
    assert_eq!(open_alerts(&client, "u").await, json!(1), "nothing happened");
    assert_eq!(send(&client, &of("u"), SERVICE, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_a_key_is_answered_again() {
    let client = Client::start().await;
    client.raise("alr_1", "u", |_| {}).await;
    let path = format!("{ALERTS}/alr_1/acknowledge");
    let step = async |path: &str| client.keyed(Method::PATCH, path, SERVICE, "k", None).await;
    let first = step(&path).await;
    assert_eq!((first.status, is_replayed(&first)), (200, false), "{first:?}");
    assert_eq!(resolve(&client, "alr_1", SERVICE).await.status, 200);
    let again = step(&path).await;
    assert_eq!(
        (again.status, is_replayed(&again), &again.body),
        (200, true, &first.body)
    );
    let other = step(&format!("{path}?user_id=u")).await;
    assert_eq!(code(&other), (409, "idempotency_conflict"));
    // What was there already is answered again, too.
    let path = format!("{ALERTS}/alr_1/resolve");
    assert!(!is_replayed(&step(&path).await));
    assert!(is_replayed(&step(&path).await));
}

/// Many at once: one answer, and what was delivered meanwhile stays.
#[tokio::test(flavor = "multi_thread")]
async fn steps_at_once_are_one() {
    let client = Client::start().await;
    client.raise("alr_1", "u", |_| {}).await;
    let store = client.store();
    let key = store.alert_find("alr_1").await.expect("a read").expect("an alert");
    let delivery = Delivery {
        channel: Channel::Email,
        target: "a@example.com".to_owned(),
        attempt: 1,
        outcome: Outcome::Delivered,
        at: client.now(),
        error: None,
    };
    let steps = (0..8).map(|_| acknowledge(&client, "alr_1", SERVICE));
    let (answers, delivered) = tokio::join!(futures::future::join_all(steps), store.alert_delivery(&key, &delivery));
    delivered.expect("a write");
    let at = &answers[0].body["acknowledged_at"];
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body["acknowledged_at"]),
            (200, at),
            "{answer:?}"
        );
    }
    let alert = store.alert_get(&key).await.expect("a read").expect("an alert");
    assert_eq!((alert.status, alert.deliveries.len()), (AlertStatus::Acknowledged, 1));
    let listed = client.get(&format!("{ALERTS}?user_id=u"), SERVICE).await;
    let deliveries = &listed.body["alerts"][0]["deliveries"];
    let expected = json!({"channel": "email", "target": "a@example.com", "attempt": 1, "status": "delivered",
        "at": deliveries[0]["at"], "error": null});
    assert_eq!(deliveries, &json!([expected]));
}
