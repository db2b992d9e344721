//! Count, then confirm: the protocol that makes admissions exact without a transaction.
//!
//! 1. *Count*: one conditional update takes the value from the counter and notes it as pending
//!    under a fresh attempt name. Every send has a name of its own, so one that lands late, or
//!    twice, is only an entry that somebody resolves.
//! 2. *Confirm*: the event's insertion names the attempt and is the commit.
//!
//! Whatever dies in between is settled later, see [`crate::resolve`]. A batch is one count with one
//! entry for all its events.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    counter::{Counter, Pending},
    error::failed,
    event::{Event, Stored},
    item::{Item, int, n, s},
    keys::CounterKey,
    no_retries,
};

/// The first pause between competing writers.
pub const BACK_OFF_BASE: Duration = Duration::from_millis(10);
/// The longest pause between competing writers.
pub const BACK_OFF_CEILING: Duration = Duration::from_millis(400);
/// How often a count that was throttled, conflicted or went unanswered is sent again.
const COUNT_SENDS_MAX: u32 = 8;
/// How many own confirmed entries one write removes besides.
const REMOVED_MAX: usize = 24;

/// Attempts of this instance that are confirmed and whose entries are still on their counters.
#[derive(Debug, Default)]
pub(crate) struct Confirmed(Mutex<HashMap<CounterKey, Vec<String>>>);

impl Confirmed {
    pub(crate) fn add(&self, key: &CounterKey, attempts: impl IntoIterator<Item = String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.entry(key.clone()).or_default();
        for attempt in attempts {
            // Two requests may confirm one adopted attempt; DynamoDB refuses to remove a path twice.
            if !own.contains(&attempt) {
                own.push(attempt);
            }
        }
    }

    /// Whether the attempt is known to be confirmed.
    pub(crate) fn knows(&self, key: &CounterKey, attempt: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).is_some_and(|own| own.iter().any(|name| name == attempt))
    }

    pub(crate) fn take(&self, key: &CounterKey) -> Vec<String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut attempts) = known.remove(key) else {
            return Vec::new();
        };
        if attempts.len() > REMOVED_MAX {
            known.insert(key.clone(), attempts.split_off(REMOVED_MAX));
        }
        attempts
    }
}

/// What to count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count<'a> {
    /// On which counter.
    pub key: &'a CounterKey,
    /// For which events, and how much for each.
    pub events: &'a [(u128, Decimal)],
    /// Whether the cap may refuse it.
    pub enforce: bool,
    /// The reservation whose usage it is.
    pub reservation: Option<&'a str>,
    /// How much was held for it, where the hold is to be taken off by the same update.
    pub converts: Option<Decimal>,
}

impl Count<'_> {
    fn total(&self) -> Decimal {
        self.events.iter().map(|(_, value)| value).sum()
    }
}

/// How a count ended.
#[derive(Debug)]
pub(crate) enum Counted {
    /// It is on the counter, pending under this attempt; the counter after it.
    Pending(String, Box<Counter>),
    /// There is no such counter yet.
    Missing,
    /// The counter's period is closed.
    Sealed,
    /// Too little is left; the counter as it is.
    TooLittle(Box<Counter>),
    /// The hold that was to be taken off is not there; the counter as it is.
    NoHold(Box<Counter>),
}

/// How a confirmation ended.
#[derive(Debug)]
pub(crate) enum Confirmation {
    /// This request stored the event: it is the one that answers "recorded".
    Stored,
    /// Another request stored the event, and named this attempt: the attempt's value counts.
    Adopted(Box<Event>),
    /// The event is there and names another attempt, or none.
    Another(Box<Event>),
    /// Somebody gave the attempt up: its count was, or will be, undone.
    Abandoned,
}

