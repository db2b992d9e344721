//! What one HTTP call costs in the store: every request of the call counted, credentials and
//! configuration included, and the capacity units that the engine reports.
//!
//! Caches are warm, items below 1 KB. The numbers are the promise of the README's table.

use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use usage_deploy::budget::{self, Budget};
use usage_local::{Instance, Options};

use crate::{
    support::{Client, SERVICE, TRACK},
    wire::{Fate, Wire},
};

const DOCUMENTS: &str = "document_processing";

/// A service behind a wire that counts.
struct Metered {
    client: Client,
    wire: Wire,
    instance: Instance,
}

impl Metered {
    async fn start() -> Self {
        Self::over(Client::start().await).await
    }

    async fn over(client: Client) -> Self {
        let wire = Wire::new(|_| Fate::Pass);
        let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
        client.subscribe("u", "basic").await;
        Self { client, wire, instance }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> u16 {
        let body = body.map(Value::to_string);
        let base = self.instance.url();
        let answer = self.client.send_to(&base, method, path, Some(SERVICE), body);
        answer.await.status
    }

    async fn track(&self, body: &Value) -> u16 {
        self.call(Method::POST, TRACK, Some(body)).await
    }

    /// What passed since this was last asked is within the budget.
    fn assert_within(&self, what: &str, budget: &Budget) {
        let mut passed = self.wire.passed();
        passed.retain(|request| !request.call.is_to_queue());
        let (mut read, mut written) = (Decimal::ZERO, Decimal::ZERO);
        for request in &passed {
            // A refused condition reports nothing and costs what the item does, below 1 KB one unit
            // (Amazon DynamoDB Developer Guide, "Capacity unit consumption for write operations").
            let units = request.units.unwrap_or(Decimal::ONE);
            if request.call.reads() {
                read += units;
            } else {
                written += units;
            }
        }
        println!(
            "{what}: {} requests, {written} write units, {read} read units",
            passed.len()
        );
        assert!(!passed.is_empty(), "{what} went through another wire");
        assert!(passed.len() <= budget.requests, "{what}: {passed:?}");
        assert!(written <= budget.write_units.into(), "{what}: {passed:?}");
        assert!(read <= budget.read_units.into(), "{what}: {passed:?}");
    }
}

fn event() -> Value {
    json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 1, "resource_id": "doc_12345",
        "endpoint": "/api/v1/documents", "operation": "process", "response_time_ms": 150,
        "metadata": {"pages": 12, "ip": "192.0.2.1", "country": "DE"}})
}

fn identified(key: &str) -> Value {
    let mut event = event();
    event["idempotency_key"] = json!(key);
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_stays_within_its_budget() {
    let metered = Metered::start().await;
    let quota = "/api/v1/usage/check-quota/document_processing?user_id=u";
    let summary = "/api/v1/usage/summary?user_id=u";
    // Warm: the key, the subscription, the counter.
    assert_eq!(metered.track(&event()).await, 201);
    metered.wire.passed();

    assert_eq!(metered.track(&event()).await, 201);
    metered.assert_within("track", &budget::TRACK);
    assert_eq!(metered.track(&identified("k")).await, 201);
    metered.assert_within("track with an identity", &budget::TRACK_IDENTIFIED);
    assert_eq!(metered.track(&identified("k")).await, 200);
    metered.assert_within("duplicate", &budget::DUPLICATE);
    assert_eq!(metered.call(Method::GET, quota, None).await, 200);
    metered.assert_within("check-quota", &budget::CHECK_QUOTA);
    assert_eq!(metered.call(Method::GET, summary, None).await, 200);
    metered.assert_within("summary", &budget::SUMMARY);
    metered.client.limit("u", DOCUMENTS, 3).await;
    for (what, body) in [("denial", event()), ("denial with an identity", identified("other"))] {
        // The entry of the last admission may still be pending; a confirmed one goes with a write.
        metered.track(&event()).await;
        metered.wire.passed();
        assert_eq!(metered.track(&body).await, 429);
        metered.assert_within(what, &budget::DENIED);
    }
}

/// A batch of 250 on one counter: one count, 250 insertions, one settlement.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_stays_within_its_budget() {
    let metered = Metered::start().await;
    metered.client.limit("u", DOCUMENTS, 10_000).await;
    metered.track(&event()).await;
    for values in ["alike", "different"] {
        metered.wire.passed();
        let events: Vec<Value> = (0..budget::BATCH_EVENTS)
            .map(|index| {
                let mut event = identified(&format!("{values}-{index}"));
                event["metric_value"] = if values == "alike" { json!(1) } else { json!(index) };
                event
            })
            .collect();
        let body = json!({"events": events, "enforce": false});
        let batch = "/api/v1/usage/track/batch";
        assert_eq!(metered.call(Method::POST, batch, Some(&body)).await, 200);
        metered.assert_within(values, &budget::BATCH);
        metered.wire.passed();
        assert_eq!(metered.call(Method::POST, batch, Some(&body)).await, 200);
        metered.assert_within("the same again", &budget::BATCH_AGAIN);
    }
}

