//! Reservations whose requests stop at each of their waits, are sent again, and go on last of all;
//! and many at once, with a clock that jumps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt as _, stream};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use usage_local::Instance;

use crate::{
    books::Books,
    support::{Answer, Client, SERVICE},
    wire::{Fate, Gate, Meeting, Wire},
};

const PATH: &str = "/api/v1/usage/reservations";
/// More waits than any request has.
const WAITS_MAX: usize = 40;

/// What is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Commit,
    Release,
    Renew,
}

/// When it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    AtOnce,
    /// The hold has expired by then.
    AfterTwoMinutes,
    /// The period was ended and sealed by then.
    AfterARenewal,
}

const STEPS: [Step; 4] = [Step::Create, Step::Commit, Step::Release, Step::Renew];
const AGAIN: [Again; 3] = [Again::AtOnce, Again::AfterTwoMinutes, Again::AfterARenewal];
const METRICS: [&str; 3] = ["ocr_operations", "storage_usage", "user_sessions"];

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_request_stops_it_takes_place_once() {
    let client = Client::start().await;
    let mut waits = 0;
    for metric in METRICS {
        for step in STEPS {
            if metric == "user_sessions" && step == Step::Commit {
                continue;
            }
            for again in AGAIN {
                for wait in 0..WAITS_MAX * 2 {
                    let case = Case::new(&client, metric, step, again, wait).await;
                    if !case.holds().await {
                        assert!(wait > 2, "{step:?}: it has more waits than {wait}");
                        break;
                    }
                    waits += 1;
                }
            }
        }
    }
    println!("{waits} interrupted requests");
}

/// One request about 3 of a cap of 5, of which 2 are used, stopped before (even) or after (odd) its
/// nth request to the engine.
struct Case<'a> {
    client: &'a Client,
    metric: &'static str,
    step: Step,
    again: Again,
    user: String,
    subscription: String,
    made: String,
    instance: Instance,
    gate: Arc<Gate>,
}

impl<'a> Case<'a> {
    async fn new(client: &'a Client, metric: &'static str, step: Step, again: Again, wait: usize) -> Self {
        let user = format!("{metric}-{step:?}-{again:?}-{wait}");
        let subscription = client.subscribe(&user, "basic").await;
        client.limit(&user, metric, 5).await;
        if metric == "user_sessions" {
            for _ in 0..2 {
                let body = json!({"user_id": user, "metric_type": metric, "quantity": 1, "ttl_seconds": 86_400});
                assert_eq!(client.post(PATH, SERVICE, body).await.status, 201);
            }
        } else {
            let mode = if metric == "storage_usage" {
                json!("delta")
            } else {
                Value::Null
            };
            let mut event = json!({"user_id": user, "metric_type": metric, "metric_value": 2, "mode": mode});
            if mode.is_null() {
                event.as_object_mut().expect("an object").remove("mode");
            }
            assert_eq!(client.track(event).await.status, 201);
        }
        let body = json!({"user_id": user, "metric_type": metric, "quantity": 3, "ttl_seconds": 60});
        let made = match step {
            Step::Create => String::new(),
            _ => {
                let made = client.post(PATH, SERVICE, body).await;
                made.body["id"].as_str().expect("an id").to_owned()
            }
        };
        let (wire, gate) = Wire::stopping(wait);
        let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
        Self {
            client,
            metric,
            step,
            again,
            user,
            subscription,
            made,
            instance,
            gate,
        }
    }

    async fn send(&self, base: &str) -> Answer {
        let create = json!({"user_id": self.user, "metric_type": self.metric, "quantity": 3, "ttl_seconds": 60});
        let (path, body) = match self.step {
            Step::Create => (PATH.to_owned(), create),
            Step::Commit => (format!("{PATH}/{}/commit", self.made), json!({"quantity": 3})),
            Step::Release => (format!("{PATH}/{}/release", self.made), json!({})),
            Step::Renew => (format!("{PATH}/{}/renew", self.made), json!({"ttl_seconds": 60})),
        };
        let bearer = format!("Bearer {SERVICE}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("idempotency-key", self.user.as_str()),
            ("content-type", "application/json"),
        ];
        let url = format!("{base}{path}");
        let body = body.to_string().into_bytes();
        self.client.send_with(Method::POST, url, &headers, Some(body)).await
    }

    /// Runs it; false if the request did not wait so often.
    async fn holds(&self) -> bool {
        let base = self.instance.url();
        let stopped = self.send(&base);
        tokio::pin!(stopped);
        tokio::select! {
            answer = &mut stopped => {
                assert!(matches!(answer.status, 200 | 201), "{}: {answer:?}", self.user);
                return false;
            }
            () = self.gate.reached() => {}
        }
        self.turn().await;
        // Somebody else wants the room meanwhile: nobody gets what is decided for another.
        let rival = self.rival(3).await;
        self.check("before it is sent again").await;
        let first = self.send(&self.client.stack.url()).await;
        self.check("while the first hangs").await;
        self.gate.open();
        let last = stopped.await;
        self.check("after the first went on").await;
        self.assert_agree(&first, &last, rival).await;
        self.rest(&first).await;
        true
    }

