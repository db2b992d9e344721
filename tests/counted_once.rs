//! An identity counts once, however often it is sent.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{ADMIN, Client, SERVICE, count};

fn event(key: &str, value: u32) -> Value {
    json!({"user_id": "u", "metric_type": "document_processing", "metric_value": value, "idempotency_key": key})
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_identities_five_times_in_parallel() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let other = client.stack.instance(None).expect("a second instance");
    let bodies = (0..300).map(|index| event(&format!("k{}", index % 60), 1)).collect();
    let answers = client.track_all(&[client.stack.url(), other.url()], bodies, 300).await;
    assert_eq!(
        (count(&answers, 201), count(&answers, 200)),
        (60, 240),
        "{:?}",
        answers.iter().find(|a| a.status > 201)
    );
    let ids: HashSet<String> = answers
        .iter()
        .map(|answer| answer.body["usage_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 60);
    // What a lost race left behind is settled once its writers must be gone.
    client.clock(json!({"advance_seconds": 61})).await;
    assert_eq!(client.used("u", "document_processing").await, json!(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_what_was_admitted_is_never_denied() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", "document_processing", 3).await;
    let first = client.track(event("a", 3)).await;
    assert_eq!(first.status, 201);
    assert_eq!(client.track(event("b", 1)).await.status, 429);
    let again = client.track(event("a", 3)).await;
    assert_eq!((again.status, &again.body["usage_id"]), (200, &first.body["usage_id"]));
    assert_eq!(client.track(event("a", 2)).await.status, 409, "another fingerprint");
    client.clock(json!({"advance_seconds": 40 * 86_400})).await;
    assert_eq!(
        client.track(event("a", 3)).await.status,
        200,
        "over a period's boundary"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_in_the_ledger_and_replayed_by_its_key() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    client.track(event("a", 5)).await;
    let path = "/api/v1/usage/admin/quotas/reset?user_id=u&metric_type=document_processing";
    let reset = client.post(path, ADMIN, Value::Null).await;
    assert_eq!(reset.body["reset"][0]["previous_usage"], json!(5), "{reset:?}");
    assert_eq!(client.used("u", "document_processing").await, json!(0));
    let ledger = client
        .get(
            &format!("/api/v1/usage/admin/adjustments?user_id=u&subscription_id={subscription}"),
            ADMIN,
        )
        .await;
    assert_eq!(ledger.body["adjustments"][0]["amount"], json!(-5), "{ledger:?}");
    assert_eq!(
        client.get("/api/v1/usage/events?user_id=u", SERVICE).await.body["events"]
            .as_array()
            .map(Vec::len),
        Some(1),
        "history stays"
    );
}
