//! Many events in one request: each counted once, in order, whatever happens to the request.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{Answer, Client, SERVICE},
    unreliable::faulty,
    wire::Wire,
};

const BATCH: &str = "/api/v1/usage/track/batch";
const OCR: &str = "ocr_operations";

fn event(key: &str, value: u32) -> Value {
    json!({"user_id": "u", "metric_type": OCR, "metric_value": value, "idempotency_key": key})
}

async fn send(client: &Client, events: &[Value]) -> Answer {
    send_to(client, &client.stack.url(), events).await
}

async fn send_to(client: &Client, base: &str, events: &[Value]) -> Answer {
    let body = json!({"events": events}).to_string().into_bytes();
    let answer = client
        .send_raw(base, BATCH, &[("content-type", "application/json")], body)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Sends again what was not answered in time, as a client would.
async fn send_until_answered(client: &Client, base: &str, events: &[Value]) -> Answer {
    let body = json!({"events": events}).to_string();
    loop {
        let headers = [("content-type", "application/json")];
        let answer = client.send_raw(base, BATCH, &headers, body.clone().into()).await;
        if answer.status != 503 {
            return answer;
        }
    }
}

fn statuses(answer: &Answer) -> Vec<u64> {
    let results = answer.body["results"].as_array().expect("results");
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["index"], json!(index));
        assert_eq!(result["error"].is_null(), result["usage_id"].is_string(), "{result}");
    }
    results
        .iter()
        .map(|result| result["status"].as_u64().expect("a status"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn near_the_cap_each_that_fits_is_admitted_in_order() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", OCR, 10).await;
    let values = [4, 5, 3, 2, 1, 1, 0];
    let events: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(index, value)| event(&format!("k{index}"), *value))
        .collect();
    let answer = send(&client, &events).await;
    assert_eq!(statuses(&answer), [201, 201, 429, 429, 201, 429, 201]);
    assert_eq!(
        (&answer.body["accepted"], &answer.body["denied"]),
        (&json!(4), &json!(3))
    );
    let denied = &answer.body["results"][2]["error"];
    assert_eq!(
        (&denied["code"], &denied["errors"]),
        (&json!("quota_exceeded"), &json!([]))
    );
    assert_eq!(denied["quota_info"]["current_usage"], json!(10));
    assert_eq!(client.used("u", OCR).await, json!(10));
    let again = send(&client, &events).await;
    assert_eq!(statuses(&again), [200, 200, 429, 429, 200, 429, 200]);
    assert_eq!(
        again.body["results"][0]["usage_id"],
        answer.body["results"][0]["usage_id"]
    );
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_subscriptions_metrics_and_faults_side_by_side() {
    let client = Client::start().await;
    let first = client.subscribe("u", "basic").await;
    let second = client.subscribe("u", "professional").await;
    client.subscribe("v", "basic").await;
    let events = [
        json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1}),
        json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 2, "subscription_id": second}),
        json!({"user_id": "v", "metric_type": "api_calls", "metric_value": 3}),
        json!({"user_id": "w", "metric_type": "api_calls", "metric_value": 4}),
        json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": "0.5", "mode": "level"}),
        json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": "0.25", "mode": "delta"}),
        json!({"user_id": "u", "metric_type": "api_calls", "metric_value": -1}),
        json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1, "enforce": false}),
        json!({"user_id": "v", "metric_type": "api_calls", "metric_value": 1, "subscription_id": first}),
        json!({"user_id": "u", "metric_type": "user_sessions", "metric_value": 1}),
        json!("an event"),
        json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": -5, "mode": "delta"}),
    ];
    let answer = send(&client, &events).await;
    assert_eq!(
        statuses(&answer),
        [201, 201, 201, 201, 201, 201, 422, 422, 404, 422, 422, 422],
        "{answer:?}"
    );
    assert_eq!(
        (&answer.body["accepted"], &answer.body["failed"]),
        (&json!(6), &json!(6))
    );
    let error = |index: usize| &answer.body["results"][index]["error"];
    assert_eq!(error(6)["errors"][0]["pointer"], json!("/events/6/metric_value"));
    assert_eq!(error(7)["errors"][0]["code"], json!("unknown_field"));
    assert_eq!(error(8)["code"], json!("not_found"));
    assert_eq!(error(9)["code"], json!("metric_kind_mismatch"));
    assert_eq!(error(10)["errors"][0]["pointer"], json!("/events/10"));
    assert_eq!(error(11)["code"], json!("below_zero"));
    for (user, metric, used) in [
        ("u", "api_calls", json!(1)),
        ("v", "api_calls", json!(3)),
        ("w", "api_calls", json!(4)),
        ("u", "storage_usage", json!(0.75)),
    ] {
        assert_eq!(client.used(user, metric).await, used, "{user} {metric}");
    }
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_of_one_identity_count_once() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let mut events = vec![event("k", 1); 999];
    events.push(event("k", 2));
    let answer = send(&client, &events).await;
    assert_eq!(
        (&answer.body["accepted"], &answer.body["duplicates"]),
        (&json!(1), &json!(998))
    );
    assert_eq!(
        answer.body["results"][999]["status"],
        json!(409),
        "another value under the same name"
    );
    assert_eq!(client.used("u", OCR).await, json!(1));
    let ids: HashSet<_> = (0..999)
        .map(|index| answer.body["results"][index]["usage_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_names_items_that_do_not_name_themselves() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let unnamed = json!({"user_id": "u", "metric_type": OCR, "metric_value": 1});
    let body = json!({"events": [unnamed, unnamed, event("own", 1)]}).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "K")];
    for expected in [(3, 0), (0, 3)] {
        let answer = client
            .send_raw(&client.stack.url(), BATCH, &headers, body.clone().into())
            .await;
        let counts = (&answer.body["accepted"], &answer.body["duplicates"]);
        assert_eq!(counts, (&json!(expected.0), &json!(expected.1)));
    }
    assert_eq!(client.track(event("K/1", 1)).await.status, 200, "item 1 is named K/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_envelopes_are_refused_whole() {
    let client = Client::start().await;
    for (body, pointer, code) in [
        (json!({}), "/events", "required"),
        (json!({"events": {}}), "/events", "wrong_type"),
        (json!({"events": []}), "/events", "too_few_items"),
        (
            json!({"events": vec![event("k", 1); 1_001]}),
            "/events",
            "too_many_items",
        ),
        (
            json!({"events": [event("k", 1)], "enforce": "no"}),
            "/enforce",
            "wrong_type",
        ),
        (
            json!({"events": [event("k", 1)], "user_id": "u"}),
            "/user_id",
            "unknown_field",
        ),
    ] {
        let answer = client.post(BATCH, SERVICE, body).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        let error = &answer.body["errors"][0];
        assert_eq!(
            (&error["pointer"], &error["code"]),
            (&json!(pointer), &json!(code)),
            "{answer:?}"
        );
    }
    assert_eq!(client.used("u", OCR).await, json!(0));
    let user = client.token(json!({"user_id": "u"})).await;
    let others = json!({"events": [event("k", 1), {"user_id": "v", "metric_type": OCR, "metric_value": 1}]});
    let answer = client.post(BATCH, &user, others).await;
    assert_eq!(statuses(&answer), [201, 403]);
}

