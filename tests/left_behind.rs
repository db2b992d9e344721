//! What a writer leaves half done is settled by whichever function meets it, with what its own policy
//! allows; and other mishaps that functions need permissions for and hardly ever use.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use chrono::TimeDelta;
use serde_json::{Value, json};
use usage_local::{Instance, Options};

use crate::{
    books::Books,
    support::{ADMIN, Client, SERVICE},
    wire::{Fate, Wire},
};

const DOCUMENTS: &str = "document_processing";
const STORAGE: &str = "storage_usage";
const RESERVATIONS: &str = "/api/v1/usage/reservations";
/// Entries that are left on the counter: more than it may have before writers tidy up after others.
const LEFT: usize = 10;

/// A stack on which nothing runs by itself, with a user whose writers died after they had counted:
/// of single events, of a batch, and of the commits of two reservations.
struct Left {
    client: Client,
    functions: Instance,
    subscription: String,
    period_start: String,
}

impl Left {
    async fn behind() -> Self {
        let client = idle().await;
        let subscription = client.subscribe("u", "basic").await;
        client.limit("u", DOCUMENTS, 20).await;
        let first = client.track(event("first")).await;
        assert_eq!(first.status, 201, "{first:?}");
        client.clock(json!({"advance_seconds": MONTH})).await;
        let (documents, storage) = (
            reserve(&client, DOCUMENTS, 17).await,
            reserve(&client, STORAGE, 2).await,
        );
        let dead = Arc::new(AtomicBool::new(false));
        let is_dead = Arc::clone(&dead);
        // What follows a count: the event of it, and all of a gauge's change.
        let wire = Wire::new(move |call| match call.operation.as_str() {
            "PutItem" | "TransactWriteItems" if is_dead.load(Ordering::Acquire) => Fate::LoseRequest,
            _ => Fate::Pass,
        });
        let dying = client.stack.instance(Some(wire.http_client())).expect("an instance");
        // Its caches are warm by then.
        client.track_at(&dying.url(), event("second")).await;
        dead.store(true, Ordering::Release);
        let unenforced = |key: String| {
            let mut event = event(&key);
            event["enforce"] = json!(false);
            event
        };
        let events = (0..LEFT).map(|index| unenforced(format!("left-{index}"))).collect();
        let left = client.track_all(&[dying.url()], events, LEFT).await;
        assert!(left.iter().all(|answer| answer.status == 503), "{left:?}");
        let batch: Vec<Value> = (0..3).map(|index| event(&format!("batch-{index}"))).collect();
        let batch = json!({"events": batch, "enforce": false}).to_string();
        let base = dying.url();
        for (path, body) in [
            ("/api/v1/usage/track/batch".to_owned(), batch),
            (format!("{RESERVATIONS}/{documents}/commit"), "{}".to_owned()),
            (format!("{RESERVATIONS}/{storage}/commit"), "{}".to_owned()),
        ] {
            let sent = client.send_to(&base, reqwest::Method::POST, &path, Some(SERVICE), Some(body));
            let sent = sent.await;
            assert!(sent.status >= 500 || sent.body["accepted"] == 0, "{path}: {sent:?}");
        }
        let period_start = client.quota("u", DOCUMENTS).await["period_start"].clone();
        Self {
            functions: client.stack.instance(None).expect("an instance"),
            period_start: period_start.as_str().expect("an instant").to_owned(),
            client,
            subscription,
        }
    }

    async fn later(&self, seconds: i64) {
        self.client.clock(json!({"advance_seconds": seconds})).await;
    }

    async fn invoke(&self, function: &str, event: &Value) -> Value {
        let answer = self.functions.invoke(function, event.to_string()).await;
        serde_json::from_str(&answer.expect("an answer")).expect("JSON")
    }

    /// Usage by the queue.
    async fn queued(&self, usage: &Value) {
        let answer = self.invoke("IngestJob", &message(&self.client, usage)).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
        let letters = self
            .client
            .get("/_local/queues/UsageEventsDeadLetters/messages", "")
            .await;
        assert_eq!(letters.body["messages"], json!([]), "{letters:?}");
    }

