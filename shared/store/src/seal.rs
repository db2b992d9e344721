//! Seals: a period that was ended early (renewed, cancelled) is closed for ever, at once.
//!
//! Before, one transaction ended it on its subscription, so that no counter of it can be born any
//! more, and noted that it is to be sealed. Then each of its counters is sealed: no count begins on
//! it. What is pending, of any age, is given up where its event is not there, so that its writer
//! starts again on the current counter; holds are released. Then the note goes.
//!
//! Sent twice or in parallel: each step is conditional on what it changes. Dies half-way: the note
//! stays, and whoever renews or cancels next, or sends the same again, goes on from the beginning.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValue};
use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::Counter,
    error::failed,
    item::{at, n, s},
    keys::{self, CounterKey, OWNER, Owner},
    reservation::State,
    resolve::is_unmet,
    subscription::Subscription,
};

/// How often the counters of a period are looked at before somebody else must go on.
const TURNS_MAX: u32 = 12;

impl Store {
    /// Seals what is noted on a subscription, and takes the note off.
    pub async fn seals_finish(&self, subscription: &Subscription) -> Result<(), StoreError> {
        if subscription.sealing.is_empty() {
            return Ok(());
        }
        let owner = Owner::Subscription(subscription.id.clone());
        for start in &subscription.sealing {
            self.period_seal(&owner, *start).await?;
        }
        let noted = subscription.sealing.iter().copied().map(at).collect();
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(owner.pk()))
            .key("sk", s(OWNER))
            .update_expression("REMOVE sealing")
            .condition_expression("sealing = :noted")
            .expression_attribute_values(":noted", AttributeValue::L(noted))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            // Somebody else finished it.
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("seals_finish", error)),
        }
    }

    /// Seals the counters of a period of which none can be born any more.
    async fn period_seal(&self, owner: &Owner, start: DateTime<Utc>) -> Result<(), StoreError> {
        for turn in 0..TURNS_MAX {
            let counters = self.counters_of_period(owner, start).await?;
            let open: Vec<Counter> = counters.into_iter().filter(|counter| !counter.is_closed()).collect();
            if open.is_empty() {
                return Ok(());
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
            self.hold_release(&counter.key, reservation, hold.quantity).await?;
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

    async fn hold_release(&self, key: &CounterKey, reservation: &str, quantity: Decimal) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(key.pk()))
            .key("sk", s(key.sk()))
            .update_expression("SET remaining = remaining + :quantity REMOVE holds.#reservation")
            .condition_expression("attribute_exists(holds.#reservation)")
            .expression_attribute_names("#reservation", reservation)
            .expression_attribute_values(":quantity", n(quantity))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("hold_release", error)),
        }
    }

    /// The counters of one period, strongly read.
    async fn counters_of_period(&self, owner: &Owner, start: DateTime<Utc>) -> Result<Vec<Counter>, StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND begins_with(sk, :period)")
            .expression_attribute_values(":pk", s(owner.pk()))
            .expression_attribute_values(":period", s(keys::counters_of(start)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .items()
            .send();
        let mut counters = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| failed("counters_of_period", error))?;
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