/// Five events on two counters, one of them there before; the batch stopped at each of its waits.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_batch_stops_the_same_again_completes_it() {
    let client = Client::start().await;
    let mut waits = 0;
    for (limit, pause) in [(100, 0), (100, 61), (7, 0), (7, 61)] {
        for wait in 0..200_usize {
            let user = format!("{limit}-{pause}-{wait}");
            let subscription = client.subscribe(&user, "basic").await;
            client.limit(&user, OCR, limit).await;
            let event = |key: &str, metric: &str, value: u32| json!({"user_id": user, "metric_type": metric, "metric_value": value, "idempotency_key": key});
            client.track(event("before", OCR, 2)).await;
            let events = [
                event("a", OCR, 1),
                event("before", OCR, 2),
                event("b", OCR, 2),
                event("c", "api_calls", 7),
                event("d", OCR, 2),
            ];
            let (wire, gate) = Wire::stopping(wait);
            let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
            let base = instance.url();
            let stopped = send_to(&client, &base, &events);
            tokio::pin!(stopped);
            let held = tokio::select! {
                _ = &mut stopped => false,
                () = gate.reached() => true,
            };
            if !held {
                assert!(wait > 10, "a batch has more waits than {wait}");
                break;
            }
            waits += 1;
            if pause > 0 {
                client.clock(json!({"advance_seconds": pause})).await;
            }
            let again = send(&client, &events).await;
            assert!(
                statuses(&again).iter().all(|status| matches!(status, 200 | 201)),
                "{user}: {again:?}"
            );
            gate.open();
            let last = stopped.await;
            for (one, other) in again.body["results"]
                .as_array()
                .into_iter()
                .flatten()
                .zip(last.body["results"].as_array().into_iter().flatten())
            {
                assert_eq!(one["usage_id"], other["usage_id"], "{user}");
                let recorded = [one, other]
                    .into_iter()
                    .filter(|result| result["status"] == 201)
                    .count();
                assert_eq!(
                    recorded,
                    usize::from(one["index"] != 1),
                    "{user}: one says that it recorded it"
                );
            }
            client.clock(json!({"advance_seconds": 61})).await;
            assert_eq!(client.used(&user, OCR).await, json!(7), "{user}");
            let books = Books::of(&client.stack, &user, &subscription).await;
            books.assert_exact();
            assert_eq!((books.events(), books.used()), (5, 14.into()), "{user}");
        }
    }
    println!("{waits} interrupted batches");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_lossy_connections_the_same_batches_again_and_again_count_once() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    client.limit("u", OCR, 400).await;
    let instances = [11, 12].map(|seed| {
        client
            .stack
            .instance(Some(faulty(seed).http_client()))
            .expect("an instance")
    });
    let bases = [instances[0].url(), instances[1].url()];
    // Overlapping batches: each event is in four of them.
    let batch = |start: u32| -> Vec<Value> {
        (start..start + 100)
            .map(|index| event(&format!("k{}", index % 400), 1))
            .collect()
    };
    for _ in 0..4 {
        let sends = (0..16_u32).map(|index| {
            let (client, base, events) = (&client, &bases[index as usize % 2], batch(index * 25));
            async move { statuses(&send_until_answered(client, base, &events).await) }
        });
        let sent: Vec<Vec<u64>> = stream::iter(sends).buffer_unordered(8).collect().await;
        assert!(
            sent.iter()
                .flatten()
                .all(|status| matches!(status, 200 | 201 | 429 | 503)),
            "{sent:?}"
        );
        client.clock(json!({"advance_seconds": 61})).await;
        client.used("u", OCR).await;
    }
    let last = send(&client, &batch(0)).await;
    assert_eq!(last.body["duplicates"], json!(100), "all are there: {last:?}");
    assert_eq!(client.used("u", OCR).await, json!(400));
    let books = Books::of(&client.stack, "u", &subscription).await;
    books.assert_exact();
    assert_eq!((books.events(), books.used()), (400, 400.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_batches_no_more_than_the_cap_is_admitted() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", OCR, 137).await;
    let other = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), other.url()];
    let unnamed = json!({"user_id": "u", "metric_type": OCR, "metric_value": 1});
    let sends = (0..20_usize).map(|index| {
        let (client, base, events) = (&client, &bases[index % 2], vec![unnamed.clone(); 20]);
        async move { statuses(&send_to(client, base, &events).await) }
    });
    let sent: Vec<Vec<u64>> = stream::iter(sends).buffer_unordered(20).collect().await;
    let having = |status: u64| sent.iter().flatten().filter(|one| **one == status).count();
    assert_eq!((having(201), having(429)), (137, 263));
    assert_eq!(client.used("u", OCR).await, json!(137));
    Books::read(&client.stack).await.assert_exact();
}
