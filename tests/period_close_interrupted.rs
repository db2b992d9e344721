//! The period close stopped at each of its waits, by its death or until another worker was done, with
//! usage racing it: one statement, and every event in exactly one.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use metering_edge::message::AlertTask;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    after_the_write::{Idle, queued},
    books::Books,
    period_close::{line, now, statements},
    renewals::SUBSCRIPTIONS,
    support::{ADMIN, Client, SERVICE},
    wire::{Fate, Gate, Wire},
};

/// More waits than any of it has.
const WAITS_MAX: usize = 120;
const DOCUMENTS: &str = "document_processing";
const API_CALLS: &str = "api_calls";
const OCR: &str = "ocr_operations";
const STORAGE: &str = "storage_usage";
const METRICS: [&str; 3] = [DOCUMENTS, API_CALLS, OCR];

fn event(user: &str, metric: &str, value: &str, key: &str, timestamp: &str) -> Value {
    json!({"user_id": user, "metric_type": metric, "metric_value": value, "idempotency_key": key,
        "timestamp": timestamp, "enforce": false})
}

async fn track(client: &Client, body: Value) {
    let tracked = client.track(body).await;
    assert!(matches!(tracked.status, 200 | 201), "{tracked:?}");
}

/// A count whose writer died before it was confirmed.
async fn died_counting(client: &Client, body: Value) {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let wire = Wire::new(move |call| match call.operation.as_str() {
        "UpdateItem" if call.touches("pending.#own") => Fate::HoldAfter(Arc::clone(&held)),
        _ => Fate::Pass,
    });
    let dying = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let base = dying.url();
    let request = client.track_at(&base, body);
    tokio::pin!(request);
    crate::support::until(&mut request, gate.reached()).await;
}

/// A decimal as JSON has it.
fn decimal(value: &Value) -> Decimal {
    value.to_string().parse().expect("a number")
}

/// A Basic subscription with a month behind it: 112 documents, some calls, one count that died, a peak of
/// 5.1 GB.
async fn used(client: &Client, user: &str) -> String {
    now(client, "2026-03-10T12:00:00Z").await;
    let id = client.subscribe(user, "basic").await;
    let at = "2026-03-10T12:00:00.500Z";
    now(client, "2026-03-10T12:00:01Z").await;
    track(client, event(user, DOCUMENTS, "112", "d", at)).await;
    for number in 0..3 {
        track(client, event(user, API_CALLS, "337", &format!("k{number}"), at)).await;
    }
    died_counting(client, event(user, API_CALLS, "1000", "dead", at)).await;
    for (key, level) in [("s1", "5.1"), ("s2", "3")] {
        let mut level = event(user, STORAGE, level, key, "2026-03-10T12:00:01Z");
        level["mode"] = json!("level");
        track(client, level).await;
    }
    id
}

/// What a subscription's events of a metric say together, late ones or the others.
async fn told_by_events(client: &Client, user: &str, id: &str, metric: &str, late: bool) -> Decimal {
    let path = format!(
        "/api/v1/usage/events?user_id={user}&subscription_id={id}&metric_type={metric}&from=2026-03-01T00:00:00Z&limit=200"
    );
    let listed = client.get(&path, SERVICE).await;
    let events = listed.body["events"].as_array().expect("events");
    let own = events.iter().filter(|event| event["late"] == json!(late));
    own.map(|event| decimal(&event["metric_value"])).sum()
}

/// What Basic costs, in cents, by the printed prices alone.
fn cents(metric: &str, used: Decimal) -> i64 {
    let used: i64 = used.try_into().expect("whole");
    match metric {
        DOCUMENTS => (used - 100).clamp(0, 50) * 50,
        API_CALLS => ((used - 1_000).clamp(0, 500) + 9) / 10,
        _ => 0,
    }
}

/// The statement of a period agrees with the events that belong to it.
async fn assert_billed(client: &Client, user: &str, statement: &Value, late: bool, storage: i64) {
    let id = statement["subscription_id"].as_str().expect("an id");
    let mut total = storage;
    for metric in METRICS {
        let used = told_by_events(client, user, id, metric, late).await;
        let line = line(statement, metric);
        match line {
            Value::Null => assert_eq!(used, Decimal::ZERO, "{user} {metric}: {statement}"),
            line => {
                assert_eq!(decimal(&line["used"]), used, "{user} {metric}: {statement}");
                assert_eq!(
                    decimal(&line["cost"]),
                    Decimal::new(cents(metric, used), 2),
                    "{user}: {line}"
                );
            }
        }
        total += cents(metric, used);
    }
    assert_eq!(
        decimal(&statement["total_cost"]),
        Decimal::new(total, 2),
        "{user}: {statement}"
    );
}

/// March is closed once and for ever; its statement.
async fn assert_march(client: &Client, user: &str, id: &str) -> Value {
    let march = statements(client, &format!("user_id={user}")).await;
    assert_eq!(march.len(), 1, "{user}: {march:?}");
    let books = Books::of(&client.stack, user, id).await;
    books.assert_exact();
    books.assert_closed("2026-03-01T00:00:00.000Z");
    assert_billed(client, user, &march[0], false, 20).await;
    march[0].clone()
}

