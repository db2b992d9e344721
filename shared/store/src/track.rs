//! Tracking one event: find whose it is, charge it, and say what became of it.
//!
//! Sent twice: the identity finds the first. In parallel: one insertion wins, the other takes its
//! count back. Out of order: the event's own time names its period. Dies half-way: see [`crate::count`].

use std::sync::Arc;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use metering_domain::{
    ids::event_id_bits,
    metric::{Kind, Metric},
    period::Period,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    account::{LISTED, listed},
    adjustment::{Adjustment, AdjustmentKind},
    count::{BACK_OFF_BASE, BACK_OFF_CEILING, Confirmation, Count, Counted},
    counter::Counter,
    event::{Draft, Event},
    hour::{FINAL_AFTER, Series},
    item::{int, s},
    keys::{CounterKey, OWNER, Owner},
    mutation::{Transacted, update},
    subscription::Target,
};

/// How often a request finds its period closed or its subscription ended before it gives up.
pub(crate) const RESOLUTIONS_MAX: u32 = 4;
/// How often one charge starts over: births, abandoned attempts and waits together.
pub(crate) const TURNS_MAX: u32 = 40;
/// How often a birth is tried again.
const BIRTHS_MAX: u32 = 12;

/// What became of a draft.
#[derive(Debug, Clone)]
pub enum Tracked {
    /// It is stored; the counter after it, none for history.
    Recorded(Box<Event>, Option<Box<Counter>>),
    /// It was stored before; the counter as it is now.
    Duplicate(Box<Event>, Option<Box<Counter>>),
    /// Its identity belongs to an event with another fingerprint.
    OtherFingerprint(Box<Event>),
    /// Too little is left; the counter as it is.
    Denied(Box<Counter>),
    /// It would take a gauge below 0.
    BelowZero(Decimal),
    /// There is no such subscription of this user.
    UnknownSubscription,
    /// The subscription takes no enforced usage any more.
    Inactive,
    /// It lies in an hour whose aggregates are final.
    HourFinal,
    /// Its user was erased.
    Erased,
}

/// How a charge to one counter ended.
#[derive(Debug)]
pub(crate) enum Charged {
    /// It is decided.
    Done(Tracked),
    /// The counter's period is closed, or its owner takes no more: find another.
    Closed,
}

/// Which counter a draft is charged to.
#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub target: Arc<Target>,
    pub key: CounterKey,
    pub period: Period,
    pub late: bool,
}

/// Where a draft goes.
#[derive(Debug)]
pub(crate) enum Place {
    /// To this counter.
    Charge(Charge),
    /// To none: it was before the subscription's start.
    History(Arc<Target>),
    /// Nowhere.
    Done(Tracked),
}

impl Charge {
    /// The event of a draft that this attempt counted; `left` is what is left after it.
    pub(crate) fn event(&self, draft: &Draft, attempt: &str, arm: u64, left: Decimal) -> Event {
        Event {
            counter: Some(self.key.sk()),
            arm,
            late: self.late,
            over_limit: !draft.enforce && draft.value > Decimal::ZERO && left < Decimal::ZERO,
            attempt: attempt.to_owned(),
            ..Event::of(draft, &self.target.subscription_id)
        }
    }
}

impl Store {
    /// Stores a draft exactly once and charges it.
    pub async fn track(&self, draft: &Draft) -> Result<Tracked, StoreError> {
        match self.track_or_fail(draft).await {
            Err(StoreError::Erased) => Ok(Tracked::Erased),
            tracked => tracked,
        }
    }

    async fn track_or_fail(&self, draft: &Draft) -> Result<Tracked, StoreError> {
        if draft.identified
            && let Some(event) = self.event_get(&draft.id, draft.now).await?
        {
            return self.replay(draft, event).await;
        }
        let mut closed = Vec::new();
        for turn in 0..RESOLUTIONS_MAX {
            let charge = match self.place(draft, turn > 0, &closed).await? {
                Place::Charge(charge) => charge,
                Place::History(target) => return self.track_history(draft, &target).await,
                Place::Done(tracked) => return Ok(tracked),
            };
            let charged = match draft.metric.kind {
                Kind::Sum => self.charge_sum(draft, &charge).await?,
                Kind::Gauge | Kind::Lease => self.charge_gauge(draft, &charge).await?,
            };
            match charged {
                Charged::Done(tracked) => return Ok(tracked),
                Charged::Closed => closed.push(charge.key),
            }
        }
        Err(StoreError::busy("track"))
    }