/// Confirmed entries go with the next write, so a counter stays below 1 KB while four write at
/// once, and below 3 KB while thirty-two do.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_counter_stays_small() {
    let metered = Metered::start().await;
    metered.client.limit("u", DOCUMENTS, 10_000).await;
    metered.track(&event()).await;
    for (width, units_max) in [(4, Decimal::new(11, 1)), (32, Decimal::new(3, 0))] {
        metered.wire.passed();
        let base = metered.instance.url();
        metered.client.track_all(&[base], vec![event(); 200], width).await;
        let passed = metered.wire.passed();
        let updates = passed.iter().filter(|passed| passed.call.operation == "UpdateItem");
        let units: Decimal = updates.filter_map(|passed| passed.units).sum();
        println!("{units} write units for 200 counts, {width} at once");
        assert!(units <= units_max * Decimal::from(200), "{width} at once: {units}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_stays_within_its_budget() {
    let metered = Metered::start().await;
    let reserve = json!({"user_id": "u", "metric_type": DOCUMENTS, "quantity": 3, "resource_id": "doc_12345"});
    for is_warm in [false, true, true] {
        let path = "/api/v1/usage/reservations";
        let base = metered.instance.url();
        let body = Some(reserve.to_string());
        let made = metered
            .client
            .send_to(&base, Method::POST, path, Some(SERVICE), body)
            .await;
        let commit = format!("{path}/{}/commit", made.body["id"].as_str().expect("an id"));
        let actual = json!({"quantity": 2, "endpoint": "/api/v1/documents", "response_time_ms": 150});
        assert_eq!(metered.call(Method::POST, &commit, Some(&actual)).await, 200);
        if !is_warm {
            metered.wire.passed();
            continue;
        }
        metered.assert_within("reserve and commit", &budget::RESERVE_AND_COMMIT);
    }
}

/// A month of usage at all hours: days of UTC are stored, those of other zones are put together
/// from hours where clocks differ.
#[tokio::test(flavor = "multi_thread")]
async fn aggregates_stay_within_their_budget() {
    let metered = Metered::start().await;
    let now = metered.client.now();
    for chunk in (0..31 * 24).collect::<Vec<_>>().chunks(240) {
        let event = |hours: &i64| {
            let at = (now - chrono::TimeDelta::hours(*hours)).to_rfc3339();
            json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 1, "timestamp": at, "backfill": true,
                "response_time_ms": 100 + hours % 7})
        };
        let body = json!({"events": chunk.iter().map(event).collect::<Vec<_>>()});
        assert_eq!(
            metered
                .call(Method::POST, "/api/v1/usage/track/batch", Some(&body))
                .await,
            200
        );
    }
    metered.client.drain().await;
    let aggregations = "aggregations/document_processing?user_id=u";
    for (what, path, budget) in [
        ("30 days", aggregations.to_owned(), budget::AGGREGATIONS),
        (
            "30 days of a zone",
            format!("{aggregations}&timezone=Europe/Berlin"),
            budget::AGGREGATIONS_OF_A_ZONE,
        ),
        (
            "a trend",
            "trends/document_processing?user_id=u".to_owned(),
            budget::TREND,
        ),
    ] {
        let path = format!("/api/v1/usage/{path}");
        assert_eq!(metered.call(Method::GET, &path, None).await, 200);
        metered.wire.passed();
        assert_eq!(metered.call(Method::GET, &path, None).await, 200);
        metered.assert_within(what, &budget);
    }
    let listed = "/api/v1/usage/admin/subscriptions?user_id=u";
    let subscription = metered.client.all(listed, "subscriptions").await.remove(0);
    let owner = format!("SUB#{}", subscription["id"].as_str().expect("an id"));
    let look = message(&json!({"owner": owner, "user_id": "u", "metric_type": DOCUMENTS, "gauge": false}));
    for _ in 0..2 {
        metered.wire.passed();
        let answer = metered.instance.invoke("AnomalyJob", look.to_string()).await;
        assert_eq!(answer.expect("an answer"), r#"{"batchItemFailures":[]}"#);
    }
    metered.assert_within("a look at a month of hours", &budget::LOOK_AT_A_MONTH);
}

