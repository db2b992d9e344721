//! What becomes of an entry that a count left pending: by anyone, from what the items say.
//!
//! An event names exactly one attempt, for ever; a counter keeps an attempt's value if and only if
//! the event names it or it is still pending; settling is conditional on the entry, so it happens
//! once.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnConsumedCapacity},
};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::ids::event_id_from_bits;
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    count::Confirmation,
    counter::{Counter, Pending},
    error::failed,
    event::{Event, RETENTION, Stored},
    item::{int, n, s},
    keys::{self, CounterKey},
    reservation::State,
};

/// An entry older than this has no request behind it any more: none runs longer than 29 s.
pub const STALE: TimeDelta = TimeDelta::seconds(60);
/// From how many entries on a writer cleans up at once, to keep the item below 1 KB.
pub const PENDING_CROWDED: usize = 8;
/// How long a writer waits at first for entries that could make room; each time by as much longer.
/// In all a quarter of a second, since each look takes an unmet write on a counter that is hot.
const WAIT: Duration = Duration::from_millis(25);
/// How often it waits.
const WAITS_MAX: u32 = 4;
/// How many entries one look at a counter resolves.
const RESOLVED_MAX: usize = 8;

/// What became of a pending entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// It is off the counter.
    Settled,
    /// Its writer may still be at work.
    Undecided,
}

/// The counters whose entries somebody in this instance looks at.
#[derive(Debug, Default)]
pub(crate) struct Resolving(Mutex<HashSet<CounterKey>>);

/// The turn to look; it ends with this.
struct Turn<'a> {
    resolving: &'a Resolving,
    key: CounterKey,
}

impl Resolving {
    fn enter(&self, key: &CounterKey) -> Option<Turn<'_>> {
        let mut looked_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.insert(key.clone()).then(|| Turn {
            resolving: self,
            key: key.clone(),
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut looked_at = self.resolving.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.remove(&self.key);
    }
}

impl Store {
    /// Notes that the attempt's entry may go with the next write, or takes the instance's confirmed
    /// entries off at once where the counter is crowded.
    pub(crate) async fn confirmed(&self, counter: &Counter, attempt: String) -> Result<(), StoreError> {
        self.confirmed.add(&counter.key, [attempt]);
        if counter.pending.len() <= PENDING_CROWDED {
            return Ok(());
        }
        let own = self.confirmed.take(&counter.key);
        if own.len() < PENDING_CROWDED {
            // Others' entries crowd it: theirs to remove, unless nobody does.
            self.confirmed.add(&counter.key, own);
            return self.resolve_stale(counter).await.map(drop);
        }
        self.entries_remove(&counter.key, &own).await
    }

    /// Resolves the oldest entries whose writers are gone; whether there were any.
    pub(crate) async fn resolve_stale(&self, counter: &Counter) -> Result<bool, StoreError> {
        let now = self.context.now();
        let mut stale: Vec<_> = counter
            .pending
            .iter()
            .filter(|(_, entry)| now - entry.at > STALE)
            .collect();
        stale.sort_by_key(|(_, entry)| entry.at);
        for (attempt, entry) in stale.iter().take(RESOLVED_MAX) {
            self.resolve(&counter.key, attempt, entry).await?;
        }
        Ok(!stale.is_empty())
    }

    /// Where what is pending could make room for a value: settles some of it, or waits for those who
    /// do. False if it could not, or was waited for long enough.
    pub(crate) async fn make_room(
        &self,
        counter: &Counter,
        value: Decimal,
        now: DateTime<Utc>,
        waits: &mut u32,
    ) -> Result<bool, StoreError> {
        let kept = |attempt: &str| self.confirmed.knows(&counter.key, attempt);
        if counter.possible(now, kept) < value {
            return Ok(false);
        }
        if self.holds_expire(counter, now).await? {
            return Ok(true);
        }
        if *waits == WAITS_MAX {
            return Ok(false);
        }
        *waits += 1;
        if !self.resolve_some(counter).await? {
            self.context.sleep(WAIT * *waits).await;
        }
        Ok(true)
    }

    /// Looks at some entries, whoever wrote them, and settles what can be; whether any was. Of many
    /// who wait in one instance, one looks.
    async fn resolve_some(&self, counter: &Counter) -> Result<bool, StoreError> {
        let Some(_turn) = self.resolving.enter(&counter.key) else {
            return Ok(false);
        };
        // From a random place on, so that the instances do not all ask the same.
        let skip = usize::try_from(self.context.random() % counter.pending.len().max(1) as u128).unwrap_or(0);
        let entries = counter
            .pending
            .iter()
            .cycle()
            .skip(skip)
            .take(counter.pending.len())
            .filter(|(attempt, _)| !self.confirmed.knows(&counter.key, attempt))
            .take(RESOLVED_MAX);
        let mut settled = false;
        for (attempt, entry) in entries {
            settled |= self.resolve(&counter.key, attempt, entry).await? == Resolved::Settled;
        }
        Ok(settled)
    }