    /// What a draft is charged to; `refresh` asks the store about the subscription again, `closed`
    /// are the counters that were found to take nothing more.
    pub(crate) async fn place(&self, draft: &Draft, refresh: bool, closed: &[CounterKey]) -> Result<Place, StoreError> {
        let found = self
            .subscription_resolve(&draft.user_id, draft.subscription_id.as_deref(), refresh, draft.now)
            .await;
        let mut target = match found {
            Ok(Some(target)) => target,
            Ok(None) => return Ok(Place::Done(Tracked::UnknownSubscription)),
            Err(StoreError::Erased) => return Ok(Place::Done(Tracked::Erased)),
            Err(error) => return Err(error),
        };
        if !target.active {
            // What was reserved has happened, whatever became of the subscription.
            if draft.enforce || (draft.hold.is_none() && self.has_another(draft).await?) {
                return self.inactive(draft).await.map(Place::Done);
            }
            target = Arc::new(Target::implicit(&draft.user_id, true));
        }
        if self.is_final(draft, &target).await? {
            return Ok(Place::Done(Tracked::HourFinal));
        }
        if target.starts_at.is_some_and(|start| draft.timestamp < start) {
            return Ok(Place::History(target));
        }
        self.charge_of(draft, target, closed).map(Place::Charge)
    }

    /// Whether the hour of an event takes no more: its first event was received so long ago that events
    /// of it are about to expire. Only what is older than that can lie in such an hour.
    async fn is_final(&self, draft: &Draft, target: &Target) -> Result<bool, StoreError> {
        if draft.timestamp > draft.now - FINAL_AFTER + TimeDelta::hours(2) {
            return Ok(false);
        }
        let series = Series {
            owner: target.owner.clone(),
            metric_type: draft.metric.metric_type.clone(),
            gauge: draft.metric.kind == Kind::Gauge,
        };
        let start = draft.timestamp.duration_trunc(TimeDelta::hours(1));
        let hour = self.hour_get(&series, start.unwrap_or(draft.timestamp)).await?;
        Ok(hour
            .first_received()
            .is_some_and(|first| draft.now >= first + FINAL_AFTER))
    }

    /// Whether the user has an active subscription, while the one that was named is not. Then the
    /// implicit one does not hold, and the usage is nobody's to guess.
    async fn has_another(&self, draft: &Draft) -> Result<bool, StoreError> {
        let account = self.account_get(&draft.user_id).await?;
        Ok(account.default_subscription(draft.now).is_some())
    }

    /// A retry of what was admitted before the subscription ended is still a duplicate.
    async fn inactive(&self, draft: &Draft) -> Result<Tracked, StoreError> {
        match self.event_get(&draft.id, draft.now).await? {
            Some(event) => self.replay(draft, event).await,
            None => Ok(Tracked::Inactive),
        }
    }

    /// The counter of the event's own period; if that was found closed, of the one of this moment;
    /// if that was closed while this went on, of the one that runs then.
    fn charge_of(&self, draft: &Draft, target: Arc<Target>, closed: &[CounterKey]) -> Result<Charge, StoreError> {
        let charge_at = |at: DateTime<Utc>, late: bool| -> Result<Charge, StoreError> {
            let period = target.period_at(at)?;
            let key = target.counter_key(&draft.metric, &period);
            Ok(Charge {
                target: target.clone(),
                key,
                period,
                late,
            })
        };
        for (at, late) in [(draft.timestamp, false), (draft.now, true)] {
            let charge = charge_at(at, late)?;
            if !closed.contains(&charge.key) {
                return Ok(charge);
            }
        }
        charge_at(self.context.now(), true)
    }

    /// Answers an event that is already there.
    pub(crate) async fn replay(&self, draft: &Draft, event: Event) -> Result<Tracked, StoreError> {
        if event.fingerprint != draft.fingerprint {
            return Ok(Tracked::OtherFingerprint(Box::new(event)));
        }
        if event.late {
            self.late_note(&event).await?;
        }
        let counter = match event.counter_key() {
            Some(key) => self.counter_get(&key).await?.map(Box::new),
            None => None,
        };
        Ok(Tracked::Duplicate(Box::new(event), counter))
    }

    /// Usage from before the subscription's start: stored, charged to nothing.
    async fn track_history(&self, draft: &Draft, target: &Target) -> Result<Tracked, StoreError> {
        self.require_user(&draft.user_id).await?;
        for _ in 0..TURNS_MAX {
            let mut event = Event::of(draft, &target.subscription_id);
            event.attempt = self.context.attempt();
            match self.confirm(&event, draft.now).await? {
                Confirmation::Stored => return Ok(Tracked::Recorded(Box::new(event), None)),
                Confirmation::Adopted(found) | Confirmation::Another(found) => return self.replay(draft, *found).await,
                Confirmation::Abandoned => {}
            }
        }
        Err(StoreError::busy("track_history"))
    }

