//! Events taken back: once, whoever asks however often; never of a closed period, a gauge or a final
//! hour; and the books are exact wherever a call stops.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    after_the_write::Idle,
    support::{ADMIN, Answer, Client, SERVICE},
    wire::Wire,
};

const API_CALLS: &str = "api_calls";
/// More waits than a void has.
const WAITS_MAX: usize = 30;

async fn tracked(client: &Client, metric: &str, more: Value) -> String {
    let mut body = json!({"user_id": "u", "metric_type": metric, "metric_value": 2});
    let fields = more.as_object().cloned().unwrap_or_default();
    body.as_object_mut().expect("an object").extend(fields);
    let tracked = client.track(body).await;
    assert_eq!(tracked.status, 201, "{tracked:?}");
    tracked.body["usage_id"].as_str().expect("an id").to_owned()
}

fn path(id: &str) -> String {
    format!("/api/v1/usage/events/{id}/void")
}

async fn void(client: &Client, id: &str) -> Answer {
    client.post(&path(id), ADMIN, json!({"reason": "a mistake"})).await
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

/// How many entries of the ledger and of the audit log say that an event was taken back.
async fn told(client: &Client, id: &str) -> (usize, usize) {
    let ledger = client
        .all("/api/v1/usage/admin/adjustments?user_id=u&kind=void", "adjustments")
        .await;
    let ledger = ledger.iter().filter(|entry| entry["usage_id"] == id);
    let entries = client.audit().await;
    let entries = entries
        .iter()
        .filter(|entry| entry["action"] == "event.void" && entry["target"] == id);
    (ledger.count(), entries.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_counts_no_more_and_everything_says_so() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    tracked(&client, API_CALLS, json!({})).await;
    let id = tracked(&client, API_CALLS, json!({})).await;
    client.drain().await;
    let first = void(&client, &id).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.body["already_voided"], false);
    assert_eq!(
        (&first.body["event"]["id"], &first.body["event"]["voided"]),
        (&json!(id), &json!(true))
    );
    let adjustment = &first.body["adjustment"];
    assert_eq!(
        (&adjustment["kind"], &adjustment["amount"], &adjustment["usage_id"]),
        (&json!("void"), &json!(-2), &json!(id))
    );
    assert_eq!(
        (&adjustment["reason"], &adjustment["subscription_id"]),
        (&json!("a mistake"), &json!(subscription))
    );
    // Again, by another and for another reason: the first entry.
    let again = client.post(&path(&id), ADMIN, json!({"reason": "another"})).await;
    assert_eq!(
        (again.status, &again.body["already_voided"], &again.body["adjustment"]),
        (200, &json!(true), adjustment)
    );
    assert_eq!(client.used("u", API_CALLS).await, 2);
    assert_eq!(told(&client, &id).await, (1, 1));
    client.drain().await;
    let days = format!("/api/v1/usage/aggregations/{API_CALLS}?user_id=u");
    let days = client.get(&days, ADMIN).await;
    assert_eq!(days.body["aggregations"][0]["total_value"], 2, "{days:?}");
    let entries = client.audit().await;
    let entry = entries.iter().find(|entry| entry["target"] == id).expect("an entry");
    assert_eq!(entry["reason"], "a mistake");
    assert_eq!(
        (&entry["before"]["voided"], &entry["after"]["voided"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_is_refused_and_stays() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    let unknown = "evt_00000000000000000000000000000000";
    assert_eq!(code(&void(&client, unknown).await), (404, "not_found"));
    let id = tracked(&client, API_CALLS, json!({})).await;
    let foreign = json!({"reason": "a mistake", "user_id": "v"});
    assert_eq!(code(&client.post(&path(&id), ADMIN, foreign).await), (404, "not_found"));
    for (field, fault) in [
        (json!({}), "required"),
        (json!({"reason": ""}), "invalid_format"),
        (json!({"reason": "r".repeat(501)}), "too_long"),
        (json!({"reason": "a\u{0}b"}), "invalid_format"),
        (json!({"reason": 5}), "wrong_type"),
        (json!({"reason": "r", "why": "x"}), "unknown_field"),
    ] {
        let refused = client.post(&path(&id), ADMIN, field.clone()).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["code"]),
            (422, &json!(fault)),
            "{field}: {refused:?}"
        );
    }
    let level = tracked(&client, "storage_usage", json!({"mode": "level"})).await;
    assert_eq!(code(&void(&client, &level).await), (422, "metric_kind_mismatch"));
    assert_eq!(client.used("u", "storage_usage").await, 2);

    // Charged before the last reset: flagged, nothing taken off.
    let before = tracked(&client, "ocr_operations", json!({})).await;
    let reset = "/api/v1/usage/admin/quotas/reset?user_id=u&metric_type=ocr_operations";
    assert_eq!(client.post(reset, ADMIN, json!({})).await.status, 200);
    tracked(&client, "ocr_operations", json!({})).await;
    let voided = void(&client, &before).await;
    assert_eq!(
        (voided.status, &voided.body["adjustment"]["amount"]),
        (200, &json!(0)),
        "{voided:?}"
    );
    assert_eq!(client.used("u", "ocr_operations").await, 2);

    // A closed period stays as its statement has it.
    let renew = format!("/api/v1/usage/admin/subscriptions/{subscription}/renew");
    assert_eq!(client.post(&renew, ADMIN, json!({})).await.status, 200);
    assert_eq!(code(&void(&client, &id).await), (409, "period_closed"));
    assert_eq!(told(&client, &id).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_85_days_ago_is_final() {
    let client = Client::start().await;
    let id = tracked(&client, API_CALLS, json!({})).await;
    client.clock(json!({"advance_seconds": 86 * 86_400})).await;
    assert_eq!(code(&void(&client, &id).await), (422, "sealed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_take_it_back_once() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let second = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), second.url()];
    for _ in 0..5 {
        let id = tracked(&client, API_CALLS, json!({})).await;
        let body = json!({"reason": "a mistake"}).to_string();
        let target = path(&id);
        let voids = (0..8).map(|index| {
            client.send_to(
                &bases[index % 2],
                Method::POST,
                &target,
                Some(ADMIN),
                Some(body.clone()),
            )
        });
        let voids = join_all(voids).await;
        assert!(voids.iter().all(|answer| answer.status == 200), "{voids:?}");
        let first = voids.iter().filter(|answer| answer.body["already_voided"] == false);
        assert_eq!(first.count(), 1, "one of them did it");
        assert_eq!(told(&client, &id).await, (1, 1));
    }
    assert_eq!(client.used("u", API_CALLS).await, 0);
}

/// Stopped before (even) or after (odd) each exchange with the engine, sent again, and the stopped
/// one going on last of all.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_void_stops_its_retry_does_it_once() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    tracked(&client, API_CALLS, json!({})).await;
    for key in [None, Some("k")] {
        let mut held = 0;
        for wait in 0..WAITS_MAX * 2 {
            let id = tracked(&client, API_CALLS, json!({})).await;
            if !holds(&client, &id, key, wait).await {
                break;
            }
            held += 1;
            assert_eq!(told(&client, &id).await, (1, 1), "wait {wait}");
            assert_eq!(client.used("u", API_CALLS).await, 2, "wait {wait}");
        }
        assert!((6..WAITS_MAX * 2).contains(&held), "{held} waits");
        println!("{held} voids stopped");
    }
}

/// Whether a void waits so often; then it was stopped there, sent again, and went on.
async fn holds(client: &Client, id: &str, key: Option<&str>, wait: usize) -> bool {
    let (wire, gate) = Wire::stopping(wait);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let send = async |base: &str| {
        let mut headers = vec![
            ("authorization", "Bearer mk_dev_admin"),
            ("content-type", "application/json"),
        ];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let url = format!("{base}{}", path(id));
        let body = Some(br#"{"reason":"a mistake"}"#.to_vec());
        client.send_with(Method::POST, url, &headers, body).await
    };
    let base = instance.url();
    let stopped = send(&base);
    tokio::pin!(stopped);
    tokio::select! {
        answer = &mut stopped => {
            assert_eq!(answer.status, 200, "{answer:?}");
            return false;
        }
        () = gate.reached() => {}
    }
    let again = send(&client.stack.url()).await;
    assert_eq!(again.status, 200, "wait {wait}: {again:?}");
    gate.open();
    let late = stopped.await;
    assert_eq!(late.status, 200, "wait {wait}: {late:?}");
    assert_eq!(late.body["adjustment"], again.body["adjustment"], "wait {wait}");
    true
}

/// The document was taken back in time, its pages come too late: what their statement has billed
/// stays, and nothing is put aside for it.
#[tokio::test(flavor = "multi_thread")]
async fn pages_whose_period_was_closed_meanwhile_stay() {
    let mut idle = Idle::start().await;
    let client = &idle.client;
    let subscription = client.subscribe("u", "basic").await;
    let document =
        json!({"user_id": "u", "metric_type": "document_processing", "metric_value": 1, "metadata": {"pages": 3}});
    let id = client.track(document).await.body["usage_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let [events, _] = idle.told();
    idle.call("RelayJob", &events).await;
    let client = &idle.client;
    assert_eq!(client.used("u", "document_pages").await, json!(3));
    let void = format!("/api/v1/usage/events/{id}/void");
    assert_eq!(
        client.post(&void, ADMIN, json!({"reason": "a mistake"})).await.status,
        200
    );
    let renew = format!("/api/v1/usage/admin/subscriptions/{subscription}/renew");
    assert_eq!(client.post(&renew, ADMIN, json!({})).await.status, 200);
    let [events, _] = idle.told();
    let answer = idle.call("RelayJob", &events).await;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(idle.waiting("RelayDeadLetters").await, Vec::<Value>::new());
    let client = &idle.client;
    let pages = client
        .get("/api/v1/usage/events?user_id=u&metric_type=document_pages", SERVICE)
        .await
        .body;
    assert_eq!(pages["events"][0]["voided"], json!(false));
    let statements = client.get("/api/v1/usage/admin/statements?user_id=u", ADMIN).await.body;
    let lines = statements["statements"][0]["lines"].as_array().expect("lines");
    let used = |metric: &str| {
        lines
            .iter()
            .find(|line| line["metric_type"] == metric)
            .map(|line| line["used"].clone())
    };
    assert_eq!(
        (used("document_processing"), used("document_pages")),
        (Some(json!(0)), Some(json!(3)))
    );
}
