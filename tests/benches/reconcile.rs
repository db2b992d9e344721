//! What it takes to reconcile a healthy store of 100,000 events: `cargo bench -p metering-tests --bench
//! reconcile`. Times are printed and judged by nobody; a finding is a fault.

#[path = "../support.rs"]
#[expect(dead_code, reason = "what tests need besides")]
mod support;
#[path = "../wire.rs"]
#[expect(dead_code, reason = "what tests need besides")]
mod wire;

use std::time::Instant;

use metering_domain::{
    ids::{event_id_from_bits, fingerprint},
    metric::find_built_in,
};
use metering_store::{
    Store,
    event::{Details, Draft, Source},
    reconcile_pass::Totals,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use usage_local::Options;

use crate::{
    support::{ADMIN, Client},
    wire::{Fate, Wire},
};

const EVENTS: u32 = 100_000;
const METRICS: [&str; 4] = ["api_calls", "document_processing", "ocr_operations", "bandwidth_usage"];

#[tokio::main]
async fn main() {
    for users in [1, 20] {
        store_of(users).await;
    }
}

/// The events of so many users.
async fn store_of(users: u32) {
    let client = Client::start_with(Options::default()).await;
    load(&client.store(), client.now(), users).await;
    let drained = client.post("/_local/drain", "", json!({"timeout_seconds": 600})).await;
    assert_eq!(drained.status, 200, "{drained:?}");
    client.clock(json!({"advance_seconds": 30 * 60})).await;
    client.drain().await;

    let wire = Wire::new(|_| Fate::Pass);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    // The first one finds what counts left pending, and takes it off.
    for turn in ["the first night", "another night"] {
        let began = Instant::now();
        let answer = instance
            .invoke("ReconcileJob", "{}".to_owned())
            .await
            .expect("an answer");
        let mut night: Value = serde_json::from_str(&answer).expect("JSON");
        while night["more"] == json!(true) {
            client.drain().await;
            let item = client
                .store()
                .pass_get::<Totals>()
                .await
                .expect("a read")
                .expect("a pass");
            night = json!(item.totals);
            night["more"] = json!(!item.done);
        }
        println!(
            "{users} users, {turn}: {:.2?}; {}; {night}",
            began.elapsed(),
            spent(&wire)
        );
        assert_eq!((&night["drifted"], &night["aggregate_drifted"]), (&json!(0), &json!(0)));
    }
    let began = Instant::now();
    let body = json!({"user_id": "u0"}).to_string();
    let path = "/api/v1/usage/admin/reconcile";
    let answer = client
        .send_to(&instance.url(), reqwest::Method::POST, path, Some(ADMIN), Some(body))
        .await;
    println!(
        "one of {users} users on demand: {:.2?}; {}; {}",
        began.elapsed(),
        spent(&wire),
        answer.body
    );
    assert_eq!((answer.status, &answer.body["drifted"]), (200, &json!(0)));
}

/// Events of the last day.
async fn load(store: &Store, now: chrono::DateTime<chrono::Utc>, users: u32) {
    let draft = |index: u32| {
        let metric = METRICS[(index / users) as usize % METRICS.len()];
        let ago = chrono::TimeDelta::milliseconds(i64::from(index) * 86_400_000 / i64::from(EVENTS));
        Draft {
            id: event_id_from_bits(u128::from(index) + 1),
            identified: true,
            fingerprint: fingerprint(metric, Decimal::ONE, None, None),
            user_id: format!("u{}", index % users),
            subscription_id: None,
            metric: find_built_in(metric).expect("a metric").clone(),
            value: Decimal::ONE,
            mode: None,
            timestamp: now - ago,
            received_at: now,
            now,
            enforce: false,
            source: Source::Batch,
            hold: None,
            details: Details::default(),
        }
    };
    for chunk in (0..EVENTS).collect::<Vec<_>>().chunks(1_000) {
        let drafts: Vec<Draft> = chunk.iter().map(|index| draft(*index)).collect();
        let outcomes = store.track_batch(&drafts).await;
        assert!(outcomes.iter().all(Result::is_ok));
        eprint!("\rloading events: {} of {EVENTS}", chunk.last().expect("some") + 1);
    }
    eprintln!();
}

/// Requests and capacity since this was last asked.
fn spent(wire: &Wire) -> String {
    let (mut read, mut written, mut requests) = (Decimal::ZERO, Decimal::ZERO, 0);
    for passed in wire.passed() {
        let units = passed.units.unwrap_or_default();
        requests += 1;
        if passed.call.reads() {
            read += units;
        } else {
            written += units;
        }
    }
    format!("{requests} requests, {read} read units, {written} write units")
}