/// A batch of one message, as Lambda hands it over.
fn message(body: &Value) -> Value {
    json!({"Records": [{
        "messageId": "m", "receiptHandle": "r", "body": body.to_string(), "eventSource": "aws:sqs",
        "attributes": {"SentTimestamp": "1769372896000", "ApproximateReceiveCount": "1"},
    }]})
}

/// What the functions behind the streams and the queue do for one event that is alone in its hour.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_an_event_stays_within_its_budget() {
    let options = Options {
        idle: true,
        ..Options::default()
    };
    let metered = Metered::over(Client::start_with(options).await).await;
    metered.client.limit("u", DOCUMENTS, 10_000).await;
    let mut following = Vec::new();
    // The first of each warms the functions' caches.
    for is_warm in [false, true] {
        let mut event = event();
        // Pages are an event of their own.
        event["metadata"].as_object_mut().expect("an object").remove("pages");
        assert_eq!(metered.track(&event).await, 201);
        metered.wire.passed();
        for (what, function, told, budget) in metered.told_of_the_last().await {
            let answer = metered.instance.invoke(function, told.to_string()).await;
            assert_eq!(answer.expect("an answer"), r#"{"batchItemFailures":[]}"#, "{what}");
            following.push(what);
            if is_warm {
                metered.assert_within(what, &budget);
            }
            metered.wire.passed();
        }
    }
    assert_eq!(following.len(), 8);
}

impl Metered {
    /// The calls that follow the event tracked last, as Lambda would make them.
    async fn told_of_the_last(&self) -> [(&'static str, &'static str, Value, Budget); 4] {
        let last = |table: &str| {
            let records = self.client.stack.records(table).expect("records");
            records.last().cloned().expect("a record")
        };
        let (stored, counted) = (last("Events"), last("State"));
        let image = &stored["dynamodb"]["NewImage"];
        let text = |name: &str| image[name]["S"].as_str().expect("a text").to_owned();
        let hour = format!("{}:00:00Z", &text("ts")[..13]);
        let id = text("pk").trim_start_matches("EVT#").to_owned();
        let changed = json!({
            "owner": format!("SUB#{}", text("subscription_id")), "user_id": "u", "metric_type": DOCUMENTS,
            "gauge": false, "hour": hour,
            "events": [{"id": id, "at": text("ts"), "rev": 1, "received_at": text("received_at")}],
        });
        let series = json!({
            "owner": changed["owner"], "user_id": "u", "metric_type": DOCUMENTS, "gauge": false,
        });
        let batch = |record: Value| json!({"Records": [record]});
        [
            ("an event passed on", "RelayJob", batch(stored), budget::RELAY_EVENT),
            ("a counter judged", "RelayJob", batch(counted), budget::RELAY_COUNTER),
            ("an hour computed", "AggregateJob", message(&changed), budget::AGGREGATE),
            ("a series looked at", "AnomalyJob", message(&series), budget::LOOK),
        ]
    }
}
