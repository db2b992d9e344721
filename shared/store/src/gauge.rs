//! Gauges: one standing counter whose level events set or move.
//!
//! A change depends on the level before it, so it is one transaction: the event if absent, the
//! counter if it is as it was read. Sent twice: the event's condition. In parallel: one of two
//! writers reads again. Out of order: a level older than the last one applied changes nothing.
//! Dies half-way: nothing happened.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use chrono::{DateTime, Utc};
use metering_domain::metric::Mode;
use rust_decimal::Decimal;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING, Confirmation, EVENT_FREE},
    counter::{Counter, decimals_value},
    event::{Draft, Event, GaugeChange},
    item::{at, int, n, s},
    keys::CounterKey,
    mutation::{Transacted, built, update},
    peak::Peaks,
    track::{Born, Charge, Charged, Tracked},
};

/// How often a change of a gauge starts over.
const TURNS_MAX: u32 = 40;
/// How many queues there are for the gauges of one instance.
const QUEUES: usize = 64;

/// Within one instance the changes of a gauge queue up instead of competing. Which gauges share a queue
/// is the same in every process, so that a simulated run is the same, too.
#[derive(Debug)]
pub(crate) struct Queues {
    hasher: BuildHasherDefault<DefaultHasher>,
    queues: Vec<Mutex<()>>,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            hasher: BuildHasherDefault::default(),
            queues: (0..QUEUES).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Queues {
    pub(crate) async fn enter(&self, key: &CounterKey) -> MutexGuard<'_, ()> {
        let index = usize::try_from(self.hasher.hash_one(key) % QUEUES as u64).unwrap_or(0);
        self.queues[index].lock().await
    }
}

/// What a writer finds of a standing counter.
pub(crate) enum Standing {
    Ready(Box<Counter>),
    Missing,
    Closed,
    Changed,
}

/// What an event does to a gauge.
#[derive(Debug, PartialEq)]
enum Change {
    /// It moves the level by this much.
    Move(Decimal),
    /// It is older than the level that holds.
    Superseded,
    /// It would take the level below 0, by this much.
    BelowZero(Decimal),
    /// It raises the level above the cap.
    TooMuch,
}

fn change(draft: &Draft, counter: &Counter, now: DateTime<Utc>) -> Change {
    let moved = match draft.mode {
        Some(Mode::Level) if counter.level_at.is_some_and(|last| draft.timestamp < last) => return Change::Superseded,
        Some(Mode::Level) => draft.value - counter.used,
        Some(Mode::Delta) | None => draft.value,
    };
    let after = counter.used + moved;
    if after < Decimal::ZERO {
        return if draft.enforce {
            Change::BelowZero(after)
        } else {
            Change::Move(-counter.used)
        };
    }
    // What does not raise the level is never refused.
    if draft.enforce && moved > Decimal::ZERO && after + counter.held(now) > counter.cap {
        return Change::TooMuch;
    }
    Change::Move(moved)
}

/// Whether only expired holds are in a change's way.
fn needs_room(draft: &Draft, counter: &Counter) -> bool {
    let blocked = matches!(change(draft, counter, draft.now), Change::Move(moved) if moved > counter.remaining);
    draft.enforce && blocked && counter.holds.values().any(|hold| hold.expires_at <= draft.now)
}

