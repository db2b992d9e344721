//! Reconciliation: counters, holds and aggregates held against the records they are made from.
//!
//! The truth is the events. A counter must be the sum of those that name it and its arm; what is
//! pending is resolved first, and while something stays open the counter is *busy*. What differs is
//! drift only if it is seen in two looks with a pause between, each of which found the counter the
//! same before and after: the index may be behind, and writers go on meanwhile.
//!
//! Events go 90 days after their receipt. Of a counter that is older than that, a *checkpoint* says
//! what its events were while all of them were there; without one it is *unverifiable*.
//!
//! Looking changes nothing but what anybody may settle at any time (pending entries, alerts that are
//! due) and checkpoints. Twice, by two at once, in any order: the same. Dies half-way: nothing is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::metric::Kind;
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    aggregate_drift::AggregateDrift,
    checkpoint::wanted,
    counter::{Checkpoint, Counter},
    error::failed,
    hold_check::{Fix, Holds, held_after},
    hour::Series,
    item::s,
    judge::Judged,
    keys::{CounterKey, Owner, counters_all},
    reservation::Reservation,
    tally::{Tally, Wanted},
};

/// The pause between two looks: an index is behind for milliseconds, as a rule.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(2);
/// How often an owner is looked at until what differs is certain.
const LOOKS_MAX: u32 = 3;
/// The most counters of one owner, sealed ones included.
const COUNTERS_MAX: usize = 10_000;
/// How long after its end a counter's thresholds are still looked at.
const JUDGED_AFTER_END: TimeDelta = TimeDelta::days(2);

/// What is to be reconciled.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Whose.
    pub owner: Owner,
    /// Only of this metric.
    pub metric_type: Option<String>,
    /// Aggregates that changed since then.
    pub hours_since: DateTime<Utc>,
    /// Whether counters that are busy are looked at again.
    pub patient: bool,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Counters that are as they should be, or are not.
    pub checked: u64,
    /// Counters whose writers were at work.
    pub busy: u64,
    /// Counters whose events are not all there any more, and which have no checkpoint; or which have
    /// more events than may be read.
    pub unverifiable: u64,
    /// Hours and days that were compared.
    pub aggregates_checked: u64,
    /// Alerts that were due and had not been raised.
    pub thresholds_raised: u64,
    /// Counters that are not what their events say.
    pub counters: Vec<CounterDrift>,
    /// Hours and days that are not what their events say.
    pub aggregates: Vec<AggregateDrift>,
    /// Whether there were more events than may be read.
    pub cut: bool,
}

/// A counter that is not what its records say.
#[derive(Debug, Clone)]
pub struct CounterDrift {
    /// As it is.
    pub counter: Counter,
    /// What its events say it should be.
    pub expected: Decimal,
    /// What its reservations hold.
    pub live_holds: Decimal,
    /// What must become of holds, by their reservations.
    pub holds: BTreeMap<String, Fix>,
}

impl CounterDrift {
    /// What the counter keeps back for reservations.
    pub fn held(&self) -> Decimal {
        self.counter.cap - self.counter.used - self.counter.remaining
    }

    fn is_same(&self, other: &Self) -> bool {
        is_unchanged(&self.counter, &other.counter) && (self.expected, &self.holds) == (other.expected, &other.holds)
    }
}

/// What one look at an owner found.
#[derive(Default)]
struct Look {
    good: Vec<Counter>,
    busy: Vec<CounterKey>,
    unverifiable: Vec<CounterKey>,
    drifts: Vec<CounterDrift>,
    aggregates: Vec<AggregateDrift>,
    aggregates_checked: u64,
    checkpoints: Vec<(Counter, Checkpoint)>,
    cut: bool,
}

/// Whether nothing happened to a counter between two reads.
fn is_unchanged(a: &Counter, b: &Counter) -> bool {
    let of = |one: &Counter| {
        (
            one.used,
            one.remaining,
            one.cap,
            one.arm,
            one.version,
            one.repaired,
            one.sealed,
        )
    };
    a.key == b.key && of(a) == of(b) && a.pending == b.pending && a.holds == b.holds
}

impl Store {
    /// Reconciles one owner. `events_left` says how many events may still be read, and is reduced by
    /// those that were.
    pub async fn owner_reconcile(&self, scope: &Scope, events_left: &mut usize) -> Result<Findings, StoreError> {
        let mut found = Findings::default();
        let mut last = self.look(scope, None, events_left).await?;
        for turn in 1.. {
            self.settled_take(&mut found, &last).await?;
            if !scope.patient {
                found.busy += std::mem::take(&mut last.busy).len() as u64;
            }
            let open = last.open();
            if open.is_empty() || turn == LOOKS_MAX {
                break;
            }
            self.context.sleep(PAUSE).await;
            let next = self.look(scope, Some(&open), events_left).await?;
            last = found.confirm(&last, next);
        }
        // Seen once only, or never quiet: it is looked at again another time.
        found.busy += (last.busy.len() + last.drifts.len()) as u64;
        Ok(found)
    }

