//! Nothing is found where nothing is wrong: in a store that has seen everything, and in one that is
//! written to all the time.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use metering_store::void::{VoidOrder, Voided};

use super::*;
use crate::{books::Books, support::SERVICE};

const OCR: &str = "ocr_operations";
const USERS: usize = 4;

/// Events of one user in one request.
async fn batch(client: &Client, user: &str, metric: &str, count: usize, timestamp: Option<&str>) -> Vec<String> {
    let event = |index: usize| {
        let mut event = json!({"user_id": user, "metric_type": metric, "metric_value": index % 3});
        if metric == STORAGE {
            event["mode"] = json!(if index.is_multiple_of(2) { "level" } else { "delta" });
        }
        if let Some(timestamp) = timestamp {
            event["timestamp"] = json!(timestamp);
            event["backfill"] = json!(true);
        }
        event
    };
    let events: Vec<Value> = (0..count).map(event).collect();
    let body = json!({"events": events, "enforce": false});
    let sent = client.post("/api/v1/usage/track/batch", SERVICE, body).await;
    assert_eq!((sent.status, &sent.body["accepted"]), (200, &json!(count)), "{sent:?}");
    let ids = sent.body["results"].as_array().expect("results").iter();
    ids.map(|one| one["usage_id"].as_str().expect("an id").to_owned())
        .collect()
}

async fn void(client: &Client, id: &str) {
    let order = VoidOrder {
        id: id.to_owned(),
        reason: "a test".to_owned(),
        actor: "key_test".to_owned(),
    };
    let voided = client.store().event_void(&order, client.now()).await.expect("a void");
    assert!(matches!(voided, Voided::Done { .. }), "{voided:?}");
}

