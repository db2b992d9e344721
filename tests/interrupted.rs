//! An attempt stopped at each of its waits, its identity sent again, and the stopped one going on
//! last of all: counted once, under one id, never lost and never denied.

use std::sync::Arc;

use serde_json::{Value, json};
use usage_local::Instance;

use crate::{
    books::Books,
    support::{Answer, Client, until},
    wire::{Fate, Gate, Wire},
};

/// What the attempt meets.
#[derive(Debug, Clone, Copy)]
enum Situation {
    /// No counter yet.
    Unborn,
    /// A counter, and room.
    Room,
    /// Exactly what it takes is left, so that what it leaves pending stands in its own way.
    LastRoom,
    /// Above the cap, unenforced.
    Over,
    /// A gauge.
    Gauge,
}

/// When its identity is sent again.
#[derive(Debug, Clone, Copy)]
enum Again {
    AtOnce,
    AfterAMinute,
    InTheNextPeriod,
    UnderAnotherPlan,
}

const SITUATIONS: [Situation; 5] = [
    Situation::Unborn,
    Situation::Room,
    Situation::LastRoom,
    Situation::Over,
    Situation::Gauge,
];
const AGAIN: [Again; 4] = [
    Again::AtOnce,
    Again::AfterAMinute,
    Again::InTheNextPeriod,
    Again::UnderAnotherPlan,
];
/// More waits than any attempt has.
const WAITS_MAX: usize = 40;
const DOCUMENTS: &str = "document_processing";

#[tokio::test(flavor = "multi_thread")]
async fn wherever_an_attempt_stops_its_retry_counts_once() {
    let client = Client::start().await;
    let mut waits = 0;
    for situation in SITUATIONS {
        for again in AGAIN {
            for wait in 0..WAITS_MAX * 2 {
                let case = Case::new(&client, situation, again, wait).await;
                if !case.holds().await {
                    assert!(wait > 4, "{situation:?}: an attempt has more waits than {wait}");
                    break;
                }
                waits += 1;
            }
        }
    }
    println!("{waits} interrupted attempts");
}

/// One attempt of a user of its own, stopped before (even) or after (odd) its nth request to the
/// engine.
struct Case<'a> {
    client: &'a Client,
    situation: Situation,
    again: Again,
    user: String,
    subscription: String,
    instance: Instance,
    gate: Arc<Gate>,
}

impl<'a> Case<'a> {
    async fn new(client: &'a Client, situation: Situation, again: Again, wait: usize) -> Self {
        let user = format!("{situation:?}-{again:?}-{wait}");
        let subscription = client.subscribe(&user, "basic").await;
        let before = |value| json!({"user_id": user, "metric_type": DOCUMENTS, "metric_value": value});
        match situation {
            Situation::Unborn | Situation::Gauge => {}
            Situation::Room => drop(client.track(before(2)).await),
            Situation::LastRoom => {
                client.limit(&user, DOCUMENTS, 5).await;
                client.track(before(2)).await;
            }
            Situation::Over => {
                client.limit(&user, DOCUMENTS, 2).await;
                client.track(before(2)).await;
            }
        }
        let (wire, gate) = Wire::stopping(wait);
        let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
        Self {
            client,
            situation,
            again,
            user,
            subscription,
            instance,
            gate,
        }
    }

    fn event(&self) -> Value {
        let mut event =
            json!({"user_id": self.user, "metric_type": DOCUMENTS, "metric_value": 3, "idempotency_key": "k"});
        match self.situation {
            Situation::Gauge => {
                event["metric_type"] = json!("storage_usage");
                event["mode"] = json!("delta");
            }
            Situation::Over => event["enforce"] = json!(false),
            Situation::Unborn | Situation::Room | Situation::LastRoom => {}
        }
        event
    }

    /// What the situation used before.
    fn before(&self) -> u32 {
        match self.situation {
            Situation::Unborn | Situation::Gauge => 0,
            Situation::Room | Situation::LastRoom | Situation::Over => 2,
        }
    }

