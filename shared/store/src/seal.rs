//! Seals: the counters of a period are closed for ever.
//!
//! Before, one transaction closed the period on its subscription, so that no counter of it can be born
//! any more. Then each of its counters is sealed: no count begins on it. What is pending, of any age,
//! is given up where its event is not there, so that its writer starts again on the current counter;
//! a commit's event is stored from its record. Holds are released, after commits that were decided and
//! not carried out count on the counter that runs then.
//!
//! Sent twice or in parallel: each step is conditional on what it changes. Dies half-way: whoever
//! comes next goes on from the beginning, see [`crate::billing`].

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValue};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::Counter,
    error::failed,
    item::s,
    keys::{self, CounterKey, Owner},
    reservation::State,
};

/// How often the counters of a period are looked at before somebody else must go on.
const TURNS_MAX: u32 = 12;

impl Store {
    /// Seals the counters of a period of which none can be born any more; all of them as they are for
    /// ever, strongly read.
    pub(crate) async fn period_seal(&self, owner: &Owner, start: DateTime<Utc>) -> Result<Vec<Counter>, StoreError> {
        for turn in 0..TURNS_MAX {
            let counters = self.counters_under(owner, &keys::counters_of(start)).await?;
            let (closed, open): (Vec<Counter>, Vec<Counter>) = counters.into_iter().partition(Counter::is_closed);
            if open.is_empty() {
                return Ok(closed);
            }
            for counter in open {
                self.counter_seal(counter).await?;
            }
            if turn > 0 {
                self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
            }
        }
        Err(StoreError::busy("period_seal"))
    }

    async fn counter_seal(&self, counter: Counter) -> Result<(), StoreError> {
        let counter = match counter.sealed {
            true => counter,
            false => self.mark_sealed(&counter.key).await?,
        };
        // None is added any more: a count is refused by the mark.
        for (attempt, entry) in &counter.pending {
            self.resolve_older(&counter.key, attempt, entry, TimeDelta::MIN).await?;
        }
        for (reservation, hold) in &counter.holds {
            // Decided and not carried out: it counts on the counter that runs now.
            let found = self.reservation_get(reservation).await?;
            if let Some(committed) = found.filter(|found| found.state == State::Committed) {
                self.commit_finish(&committed, self.context.now()).await?;
            }
            self.hold_free(&counter.key, reservation, hold).await?;
        }
        Ok(())
    }

    async fn mark_sealed(&self, key: &CounterKey) -> Result<Counter, StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(key.pk()))
            .key("sk", s(key.sk()))
            .update_expression("SET sealed = :yes")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .return_values(ReturnValue::AllNew)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("mark_sealed", error))?;
        Counter::from_item(&sent.attributes.unwrap_or_default())
    }

    /// An owner's counters whose sort keys begin with this, strongly read.
    pub(crate) async fn counters_under(&self, owner: &Owner, prefix: &str) -> Result<Vec<Counter>, StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(owner.pk()))
            .expression_attribute_values(":prefix", s(prefix))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .items()
            .send();
        let mut counters = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| failed("counters_under", error))?;
            counters.push(Counter::from_item(&item)?);
        }
        Ok(counters)
    }
}

impl Counter {
    /// Whether nothing can change it any more.
    fn is_closed(&self) -> bool {
        self.sealed && self.pending.is_empty() && self.holds.is_empty()
    }
}