/// All that may happen to a user's usage; how many counters it leaves open.
async fn live(client: &Client, user: &str, subscribed: bool) -> u64 {
    let before = client.now();
    let mut counters = 0;
    if subscribed {
        let subscription = client.subscribe(user, "enterprise").await;
        client.clock(json!({"advance_seconds": 2})).await;
        batch(client, user, CALLS, 100, None).await;
        let renew = format!("/api/v1/usage/admin/subscriptions/{subscription}/renew");
        assert_eq!(client.post(&renew, ADMIN, json!({})).await.status, 200);
        client.clock(json!({"advance_seconds": 2})).await;
        // Late: its period is sealed.
        let at = (before + chrono::TimeDelta::milliseconds(2_100)).to_rfc3339();
        let body = json!({"user_id": user, "metric_type": CALLS, "metric_value": 5, "timestamp": at});
        let late = client.track(body).await;
        assert_eq!((late.status, &late.body["late"]), (201, &json!(true)), "{late:?}");
    } else {
        // A period of its own, long ago.
        batch(client, user, CALLS, 50, Some("2026-01-15T12:00:00Z")).await;
        counters += 1;
    }
    let ids = batch(client, user, CALLS, 300, None).await;
    let pages =
        json!({"user_id": user, "metric_type": "document_processing", "metric_value": 1, "metadata": {"pages": 7}});
    assert_eq!(client.track(pages).await.status, 201);
    for id in &ids[..20] {
        void(client, id).await;
    }
    let reset = format!("/api/v1/usage/admin/quotas/reset?user_id={user}&metric_type={CALLS}");
    assert_eq!(client.post(&reset, ADMIN, json!({})).await.status, 200);
    // One of before the reset, one of after it.
    void(client, &ids[30]).await;
    let ids = batch(client, user, CALLS, 100, None).await;
    void(client, &ids[1]).await;
    batch(client, user, STORAGE, 40, None).await;
    for quantity in [1, 2, 3] {
        let body = json!({"user_id": user, "metric_type": OCR, "quantity": quantity});
        let made = client.post("/api/v1/usage/reservations", SERVICE, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        if quantity == 2 {
            let id = made.body["id"].as_str().expect("an id");
            let commit = format!("/api/v1/usage/reservations/{id}/commit");
            let body = json!({"quantity": 4});
            assert_eq!(client.post(&commit, SERVICE, body).await.status, 200);
        }
    }
    // Calls, documents, pages, storage, OCR.
    counters + 5
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_store_reconciles_without_a_finding() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T09:05:00Z"})).await;
    let mut counters = 0;
    for index in 0..USERS {
        counters += live(&client, &format!("u{index}"), index.is_multiple_of(2)).await;
    }
    client.drain().await;
    // At once, and when everything is settled and what was held has expired.
    for minutes in [0, 30] {
        client.clock(json!({"advance_seconds": minutes * 60})).await;
        client.drain().await;
        let mut checked = 0;
        for index in 0..USERS {
            let found = assert_clean(&client, &format!("u{index}")).await;
            checked += found["checked"].as_u64().expect("a number");
        }
        assert_eq!(checked, counters);
        let night = run(&client).await;
        let numbers = [
            "checked",
            "drifted",
            "unverifiable",
            "busy",
            "aggregate_drifted",
            "failed",
        ];
        let zero = json!(0);
        assert_eq!(
            numbers.map(|name| &night[name]),
            [&json!(counters), &zero, &zero, &zero, &zero, &zero],
            "{night}"
        );
        // With the implicit subscription, two users have two owners.
        assert_eq!(
            (&night["owners"], &night["more"]),
            (&json!(USERS + USERS / 2), &json!(false))
        );
        // Hours and days of the sums, the gauges and the reservation's usage.
        let aggregates = night["aggregates_checked"].as_u64().expect("a number");
        assert!(if minutes == 0 { aggregates == 0 } else { aggregates > 20 }, "{night}");
    }
    let books = Books::read(&client.stack).await;
    books.assert_exact();
    assert!(books.events() > 2_000, "{}", books.events());
}

/// For how long it is written and looked at.
const BUSY_FOR: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn while_events_arrive_all_the_time_nothing_is_reported() {
    let client = Client::start().await;
    client.subscribe("u", "enterprise").await;
    client.clock(json!({"advance_seconds": 1})).await;
    let other = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), other.url()];
    let (ended, written, looks) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let write = async |writer: usize| {
        let base = &bases[writer % 2];
        for turn in 0.. {
            if ended.load(Ordering::Acquire) {
                return;
            }
            let metric = [CALLS, STORAGE, OCR, CALLS][turn % 4];
            let mut body = json!({"user_id": "u", "metric_type": metric, "metric_value": 1, "enforce": false});
            if metric == STORAGE {
                body["mode"] = json!("delta");
            }
            let tracked = client.track_at(base, body).await;
            assert!(matches!(tracked.status, 201 | 503), "{tracked:?}");
            if tracked.status == 201 && metric == CALLS && turn % 12 == 0 {
                void(&client, tracked.body["usage_id"].as_str().expect("an id")).await;
            }
            written.fetch_add(1, Ordering::AcqRel);
        }
    };
    let look = async {
        let began = Instant::now();
        while began.elapsed() < BUSY_FOR {
            let found = reconcile(&client, "u", true).await;
            assert_eq!(
                (&found["drifted"], &found["repaired"]),
                (&json!(0), &json!(0)),
                "{found}"
            );
            let night = run(&client).await;
            assert_eq!(
                (&night["drifted"], &night["aggregate_drifted"]),
                (&json!(0), &json!(0)),
                "{night}"
            );
            looks.fetch_add(1, Ordering::AcqRel);
        }
        ended.store(true, Ordering::Release);
    };
    tokio::join!(look, write(0), write(1), write(2), write(3));
    let (written, looks) = (written.into_inner(), looks.into_inner());
    assert!(written > 100 && looks > 1, "{written} events, {looks} looks");
    let found = assert_clean(&client, "u").await;
    assert_eq!(found["checked"], json!(3));
    Books::read(&client.stack).await.assert_exact();
}