/// March is closed, and April after it; together they have everything.
async fn assert_both(idle: &Idle, user: &str, id: &str) {
    let march = assert_march(&idle.client, user, id).await;
    now(&idle.client, "2026-05-02T00:00:01Z").await;
    let run = idle.call("LifecycleJob", "{}").await;
    assert_eq!(run["failed"], json!(0), "{user}: {run}");
    assert_april(&idle.client, user, &march).await;
}

async fn assert_april(client: &Client, user: &str, march: &Value) {
    let all = statements(client, &format!("user_id={user}")).await;
    assert_eq!((all.len(), &all[1]), (2, march), "{user}: {all:?}");
    assert_billed(client, user, &all[0], true, 0).await;
    assert_eq!(line(&all[0], STORAGE)["peak"], json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_close_stops_there_is_one_statement_and_nothing_is_lost() {
    let (mut waits, mut early, mut late) = (0, 0, 0);
    for dies in [false, true] {
        // Dead before a request or after the answer to the one before is the same.
        let (first, step) = if dies { (1, 2) } else { (0, 1) };
        for wait in (first..WAITS_MAX).step_by(step) {
            // A stack of its own: a worker that hangs ends by its timeout, and must not come back from
            // a time that is yet to be for another.
            let idle = Idle::start().await;
            let client = &idle.client;
            let user = format!("u-{dies}-{wait}");
            let id = used(client, &user).await;
            now(client, "2026-04-02T00:00:01Z").await;
            let Some(stopped) = idle.stopped("LifecycleJob", "{}", wait).await else {
                assert_both(&idle, &user, &id).await;
                assert!(wait > 40, "a close has more waits than {wait}");
                break;
            };
            waits += 1;
            // Usage of March meets the close: of a counter that is there, and the first of its metric.
            let last = "2026-03-31T23:59:59Z";
            track(client, event(&user, API_CALLS, "5", "race", last)).await;
            track(client, event(&user, OCR, "7", "first", last)).await;
            track(
                client,
                event(&user, API_CALLS, "1000", "dead", "2026-03-10T12:00:00.500Z"),
            )
            .await;
            let run = idle.call("LifecycleJob", "{}").await;
            assert_eq!(run["failed"], json!(0), "{user}: {run}");
            let closed = statements(client, &format!("user_id={user}")).await;
            if dies {
                // It never goes on.
                drop(stopped);
            } else {
                stopped.go_on().await;
            }
            assert_eq!(statements(client, &format!("user_id={user}")).await, closed, "{user}");
            track(client, event(&user, API_CALLS, "5", "race", last)).await;
            match told_by_events(client, &user, &id, OCR, true).await.is_zero() {
                true => early += 1,
                false => late += 1,
            }
            assert_both(&idle, &user, &id).await;
        }
    }
    assert!(early > 8 && late > 8, "both happened: {early} in time, {late} late");
    println!("{waits} interrupted closes");
}

/// An admission stopped at each of its waits, a close, and the admission going on: it counts once, in one
/// statement.
#[tokio::test(flavor = "multi_thread")]
async fn an_admission_under_way_is_in_exactly_one_statement() {
    let idle = Idle::start().await;
    let client = &idle.client;
    let (mut waits, mut late) = (0, 0);
    for metric in [API_CALLS, OCR] {
        for wait in 0..WAITS_MAX {
            let user = format!("u-{metric}-{wait}");
            let id = used(client, &user).await;
            now(client, "2026-04-02T00:00:00Z").await;
            let (wire, gate) = Wire::stopping(wait);
            let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
            let (base, body) = (instance.url(), event(&user, metric, "7", "k", "2026-03-31T12:00:00Z"));
            let stopped = client.track_at(&base, body.clone());
            tokio::pin!(stopped);
            let ran = tokio::select! {
                answer = &mut stopped => { assert_eq!(answer.status, 201); true }
                () = gate.reached() => false,
            };
            if ran {
                break;
            }
            waits += 1;
            let run = idle.call("LifecycleJob", "{}").await;
            assert_eq!(run["failed"], json!(0), "{user}: {run}");
            assert_march(client, &user, &id).await;
            gate.open();
            let answer = stopped.await;
            assert!(matches!(answer.status, 200 | 201), "{user}: {answer:?}");
            late += usize::from(answer.body["late"] == json!(true));
            let again = client.track(body).await;
            assert_eq!((again.status, &again.body["usage_id"]), (200, &answer.body["usage_id"]));
            assert_both(&idle, &user, &id).await;
        }
    }
    assert!(waits > 12 && late > 4 && late < waits, "{waits} waits, {late} late");
}

/// Many workers and many writers at once, on many subscriptions.
#[tokio::test(flavor = "multi_thread")]
async fn many_workers_close_a_period_once() {
    let idle = Idle::start().await;
    let client = &idle.client;
    let mut ids = Vec::new();
    for number in 0..6 {
        let user = format!("u{number}");
        ids.push((used(client, &user).await, user));
    }
    now(client, "2026-04-02T00:00:01Z").await;
    let users = ids.iter().map(|(_, user)| user.clone());
    let racing = users.flat_map(|user| {
        (0..24).map(move |number| {
            let metric = METRICS[number % METRICS.len()];
            event(&user, metric, "3", &format!("r{number}"), "2026-03-31T23:00:00Z")
        })
    });
    let tracking = stream::iter(racing)
        .map(|body| track(client, body))
        .buffer_unordered(12)
        .collect::<Vec<_>>();
    let workers = futures::future::join_all((0..4).map(|_| idle.call("LifecycleJob", "{}")));
    let (runs, _) = tokio::join!(workers, tracking);
    let closed: u64 = runs.iter().filter_map(|run| run["closed"].as_u64()).sum();
    assert_eq!(closed, 6, "{runs:?}");
    let mut marches = Vec::new();
    for (id, user) in &ids {
        marches.push((user, assert_march(client, user, id).await));
    }
    now(client, "2026-05-02T00:00:01Z").await;
    idle.call("LifecycleJob", "{}").await;
    for (user, march) in &marches {
        assert_april(client, user, march).await;
    }
}

/// What ended early and was never finished is finished by the close: after a renewal that died as after a
/// cancellation.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_renewal_left_is_billed_by_the_close() {
    let idle = Idle::start().await;
    let client = &idle.client;
    for what in ["renew", "cancel"] {
        let user = format!("u-{what}");
        let id = used(client, &user).await;
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let wire = Wire::new(move |call| match call.operation.as_str() {
            "TransactWriteItems" => Fate::HoldAfter(Arc::clone(&held)),
            _ => Fate::Pass,
        });
        let dying = client.stack.instance(Some(wire.http_client())).expect("an instance");
        let (url, path) = (dying.url(), format!("{SUBSCRIPTIONS}/{id}/{what}"));
        let body = Some("{}".to_owned());
        let request = client.send_to(&url, reqwest::Method::POST, &path, Some(ADMIN), body);
        tokio::pin!(request);
        crate::support::until(&mut request, gate.reached()).await;
        assert!(
            statements(client, &format!("user_id={user}")).await.is_empty(),
            "{what}"
        );
        // Whoever asked may ask again for a while, and is known by what is left.
        let run = idle.call("LifecycleJob", "{}").await;
        assert_eq!(run, json!({"closed": 0, "failed": 0, "more": false}), "{what}");
        client.clock(json!({"advance_seconds": 901})).await;
        let run = idle.call("LifecycleJob", "{}").await;
        assert_eq!(run, json!({"closed": 1, "failed": 0, "more": false}), "{what}");
        let one = statements(client, &format!("user_id={user}")).await;
        assert_eq!(one.len(), 1, "{what}: {one:?}");
        assert_billed(client, &user, &one[0], false, 20).await;
        gate.open();
        assert_eq!(request.await.status, 200);
        assert_eq!(statements(client, &format!("user_id={user}")).await, one, "{what}");
    }
}

/// A statement is published however often the relay or the publisher is stopped, under one id.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_published_at_least_once_under_one_id() {
    let mut idle = Idle::start().await;
    let mut waits = 0;
    for wait in 0..WAITS_MAX {
        let user = format!("u{wait}");
        used(&idle.client, &user).await;
        now(&idle.client, "2026-04-02T00:00:01Z").await;
        idle.told();
        idle.call("LifecycleJob", "{}").await;
        let [_, state] = idle.told();
        let statement = statements(&idle.client, &format!("user_id={user}")).await.remove(0);
        let relayed = idle.stopped("RelayJob", &state, wait).await;
        let relays = relayed.is_some();
        idle.call("RelayJob", &state).await;
        if let Some(relayed) = relayed {
            relayed.go_on().await;
        }
        let mut tasks = idle.waiting("AlertQueue").await;
        tasks.retain(|task| task["publish"]["pk"] == json!(format!("STM#{user}")));
        assert!((1..=2).contains(&tasks.len()), "{wait}: {tasks:?}");
        let task: AlertTask = serde_json::from_value(tasks[0].clone()).expect("a task");
        assert!(matches!(task, AlertTask::Publish { .. }));
        let event = queued(&tasks);
        let stopped = idle.stopped("AlertJob", &event, wait).await;
        let publishes = stopped.is_some();
        assert_eq!(idle.call("AlertJob", &event).await, json!({"batchItemFailures": []}));
        if let Some(stopped) = stopped {
            stopped.go_on().await;
        }
        let outbox = idle.client.outbox().await;
        let on_bus = outbox["bus"].as_array().expect("events").iter();
        let own: Vec<&Value> = on_bus
            .filter(|event| event["detail"]["statement"]["user_id"] == json!(user))
            .collect();
        assert!(!own.is_empty(), "{wait}");
        for event in own {
            assert_eq!(event["detail-type"], json!("usage.period_closed"));
            assert_eq!(event["source"], json!("usage-metering"));
            assert_eq!(event["detail"]["event_id"], statement["id"]);
            assert_eq!(event["detail"]["statement"], statement);
        }
        if !relays && !publishes {
            break;
        }
        waits += 1;
    }
    assert!(waits > 4, "{waits}");
}
