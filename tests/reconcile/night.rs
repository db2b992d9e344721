//! The job: over all users, in slices, and what it finds beside drift.

use std::{collections::BTreeMap, sync::Arc};

use usage_local::{Instance, Options};

use super::*;
use crate::{
    support::SERVICE,
    wire::{Call, Fate, Gate, Wire},
};

/// More waits than a run has.
const WAITS_MAX: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_night_counts_what_it_finds_and_repairs_nothing() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T09:05:00Z"})).await;
    // More than one step takes.
    for index in 0..40 {
        track(&client, &format!("u{index}"), CALLS, 4.0).await;
    }
    client.drain().await;
    client.clock(json!({"advance_seconds": 25 * 60})).await;
    client.drain().await;
    let raw = Raw(&client);
    for user in ["u3", "u30"] {
        let counter = raw.counter(&Owner::of(user, "none"), CALLS).await;
        raw.change(&counter, "SET used = used + :v", &[(":v", n(7))]).await;
    }
    let hour = raw.aggregate(&Owner::of("u7", "none"), CALLS, false).await;
    raw.change(&hour, "SET q0.c = :c", &[(":c", n(2))]).await;
    for _ in 0..2 {
        let night = run(&client).await;
        let expected = json!({
            "owners": 40, "checked": 40, "drifted": 2, "unverifiable": 0, "busy": 0, "aggregates_checked": 80,
            "aggregate_drifted": 1, "thresholds_raised": 0, "failed": 0, "more": false,
        });
        assert_eq!(night, expected);
    }
}

/// An erasure that goes on has taken some of a user's items and not others: that is no drift.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_being_erased_is_left_alone() {
    let client = Client::start().await;
    track(&client, "u", CALLS, 4.0).await;
    let path = "/api/v1/usage/admin/users/u";
    let base = client.stack.url();
    let erased = client
        .send_to(&base, reqwest::Method::DELETE, path, Some(ADMIN), None)
        .await;
    assert_eq!(erased.status, 202, "{erased:?}");
    let counter = Raw(&client).counter(&Owner::of("u", "none"), CALLS).await;
    Raw(&client)
        .change(&counter, "SET used = used + :v", &[(":v", n(7))])
        .await;
    // What an instance knows of a user may be a minute old.
    client.clock(json!({"advance_seconds": 61})).await;
    let night = run(&client).await;
    let numbers = ["owners", "drifted", "failed"].map(|name| night[name].clone());
    assert_eq!(numbers, [0, 0, 0].map(Value::from), "{night}");
    let asked = client.post(PATH, ADMIN, json!({"user_id": "u"})).await;
    assert_eq!(asked.status, 410, "{asked:?}");
}

/// What is told nobody: the streams are not listened to here.
#[tokio::test(flavor = "multi_thread")]
async fn thresholds_that_nobody_judged_are_raised_once() {
    let client = Client::start_with(idle()).await;
    client.subscribe("u", "basic").await;
    client.clock(json!({"advance_seconds": 1})).await;
    track(&client, "u", "document_processing", 90.0).await;
    let alerts = async || {
        let listed = client.get("/api/v1/usage/alerts?user_id=u", SERVICE).await;
        listed.body["alerts"].as_array().expect("alerts").len()
    };
    assert_eq!(alerts().await, 0);
    let instance = client.stack.instance(None).expect("an instance");
    let night = async || invoke(&instance, "{}".to_owned()).await["thresholds_raised"].clone();
    assert_eq!(night().await, json!(2));
    assert_eq!(alerts().await, 2);
    assert_eq!(night().await, json!(0));
    assert_eq!(alerts().await, 2);
}