impl Store {
    /// Step 1. Each send has a fresh name, and the SDK does not send by itself.
    pub(crate) async fn count(&self, what: Count<'_>) -> Result<Counted, StoreError> {
        for turn in 0..COUNT_SENDS_MAX {
            let attempt = self.context.attempt();
            let done = self.confirmed.take(what.key);
            let denied = self.denials.take(what.key);
            let error = match self.send_count(what, &attempt, &done, denied).await {
                Ok(after) => return Ok(Counted::Pending(attempt, Box::new(Counter::from_item(&after)?))),
                Err(error) => error,
            };
            if let Some(UpdateItemError::ConditionalCheckFailedException(unmet)) = error.as_service_error() {
                let counter = unmet.item().map(Counter::from_item).transpose()?;
                let counted = uncounted(what, &attempt, counter);
                if !matches!(counted, Counted::Pending(..)) {
                    self.confirmed.add(what.key, done);
                    self.denials.add(what.key, denied);
                }
                return Ok(counted);
            }
            // The write may have landed: the entries are off or not, removing them again is free;
            // denials that may have been added are not added again.
            self.confirmed.add(what.key, done);
            let error = failed("count", error);
            if !error.retryable() || turn + 1 == COUNT_SENDS_MAX {
                return Err(error);
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy("count"))
    }

    async fn send_count(
        &self,
        what: Count<'_>,
        attempt: &str,
        done: &[String],
        denied: u64,
    ) -> Result<Item, SdkError<UpdateItemError>> {
        let total = what.total();
        let entry = Pending {
            events: what.events.to_vec(),
            at: self.context.now(),
            reservation: what.reservation.map(str::to_owned),
        };
        let mut expression = "SET used = used + :v, remaining = remaining - :taken, pending.#own = :entry".to_owned();
        let mut removed: Vec<String> = (0..done.len()).map(|index| format!("pending.#d{index}")).collect();
        let mut request = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(what.key.pk()))
            .key("sk", s(what.key.sk()))
            .expression_attribute_names("#own", attempt)
            .expression_attribute_values(":v", n(total))
            .expression_attribute_values(":taken", n(total - what.converts.unwrap_or_default()))
            .expression_attribute_values(":entry", entry.to_value());
        if denied > 0 {
            expression.push_str(", denied = denied + :denied");
            request = request.expression_attribute_values(":denied", int(denied));
        }
        for (index, name) in done.iter().enumerate() {
            request = request.expression_attribute_names(format!("#d{index}"), name);
        }
        let mut condition =
            "attribute_exists(pk) AND attribute_not_exists(sealed) AND attribute_not_exists(pending.#own)".to_owned();
        // What does not raise usage is never refused.
        if what.enforce && total > Decimal::ZERO {
            condition.push_str(" AND remaining >= :v");
        }
        if let Some((reservation, held)) = what.reservation.zip(what.converts) {
            condition.push_str(" AND holds.#hold.q = :held");
            removed.push("holds.#hold".to_owned());
            request = request
                .expression_attribute_names("#hold", reservation)
                .expression_attribute_values(":held", n(held));
        }
        if !removed.is_empty() {
            expression.push_str(&format!(" REMOVE {}", removed.join(", ")));
        }
        let sent = request
            .update_expression(expression)
            .condition_expression(condition)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .config_override(no_retries())
            .send()
            .await?;
        Ok(sent.attributes.unwrap_or_default())
    }

    /// Step 2: puts the event, if there is none, or a tombstone that does not name the attempt, or
    /// an event past its retention. Sent again it finds itself.
    pub(crate) async fn confirm(&self, event: &Event, now: DateTime<Utc>) -> Result<Confirmation, StoreError> {
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.events)
            .set_item(Some(event.to_item()))
            .condition_expression(EVENT_FREE)
            .expression_attribute_values(":attempt", s(&event.attempt))
            .expression_attribute_values(":now", int(now.timestamp()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Confirmation::Stored),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(unmet)) => {
                let image = unmet.item().ok_or(StoreError::busy("confirm"))?;
                Ok(match Stored::read(image, now)? {
                    Some(Stored::Event(found)) if found.attempt == event.attempt && found.counter == event.counter => {
                        if found.adopter == event.adopter {
                            Confirmation::Stored
                        } else {
                            Confirmation::Adopted(found)
                        }
                    }
                    Some(Stored::Event(found)) => Confirmation::Another(found),
                    Some(Stored::Tombstone { .. }) => Confirmation::Abandoned,
                    None => return Err(StoreError::busy("confirm")),
                })
            }
            _ => Err(failed("confirm", error)),
        }
    }
}

/// Why the condition of a count was not met, from the counter that did not meet it.
fn uncounted(what: Count<'_>, attempt: &str, counter: Option<Counter>) -> Counted {
    match counter {
        None => Counted::Missing,
        // The network carried it twice, and this is the second.
        Some(counter) if counter.pending.contains_key(attempt) => {
            Counted::Pending(attempt.to_owned(), Box::new(counter))
        }
        Some(counter) if counter.sealed => Counted::Sealed,
        Some(counter) if what.converts.is_some() => Counted::NoHold(Box::new(counter)),
        Some(counter) => Counted::TooLittle(Box::new(counter)),
    }
}

/// The condition under which an event may take its place.
pub(crate) const EVENT_FREE: &str = "attribute_not_exists(pk) \
     OR (attribute_not_exists(attempt) AND NOT contains(abandoned, :attempt)) \
     OR (attribute_exists(attempt) AND expires_at <= :now)";