    /// Settles one entry from what the items say; by anyone, any number of times. Events that name
    /// the attempt keep its value, all others' is taken back, in one update.
    pub(crate) async fn resolve(
        &self,
        key: &CounterKey,
        attempt: &str,
        entry: &Pending,
    ) -> Result<Resolved, StoreError> {
        self.resolve_older(key, attempt, entry, STALE).await
    }

    /// As [`Store::resolve`], giving up what is older than `patience` and not confirmed.
    pub(crate) async fn resolve_older(
        &self,
        key: &CounterKey,
        attempt: &str,
        entry: &Pending,
        patience: TimeDelta,
    ) -> Result<Resolved, StoreError> {
        let now = self.context.now();
        let is_stale = now - entry.at > patience;
        let ids: Vec<u128> = entry.events.iter().map(|(event, _)| *event).collect();
        let mut stored = self.events_stored(&ids, now).await?;
        let mut back = Decimal::ZERO;
        for (event, value) in &entry.events {
            match stored.remove(event) {
                Some(Stored::Event(event)) if event.is_of(attempt, key) => {}
                Some(Stored::Event(_)) => back += value,
                Some(Stored::Tombstone { abandoned }) if abandoned.iter().any(|name| name == attempt) => back += value,
                Some(Stored::Tombstone { .. }) | None => {
                    if let Some(reservation) = entry.reservation.as_deref().filter(|_| is_stale)
                        && let Some(kept) = self.commit_confirm(key, attempt, reservation).await?
                    {
                        back += if kept { Decimal::ZERO } else { *value };
                        continue;
                    }
                    if !is_stale || !self.abandon(key, *event, attempt, now).await? {
                        return Ok(Resolved::Undecided);
                    }
                    back += value;
                }
            }
        }
        self.settle(key, attempt, back).await?;
        Ok(Resolved::Settled)
    }

    /// Stores the event of a commit that was counted and whose writer is gone, from its record;
    /// whether it names this attempt. None if there is no such record.
    async fn commit_confirm(
        &self,
        key: &CounterKey,
        attempt: &str,
        reservation: &str,
    ) -> Result<Option<bool>, StoreError> {
        let now = self.context.now();
        let found = self.reservation_get(reservation).await?;
        let found = found.filter(|found| found.state == State::Committed);
        let Some((record, counter)) = found.zip(self.counter_get(key).await?) else {
            return Ok(None);
        };
        let draft = record.draft(true, now)?;
        let event = Event {
            counter: Some(key.sk()),
            arm: counter.arm,
            late: key.sk() != record.counter,
            over_limit: draft.value > Decimal::ZERO && counter.left(now) < Decimal::ZERO,
            attempt: attempt.to_owned(),
            adopter: Some(self.context.attempt()),
            ..Event::of(&draft, key.owner.subscription_id())
        };
        let kept = matches!(
            self.confirm(&event, now).await?,
            Confirmation::Stored | Confirmation::Adopted(_)
        );
        if kept && event.late {
            self.late_note(&event).await?;
        }
        Ok(Some(kept))
    }

    /// Takes an entry off, and back what is not kept of it, if it is still there.
    pub(crate) async fn settle(&self, key: &CounterKey, attempt: &str, back: Decimal) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(key.pk()))
            .key("sk", s(key.sk()))
            .update_expression("SET used = used - :back, remaining = remaining + :back REMOVE pending.#own")
            .condition_expression("attribute_exists(pending.#own)")
            .expression_attribute_names("#own", attempt)
            .expression_attribute_values(":back", n(back))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            // Somebody was faster.
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("settle", error)),
        }
    }

    /// Takes entries off whose events name them.
    async fn entries_remove(&self, key: &CounterKey, attempts: &[String]) -> Result<(), StoreError> {
        let names: Vec<String> = (0..attempts.len()).map(|index| format!("pending.#d{index}")).collect();
        let placeholders = attempts
            .iter()
            .enumerate()
            .map(|(index, name)| (format!("#d{index}"), name.clone()));
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(key.pk()))
            .key("sk", s(key.sk()))
            .update_expression(format!("REMOVE {}", names.join(", ")))
            .condition_expression("attribute_exists(pk)")
            .set_expression_attribute_names(Some(placeholders.collect()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("entries_remove", error)),
        }
    }

    /// Writes into the event's place that the attempt must not confirm; false if there is an event.
    async fn abandon(
        &self,
        key: &CounterKey,
        event: u128,
        attempt: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.events)
            .key("pk", s(keys::event(&event_id_from_bits(event))))
            .update_expression("SET expires_at = :until, #owner = :owner ADD abandoned :attempt")
            .condition_expression("attribute_not_exists(attempt)")
            // Whoever erases a user must know it.
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", s(key.owner.pk()))
            .expression_attribute_values(":until", int((now + RETENTION).timestamp()))
            .expression_attribute_values(":attempt", AttributeValue::Ss(vec![attempt.to_owned()]))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if is_unmet(&error) => Ok(false),
            Err(error) => Err(failed("abandon", error)),
        }
    }
}

/// Whether an update was refused by its condition.
pub(crate) fn is_unmet(error: &SdkError<UpdateItemError>) -> bool {
    matches!(
        error.as_service_error(),
        Some(UpdateItemError::ConditionalCheckFailedException(_))
    )
}
