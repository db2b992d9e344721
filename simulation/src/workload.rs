//! What happens in a run: users with subscriptions, and what is done to them, many things at once.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::future::join_all;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    client::{Call, Client, Reply},
    fault::Fault,
    ledger::{Denial, Reported, Reserved, Told},
    time::sleep_ms,
};

/// Only enforced usage is counted of it: nothing may ever pass its cap.
pub const STRICT: &str = "ocr_operations";
/// Anything may happen to it.
pub const LOOSE: &str = "api_calls";
/// It derives pages.
pub const DOCUMENTS: &str = "document_processing";
/// A gauge.
pub const STORAGE: &str = "storage_usage";
/// A lease.
pub const SESSIONS: &str = "user_sessions";

/// How many actors work on a user at once.
const ACTORS: usize = 3;

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// Their id.
    pub id: String,
    /// Their subscription.
    pub subscription: String,
    /// The zone of their periods.
    pub zone: &'static str,
}

/// Where a run takes place in time: shortly before something happens to the calendar.
pub fn start(choice: u64) -> (DateTime<Utc>, &'static str) {
    let places = [
        ("2026-01-31T23:57:30Z", "UTC"),
        // Summer time begins at 01:00 UTC, the day at 23:00 UTC before.
        ("2026-03-29T00:58:00Z", "Europe/Berlin"),
        ("2026-03-28T22:57:30Z", "Europe/Berlin"),
        // It ends.
        ("2026-11-01T05:58:00Z", "America/New_York"),
        ("2026-11-01T03:57:30Z", "America/New_York"),
        // Half an hour of it.
        ("2026-04-04T14:58:00Z", "Australia/Lord_Howe"),
    ];
    let (text, zone) = places[usize::try_from(choice).unwrap_or(0) % places.len()];
    let at = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    (at.unwrap_or_default(), zone)
}

impl Client {
    /// Makes users, before anything can go wrong.
    pub async fn users(&self, zone: &'static str) -> Vec<User> {
        let mut users = Vec::new();
        for number in 0..self.dice.between(2, 3) {
            let user = User {
                id: format!("user-{number}"),
                subscription: format!("sub-{number}"),
                zone,
            };
            let length = *self.dice.pick(&["day", "month"]);
            let begun = (self.world.time.now() - TimeDelta::days(40)).to_rfc3339_opts(SecondsFormat::Secs, true);
            let body = json!({"id": user.subscription, "user_id": user.id, "plan": "basic", "timezone": zone,
                "period_length": length, "starts_at": begun});
            self.persist(&Call::post("/admin/subscriptions", body)).await;
            for (metric, limit) in [(STRICT, 12), (LOOSE, 40), (DOCUMENTS, 30), (STORAGE, 30), (SESSIONS, 3)] {
                self.limit(&user, metric, limit).await;
            }
            let settings = json!({"user_id": user.id, "email": "a@example.com", "notification_channels": ["email"]});
            let mut call = Call::post("/notification-settings", settings);
            call.method = "PUT";
            self.persist(&call).await;
            for metric in [STRICT, SESSIONS] {
                self.world.wire.watch(&format!("SUB#{}", user.subscription), metric);
            }
            users.push(user);
        }
        users
    }

    async fn limit(&self, user: &User, metric: &str, limit: u64) -> Reply {
        let body = json!({"user_id": user.id, "subscription_id": user.subscription, "metric_type": metric,
            "quota_limit": limit, "allow_overage": false});
        let mut call = Call::post("/admin/quotas", body);
        call.method = "PUT";
        self.persist(&call).await
    }

    /// All that happens to these users.
    pub async fn work(&self, users: &[User], turns: u64) {
        let actors = users.iter().flat_map(|user| {
            (0..ACTORS).map(move |_| {
                let own = Self {
                    dice: self.dice.fork(),
                    ..self.clone()
                };
                async move {
                    for _ in 0..turns {
                        sleep_ms(own.dice.below(9_000)).await;
                        own.turn(user).await;
                    }
                }
            })
        });
        join_all(actors).await;
    }

    async fn turn(&self, user: &User) {
        match self.dice.below(100) {
            0..30 => self.track(user).await,
            30..38 => self.batch(user).await,
            38..48 => self.enqueue(user),
            48..66 => self.reservation(user).await,
            66..72 => self.session(user).await,
            72..82 => self.gauge(user).await,
            82..87 => self.void(user).await,
            87..90 => drop(self.limit(user, LOOSE, self.dice.between(20, 60)).await),
            90..91 => self.plan(user).await,
            91..93 => self.reset(user).await,
            93..94 => self.threshold(user).await,
            94..96 => self.renew(user).await,
            96..99 => self.jump().await,
            _ => self.look(user).await,
        }
    }

