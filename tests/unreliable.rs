//! Requests and answers between functions and engine lost, doubled and delayed: still counted once.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{Answer, Client},
    wire::{Fate, Wire},
};

const DOCUMENTS: &str = "document_processing";

/// A wire on which every sixth request or so is in for something. The same seed meets the nth
/// request with the same.
pub fn faulty(seed: u64) -> Wire {
    let drawn = AtomicU64::new(seed);
    Wire::new(move |_| {
        // Knuth's multiplicative generator (MMIX) is random enough for this.
        let next = |state: u64| {
            state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407)
        };
        let state = drawn.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| Some(next(state)));
        match (next(state.unwrap_or_default()) >> 33) % 36 {
            0 | 1 => Fate::LoseRequest,
            2 | 3 => Fate::LoseAnswer,
            4 | 5 => Fate::Double,
            _ => Fate::Pass,
        }
    })
}

fn event(user: &str, key: &str) -> Value {
    json!({"user_id": user, "metric_type": DOCUMENTS, "metric_value": 1, "idempotency_key": key})
}

/// Sends the keys at once and in turns to both, each until it is answered for good.
async fn send_all(client: &Client, bases: &[String; 2], user: &str, keys: &[String]) -> Vec<(String, Answer)> {
    let sends = keys.iter().enumerate().map(|(index, key)| async move {
        let mut base = index;
        loop {
            let answer = client.track_at(&bases[base % 2], event(user, key)).await;
            if answer.status != 503 {
                return (key.clone(), answer);
            }
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
            base += 1;
        }
    });
    stream::iter(sends).buffer_unordered(50).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_doubled_answers_count_once() {
    let client = Client::start().await;
    let wires = [faulty(1), faulty(2)];
    let instances = wires.map(|wire| client.stack.instance(Some(wire.http_client())).expect("an instance"));
    let bases = [instances[0].url(), instances[1].url()];
    for round in 0..4 {
        let user = format!("u{round}");
        let subscription = client.subscribe(&user, "basic").await;
        // Exactly as much as is wanted: what a lost attempt holds is missed by another.
        client.limit(&user, DOCUMENTS, 60).await;
        let keys: Vec<String> = (0..300).map(|index| format!("k{}", index % 60)).collect();
        let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
        let mut recorded = 0;
        for _ in 0..5 {
            let admitted: HashSet<String> = ids.keys().cloned().collect();
            for (key, answer) in send_all(&client, &bases, &user, &keys).await {
                match answer.status {
                    200 | 201 => {
                        recorded += usize::from(answer.status == 201);
                        ids.entry(key).or_default().insert(answer.body["usage_id"].to_string());
                    }
                    // One still under way may yet be admitted, so that another is not.
                    429 => assert!(!admitted.contains(&key), "{key} was admitted before: {answer:?}"),
                    _ => panic!("{answer:?}"),
                }
            }
            client.clock(json!({"advance_seconds": 61})).await;
        }
        assert_eq!(ids.len(), 60, "all are admitted in the end");
        assert!(ids.values().all(|ids| ids.len() == 1), "one id each: {ids:?}");
        assert!(recorded <= 60, "{recorded}");
        assert_eq!(client.used(&user, DOCUMENTS).await, json!(60));
        let books = Books::of(&client.stack, &user, &subscription).await;
        books.assert_exact();
        assert_eq!((books.events(), books.used()), (60, 60.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gauge_moves_once_per_event() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "enterprise").await;
    let instance = client
        .stack
        .instance(Some(faulty(3).http_client()))
        .expect("an instance");
    let base = instance.url();
    let sends = (0..60).map(|index| {
        let (client, base) = (&client, &base);
        let event = json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": 0.5, "mode": "delta",
            "idempotency_key": format!("k{}", index % 30)});
        async move {
            loop {
                let answer = client.track_at(base, event.clone()).await;
                if answer.status != 503 {
                    return answer.status;
                }
            }
        }
    });
    let statuses: Vec<u16> = stream::iter(sends).buffer_unordered(20).collect().await;
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 201)),
        "{statuses:?}"
    );
    assert_eq!(client.used("u", "storage_usage").await, json!(15));
    let books = Books::of(&client.stack, "u", &subscription).await;
    books.assert_exact();
    assert_eq!(books.events(), 30);
}