    /// Whose counters a user's are: of the implicit subscription and of all that they have, or had. One
    /// who was erased has none, and that is an error: [`StoreError::Erased`].
    pub async fn owners_of(&self, user_id: &str) -> Result<Vec<Owner>, StoreError> {
        if self.is_erased(user_id).await? {
            return Err(StoreError::Erased);
        }
        let account = self.account_get(user_id).await?;
        let subscriptions = account.subscriptions.into_iter().map(|one| Owner::Subscription(one.id));
        Ok(std::iter::once(Owner::None(user_id.to_owned()))
            .chain(subscriptions)
            .collect())
    }

    /// Takes what needs no other look: raises what the counters that are right have reached, and notes
    /// their checkpoints.
    async fn settled_take(&self, found: &mut Findings, look: &Look) -> Result<(), StoreError> {
        found.checked += look.good.len() as u64;
        found.unverifiable += look.unverifiable.len() as u64;
        found.aggregates_checked += look.aggregates_checked;
        found.cut |= look.cut;
        for (counter, checkpoint) in &look.checkpoints {
            self.checkpoint_put(counter, checkpoint).await?;
        }
        let now = self.context.now();
        let runs = |counter: &&Counter| counter.kind != Kind::Sum || now < counter.period.end + JUDGED_AFTER_END;
        for counter in look.good.iter().filter(runs) {
            let judged = self.thresholds_judge(&counter.key, &counter.user_id, &[], now).await?;
            if let Judged::Done(raised) = judged {
                found.thresholds_raised += u64::from(raised);
            }
        }
        Ok(())
    }

    /// One look, at some metrics or at all.
    async fn look(
        &self,
        scope: &Scope,
        only: Option<&BTreeSet<String>>,
        events_left: &mut usize,
    ) -> Result<Look, StoreError> {
        let now = self.context.now();
        let (before, reservations) = self.counters_settled(&scope.owner, now).await?;
        let is_meant = |metric: &str| {
            scope.metric_type.as_deref().is_none_or(|own| own == metric)
                && only.is_none_or(|only| only.contains(metric))
        };
        let mut metrics: BTreeMap<&str, (Kind, HashMap<String, Wanted>)> = BTreeMap::new();
        for counter in before.iter().filter(|counter| is_meant(&counter.key.metric_type)) {
            let metric = metrics
                .entry(&counter.key.metric_type)
                .or_insert_with(|| (counter.kind, HashMap::new()));
            if !counter.sealed {
                metric.1.insert(counter.key.sk(), wanted(counter, now));
            }
        }
        let (mut look, mut tallies) = (Look::default(), HashMap::new());
        for (metric, (kind, wanted)) in metrics {
            let series = Series {
                owner: scope.owner.clone(),
                metric_type: metric.to_owned(),
                gauge: kind == Kind::Gauge,
            };
            let Some(tally) = self.tally(&series, &wanted, scope.hours_since, events_left).await? else {
                look.cut = true;
                continue;
            };
            let (drifts, checked) = self.aggregates_compare(&series, &tally.hours).await?;
            look.aggregates.extend(drifts);
            look.aggregates_checked += checked;
            tallies.insert(metric.to_owned(), tally);
        }
        let mut holds = HashMap::new();
        for counter in before
            .iter()
            .filter(|one| !one.sealed && is_meant(&one.key.metric_type))
        {
            holds.insert(&counter.key, self.holds_check(counter, &reservations, now).await?);
        }
        let after = self.counters_of_owner(&scope.owner).await?.into_iter();
        let after: HashMap<CounterKey, Counter> = after.map(|counter| (counter.key.clone(), counter)).collect();
        for counter in &before {
            if let Some(holds) = holds.remove(&counter.key) {
                let tally = tallies.get(&counter.key.metric_type);
                look.judge(counter, after.get(&counter.key), tally, holds, now)?;
            }
        }
        Ok(look)
    }