    fn reported(&self, user: &User, metric: &'static str, value: u64, enforced: bool, named: bool) -> Reported {
        Reported {
            user: user.id.clone(),
            metric,
            value: Decimal::from(value),
            enforced,
            named,
            from_ms: self.now_ms(),
            to_ms: self.now_ms(),
            told: Told::Nothing,
            unanswered: 0,
            usage_id: None,
            voided: (false, false),
        }
    }

    /// The body of an event; its number is its resource, so that it can be found again.
    fn event(&self, number: usize, one: &Reported, user: &User) -> Value {
        let mut body = json!({"user_id": one.user, "subscription_id": user.subscription, "metric_type": one.metric,
            "metric_value": one.value.to_string(), "resource_id": format!("op-{number}")});
        if one.metric == DOCUMENTS {
            body["metadata"] = json!({"pages": 3});
        }
        if self.dice.happens(150) {
            let before = self.world.time.now() - TimeDelta::seconds(i64::try_from(self.dice.below(600)).unwrap_or(0));
            body["timestamp"] = json!(before.to_rfc3339_opts(SecondsFormat::Millis, true));
        }
        body
    }

    fn metric(&self) -> (&'static str, bool) {
        let metric = *self.dice.pick(&[STRICT, STRICT, LOOSE, DOCUMENTS]);
        (metric, metric == STRICT || self.dice.happens(600))
    }

    async fn track(&self, user: &User) {
        let (metric, enforced) = self.metric();
        let named = self.dice.happens(800);
        let one = self.reported(user, metric, self.dice.between(1, 4), enforced, named);
        let number = self.ledger.report(one.clone());
        let mut body = self.event(number, &one, user);
        if !enforced {
            body["enforce"] = json!(false);
        }
        let mut call = Call::post("/track", body);
        if named {
            call = call.named(format!("op-{number}"));
        }
        let reply = match named {
            true => self.persist_both(&call).await,
            // Without a name it is sent once: again would be another.
            false => {
                let reply = self.send(&call).await;
                let unanswered = usize::from(reply.status == 0 || reply.status >= 500);
                Reply { unanswered, ..reply }
            }
        };
        self.note(number, &one, &reply, reply.status, &reply.body);
    }

    /// Sends what has a name, sometimes twice at once; the better of the answers.
    async fn persist_both(&self, call: &Call) -> Reply {
        if !self.dice.happens(250) {
            return self.persist(call).await;
        }
        let (first, second) = futures::future::join(self.persist(call), self.persist(call)).await;
        let unanswered = first.unanswered + second.unanswered;
        let is_recorded = matches!(first.status, 200 | 201);
        let better = if is_recorded { first } else { second };
        // Where one was denied, the other may have been under way.
        Reply {
            unanswered: unanswered + usize::from(!matches!(better.status, 200 | 201)),
            ..better
        }
    }

    /// Notes what an answer said of reported usage.
    fn note(&self, number: usize, one: &Reported, reply: &Reply, status: u16, body: &Value) {
        let now = self.now_ms();
        let told = match status {
            200 | 201 => Told::Recorded,
            429 => Told::Denied,
            0 | 500.. => Told::Nothing,
            _ => Told::Refused,
        };
        if told == Told::Denied {
            self.ledger.denied(Denial {
                user: one.user.clone(),
                metric: one.metric,
                value: one.value,
                span_ms: (reply.sent_ms, now),
            });
        }
        self.ledger.told(number, |known| {
            known.to_ms = now;
            known.told = told;
            known.unanswered += reply.unanswered;
            known.usage_id = body["usage_id"].as_str().map(str::to_owned);
        });
    }

    async fn batch(&self, user: &User) {
        let (metric, enforced) = self.metric();
        let size = self.dice.between(2, 6);
        let all: Vec<(usize, Reported)> = (0..size)
            .map(|_| {
                let one = self.reported(user, metric, self.dice.between(1, 3), enforced, true);
                (self.ledger.report(one.clone()), one)
            })
            .collect();
        let events: Vec<Value> = all
            .iter()
            .map(|(number, one)| {
                let mut body = self.event(*number, one, user);
                body["idempotency_key"] = json!(format!("op-{number}"));
                body
            })
            .collect();
        let call = Call::post("/track/batch", json!({"events": events, "enforce": enforced}));
        let mut reply = self.persist(&call).await;
        // Elements may be left over: the whole is sent again.
        for _ in 0..10 {
            let results = reply.body["results"].as_array().cloned().unwrap_or_default();
            if results.len() == all.len() && results.iter().all(|one| one["status"] != json!(503)) {
                break;
            }
            sleep_ms(self.dice.between(10, 70_000)).await;
            let unanswered = reply.unanswered + 1;
            reply = self.persist(&call).await;
            reply.unanswered += unanswered;
        }
        for (index, (number, one)) in all.iter().enumerate() {
            let result = &reply.body["results"][index];
            let status = result["status"].as_u64().and_then(|status| u16::try_from(status).ok());
            self.note(*number, one, &reply, status.unwrap_or(0), result);
        }
    }