/// A commit that was decided and never carried out, and an admission that was counted and never
/// confirmed: the one is finished, the other taken back.
#[tokio::test(flavor = "multi_thread")]
async fn what_died_half_way_is_settled_and_no_drift() {
    let client = Client::start().await;
    let body = json!({"user_id": "u", "metric_type": CALLS, "quantity": 5});
    let made = client.post("/api/v1/usage/reservations", SERVICE, body).await;
    let id = made.body["id"].as_str().expect("an id").to_owned();
    let die = |after: &'static str, operation: &'static str| {
        let gate = Arc::new(Gate::default());
        let held = gate.clone();
        let wire = Wire::new(
            move |call: &Call| match call.operation == operation && call.touches(after) {
                true => Fate::HoldAfter(held.clone()),
                false => Fate::Pass,
            },
        );
        (
            client.stack.instance(Some(wire.http_client())).expect("an instance"),
            gate,
        )
    };
    let (deciding, gate) = die("RSV#", "UpdateItem");
    let (base, path) = (deciding.url(), format!("/api/v1/usage/reservations/{id}/commit"));
    let body = Some(json!({"quantity": 6}).to_string());
    crate::support::until(
        client.send_to(&base, reqwest::Method::POST, &path, Some(SERVICE), body),
        gate.reached(),
    )
    .await;
    let (counting, gate) = die("pending", "UpdateItem");
    let base = counting.url();
    let body = json!({"user_id": "u", "metric_type": CALLS, "metric_value": 100});
    crate::support::until(client.track_at(&base, body), gate.reached()).await;

    // Their writers may be at work.
    let night = run(&client).await;
    assert_eq!(
        (&night["busy"], &night["drifted"], &night["checked"]),
        (&json!(1), &json!(0), &json!(0)),
        "{night}"
    );
    client.clock(json!({"advance_seconds": 61})).await;
    let night = run(&client).await;
    assert_eq!(
        (&night["busy"], &night["drifted"], &night["checked"]),
        (&json!(0), &json!(0), &json!(1)),
        "{night}"
    );
    assert_eq!(client.used("u", CALLS).await, json!(6));
    let books = crate::books::Books::read(&client.stack).await;
    books.assert_exact();
    books.assert_unheld();
}

fn idle() -> Options {
    Options {
        idle: true,
        ..Options::default()
    }
}

/// A message by which a pass goes on.
fn message(body: &str) -> String {
    let attributes = json!({"SentTimestamp": "1", "ApproximateReceiveCount": "1"});
    json!({"Records": [{"messageId": "m", "receiptHandle": "r", "body": body, "attributes": attributes}]}).to_string()
}

async fn invoke(instance: &Instance, event: String) -> Value {
    let answer = instance.invoke("ReconcileJob", event).await.expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

/// The pass as it is stored.
async fn pass(client: &Client) -> Option<Item> {
    Raw(client).of("CFG#reconcile", "-").await.into_iter().next()
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_night_stops_its_message_goes_on_with_it() {
    let client = Client::start_with(idle()).await;
    for index in 0..3 {
        track(&client, &format!("u{index}"), CALLS, 4.0).await;
    }
    let instance = client.stack.instance(None).expect("an instance");
    let mut stops = BTreeMap::new();
    for wait in 0..WAITS_MAX {
        let (wire, gate) = Wire::stopping(wait);
        let dying = Arc::new(client.stack.instance(Some(wire.http_client())).expect("an instance"));
        let own = dying.clone();
        let mut running = tokio::spawn(async move { invoke(&own, "{}".to_owned()).await });
        let stopped = tokio::select! {
            () = gate.reached() => true,
            ended = &mut running => {
                assert_eq!(ended.expect("a result")["owners"], json!(3));
                false
            }
        };
        if !stopped {
            assert!(wait > 20, "a night has more waits than {wait}");
            break;
        }
        match pass(&client)
            .await
            .filter(|pass| pass["done"] == AttributeValue::Bool(false))
        {
            Some(open) => {
                let body = json!({"pass": open["id"].as_s().expect("an id")}).to_string();
                assert_eq!(
                    invoke(&instance, message(&body)).await,
                    json!({"batchItemFailures": []})
                );
            }
            // It stopped before it began.
            None => drop(invoke(&instance, "{}".to_owned()).await),
        }
        gate.open();
        running.await.expect("it does not panic");
        let after = pass(&client).await.expect("a pass");
        let totals: Value = serde_json::from_str(after["totals"].as_s().expect("totals")).expect("JSON");
        assert_eq!(
            (&totals["owners"], &totals["checked"]),
            (&json!(3), &json!(3)),
            "{wait}: {totals}"
        );
        assert_eq!(after["done"], AttributeValue::Bool(true), "{wait}");
        *stops.entry(after["step"].as_n().expect("a step").clone()).or_insert(0) += 1;
    }
    println!("stopped nights, by the steps they took: {stops:?}");
}
