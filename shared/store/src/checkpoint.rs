//! Checkpoints: what a counter's events added up to while all of them were there, noted on the counter,
//! for the time when some of them are gone. A void of one of them changes its checkpoint in the same
//! write ([`crate::void`]); a reset makes it worthless.
//!
//! Twice, or by two at once: noted if the counter is as it was found right. Dies half-way: another time.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::metric::Kind;
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    counter::{Checkpoint, Counter},
    error::failed,
    item::{Reader, int, n, s},
    resolve::is_unmet,
    tally::{Sum, Wanted},
    void::VOIDABLE,
};

/// So long before the present the events of a checkpoint end: longer than a message waits in the
/// queue of usage, whose event is as old as the message.
const CHECKPOINT_AGE: TimeDelta = TimeDelta::days(5);
/// How old the oldest event of a counter, or its checkpoint, must be for a new one.
const CHECKPOINT_AFTER: TimeDelta = TimeDelta::days(30);
/// How long all events of a counter are surely there.
const SURE: TimeDelta = VOIDABLE;
/// How far ahead of its receipt an event may lie, at most.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
const _: () = assert!(CHECKPOINT_AFTER.num_days() + CHECKPOINT_AGE.num_days() < SURE.num_days());

impl Counter {
    /// Before which instant no event of its arm was received.
    fn oldest_receipt(&self) -> Result<DateTime<Utc>, StoreError> {
        let reset = match &self.last_reset {
            Some((note, _)) => Some(Reader::new(note, "reset note").instant("at")? - CHECKPOINT_AGE),
            None => None,
        };
        let born = self.period.start - AHEAD;
        Ok(reset.map_or(born, |reset| reset.max(born)))
    }

    /// The checkpoint, as long as all later events are there.
    fn valid_checkpoint(&self, now: DateTime<Utc>) -> Option<&Checkpoint> {
        let own = self.checkpoint.as_ref();
        own.filter(|own| own.arm == self.arm && own.through > now - SURE)
    }

    /// What its events say it should be; none if they are not all there.
    pub(crate) fn expected(&self, sum: &Sum, now: DateTime<Utc>) -> Result<Option<Decimal>, StoreError> {
        if self.kind == Kind::Lease {
            // What is held is in its holds.
            return Ok(Some(Decimal::ZERO));
        }
        if let Some(own) = self.valid_checkpoint(now) {
            return Ok(Some(own.used + sum.since));
        }
        let complete = self.oldest_receipt()? > now - SURE;
        Ok((complete || sum.all == self.used).then_some(sum.all))
    }

    /// The checkpoint to note on it, now that it is known to be right.
    pub(crate) fn next_checkpoint(&self, sum: &Sum, now: DateTime<Utc>) -> Result<Option<Checkpoint>, StoreError> {
        let oldest = match self.valid_checkpoint(now) {
            Some(own) => own.through,
            None => self.oldest_receipt()?,
        };
        let due = self.kind != Kind::Lease && oldest <= now - CHECKPOINT_AFTER;
        Ok(due.then(|| Checkpoint {
            through: now - CHECKPOINT_AGE,
            used: self.used - sum.since_next,
            arm: self.arm,
        }))
    }
}

impl Store {
    /// Notes a checkpoint on a counter, if that is still as it was.
    pub(crate) async fn checkpoint_put(&self, counter: &Counter, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(counter.key.pk()))
            .key("sk", s(counter.key.sk()))
            .update_expression("SET checked_sum = :checkpoint")
            .condition_expression("used = :used AND arm = :arm AND version = :version AND attribute_not_exists(sealed)")
            .expression_attribute_values(":checkpoint", checkpoint.to_value())
            .expression_attribute_values(":used", n(counter.used))
            .expression_attribute_values(":arm", int(counter.arm))
            .expression_attribute_values(":version", int(counter.version))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            // It changed meanwhile: another time.
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("checkpoint_put", error)),
        }
    }
}

/// How the events of a counter are added up.
pub(crate) fn wanted(counter: &Counter, now: DateTime<Utc>) -> Wanted {
    let through = counter.valid_checkpoint(now).map(|own| own.through);
    Wanted {
        arm: counter.arm,
        through: through.unwrap_or(DateTime::<Utc>::MIN_UTC),
        next_through: now - CHECKPOINT_AGE,
    }
}