    fn enqueue(&self, user: &User) {
        let metric = *self.dice.pick(&[LOOSE, DOCUMENTS]);
        let named = self.dice.happens(500);
        let one = self.reported(user, metric, self.dice.between(1, 4), false, named);
        let number = self.ledger.report(one.clone());
        let mut body = self.event(number, &one, user);
        if named {
            body["idempotency_key"] = json!(format!("op-{number}"));
        }
        let wire = &self.world.wire;
        let copies = if named && self.dice.happens(200) { 2 } else { 1 };
        for _ in 0..copies {
            wire.queues.send("UsageEventsQueue", &body.to_string(), 0, &wire.faults);
        }
        self.ledger.told(number, |known| known.told = Told::Recorded);
        if number.is_multiple_of(15) && wire.faults.happens(Fault::Poison) {
            wire.queues.send("UsageEventsQueue", "poison {", 0, &wire.faults);
        }
    }

    async fn gauge(&self, user: &User) {
        let enforced = self.dice.happens(600);
        let one = self.reported(user, STORAGE, self.dice.between(1, 6), enforced, true);
        let number = self.ledger.report(one.clone());
        let mut body = self.event(number, &one, user);
        body["mode"] = json!("delta");
        if !enforced {
            body["enforce"] = json!(false);
        }
        let reply = self
            .persist(&Call::post("/track", body).named(format!("op-{number}")))
            .await;
        self.note(number, &one, &reply, reply.status, &reply.body);
    }

    async fn reservation(&self, user: &User) {
        let metric = *self.dice.pick(&[STRICT, STRICT, LOOSE, STORAGE]);
        let quantity = Decimal::from(self.dice.between(1, 5));
        let number = self.ledger.reserve(Reserved {
            user: user.id.clone(),
            metric,
            quantity,
            from_ms: self.now_ms(),
            to_ms: u128::MAX,
            ..Reserved::default()
        });
        let ttl = *self.dice.pick(&[5, 60, 300]);
        let body = json!({"user_id": user.id, "subscription_id": user.subscription, "metric_type": metric,
            "quantity": quantity.to_string(), "ttl_seconds": ttl, "resource_id": format!("rsv-{number}")});
        let made = self
            .persist(&Call::post("/reservations", body).named(format!("rsv-{number}")))
            .await;
        if made.status == 429 {
            self.ledger.denied(Denial {
                user: user.id.clone(),
                metric,
                value: quantity,
                span_ms: (made.sent_ms, self.now_ms()),
            });
        }
        let made_id = made.body["id"].as_str().filter(|_| made.status == 201);
        let Some(id) = made_id.map(str::to_owned) else {
            return;
        };
        self.ledger.decided(number, |known| known.id = Some(id.clone()));
        sleep_ms(self.dice.below(*self.dice.pick(&[100, 20_000]))).await;
        if self.dice.happens(300) {
            let renew = Call::post(format!("/reservations/{id}/renew"), json!({"ttl_seconds": 60}));
            self.persist(&renew).await;
        }
        self.decide(number, &id, quantity).await;
    }

    /// Commits, releases, or both at once; sometimes twice, sometimes with two quantities. Or nobody
    /// comes.
    async fn decide(&self, number: usize, id: &str, quantity: Decimal) {
        let (commits, releases) = match self.dice.below(20) {
            0..7 => (1, 0),
            7..12 => (2, 0),
            12..15 => (0, 1),
            15..17 => (1, 1),
            _ => (0, 0),
        };
        let actual = || Decimal::from(self.dice.below(6)).min(quantity);
        let first = actual();
        let second = if self.dice.happens(500) { first } else { actual() };
        let commits = [first, second].into_iter().take(commits);
        let commits = join_all(commits.map(|actual| self.commit(number, id, actual)));
        let releases = join_all((0..releases).map(|_| self.release(number, id)));
        futures::future::join(commits, releases).await;
    }

    async fn commit(&self, number: usize, id: &str, actual: Decimal) {
        self.ledger.decided(number, |known| known.asked.push(actual));
        let body = json!({"quantity": actual.to_string()});
        let reply = self
            .persist(&Call::post(format!("/reservations/{id}/commit"), body))
            .await;
        if reply.status == 200 {
            self.ledger.decided(number, |known| known.committed.push(actual));
        } else if reply.status == 409 && reply.unanswered == 0 {
            // Expired before anything was decided, or decided otherwise.
            self.ledger.decided(number, |known| {
                if known.asked.len() == 1 {
                    known.to_ms = self.now_ms();
                }
            });
        }
    }