    /// Runs it; false if the attempt did not wait so often.
    async fn holds(&self) -> bool {
        let base = self.instance.url();
        let stopped = self.client.track_at(&base, self.event());
        tokio::pin!(stopped);
        tokio::select! {
            answer = &mut stopped => {
                assert_eq!(answer.status, 201, "{}: {answer:?}", self.user);
                return false;
            }
            () = self.gate.reached() => {}
        }
        self.turn().await;
        let first = self.client.track(self.event()).await;
        assert!(matches!(first.status, 200 | 201), "{}: {first:?}", self.user);
        let second = self.client.track(self.event()).await;
        self.assert_same(&first, &second, 200);
        self.check("while the first attempt hangs").await;
        self.gate.open();
        let last = stopped.await;
        // Of those who answer, exactly one says that it recorded the event.
        self.assert_same(&first, &last, if first.status == 201 { 200 } else { 201 });
        self.check("after the first attempt went on").await;
        true
    }

    async fn turn(&self) {
        match self.again {
            Again::AtOnce => {}
            Again::AfterAMinute => self.client.clock(json!({"advance_seconds": 61})).await,
            Again::InTheNextPeriod => self.client.clock(json!({"advance_seconds": 32 * 86_400})).await,
            Again::UnderAnotherPlan => {
                let path = format!("/api/v1/usage/admin/subscriptions/{}", self.subscription);
                let changed = self.client.patch(&path, json!({"plan": "professional"})).await;
                assert_eq!(changed.status, 200, "{changed:?}");
            }
        }
    }

    fn assert_same(&self, first: &Answer, other: &Answer, status: u16) {
        assert_eq!(
            (other.status, &other.body["usage_id"]),
            (status, &first.body["usage_id"]),
            "{}: {first:?} {other:?}",
            self.user
        );
        for field in ["late", "over_limit"] {
            assert_eq!(other.body[field], first.body[field], "{}: {field}", self.user);
        }
    }

    async fn check(&self, when: &str) {
        let books = Books::of(&self.client.stack, &self.user, &self.subscription).await;
        books.assert_exact();
        let events = usize::from(self.before() > 0) + 1;
        assert_eq!(books.events(), events, "{} {when}", self.user);
        assert_eq!(books.used(), (self.before() + 3).into(), "{} {when}", self.user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_left_pending_makes_room_or_counts() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", DOCUMENTS, 5).await;
    let event = |key: &str, value: u32| json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": value, "idempotency_key": key});
    client.track(event("born", 1)).await;
    // An attempt that counted and never confirms.
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let wire = Wire::new(move |call| match call.operation.as_str() {
        "PutItem" => Fate::HoldBefore(Arc::clone(&held)),
        _ => Fate::Pass,
    });
    let dying = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let url = dying.url();
    let stopped = client.track_at(&url, event("dies", 4));
    tokio::pin!(stopped);
    until(&mut stopped, gate.reached()).await;
    assert_eq!(
        client.track(event("waits", 2)).await.status,
        429,
        "it may yet be admitted"
    );
    client.clock(json!({"advance_seconds": 61})).await;
    assert_eq!(
        client.track(event("waits", 2)).await.status,
        201,
        "its writer is gone for good"
    );
    gate.open();
    assert_eq!(stopped.await.status, 429, "it starts again and finds too little");
    assert_eq!(client.used("u", DOCUMENTS).await, json!(3));
    Books::read(&client.stack).await.assert_exact();
}

/// It looks for its event, finds none, and then its twin is admitted, takes the last room, and
/// leaves no trace on the counter.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_looked_too_early_is_not_denied() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", DOCUMENTS, 3).await;
    let event = json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 3, "idempotency_key": "k"});
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let wire = Wire::new(move |call| match call.operation.as_str() {
        "UpdateItem" if call.touches("CTR#") => Fate::HoldBefore(Arc::clone(&held)),
        _ => Fate::Pass,
    });
    let slow = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let url = slow.url();
    let retry = client.track_at(&url, event.clone());
    tokio::pin!(retry);
    until(&mut retry, gate.reached()).await;
    let twin = client.track(event).await;
    assert_eq!(twin.status, 201);
    // The next write takes the twin's entry off the counter.
    let nothing = json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 0});
    assert_eq!(client.track(nothing).await.status, 201);
    gate.open();
    let answer = retry.await;
    assert_eq!(
        (answer.status, &answer.body["usage_id"]),
        (200, &twin.body["usage_id"]),
        "{answer:?}"
    );
}