    async fn turn(&self) {
        match self.again {
            Again::AtOnce => {}
            Again::AfterTwoMinutes => self.client.clock(json!({"advance_seconds": 120})).await,
            Again::AfterARenewal => {
                let path = format!("/api/v1/usage/admin/subscriptions/{}/renew", self.subscription);
                let renewed = self.client.post(&path, crate::support::ADMIN, json!({})).await;
                assert_eq!(renewed.status, 200, "{renewed:?}");
            }
        }
    }

    /// Reserves some, as another would; whether it got it.
    async fn rival(&self, quantity: u32) -> bool {
        let body = json!({"user_id": self.user, "metric_type": self.metric, "quantity": quantity, "ttl_seconds": 30});
        let answer = self.client.post(PATH, SERVICE, body).await;
        assert!(matches!(answer.status, 201 | 429), "{}: {answer:?}", self.user);
        answer.status == 201
    }

    /// The two answers to one request say the same.
    async fn assert_agree(&self, first: &Answer, last: &Answer, rival: bool) {
        let what = format!("{} (rival {rival}): {first:?} {last:?}", self.user);
        let good = |answer: &Answer| matches!(answer.status, 200 | 201);
        match self.step {
            // Without a key it would be two; with one it is the same.
            Step::Create => {
                assert!(good(first) || first.status == 429 || first.status == 503, "{what}");
                if good(first) && good(last) {
                    assert_eq!(first.body["id"], last.body["id"], "{what}");
                }
            }
            Step::Commit | Step::Release => {
                assert_eq!(first.status, last.status, "{what}");
                assert_eq!(first.body["usage_id"], last.body["usage_id"], "{what}");
                assert_eq!(first.body["status"], last.body["status"], "{what}");
            }
            Step::Renew => {
                assert!(good(first) || first.status == 409, "{what}");
                assert!(good(last) || last.status == 409, "{what}");
            }
        }
    }

    /// Usage is what was committed, and nothing is above the cap.
    async fn check(&self, when: &str) {
        let books = Books::of(&self.client.stack, &self.user, &self.subscription).await;
        books.assert_exact();
        if self.again != Again::AfterARenewal {
            books.assert_within_cap(&format!("{} {when}", self.user));
        }
    }

    /// An hour later nothing is held, and what was committed is used, once.
    async fn rest(&self, first: &Answer) {
        let committed = self.step == Step::Commit && first.status == 200;
        self.client.clock(json!({"advance_seconds": 3_600})).await;
        let books = Books::of(&self.client.stack, &self.user, &self.subscription).await;
        books.assert_exact();
        if self.metric != "user_sessions" {
            let expected = if committed { 5 } else { 2 };
            assert_eq!(books.used(), expected.into(), "{}: {first:?}", self.user);
            let events = books.events();
            assert_eq!(events, 1 + usize::from(committed), "{}", self.user);
        }
        // Whoever asks now gets all that is left, which takes every expired hold off.
        let left = self.client.quota(&self.user, self.metric).await["available"].clone();
        if left != json!(0) {
            let body = json!({"user_id": self.user, "metric_type": self.metric, "quantity": left});
            let whole = self.client.post(PATH, SERVICE, body).await;
            assert_eq!(whole.status, 201, "{}: {whole:?}", self.user);
        }
    }
}

/// A random number of a seed's sequence, below `most`: SplitMix64 (Steele, Lea, Flood 2014).
fn draw(state: &mut u64, most: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % most
}

/// Two instances whose reads wait for each other.
struct Crowd {
    client: Client,
    instances: [Instance; 2],
}

impl Crowd {
    async fn start() -> Self {
        let client = Client::start().await;
        let meeting = Meeting::of(16);
        let instance = || {
            let meeting = Arc::clone(&meeting);
            let wire = Wire::new(move |call| match call.reads() {
                true => Fate::Meet(Arc::clone(&meeting)),
                false => Fate::Pass,
            });
            client.stack.instance(Some(wire.http_client())).expect("an instance")
        };
        let instances = [instance(), instance()];
        Self { client, instances }
    }

    async fn post(&self, state: &mut u64, path: &str, body: Value) -> Answer {
        let base = self.instances[draw(state, 2) as usize].url();
        let body = Some(body.to_string());
        self.client
            .send_to(&base, Method::POST, path, Some(SERVICE), body)
            .await
    }