    async fn release(&self, number: usize, id: &str) {
        let release = Call::post(format!("/reservations/{id}/release"), json!({}));
        if self.persist(&release).await.status == 200 {
            self.ledger.decided(number, |known| {
                known.released = true;
                known.to_ms = self.now_ms();
            });
        }
    }

    async fn session(&self, user: &User) {
        let body = json!({"user_id": user.id, "subscription_id": user.subscription, "metric_type": SESSIONS,
            "quantity": 1, "ttl_seconds": 30});
        let key = format!("session-{}", self.dice.bits());
        let made = self.persist(&Call::post("/reservations", body).named(key)).await;
        let Some(id) = made.body["id"].as_str().filter(|_| made.status == 201) else {
            return;
        };
        for _ in 0..self.dice.below(3) {
            sleep_ms(self.dice.below(20_000)).await;
            let renew = Call::post(format!("/reservations/{id}/renew"), json!({"ttl_seconds": 30}));
            self.persist(&renew).await;
        }
        if self.dice.happens(700) {
            self.persist(&Call::post(format!("/reservations/{id}/release"), json!({})))
                .await;
        }
    }

    async fn void(&self, user: &User) {
        let known = self.ledger.reported();
        let voidable = known.iter().enumerate().filter(|(_, one)| {
            one.user == user.id && matches!(one.metric, LOOSE | DOCUMENTS) && one.usage_id.is_some() && !one.voided.0
        });
        let voidable: Vec<usize> = voidable.map(|(number, _)| number).collect();
        if voidable.is_empty() {
            return;
        }
        let number = *self.dice.pick(&voidable);
        let Some(id) = known[number].usage_id.clone() else {
            return;
        };
        self.ledger.told(number, |one| one.voided.0 = true);
        let call = Call::post(format!("/events/{id}/void"), json!({"reason": "simulated"}));
        let sends = if self.dice.happens(400) { 2 } else { 1 };
        let replies = join_all((0..sends).map(|_| self.persist(&call))).await;
        let is_refused = |reply: &Reply| matches!(reply.status, 404 | 405 | 409 | 422) && reply.unanswered == 0;
        if replies.iter().any(|reply| reply.status == 200) {
            self.ledger.told(number, |one| one.voided.1 = true);
        } else if replies.iter().all(is_refused) {
            self.ledger.told(number, |one| one.voided.0 = false);
        }
    }

    async fn plan(&self, user: &User) {
        let plan = *self.dice.pick(&["basic", "professional"]);
        let mut call = Call::post(
            format!("/admin/subscriptions/{}", user.subscription),
            json!({"plan": plan}),
        );
        call.method = "PATCH";
        self.persist(&call).await;
    }

    async fn reset(&self, user: &User) {
        let path = format!(
            "/admin/quotas/reset?user_id={}&subscription_id={}&metric_type={LOOSE}",
            user.id, user.subscription
        );
        let mut call = Call::get(path).named(format!("reset-{}", self.dice.bits()));
        call.method = "POST";
        self.persist(&call).await;
    }

    async fn threshold(&self, user: &User) {
        let body = json!({"user_id": user.id, "metric_type": LOOSE, "threshold_type": "absolute",
            "threshold_value": self.dice.between(5, 50), "notification_channels": ["email"]});
        let key = format!("threshold-{}", self.dice.bits());
        self.persist(&Call::post("/thresholds", body).named(key)).await;
    }

    async fn renew(&self, user: &User) {
        let call = Call::post(format!("/admin/subscriptions/{}/renew", user.subscription), json!({}));
        self.persist(&call.named(format!("renew-{}", self.dice.bits()))).await;
    }

    /// All clocks jump, and what is due then is done, twice at once.
    async fn jump(&self) {
        let by = *self.dice.pick(&[-20, 30, 90, 3_600, 25 * 3_600]);
        if self.world.wire.faults.happens(Fault::ClockJump) {
            self.world.pass(Duration::from_millis(1), TimeDelta::seconds(by)).await;
        }
        let closes = (0..2).map(|_| self.world.invoke("LifecycleJob", &Value::Null));
        join_all(closes).await;
        if self.dice.happens(300) {
            // Among all that happens it must not find what is not.
            let event = json!({});
            let looks = (0..2).map(|_| self.world.invoke("ReconcileJob", &event));
            join_all(looks).await;
        }
    }

    async fn look(&self, user: &User) {
        self.persist(&Call::get(format!("/summary?user_id={}", user.id))).await;
    }
}
