//! Nothing is granted above the cap, whoever asks at once, through whichever instance, with every
//! read answered before any write that follows from it.

use std::sync::Arc;

use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{ADMIN, Answer, Client, count, until},
    wire::{Fate, Gate, Meeting, Wire},
};

const OCR: &str = "ocr_operations";

fn one(value: u32) -> Value {
    json!({"user_id": "u", "metric_type": OCR, "metric_value": value})
}

/// An event of its own identity: it is looked for before it is counted.
fn identified(index: u32, value: u32) -> Value {
    let mut event = one(value);
    event["idempotency_key"] = json!(format!("k{index}"));
    event
}

/// Two instances over one engine, each with client and caches of its own, whose reads wait for
/// each other, so that what follows from them was decided on the same state.
struct Pair {
    client: Client,
    bases: [String; 2],
    _instances: [usage_local::Instance; 2],
}

impl Pair {
    async fn start(width: usize) -> Self {
        let client = Client::start().await;
        let meeting = Meeting::of(width);
        let instance = || {
            let meeting = Arc::clone(&meeting);
            let wire = Wire::new(move |call| match call.reads() {
                true => Fate::Meet(Arc::clone(&meeting)),
                false => Fate::Pass,
            });
            client.stack.instance(Some(wire.http_client())).expect("an instance")
        };
        let instances = [instance(), instance()];
        Self {
            bases: [instances[0].url(), instances[1].url()],
            _instances: instances,
            client,
        }
    }

    async fn track_all(&self, bodies: Vec<Value>, width: usize) -> Vec<Answer> {
        self.client.track_all(&self.bases, bodies, width).await
    }

    async fn assert_exact(&self) {
        Books::read(&self.client.stack).await.assert_exact();
    }
}

/// The values of those who were admitted.
fn admitted(answers: &[Answer]) -> Decimal {
    let admitted = answers.iter().filter(|answer| answer.status == 201);
    let value = |answer: &Answer| answer.body["metric_value"].to_string().parse::<Decimal>();
    admitted.map(|answer| value(answer).expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_400_at_once_137_are_admitted() {
    let pair = Pair::start(32).await;
    pair.client.subscribe("u", "basic").await;
    pair.client.limit("u", OCR, 137).await;
    let bodies = (0..400).map(|index| if index % 2 == 0 { one(1) } else { identified(index, 1) });
    let answers = pair.track_all(bodies.collect(), 400).await;
    assert_eq!((count(&answers, 201), count(&answers, 429)), (137, 263));
    for denied in answers.iter().filter(|answer| answer.status == 429) {
        assert!(denied.headers.contains_key("retry-after"));
        assert_eq!(denied.body["quota_info"]["quota_limit"], json!(137));
        assert_eq!(denied.body["code"], json!("quota_exceeded"));
    }
    assert_eq!(pair.client.used("u", OCR).await, json!(137));
    pair.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_sizes_never_pass_the_cap() {
    let pair = Pair::start(16).await;
    pair.client.subscribe("u", "basic").await;
    pair.client.limit("u", OCR, 100).await;
    let bodies = (0..120).map(|index| identified(index, 1 + index * 7 % 5)).collect();
    let answers = pair.track_all(bodies, 60).await;
    let admitted = admitted(&answers);
    // Ones are among them, so nothing is left over.
    assert_eq!(admitted, Decimal::ONE_HUNDRED);
    assert_eq!(pair.client.used("u", OCR).await, json!(100));
    assert_eq!(count(&answers, 201) + count(&answers, 429), 120);
    pair.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_limit_binds_the_next_event() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", OCR, 1).await;
    assert_eq!(client.track(one(2)).await.status, 429, "before the counter exists");
    assert_eq!(client.track(one(1)).await.status, 201);
    assert_eq!(client.track(one(1)).await.status, 429);
    client.limit("u", OCR, 2).await;
    assert_eq!(client.track(one(1)).await.status, 201, "raised");
    client.limit("u", OCR, 1).await;
    let lowered = client.track(one(1)).await;
    assert_eq!(
        (lowered.status, lowered.body["quota_info"]["is_exceeded"].clone()),
        (429, json!(true)),
        "lowered below usage"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_raised_and_lowered_under_load_bind_at_once() {
    for limits in [[60, 90, 30], [90, 20, 70]] {
        let pair = Pair::start(8).await;
        pair.client.subscribe("u", "basic").await;
        pair.client.limit("u", OCR, limits[0]).await;
        let bodies = (0..240).map(|index| identified(index, 1)).collect();
        let change = async {
            let mut used = Vec::new();
            for limit in &limits[1..] {
                // In the middle of the load, wherever that is on this machine.
                while pair.client.used("u", OCR).await.as_u64() < Some(u64::from(limits[0] / 3)) {}
                used.push(pair.client.limit("u", OCR, *limit).await["current_usage"].clone());
            }
            used
        };
        let (answers, used) = tokio::join!(pair.track_all(bodies, 24), change);
        // What was used when the last limit came may lie above it; nothing was added then.
        let at_last = used[1].as_u64().expect("a number");
        let expected = at_last.max(u64::from(limits[2]));
        assert_eq!(pair.client.used("u", OCR).await, json!(expected), "{limits:?} {used:?}");
        assert_eq!(admitted(&answers), Decimal::from(expected));
        assert_eq!(count(&answers, 201) + count(&answers, 429), 240);
        pair.assert_exact().await;
    }
}

/// The first event has read the limit and is about to put the counter: the limit that is changed
/// just then must bind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_changed_while_its_counter_is_born_binds_it() {
    for (before, after, status) in [(10, 4, 429), (4, 10, 201)] {
        let client = Client::start().await;
        client.subscribe("u", "basic").await;
        client.limit("u", OCR, before).await;
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let wire = Wire::new(move |call| match call.operation.as_str() {
            "TransactWriteItems" => Fate::HoldBefore(Arc::clone(&held)),
            _ => Fate::Pass,
        });
        let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
        let url = instance.url();
        let first = client.track_at(&url, one(5));
        tokio::pin!(first);
        until(&mut first, gate.reached()).await;
        client.limit("u", OCR, after).await;
        gate.open();
        assert_eq!(first.await.status, status, "{before} → {after}");
        let used = if status == 201 { 5 } else { 0 };
        assert_eq!(client.used("u", OCR).await, json!(used));
        Books::read(&client.stack).await.assert_exact();
    }
}

/// A limit change has looked and is about to write when a counter is born under the old limit: the
/// change must still bind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_counter_born_while_its_limit_changes_is_bound() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let wire = Wire::new(move |call| match call.operation.as_str() {
        "TransactWriteItems" => Fate::HoldBefore(Arc::clone(&held)),
        _ => Fate::Pass,
    });
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let body = json!({"user_id": "u", "metric_type": OCR, "quota_limit": 3, "allow_overage": false});
    let (url, path) = (instance.url(), "/api/v1/usage/admin/quotas");
    let change = client.send_to(&url, Method::PUT, path, Some(ADMIN), Some(body.to_string()));
    tokio::pin!(change);
    until(&mut change, gate.reached()).await;
    assert_eq!(client.track(one(5)).await.status, 201, "before the change");
    gate.open();
    let changed = change.await;
    assert_eq!(
        (changed.status, &changed.body["current_usage"]),
        (200, &json!(5)),
        "{changed:?}"
    );
    assert_eq!(client.track(one(1)).await.status, 429, "after it");
    Books::read(&client.stack).await.assert_exact();
}
