//! Holds: reserved quantities on the counter that they are taken from.
//!
//! A hold is added by one conditional update, and taken off by one that names it, so each happens
//! once. An expired hold never counts; before it is taken off, its reservation is asked, whose
//! record decides: one that was committed is carried out, one that was renewed is kept, any other
//! is expired for good. Sent twice or in parallel: the second finds the hold gone. Dies half-way:
//! the next one who needs the room goes on.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use metering_domain::metric::Kind;
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::{Counter, Hold, decimals_value},
    error::failed,
    item::{Item, at, int, n, s},
    keys::{self, CounterKey},
    mutation::ONLY,
    peak::Peaks,
    reservation::{Reservation, State},
};

/// The most holds on one counter: each makes its item larger, and with it every write.
pub const HOLDS_MAX: usize = 200;
/// How many expired holds one look asks about.
const EXPIRED_MAX: usize = 50;
/// How many of them at once.
const WIDTH: usize = 16;
/// How often a change of a counter's holds looks again.
const TURNS_MAX: u32 = 12;
/// How often an update that met a transaction is sent.
const SENDS_MAX: u32 = 8;
/// How long it is remembered that a hold without a record was given up.
pub(crate) const NOTE_LIFE: TimeDelta = TimeDelta::days(1);

/// What becomes of holds.
#[derive(Debug, Default)]
struct Change {
    gone: Vec<String>,
    until: Vec<(String, DateTime<Utc>)>,
}

/// How an update of holds ended.
pub(crate) enum Updated {
    /// It was made.
    Done,
    /// Its condition was not met by the counter, or there is none.
    Unmet(Option<Box<Counter>>),
}

/// What the record says of an expired hold.
pub(crate) enum Fate {
    Gone,
    Until(DateTime<Utc>),
    Committed(Box<Reservation>),
}

impl Hold {
    /// The hold as stored.
    pub(crate) fn to_value(&self) -> AttributeValue {
        AttributeValue::M(Item::from([
            ("q".into(), n(self.quantity)),
            ("x".into(), at(self.expires_at)),
            ("m".into(), int(self.made_at.timestamp_millis())),
        ]))
    }
}

impl Counter {
    /// What usage and live holds leave of the cap; below 0 if they are above it.
    pub fn left(&self, now: DateTime<Utc>) -> Decimal {
        self.cap - self.used - self.held(now)
    }

    fn expired(&self, now: DateTime<Utc>) -> impl Iterator<Item = (&String, &Hold)> {
        self.holds.iter().filter(move |(_, hold)| hold.expires_at <= now)
    }
}

impl Store {
    /// Takes expired holds off, as their records allow; whether anything changed.
    pub(crate) async fn holds_expire(&self, counter: &Counter, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let expired: Vec<(String, DateTime<Utc>)> = counter
            .expired(now)
            .take(EXPIRED_MAX)
            .map(|(id, hold)| (id.clone(), hold.expires_at))
            .collect();
        if expired.is_empty() {
            return Ok(false);
        }
        let asked = expired.into_iter().map(|(id, expires_at)| async move {
            let fate = self.hold_fate(&id, expires_at, now).await?;
            Ok::<_, StoreError>((id, fate))
        });
        let fates: Vec<(String, Fate)> = stream::iter(asked).buffer_unordered(WIDTH).try_collect().await?;
        let mut change = Change::default();
        for (id, fate) in fates {
            match fate {
                Fate::Gone => change.gone.push(id),
                Fate::Until(until) => change.until.push((id, until)),
                // The commit takes the hold off.
                Fate::Committed(reservation) => drop(self.commit_finish(&reservation, now).await?),
            }
        }
        if !(change.gone.is_empty() && change.until.is_empty()) {
            self.holds_change(&counter.key, change, now).await?;
        }
        Ok(true)
    }