    async fn charge_sum(&self, draft: &Draft, charge: &Charge) -> Result<Charged, StoreError> {
        let bits = event_id_bits(&draft.id).ok_or(StoreError::Corrupt {
            what: "draft",
            attribute: "id".into(),
        })?;
        let events = [(bits, draft.value)];
        let hold = draft.hold.as_ref();
        let mut what = Count {
            key: &charge.key,
            events: &events,
            enforce: draft.enforce,
            reservation: hold.map(|hold| hold.reservation.as_str()),
            converts: hold
                .filter(|hold| hold.counter == charge.key.sk())
                .map(|hold| hold.quantity),
        };
        let mut waits = 0;
        for _ in 0..TURNS_MAX {
            let done = match self.count(what).await? {
                Counted::Pending(attempt, counter) => self.confirm_sum(draft, charge, attempt, *counter, false).await?,
                Counted::Missing => match self.birth(draft, charge).await? {
                    Born::There => None,
                    Born::Closed => return Ok(Charged::Closed),
                },
                Counted::Sealed => return Ok(Charged::Closed),
                Counted::NoHold(counter) => {
                    what.converts = None;
                    self.without_hold(draft, charge, bits, *counter).await?
                }
                Counted::TooLittle(counter) => self.too_little(draft, charge, bits, *counter, &mut waits).await?,
            };
            if let Some(tracked) = done {
                return Ok(Charged::Done(tracked));
            }
        }
        Err(StoreError::busy("charge_sum"))
    }

    /// Steps 2 and 3; nothing if the attempt was given up and the count must start again.
    pub(crate) async fn confirm_sum(
        &self,
        draft: &Draft,
        charge: &Charge,
        attempt: String,
        counter: Counter,
        adopted: bool,
    ) -> Result<Option<Tracked>, StoreError> {
        let mut event = charge.event(draft, &attempt, counter.arm, counter.left(draft.now));
        event.adopter = adopted.then(|| self.context.attempt());
        let confirmed = self.confirm(&event, draft.now).await?;
        self.release(charge, &counter, &event, &confirmed).await?;
        match confirmed {
            Confirmation::Stored => {
                if event.late {
                    self.late_note(&event).await?;
                }
                Ok(Some(Tracked::Recorded(Box::new(event), Some(Box::new(counter)))))
            }
            Confirmation::Adopted(found) | Confirmation::Another(found) => Ok(Some(self.replay(draft, *found).await?)),
            Confirmation::Abandoned => Ok(None),
        }
    }

    /// What becomes of the entry once its event is decided. One that an adopter found and that names
    /// a whole batch stays until all of it is decided.
    async fn release(
        &self,
        charge: &Charge,
        counter: &Counter,
        event: &Event,
        confirmed: &Confirmation,
    ) -> Result<(), StoreError> {
        let kept = matches!(confirmed, Confirmation::Stored | Confirmation::Adopted(_));
        let entry = counter.pending.get(&event.attempt);
        match entry.filter(|entry| entry.events.len() > 1) {
            Some(_) if kept => Ok(()),
            Some(entry) => self.resolve(&charge.key, &event.attempt, entry).await.map(drop),
            None if kept => self.confirmed(counter, event.attempt.clone()).await,
            None => self.settle(&charge.key, &event.attempt, event.value).await,
        }
    }

    /// A commit whose hold is gone: it was turned into usage before, and that is confirmed, or a seal
    /// or a reset took it, and the usage is counted like any other.
    async fn without_hold(
        &self,
        draft: &Draft,
        charge: &Charge,
        event: u128,
        counter: Counter,
    ) -> Result<Option<Tracked>, StoreError> {
        if let Some(attempt) = counter.attempt_of(event, draft.value) {
            let attempt = attempt.to_owned();
            return self.confirm_sum(draft, charge, attempt, counter, true).await;
        }
        match self.event_get(&draft.id, draft.now).await? {
            Some(event) => self.replay(draft, event).await.map(Some),
            None => Ok(None),
        }
    }

    /// Step 4: what an earlier try of this event left is adopted; others' entries may make room.
    async fn too_little(
        &self,
        draft: &Draft,
        charge: &Charge,
        event: u128,
        counter: Counter,
        waits: &mut u32,
    ) -> Result<Option<Tracked>, StoreError> {
        if let Some(attempt) = counter.attempt_of(event, draft.value) {
            let attempt = attempt.to_owned();
            return self.confirm_sum(draft, charge, attempt, counter, true).await;
        }
        if self.make_room(&counter, draft.value, draft.now, waits).await? {
            return Ok(None);
        }
        // A retry of what was admitted must never be denied: look once more.
        if let Some(event) = self.event_get(&draft.id, draft.now).await? {
            return Ok(Some(self.replay(draft, event).await?));
        }
        self.denied(&charge.key);
        Ok(Some(Tracked::Denied(Box::new(self.with_denials(counter)))))
    }