    /// One reservation's life, as the seed has it; what it committed.
    async fn life(&self, seed: u64, metric: &str) -> Decimal {
        let mut state = seed;
        let quantity = Decimal::new(1 + draw(&mut state, 900) as i64, 2);
        let quantity = if metric == "user_sessions" {
            Decimal::ONE
        } else {
            quantity
        };
        let ttl = 1 + draw(&mut state, 20);
        let body = json!({"user_id": "u", "metric_type": metric, "quantity": quantity.to_string(), "ttl_seconds": ttl});
        let made = self.post(&mut state, PATH, body).await;
        assert!(matches!(made.status, 201 | 429), "{made:?}");
        if made.status == 429 {
            return Decimal::ZERO;
        }
        let id = made.body["id"].as_str().expect("an id").to_owned();
        for _ in 0..draw(&mut state, 3) {
            let path = format!("{PATH}/{id}/renew");
            let renewed = self
                .post(
                    &mut state,
                    &path,
                    json!({"ttl_seconds": 1 + draw(&mut seed.clone(), 20)}),
                )
                .await;
            assert!(matches!(renewed.status, 200 | 409), "{renewed:?}");
        }
        let actual = quantity * Decimal::new(draw(&mut state, 101) as i64, 2);
        let actual = actual.round_dp(4);
        match draw(&mut state, 4) {
            0 | 1 if metric != "user_sessions" => {
                // Five times, from both instances.
                let (path, body) = (format!("{PATH}/{id}/commit"), json!({"quantity": actual.to_string()}));
                let mut states = [state, state + 1, state + 2, state + 3, state + 4];
                let sends = states.iter_mut().map(|state| self.post(state, &path, body.clone()));
                let answers = futures::future::join_all(sends).await;
                let good = answers.iter().filter(|answer| answer.status == 200).count();
                assert!(
                    answers.iter().all(|answer| matches!(answer.status, 200 | 409)),
                    "{answers:?}"
                );
                let firsts = answers
                    .iter()
                    .filter(|one| one.status == 200 && one.body["duplicate"] == json!(false));
                assert_eq!(firsts.count(), good.min(1), "{answers:?}");
                if good > 0 { actual } else { Decimal::ZERO }
            }
            2 => {
                let path = format!("{PATH}/{id}/release");
                let released = self.post(&mut state, &path, json!({})).await;
                assert_eq!(released.status, 200, "{released:?}");
                Decimal::ZERO
            }
            _ => Decimal::ZERO,
        }
    }

    /// Looks at the books, and moves the clock forth and sometimes back, until it is told to stop.
    async fn watch(&self, stop: &AtomicBool) -> usize {
        let (mut looks, mut state) = (0, 7);
        while !stop.load(Ordering::Acquire) {
            let books = Books::of(&self.client.stack, "u", "none").await;
            books.assert_within_cap("at any moment");
            let step = match draw(&mut state, 5) {
                0 => -3,
                step => step as i64,
            };
            self.client.clock(json!({"advance_seconds": step})).await;
            looks += 1;
        }
        looks
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_never_pass_the_cap_and_leave_nothing() {
    for (metric, cap) in [("ocr_operations", 100), ("storage_usage", 100), ("user_sessions", 20)] {
        let crowd = Crowd::start().await;
        crowd.client.limit("u", metric, cap).await;
        let stop = AtomicBool::new(false);
        let lives = async {
            let lives = (0..200).map(|seed| crowd.life(1_000 + seed, metric));
            let committed: Vec<Decimal> = stream::iter(lives).buffer_unordered(200).collect().await;
            stop.store(true, Ordering::Release);
            committed.into_iter().sum::<Decimal>()
        };
        let (committed, looks) = futures::future::join(lives, crowd.watch(&stop)).await;
        assert!(looks > 3, "the books were looked at");

        crowd.client.clock(json!({"advance_seconds": 86_400})).await;
        let quota = crowd.client.quota("u", metric).await;
        let used: Decimal = quota["current_usage"].to_string().parse().expect("a number");
        assert_eq!(used, committed, "{metric}: used is what was committed");
        assert_eq!(quota["held"], json!(0), "{metric}");
        // Expired holds are still on the item; they do not block.
        let left = Decimal::from(cap) - used;
        let body = json!({"user_id": "u", "metric_type": metric, "quantity": left.to_string(), "ttl_seconds": 10});
        let rest = crowd.client.post(PATH, SERVICE, body).await;
        assert_eq!(rest.status, 201, "{metric}: {rest:?}");
        let path = format!("{PATH}/{}/release", rest.body["id"].as_str().expect("an id"));
        assert_eq!(crowd.client.post(&path, SERVICE, json!({})).await.status, 200);
        let books = Books::of(&crowd.client.stack, "u", "none").await;
        books.assert_exact();
        books.assert_unheld();
        println!("{metric}: {committed} committed, the books looked at {looks} times");
    }
}