    /// An owner's counters, and its user's reservations, after what was pending on the counters was
    /// settled, as far as it is decided.
    async fn counters_settled(
        &self,
        owner: &Owner,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Counter>, Vec<Reservation>), StoreError> {
        let counters = self.counters_of_owner(owner).await?;
        let Some(first) = counters.first() else {
            return Ok((counters, Vec::new()));
        };
        let reservations = self.reservations_settled(&first.user_id, now).await?;
        let mut settled = !reservations.is_empty();
        for counter in counters.iter().filter(|counter| !counter.sealed) {
            for (attempt, entry) in &counter.pending {
                self.resolve(&counter.key, attempt, entry).await?;
                settled = true;
            }
            if !counter.holds.is_empty() {
                settled |= self.holds_settle(counter, now).await?;
            }
        }
        let counters = if settled {
            self.counters_of_owner(owner).await?
        } else {
            counters
        };
        Ok((counters, reservations))
    }

    /// All counters of an owner, strongly read.
    async fn counters_of_owner(&self, owner: &Owner) -> Result<Vec<Counter>, StoreError> {
        let (from, end) = counters_all();
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :end")
            .expression_attribute_values(":pk", s(owner.pk()))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":end", s(end))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .items()
            .send();
        let mut counters = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| failed("counters_of_owner", error))?;
            counters.push(Counter::from_item(&item)?);
            if counters.len() > COUNTERS_MAX {
                return Err(StoreError::busy("counters_of_owner: more counters than one look reads"));
            }
        }
        Ok(counters)
    }
}

impl Look {
    /// What is to be said of a counter that was so before its events were read, and so after.
    fn judge(
        &mut self,
        counter: &Counter,
        after: Option<&Counter>,
        tally: Option<&Tally>,
        holds: Holds,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let Some(tally) = tally else {
            self.unverifiable.push(counter.key.clone());
            return Ok(());
        };
        let is_quiet = counter.pending.is_empty() && after.is_some_and(|after| is_unchanged(counter, after));
        let Holds::Wrong(wrong) = holds else {
            self.busy.push(counter.key.clone());
            return Ok(());
        };
        if !is_quiet {
            self.busy.push(counter.key.clone());
            return Ok(());
        }
        let sum = tally.sums.get(&counter.key.sk()).copied().unwrap_or_default();
        let Some(expected) = counter.expected(&sum, now)? else {
            self.unverifiable.push(counter.key.clone());
            return Ok(());
        };
        let drift = CounterDrift {
            counter: counter.clone(),
            expected,
            live_holds: held_after(counter, &wrong),
            holds: wrong,
        };
        if drift.expected != counter.used || drift.held() != drift.live_holds || !drift.holds.is_empty() {
            self.drifts.push(drift);
            return Ok(());
        }
        if let Some(checkpoint) = counter.next_checkpoint(&sum, now)? {
            self.checkpoints.push((counter.clone(), checkpoint));
        }
        self.good.push(counter.clone());
        Ok(())
    }

    /// The metrics of what is not certain yet.
    fn open(&self) -> BTreeSet<String> {
        let drifts = self.drifts.iter().map(|drift| &drift.counter.key);
        let counters = drifts.chain(&self.busy).map(|key| key.metric_type.clone());
        let aggregates = self.aggregates.iter().map(|drift| drift.series.metric_type.clone());
        counters.chain(aggregates).collect()
    }
}

impl Findings {
    /// Takes what two looks agree upon, one after the other; what is left of the second one.
    fn confirm(&mut self, last: &Look, mut next: Look) -> Look {
        let drifted = |key: &CounterKey| last.drifts.iter().find(|drift| drift.counter.key == *key);
        let is_open = |key: &CounterKey| drifted(key).is_some() || last.busy.contains(key);
        next.good.retain(|counter| is_open(&counter.key));
        next.checkpoints.retain(|(counter, _)| is_open(&counter.key));
        next.busy.retain(is_open);
        next.unverifiable.retain(is_open);
        next.drifts.retain(|drift| is_open(&drift.counter.key));
        // They were counted when they were looked at first.
        next.aggregates_checked = 0;
        let (certain, drifts): (Vec<_>, Vec<_>) = std::mem::take(&mut next.drifts)
            .into_iter()
            .partition(|drift| drifted(&drift.counter.key).is_some_and(|before| before.is_same(drift)));
        next.drifts = drifts;
        self.checked += certain.len() as u64;
        self.counters.extend(certain);
        next.aggregates.retain(|drift| !self.aggregates.contains(drift));
        let (certain, aggregates): (Vec<_>, Vec<_>) = std::mem::take(&mut next.aggregates)
            .into_iter()
            .partition(|drift| last.aggregates.contains(drift));
        next.aggregates = aggregates;
        self.aggregates.extend(certain);
        next
    }
}