    /// The counter with the denials that only this instance knows yet.
    pub fn with_denials(&self, mut counter: Counter) -> Counter {
        counter.denied += self.denials.peek(&counter.key);
        counter
    }

    /// Puts the counter of a charge, in one transaction with the owner's count of births, so that
    /// no limit change can miss it.
    pub(crate) async fn birth(&self, draft: &Draft, charge: &Charge) -> Result<Born, StoreError> {
        self.require_user(&draft.user_id).await?;
        let (metric, owner) = (&draft.metric, &charge.key.owner);
        for turn in 0..BIRTHS_MAX {
            let Some(configuration) = self.birthright(&charge.key, &charge.period).await? else {
                return Ok(Born::Closed);
            };
            // A standing counter is born into the present, whatever the event's own time.
            let period = match metric.kind {
                Kind::Sum => charge.period,
                Kind::Gauge | Kind::Lease => charge.target.period_at(draft.now)?,
            };
            let terms = self.terms_at_birth(&configuration, metric, &period, draft.now).await?;
            let counter = Counter::new(
                charge.key.clone(),
                &draft.user_id,
                &charge.target.subscription_id,
                metric,
                period,
                terms,
            );
            let guard = self.birth_guard(owner, configuration.version);
            let items = vec![update(guard)?, self.put_new(counter.to_new_item())?];
            match self.transact("birth", items).await? {
                Transacted::Done => return Ok(Born::There),
                Transacted::Unmet(unmet) if unmet.contains(&1) => return Ok(Born::There),
                // The limits changed since they were read.
                Transacted::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
            }
        }
        Err(StoreError::busy("birth"))
    }

    fn birth_guard(&self, owner: &Owner, version: u64) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        let builder = aws_sdk_dynamodb::types::Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(owner.pk()))
            .key("sk", s(OWNER))
            .expression_attribute_values(":zero", int(0))
            .expression_attribute_values(":step", int(1));
        let births =
            "SET births = if_not_exists(births, :zero) + :step, config_version = if_not_exists(config_version, :zero)";
        let builder = match owner {
            Owner::Subscription(_) => builder.update_expression(births),
            Owner::None(user) => {
                listed(builder, user, self.context.now()).update_expression(format!("{births}, {LISTED}"))
            }
        };
        if version == 0 {
            // The implicit subscription's item comes into being with its first counter.
            return builder.condition_expression("attribute_not_exists(config_version) OR config_version = :zero");
        }
        builder
            .condition_expression("config_version = :version")
            .expression_attribute_values(":version", int(version))
    }

    /// The ledger entry of usage charged to a later period; idempotent by the event.
    pub(crate) async fn late_note(&self, event: &Event) -> Result<(), StoreError> {
        let Some(key) = event.counter_key() else { return Ok(()) };
        let note = Adjustment {
            id: format!("adj_late_{}", event.id),
            kind: AdjustmentKind::Late,
            user_id: event.user_id.clone(),
            subscription_id: event.subscription_id.clone(),
            metric_type: event.metric_type.clone(),
            period_start: key.period_start.unwrap_or(event.timestamp),
            amount: event.gauge.map_or(event.value, |change| change.applied),
            usage_id: Some(event.id.clone()),
            reason: "usage of a closed period".to_owned(),
            actor: "system".to_owned(),
            created_at: event.received_at,
        };
        self.adjustment_put(&note).await
    }
}

/// How a birth ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Born {
    /// The counter is there, whoever put it.
    There,
    /// It may not be born: its period is closed, or its owner takes no more.
    Closed,
}

impl Target {
    /// The billing period that contains `at`; from the subscription's end on, its last one.
    pub fn period_at(&self, at: DateTime<Utc>) -> Result<Period, StoreError> {
        let last = self.ends_at.map(|end| end - TimeDelta::milliseconds(1));
        let at = last.map_or(at, |last| at.min(last));
        self.timeline.period_at(at).ok_or(StoreError::Corrupt {
            what: "subscription",
            attribute: "billing_anchor".into(),
        })
    }

    /// The counter of a metric in a period; gauges and leases have one that stands.
    pub fn counter_key(&self, metric: &Metric, period: &Period) -> CounterKey {
        CounterKey {
            owner: self.owner.clone(),
            period_start: (metric.kind == Kind::Sum).then_some(period.start),
            metric_type: metric.metric_type.clone(),
        }
    }
}

impl Event {
    /// The counter it was charged to.
    pub fn counter_key(&self) -> Option<CounterKey> {
        CounterKey::parse(self.owner(), self.counter.as_deref()?)
    }
}