    /// What is to become of a hold that expired: its record is asked and, where it is undecided,
    /// decided. A hold whose maker has not written the record yet is given up, too; the note in the
    /// record's place refuses it afterwards.
    pub(crate) async fn hold_fate(
        &self,
        id: &str,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Fate, StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::reservation(id)))
            .key("sk", s(ONLY))
            .update_expression(
                "SET #state = :expired, held_until = if_not_exists(held_until, :until), \
                 expires_at = if_not_exists(expires_at, :life)",
            )
            .condition_expression("attribute_not_exists(pk) OR (#state = :held AND held_until <= :now)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":expired", s(State::Expired.as_str()))
            .expression_attribute_values(":held", s(State::Held.as_str()))
            .expression_attribute_values(":until", at(expires_at))
            .expression_attribute_values(":now", at(now))
            .expression_attribute_values(":life", int((now + NOTE_LIFE).timestamp()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Fate::Gone),
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(unmet)) = error.as_service_error() else {
            return Err(failed("hold_fate", error));
        };
        let record = unmet.item().map_or(Ok(None), Reservation::from_item)?;
        Ok(match record {
            Some(record) if record.state == State::Committed => Fate::Committed(Box::new(record)),
            Some(record) if record.state == State::Held => Fate::Until(record.held_until),
            Some(_) | None => Fate::Gone,
        })
    }

    /// Takes a decided reservation's hold off its counter, if it is there.
    pub(crate) async fn hold_drop(&self, reservation: &Reservation, now: DateTime<Utc>) -> Result<(), StoreError> {
        let Some(key) = CounterKey::parse(reservation.owner(), &reservation.counter) else {
            return Ok(());
        };
        let hold = Hold {
            quantity: reservation.quantity,
            expires_at: reservation.held_until,
            made_at: reservation.created_at,
        };
        if reservation.kind == Kind::Lease {
            let change = Change {
                gone: vec![reservation.id.clone()],
                ..Change::default()
            };
            return self.holds_change(&key, change, now).await;
        }
        self.hold_free(&key, &reservation.id, &hold).await
    }

    /// Takes a hold off a counter whose peaks it does not matter to, if it is there.
    pub(crate) async fn hold_free(&self, key: &CounterKey, id: &String, hold: &Hold) -> Result<(), StoreError> {
        let mut parts = Parts::default();
        parts.free([(id, hold)]);
        self.parts_send("hold_free", key, parts).await.map(drop)
    }

    /// Lets a hold count until another instant, if it is there: where a seal released it, there is
    /// none.
    pub(crate) async fn hold_prolong(
        &self,
        key: &CounterKey,
        id: &str,
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut parts = Parts::default();
        parts.prolong([(id, until)]);
        self.parts_send("hold_prolong", key, parts).await.map(drop)
    }

    /// Changes the holds of a counter; what is no more there is left out.
    async fn holds_change(&self, key: &CounterKey, change: Change, now: DateTime<Utc>) -> Result<(), StoreError> {
        for turn in 0..TURNS_MAX {
            // Changes under the version queue up within an instance, instead of competing.
            let mine = self.gauge_queues.enter(key).await;
            let Some(counter) = self.counter_get(key).await? else {
                return Ok(());
            };
            let mut parts = Parts::default();
            parts.free(change.gone.iter().filter_map(|id| counter.holds.get_key_value(id)));
            let there = change.until.iter().filter(|(id, _)| counter.holds.contains_key(id));
            parts.prolong(there.map(|(id, until)| (id.as_str(), *until)));
            if parts.set.is_empty() {
                return Ok(());
            }
            if counter.kind == Kind::Lease {
                let target = self.target_of(&counter, now).await?.ok_or(StoreError::Corrupt {
                    what: "counter",
                    attribute: "subscription_id".into(),
                })?;
                parts.under_version(&counter, &counter.peaks_carried(&target, now)?, now);
            }
            if self.parts_send("holds_change", key, parts).await? {
                return Ok(());
            }
            drop(mine);
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy("holds_change"))
    }

    /// Sends an update; false if its condition was not met.
    async fn parts_send(&self, operation: &'static str, key: &CounterKey, parts: Parts) -> Result<bool, StoreError> {
        Ok(matches!(
            self.holds_update(operation, key, &parts).await?,
            Updated::Done
        ))
    }

    /// Sends an update of a counter's holds, and again where a transaction on the same counter was in
    /// its way: a second sending finds what the first one did.
    pub(crate) async fn holds_update(
        &self,
        operation: &'static str,
        key: &CounterKey,
        parts: &Parts,
    ) -> Result<Updated, StoreError> {
        for turn in 0..SENDS_MAX {
            let error = match parts.clone().into_request(self, key).send().await {
                Ok(_) => return Ok(Updated::Done),
                Err(error) => error,
            };
            if let Some(UpdateItemError::ConditionalCheckFailedException(unmet)) = error.as_service_error() {
                let counter = unmet.item().map(Counter::from_item).transpose()?;
                return Ok(Updated::Unmet(counter.map(Box::new)));
            }
            let error = failed(operation, error);
            if !error.retryable() || turn + 1 == SENDS_MAX {
                return Err(error);
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy(operation))
    }
}