    async fn books(&self) -> Books {
        let books = Books::of(&self.client.stack, "u", &self.subscription).await;
        books.assert_exact();
        books
    }
}

async fn idle() -> Client {
    let options = Options {
        idle: true,
        ..Options::default()
    };
    Client::start_with(options).await
}

fn event(key: &str) -> Value {
    json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 1, "idempotency_key": key})
}

async fn reserve(client: &Client, metric: &str, quantity: u32) -> String {
    let body = json!({"user_id": "u", "metric_type": metric, "quantity": quantity, "ttl_seconds": 3600});
    let made = client.post(RESERVATIONS, SERVICE, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().expect("an id").to_owned()
}

fn message(client: &Client, body: &Value) -> Value {
    let sent_at = client.now().timestamp_millis().to_string();
    json!({"Records": [{
        "messageId": "m", "receiptHandle": "r", "body": body.to_string(), "eventSource": "aws:sqs",
        "attributes": {"SentTimestamp": sent_at, "ApproximateReceiveCount": "1"},
    }]})
}

const MONTH: i64 = 32 * 86_400;

/// First and second event, and that of the commit. The level has no period that could be closed: its
/// commit is carried out when the books are looked at.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_settles_it() {
    let left = Left::behind().await;
    left.later(120).await;
    let path = format!("/api/v1/usage/admin/subscriptions/{}/renew", left.subscription);
    let renewed = left.client.post(&path, ADMIN, json!({})).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let books = left.books().await;
    books.assert_closed(&left.period_start);
    assert_eq!(books.events(), 3);
    let asked = json!({"user_id": "u"});
    let looked = left.client.post("/api/v1/usage/admin/reconcile", ADMIN, asked).await;
    assert_eq!(looked.status, 200, "{looked:?}");
    assert_eq!(left.books().await.events(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_close_of_its_period_settles_it() {
    let left = Left::behind().await;
    left.later(MONTH).await;
    let closed = left
        .invoke("LifecycleJob", &json!({"detail-type": "Scheduled Event"}))
        .await;
    assert_eq!(closed["failed"], 0, "{closed}");
    let books = left.books().await;
    books.assert_closed(&left.period_start);
    assert_eq!(books.events(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciliation_settles_it() {
    let left = Left::behind().await;
    left.later(MONTH).await;
    let night = left
        .invoke("ReconcileJob", &json!({"detail-type": "Scheduled Event"}))
        .await;
    assert_eq!(night["failed"], 0, "{night}");
    let books = left.books().await;
    books.assert_unheld();
    assert_eq!(books.events(), 4);
}

/// A counter that could not be judged is looked at again: its thresholds lie within what is pending,
/// and of the commit 80 and 90 % of it are left.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_judges_the_counter_settles_it() {
    let left = Left::behind().await;
    left.later(120).await;
    let (pk, sk) = (format!("SUB#{}", left.subscription), counter_sk(&left));
    let task = json!({"judge": {"user_id": "u", "pk": pk, "sk": sk}});
    let answer = left.invoke("AlertJob", &message(&left.client, &task)).await;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(left.books().await.events(), 3);
    assert_eq!(left.client.used("u", DOCUMENTS).await, 18);
    let alerts = left.client.get("/api/v1/usage/alerts?user_id=u", SERVICE).await;
    assert_eq!(alerts.body["alerts"].as_array().map(Vec::len), Some(2), "{alerts:?}");
}

/// A forecast begins with what the counters say.
#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_settles_it() {
    let left = Left::behind().await;
    left.later(120).await;
    for metric in [DOCUMENTS, STORAGE] {
        let asked = json!({"user_id": "u", "metric_type": metric});
        let answer = left.client.post("/api/v1/usage/forecast", SERVICE, asked).await;
        // No hours were computed here.
        assert_eq!(answer.body["code"], "insufficient_data", "{answer:?}");
    }
    assert_eq!(left.books().await.events(), 3);
}

/// So does the refresh of forecasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_of_forecasts_settles_it() {
    let left = Left::behind().await;
    left.later(120).await;
    let refreshed = left
        .invoke("AnalyticsRefreshJob", &json!({"detail-type": "Scheduled Event"}))
        .await;
    assert_eq!(refreshed["failed"], 0, "{refreshed}");
    assert_eq!(left.books().await.events(), 3);
}

/// And so does a report.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_settles_it() {
    let left = Left::behind().await;
    left.later(120).await;
    let asked = json!({"user_id": "u", "report_format": "json"});
    let made = left.client.post("/api/v1/usage/reports/generate", SERVICE, asked).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(left.books().await.events(), 3);
}

/// Also one that is made on schedule.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_report_settles_it() {
    let left = Left::behind().await;
    let asked = json!({"user_id": "u", "report_type": "summary", "report_format": "json", "frequency": "daily",
        "recipients": ["finance@example.com"]});
    let made = left.client.post("/api/v1/usage/report-schedules", SERVICE, asked).await;
    assert_eq!(made.status, 201, "{made:?}");
    left.later(86_400).await;
    let ran = left
        .invoke("ReportJob", &json!({"detail-type": "Scheduled Event"}))
        .await;
    assert_eq!((&ran["made"], &ran["failed"]), (&json!(1), &json!(0)), "{ran}");
    assert_eq!(left.books().await.events(), 3);
}

fn counter_sk(left: &Left) -> String {
    let start: chrono::DateTime<chrono::Utc> = left.period_start.parse().expect("an instant");
    format!("CTR#{}#{DOCUMENTS}", start.format("%Y-%m-%dT%H:%M:%S%.3fZ"))
}

/// Usage from the queue is not enforced. Of a period that was closed since its writer looked it goes to
/// the running one's counter, which is crowded and is tidied; a level comes under the terms of the
/// period that has begun.
#[tokio::test(flavor = "multi_thread")]
async fn usage_from_the_queue_settles_it() {
    let left = Left::behind().await;
    left.later(120).await;
    let before = (left.client.now() - TimeDelta::seconds(MONTH)).to_rfc3339();
    let of_before = |key: &str| {
        let mut event = event(key);
        event["timestamp"] = json!(before);
        event
    };
    left.queued(&of_before("in time")).await;
    let closed = left
        .invoke("LifecycleJob", &json!({"detail-type": "Scheduled Event"}))
        .await;
    assert_eq!(closed["closed"], 1, "{closed}");
    left.queued(&of_before("late")).await;
    left.later(MONTH).await;
    left.queued(&json!({"user_id": "u", "metric_type": STORAGE, "metric_value": 3, "mode": "level"}))
        .await;
    assert_eq!(left.client.used("u", STORAGE).await, 3);
    // What is left is left to the night.
    left.invoke("ReconcileJob", &json!({"detail-type": "Scheduled Event"}))
        .await;
    left.books().await;
}

/// A record that can never be passed on lies where an alarm looks, and holds up nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_put_aside() {
    let client = idle().await;
    let functions = client.stack.instance(None).expect("an instance");
    let image = json!({"pk": {"S": "EVT#evt_0"}, "attempt": {"S": ""}, "user_id": {"S": "u"}});
    let record = json!({
        "eventID": "1", "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:dynamodb:us-east-1:1:table/Events/stream/1",
        "dynamodb": {"ApproximateCreationDateTime": 1769372896, "Keys": {"pk": {"S": "EVT#evt_0"}},
            "NewImage": image, "SequenceNumber": "1", "SizeBytes": 1, "StreamViewType": "NEW_IMAGE"},
    });
    let answer = functions
        .invoke("RelayJob", json!({"Records": [record]}).to_string())
        .await;
    assert_eq!(answer.expect("an answer"), r#"{"batchItemFailures":[]}"#);
    let listed = client.get("/_local/queues/RelayDeadLetters/messages", "").await;
    let letters = listed.body["messages"].as_array().expect("messages");
    assert_eq!(letters.len(), 1, "{listed:?}");
    assert!(letters[0].to_string().contains("evt_0"), "{listed:?}");
}

/// The secret that cursors are made with is made by whoever needs it first.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_of_all_may_be_for_aggregates() {
    let client = idle().await;
    let path = "/api/v1/usage/aggregations/api_calls?user_id=u";
    let answer = client.get(path, SERVICE).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