impl Store {
    pub(crate) async fn charge_gauge(&self, draft: &Draft, charge: &Charge) -> Result<Charged, StoreError> {
        let mut mine = self.gauge_queues.enter(&charge.key).await;
        for turn in 0..TURNS_MAX {
            let counter = match self.standing(charge, draft.now).await? {
                Standing::Ready(counter) => *counter,
                Standing::Missing => match self.birth(draft, charge).await? {
                    Born::There => continue,
                    Born::Closed => return Ok(Charged::Closed),
                },
                Standing::Closed => return Ok(Charged::Closed),
                Standing::Changed => continue,
            };
            if needs_room(draft, &counter) {
                // Another's commit may have to be finished, which takes a turn of its own.
                drop(mine);
                self.holds_expire(&counter, draft.now).await?;
                mine = self.gauge_queues.enter(&charge.key).await;
                continue;
            }
            if let Some(tracked) = self.gauge_try(draft, charge, counter).await? {
                return Ok(Charged::Done(tracked));
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        drop(mine);
        Err(StoreError::busy("charge_gauge"))
    }

    /// A standing counter as a writer of `now` needs it.
    pub(crate) async fn standing(&self, charge: &Charge, now: DateTime<Utc>) -> Result<Standing, StoreError> {
        let Some(counter) = self.counter_get(&charge.key).await? else {
            return Ok(Standing::Missing);
        };
        if counter.sealed || counter.ended.is_some_and(|at| at <= now) {
            return Ok(Standing::Closed);
        }
        let present = charge.target.period_at(now)?;
        if counter.is_behind(&present) {
            self.terms_follow(&counter, &present, now).await?;
            return Ok(Standing::Changed);
        }
        Ok(Standing::Ready(Box::new(counter)))
    }

    /// One try; nothing if the counter changed meanwhile.
    async fn gauge_try(&self, draft: &Draft, charge: &Charge, counter: Counter) -> Result<Option<Tracked>, StoreError> {
        let mut event = Event::of(draft, &charge.target.subscription_id);
        event.counter = Some(charge.key.sk());
        event.attempt = self.context.attempt();
        let moved = match change(draft, &counter, draft.now) {
            Change::Move(moved) => moved,
            Change::Superseded => return self.gauge_superseded(draft, event, counter).await,
            Change::BelowZero(after) => return self.gauge_refused(draft, Tracked::BelowZero(after)).await,
            Change::TooMuch => {
                let denied = self
                    .gauge_refused(draft, Tracked::Denied(Box::new(self.with_denials(counter))))
                    .await?;
                if matches!(denied, Some(Tracked::Denied(_))) {
                    self.denied(&charge.key);
                }
                return Ok(denied);
            }
        };
        let held = draft.hold.as_ref().filter(|hold| hold.counter == charge.key.sk());
        let freed = held.and_then(|hold| counter.holds.get(&hold.reservation).cloned());
        let level = counter.used + moved;
        let peaks = counter.peaks_after(&charge.target, &charge.period, draft.now, level)?;
        event.gauge = Some(GaugeChange { applied: moved, level });
        let mut after = counter.clone();
        after.used = level;
        if let Some((held, freed)) = held.zip(freed.as_ref()) {
            after.holds.remove(&held.reservation);
            after.remaining += freed.quantity;
        }
        after.remaining -= moved;
        event.over_limit = !draft.enforce && moved > Decimal::ZERO && after.left(draft.now) < Decimal::ZERO;
        let items = vec![
            self.put_event(&event, draft.now)?,
            self.move_gauge(draft, &counter, &after, &peaks)?,
        ];
        match self.transact("charge_gauge", items).await? {
            Transacted::Done => {
                after.version += 1;
                after.peaks = peaks;
                if draft.mode == Some(Mode::Level) {
                    after.level_at = Some(draft.timestamp);
                }
                Ok(Some(Tracked::Recorded(Box::new(event), Some(Box::new(after)))))
            }
            Transacted::Unmet(unmet) if unmet.contains(&0) => self.gauge_found(draft, event).await,
            Transacted::Unmet(_) => Ok(None),
        }
    }

    /// The event is there: by this very transaction, if its answer was lost, or by another request.
    async fn gauge_found(&self, draft: &Draft, event: Event) -> Result<Option<Tracked>, StoreError> {
        match self.event_get(&draft.id, draft.now).await? {
            Some(found) if found.attempt == event.attempt => {
                let counter = match event.counter_key() {
                    Some(key) => self.counter_get(&key).await?.map(Box::new),
                    None => None,
                };
                Ok(Some(Tracked::Recorded(Box::new(found), counter)))
            }
            Some(found) => Ok(Some(self.replay(draft, found).await?)),
            None => Ok(None),
        }
    }

    /// An older level: stored, changes nothing. A newer one holds already, and stays.
    async fn gauge_superseded(
        &self,
        draft: &Draft,
        mut event: Event,
        counter: Counter,
    ) -> Result<Option<Tracked>, StoreError> {
        event.superseded = true;
        event.gauge = Some(GaugeChange {
            applied: Decimal::ZERO,
            level: counter.used,
        });
        match self.confirm(&event, draft.now).await? {
            Confirmation::Stored => Ok(Some(Tracked::Recorded(Box::new(event), Some(Box::new(counter))))),
            Confirmation::Adopted(found) | Confirmation::Another(found) => Ok(Some(self.replay(draft, *found).await?)),
            Confirmation::Abandoned => Ok(None),
        }
    }

    /// A retry of what was applied is a duplicate, whatever the level is now.
    async fn gauge_refused(&self, draft: &Draft, refusal: Tracked) -> Result<Option<Tracked>, StoreError> {
        match self.event_get(&draft.id, draft.now).await? {
            Some(found) => Ok(Some(self.replay(draft, found).await?)),
            None => Ok(Some(refusal)),
        }
    }

    fn put_event(&self, event: &Event, now: DateTime<Utc>) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.tables.events)
            .set_item(Some(event.to_item()))
            .condition_expression(EVENT_FREE)
            .expression_attribute_values(":attempt", s(&event.attempt))
            .expression_attribute_values(":now", int(now.timestamp()));
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    fn move_gauge(
        &self,
        draft: &Draft,
        counter: &Counter,
        after: &Counter,
        peaks: &Peaks,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut expression =
            "SET used = used + :moved, remaining = remaining + :left, version = version + :step, peaks = :peaks, \
             carried = :carried, changed_at = :changed"
                .to_owned();
        let moved = after.used - counter.used;
        let mut condition = "version = :version AND used = :used AND attribute_not_exists(sealed)".to_owned();
        let mut builder = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(counter.key.pk()))
            .key("sk", s(counter.key.sk()))
            .expression_attribute_values(":moved", n(moved))
            .expression_attribute_values(":left", n(after.remaining - counter.remaining))
            .expression_attribute_values(":step", int(1))
            .expression_attribute_values(":version", int(counter.version))
            .expression_attribute_values(":changed", at(draft.now))
            .expression_attribute_values(":used", n(counter.used))
            .expression_attribute_values(":peaks", decimals_value(&peaks.highest))
            .expression_attribute_values(":carried", decimals_value(&peaks.carried));
        if draft.mode == Some(Mode::Level) {
            expression.push_str(", level_at = :at");
            builder = builder.expression_attribute_values(":at", at(draft.timestamp));
        }
        // The hold of a reservation goes with the usage that takes its place.
        for (reservation, hold) in counter.holds.iter().filter(|(id, _)| !after.holds.contains_key(*id)) {
            expression.push_str(" REMOVE holds.#hold");
            condition.push_str(" AND holds.#hold.q = :held");
            builder = builder
                .expression_attribute_names("#hold", reservation)
                .expression_attribute_values(":held", n(hold.quantity));
        }
        // The cap may have been lowered since the counter was read.
        if draft.enforce && moved > Decimal::ZERO {
            condition.push_str(" AND remaining >= :moved");
        }
        update(builder.update_expression(expression).condition_expression(condition))
    }
}