/// An update of a counter's holds, put together from its parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    set: Vec<String>,
    remove: Vec<String>,
    condition: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Parts {
    /// Adds a hold, if it is not there and so much is left.
    pub fn hold(&mut self, id: &str, hold: &Hold) {
        self.set.push("holds.#hold = :hold".to_owned());
        self.set.push("remaining = remaining - :quantity".to_owned());
        self.condition.push("attribute_not_exists(holds.#hold)".to_owned());
        self.condition.push("remaining >= :quantity".to_owned());
        self.condition.push("size(holds) < :most".to_owned());
        self.names.insert("#hold".to_owned(), id.to_owned());
        self.values.insert(":hold".to_owned(), hold.to_value());
        self.values.insert(":quantity".to_owned(), n(hold.quantity));
        self.values.insert(":most".to_owned(), int(HOLDS_MAX));
    }

    /// Refuses a counter that takes no more at `now`.
    pub fn open_at(&mut self, now: DateTime<Utc>) {
        self.condition.push("attribute_exists(pk)".to_owned());
        self.condition.push("attribute_not_exists(sealed)".to_owned());
        self.condition
            .push("(attribute_not_exists(ended) OR ended > :now)".to_owned());
        self.values.insert(":now".to_owned(), at(now));
    }

    /// Takes holds off that are there as read.
    fn free<'a>(&mut self, holds: impl IntoIterator<Item = (&'a String, &'a Hold)>) {
        let mut freed = Decimal::ZERO;
        for (index, (id, hold)) in holds.into_iter().enumerate() {
            freed += hold.quantity;
            self.remove.push(format!("holds.#g{index}"));
            self.condition.push(format!("holds.#g{index}.q = :g{index}"));
            self.names.insert(format!("#g{index}"), id.clone());
            self.values.insert(format!(":g{index}"), n(hold.quantity));
        }
        if !self.remove.is_empty() {
            self.set.push("remaining = remaining + :freed".to_owned());
            self.values.insert(":freed".to_owned(), n(freed));
        }
    }

    fn prolong<'a>(&mut self, holds: impl IntoIterator<Item = (&'a str, DateTime<Utc>)>) {
        for (index, (id, until)) in holds.into_iter().enumerate() {
            self.set.push(format!("holds.#u{index}.x = :u{index}"));
            self.condition.push(format!("attribute_exists(holds.#u{index})"));
            self.names.insert(format!("#u{index}"), id.to_owned());
            self.values.insert(format!(":u{index}"), at(until));
        }
    }

    /// For leases: only if the counter is as read, with what is noted of its periods.
    pub fn under_version(&mut self, counter: &Counter, peaks: &Peaks, now: DateTime<Utc>) {
        self.set.push("version = version + :step".to_owned());
        self.set.push("peaks = :peaks".to_owned());
        self.set.push("carried = :carried".to_owned());
        self.set.push("changed_at = :changed".to_owned());
        self.condition.push("version = :version".to_owned());
        self.values.extend([
            (":step".to_owned(), int(1)),
            (":peaks".to_owned(), decimals_value(&peaks.highest)),
            (":carried".to_owned(), decimals_value(&peaks.carried)),
            (":changed".to_owned(), at(now)),
            (":version".to_owned(), int(counter.version)),
        ]);
    }

    fn into_request(self, store: &Store, key: &CounterKey) -> UpdateItemFluentBuilder {
        let remove = match self.remove.is_empty() {
            true => String::new(),
            false => format!(" REMOVE {}", self.remove.join(", ")),
        };
        store
            .dynamodb
            .update_item()
            .table_name(&store.tables.state)
            .key("pk", s(key.pk()))
            .key("sk", s(key.sk()))
            .update_expression(format!("SET {}{remove}", self.set.join(", ")))
            .condition_expression(self.condition.join(" AND "))
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}
