//! A renewal or a cancellation stopped at each of its waits, sent again, and the stopped one going on
//! last of all: the same end, and the books exact.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use metering_edge::aws::dynamodb_client;
use reqwest::Method;
use serde_json::{Value, json};
use usage_local::Instance;

use crate::{
    books::Books,
    renewals::SUBSCRIPTIONS,
    support::{ADMIN, Answer, Client, until},
    wire::{Fate, Gate, Wire},
};

/// More waits than any of them has.
const WAITS_MAX: usize = 60;
const API_CALLS: &str = "api_calls";
const OCR: &str = "ocr_operations";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Renew,
    Cancel,
    CancelAtPeriodEnd,
}

impl Change {
    fn request(self) -> (&'static str, Value) {
        match self {
            Change::Renew => ("renew", json!({})),
            Change::Cancel => ("cancel", json!({})),
            Change::CancelAtPeriodEnd => ("cancel", json!({"at_period_end": true})),
        }
    }
}

fn event(user: &str, metric: &str, key: &str) -> Value {
    json!({"user_id": user, "metric_type": metric, "metric_value": 1, "idempotency_key": key})
}

struct Case<'a> {
    client: &'a Client,
    change: Change,
    key: Option<&'static str>,
    user: String,
    subscription: String,
    instance: Instance,
    gate: Arc<Gate>,
}

impl<'a> Case<'a> {
    async fn new(client: &'a Client, change: Change, key: Option<&'static str>, wait: usize) -> Self {
        let user = format!("{change:?}-{}-{wait}", key.unwrap_or("no"));
        let subscription = client.subscribe(&user, "basic").await;
        client.clock(json!({"advance_seconds": 1})).await;
        for number in 0..3 {
            let tracked = client.track(event(&user, API_CALLS, &format!("k{number}"))).await;
            assert_eq!(tracked.status, 201, "{tracked:?}");
        }
        client.track(event(&user, OCR, "ocr")).await;
        let (wire, gate) = Wire::stopping(wait);
        let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
        Self {
            client,
            change,
            key,
            user,
            subscription,
            instance,
            gate,
        }
    }

    async fn send(&self, base: &str) -> Answer {
        let (what, body) = self.change.request();
        let path = format!("{SUBSCRIPTIONS}/{}/{what}", self.subscription);
        let Some(key) = self.key else {
            let body = Some(body.to_string());
            return self.client.send_to(base, Method::POST, &path, Some(ADMIN), body).await;
        };
        let headers = [
            ("content-type", "application/json"),
            ("authorization", "Bearer mk_dev_admin"),
            ("idempotency-key", key),
        ];
        self.client
            .send_raw(base, &path, &headers, body.to_string().into())
            .await
    }

    async fn found(&self) -> Value {
        let path = format!("{SUBSCRIPTIONS}/{}", self.subscription);
        self.client.get(&path, ADMIN).await.body
    }

    /// How many instants its subscription's item lists under a name.
    async fn listed(&self, name: &str) -> usize {
        let engine = dynamodb_client(&self.client.stack.dynamodb_endpoint(), None);
        let key = |text: String| AttributeValue::S(text);
        let read = engine
            .get_item()
            .table_name(self.client.stack.state_table())
            .consistent_read(true);
        let read = read
            .key("pk", key(format!("SUB#{}", self.subscription)))
            .key("sk", key("SUB".to_owned()));
        let item = read.send().await.expect("a read").item.expect("the subscription");
        let list = item.get(name).and_then(|list| list.as_l().ok());
        list.map_or(0, Vec::len)
    }

    /// Runs it; false if the request did not wait so often.
    async fn holds(&self) -> bool {
        let base = self.instance.url();
        let before = self.found().await;
        let stopped = self.send(&base);
        tokio::pin!(stopped);
        tokio::select! {
            answer = &mut stopped => {
                assert_eq!(answer.status, 200, "{}: {answer:?}", self.user);
                self.check(&before).await;
                return false;
            }
            () = self.gate.reached() => {}
        }
        let (hanging, left) = (self.found().await, self.listed("sealing").await);
        self.client.clock(json!({"advance_seconds": 1})).await;
        let again = self.send(&self.client.stack.url()).await;
        assert_eq!(again.status, 200, "{}: {again:?}", self.user);
        let end = self.found().await;
        self.check(&before).await;
        self.gate.open();
        let last = stopped.await;
        assert_eq!(last.status, 200, "{}: {last:?}", self.user);
        assert_eq!(
            self.found().await,
            end,
            "{}: the stopped request changed it again",
            self.user
        );
        self.check(&before).await;
        // One renewal, though it was asked for twice. Without a key the second request cannot know it
        // once all is sealed and only the answer is missing: then it is a renewal of its own.
        let known = self.key.is_some() || hanging == before || left > 0;
        if known && self.change == Change::Renew {
            assert_eq!(self.listed("renewals").await, 1, "{}", self.user);
        }
        if known && hanging != before {
            assert_eq!(end, hanging, "{}", self.user);
        }
        assert!(self.key.is_none() || again.body == last.body, "{}", self.user);
        true
    }

    /// The end that is asked for, and books that agree with it; usage goes on as it should.
    async fn check(&self, before: &Value) {
        let books = Books::of(&self.client.stack, &self.user, &self.subscription).await;
        books.assert_exact();
        assert_eq!(books.used(), books.events().into(), "{}", self.user);
        let found = self.found().await;
        let start = before["current_period_start"]
            .as_str()
            .expect("a start")
            .replace('Z', ".000Z");
        match self.change {
            Change::Renew => {
                books.assert_closed(&start);
                assert_eq!(found["status"], json!("active"));
                assert_ne!(
                    found["current_period_start"], before["current_period_start"],
                    "{}",
                    self.user
                );
                assert_eq!(self.client.used(&self.user, API_CALLS).await, json!(0), "{}", self.user);
            }
            Change::Cancel => {
                books.assert_closed(&start);
                assert_eq!(found["status"], json!("cancelled"), "{}", self.user);
                let refused = self.client.track(event(&self.user, API_CALLS, "after")).await;
                assert_eq!(refused.status, 409, "{}: {refused:?}", self.user);
            }
            Change::CancelAtPeriodEnd => {
                assert_eq!(found["cancel_at"], before["current_period_end"], "{}", self.user);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_change_stops_it_ends_the_same_when_sent_again() {
    let client = Client::start().await;
    let mut waits = 0;
    for change in [Change::Renew, Change::Cancel, Change::CancelAtPeriodEnd] {
        for key in [Some("key"), None] {
            for wait in 0..WAITS_MAX * 2 {
                if !Case::new(&client, change, key, wait).await.holds().await {
                    assert!(wait > 8, "{change:?} has more waits than {wait}");
                    break;
                }
                waits += 1;
            }
        }
    }
    println!("{waits} interrupted changes");
}

/// An admission stopped at each of its waits, a renewal, and the admission going on: it counts once,
/// in one period or the other.
#[tokio::test(flavor = "multi_thread")]
async fn an_admission_under_way_counts_before_or_after_a_renewal() {
    let client = Client::start().await;
    let mut waits = 0;
    for born in [true, false] {
        for wait in 0..WAITS_MAX {
            let user = format!("u-{born}-{wait}");
            let subscription = client.subscribe(&user, "basic").await;
            client.clock(json!({"advance_seconds": 1})).await;
            if born {
                client.track(event(&user, API_CALLS, "first")).await;
            }
            let (wire, gate) = Wire::stopping(wait);
            let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
            let base = instance.url();
            let stopped = client.track_at(&base, event(&user, API_CALLS, "k"));
            tokio::pin!(stopped);
            let ran = tokio::select! {
                answer = &mut stopped => { assert_eq!(answer.status, 201); true }
                () = gate.reached() => false,
            };
            if ran {
                break;
            }
            waits += 1;
            let before = client.get(&format!("{SUBSCRIPTIONS}/{subscription}"), ADMIN).await.body;
            let renewed = client
                .post(&format!("{SUBSCRIPTIONS}/{subscription}/renew"), ADMIN, json!({}))
                .await;
            assert_eq!(renewed.status, 200, "{renewed:?}");
            let start = before["current_period_start"]
                .as_str()
                .expect("a start")
                .replace('Z', ".000Z");
            let check = async || {
                let books = Books::of(&client.stack, &user, &subscription).await;
                books.assert_exact();
                books.assert_closed(&start);
                books
            };
            check().await;
            gate.open();
            let answer = stopped.await;
            assert!(matches!(answer.status, 200 | 201), "{user}: {answer:?}");
            let again = client.track(event(&user, API_CALLS, "k")).await;
            assert_eq!((again.status, &again.body["usage_id"]), (200, &answer.body["usage_id"]));
            assert_eq!(again.body["late"], answer.body["late"], "{user}");
            let books = check().await;
            let events = 1 + usize::from(born);
            assert_eq!((books.events(), books.used()), (events, events.into()), "{user}");
        }
    }
    assert!(waits > 12, "{waits}");
    println!("{waits} admissions met a renewal");
}

/// A renewal that died before anything was sealed, and nobody sends again: the next one finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_renewal_finishes_what_the_last_one_left() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    client.clock(json!({"advance_seconds": 1})).await;
    client.track(event("u", API_CALLS, "k")).await;
    let path = format!("{SUBSCRIPTIONS}/{subscription}");
    let first = client.get(&path, ADMIN).await.body["current_period_start"].clone();
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let wire = Wire::new(move |call| match call.operation.as_str() {
        "TransactWriteItems" => Fate::HoldAfter(Arc::clone(&held)),
        _ => Fate::Pass,
    });
    let dying = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let (url, renew) = (dying.url(), format!("{path}/renew"));
    let body = Some("{}".to_owned());
    let stopped = client.send_to(&url, Method::POST, &renew, Some(ADMIN), body);
    tokio::pin!(stopped);
    until(&mut stopped, gate.reached()).await;
    let second = client.get(&path, ADMIN).await.body["current_period_start"].clone();
    assert_ne!(first, second, "the period has ended");
    // So late that it cannot be the same request again.
    client.clock(json!({"advance_seconds": 16 * 60})).await;
    let next = client.post(&renew, ADMIN, json!({})).await;
    assert_ne!((next.status, &next.body["current_period_start"]), (200, &second));
    let books = Books::read(&client.stack).await;
    for start in [first, second] {
        let start = start.as_str().expect("a start").replace('Z', ".000Z");
        books.assert_closed(&start);
    }
    books.assert_exact();
}
