//! Making a reservation: the hold on the counter, then the record.
//!
//! The hold is one conditional update that also admits it: together with usage and other holds it
//! never passes the cap. Sent twice with a key: the id derives from the key, so the second finds the
//! record, or the hold without one and goes on from there. In parallel: updates of one counter
//! queue up. Dies half-way: a hold without a record can be committed by nobody, and expires.

use aws_sdk_dynamodb::{
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure},
};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::metric::Kind;

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::{Counter, Hold},
    error::failed,
    event::Draft,
    hold::{HOLDS_MAX, Parts},
    item::at,
    reservation::{Reservation, State},
    track::{Born, Charge, Place, RESOLUTIONS_MAX, TURNS_MAX, Tracked},
};

/// What is to be reserved.
#[derive(Debug, Clone)]
pub struct Booking {
    /// The reservation's id: derived from the request's idempotency key, or fresh.
    pub id: String,
    /// What the request with an idempotency key said.
    pub made_as: Option<String>,
    /// What it would be recorded as: the quantity, enforced, at the present time.
    pub draft: Draft,
    /// For how long.
    pub ttl: TimeDelta,
    /// Whether the user asks with a token of their own.
    pub by_user: bool,
}

/// What became of a booking.
#[derive(Debug)]
pub enum Reserved {
    /// It is held.
    Held(Box<Reservation>),
    /// The same request made it before; as it was answered then.
    Before(Box<Reservation>),
    /// The idempotency key belongs to another request.
    OtherRequest,
    /// Too little is left; the counter as it is.
    Denied(Box<Counter>),
    /// The counter has as many holds as it can.
    TooManyHolds(Box<Counter>),
    /// There is no such subscription of this user.
    UnknownSubscription,
    /// The subscription takes no enforced usage any more.
    Inactive,
    /// The subscription has not begun.
    NotBegun,
}

/// How a try to hold ended.
enum Holding {
    Until(DateTime<Utc>),
    Closed,
    Refused(Reserved),
}

impl Store {
    /// Reserves a quantity.
    pub async fn reserve(&self, booking: &Booking) -> Result<Reserved, StoreError> {
        if booking.made_as.is_some()
            && let Some(found) = self.reservation_get(&booking.id).await?
        {
            return Ok(booking.before(&found));
        }
        let mut closed = Vec::new();
        for turn in 0..RESOLUTIONS_MAX {
            let charge = match self.place(&booking.draft, turn > 0, &closed).await? {
                Place::Charge(charge) => charge,
                Place::History(_) => return Ok(Reserved::NotBegun),
                Place::Done(Tracked::UnknownSubscription) => return Ok(Reserved::UnknownSubscription),
                Place::Done(Tracked::Inactive) => return Ok(Reserved::Inactive),
                Place::Done(_) => return Err(StoreError::busy("reserve")),
            };
            match self.hold(booking, &charge).await? {
                Holding::Until(until) => return self.reservation_put(booking, &charge, until).await,
                Holding::Closed => closed.push(charge.key),
                Holding::Refused(refused) => return Ok(refused),
            }
        }
        Err(StoreError::busy("reserve"))
    }

    async fn hold(&self, booking: &Booking, charge: &Charge) -> Result<Holding, StoreError> {
        let draft = &booking.draft;
        let mut waits = 0;
        for turn in 0..TURNS_MAX {
            let standing = match draft.metric.kind {
                Kind::Sum => None,
                Kind::Gauge | Kind::Lease => match self.standing(charge, draft.now).await? {
                    Standing::Ready(counter) => Some(counter),
                    Standing::Missing => match self.birth(draft, charge).await? {
                        Born::There => continue,
                        Born::Closed => return Ok(Holding::Closed),
                    },
                    Standing::Closed => return Ok(Holding::Closed),
                    Standing::Changed => continue,
                },
            };
            let Some(image) = self.hold_send(booking, charge, standing.as_deref()).await? else {
                return Ok(Holding::Until(draft.now + booking.ttl));
            };
            let Some(counter) = image else {
                match self.birth(draft, charge).await? {
                    Born::There => continue,
                    Born::Closed => return Ok(Holding::Closed),
                }
            };
            if let Some(holding) = self.unheld(booking, counter, &mut waits).await? {
                return Ok(holding);
            }
            if standing.is_some() {
                self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
            }
        }
        Err(StoreError::busy("hold"))
    }

    /// Sends the hold; nothing if it is there now, otherwise the counter that refused it, if there is
    /// one.
    async fn hold_send(
        &self,
        booking: &Booking,
        charge: &Charge,
        standing: Option<&Counter>,
    ) -> Result<Option<Option<Counter>>, StoreError> {
        let (draft, now) = (&booking.draft, booking.draft.now);
        let hold = Hold {
            quantity: draft.value,
            expires_at: now + booking.ttl,
        };
        let mut parts = Parts::default();
        parts.open_at(now);
        parts.hold(&booking.id, &hold);
        if let Some(counter) = standing.filter(|counter| counter.kind == Kind::Lease) {
            let level = counter.held(now) + draft.value;
            let peaks = counter.peaks_after(&charge.target, &charge.period, now, level)?;
            parts.under_version(counter, &peaks, now);
        }
        let error = match parts.into_request(self, &charge.key).send().await {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(unmet)) => {
                unmet.item().map(Counter::from_item).transpose().map(Some)
            }
            _ => Err(failed("hold", error)),
        }
    }

    /// Why a counter refused a hold; nothing if it may be tried again.
    async fn unheld(
        &self,
        booking: &Booking,
        counter: Counter,
        waits: &mut u32,
    ) -> Result<Option<Holding>, StoreError> {
        let (draft, now) = (&booking.draft, booking.draft.now);
        if let Some(own) = counter.holds.get(&booking.id) {
            // Sent before, by this call or an earlier one with the same key.
            return Ok(Some(match own.quantity == draft.value {
                true => Holding::Until(own.expires_at),
                false => Holding::Refused(Reserved::OtherRequest),
            }));
        }
        if counter.sealed || counter.ended.is_some_and(|at| at <= now) {
            return Ok(Some(Holding::Closed));
        }
        let crowded = counter.holds.len() >= HOLDS_MAX;
        if crowded && !self.holds_expire(&counter, now).await? {
            return Ok(Some(Holding::Refused(Reserved::TooManyHolds(Box::new(counter)))));
        }
        let enough = counter.remaining >= draft.value;
        if crowded || enough || self.make_room(&counter, draft.value, now, waits).await? {
            return Ok(None);
        }
        self.denied(&counter.key);
        Ok(Some(Holding::Refused(Reserved::Denied(Box::new(
            self.with_denials(counter),
        )))))
    }

    /// Step 2. Refused where the hold was given up before this came.
    async fn reservation_put(
        &self,
        booking: &Booking,
        charge: &Charge,
        until: DateTime<Utc>,
    ) -> Result<Reserved, StoreError> {
        let record = booking.record(charge, until, self.context.attempt());
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .set_item(Some(record.to_new_item()))
            .condition_expression("attribute_not_exists(pk) OR (attribute_not_exists(user_id) AND held_until < :until)")
            .expression_attribute_values(":until", at(until))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Reserved::Held(Box::new(record))),
            Err(error) => error,
        };
        let Some(PutItemError::ConditionalCheckFailedException(unmet)) = error.as_service_error() else {
            return Err(failed("reservation_put", error));
        };
        match unmet.item().map_or(Ok(None), Reservation::from_item)? {
            Some(found) if found.made_by == record.made_by => Ok(Reserved::Held(Box::new(record))),
            Some(found) => Ok(booking.before(&found)),
            None => Err(StoreError::busy("reservation_put")),
        }
    }

    /// A standing counter as a writer of `now` needs it.
    async fn standing(&self, charge: &Charge, now: DateTime<Utc>) -> Result<Standing, StoreError> {
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
}

/// What a writer finds of a standing counter.
enum Standing {
    Ready(Box<Counter>),
    Missing,
    Closed,
    Changed,
}

impl Booking {
    fn before(&self, found: &Reservation) -> Reserved {
        if found.made_as == self.made_as {
            Reserved::Before(Box::new(found.at_first()))
        } else {
            Reserved::OtherRequest
        }
    }

    fn record(&self, charge: &Charge, until: DateTime<Utc>, made_by: String) -> Reservation {
        let draft = &self.draft;
        Reservation {
            id: self.id.clone(),
            user_id: draft.user_id.clone(),
            subscription_id: charge.target.subscription_id.clone(),
            metric_type: draft.metric.metric_type.clone(),
            kind: draft.metric.kind,
            unit: draft.metric.unit.clone(),
            quantity: draft.value,
            state: State::Held,
            created_at: until - self.ttl,
            held_until: until,
            ttl: self.ttl,
            counter: charge.key.sk(),
            by_user: self.by_user,
            made_by,
            made_as: self.made_as.clone(),
            resource_id: draft.details.resource_id.clone(),
            metadata: draft.details.metadata.clone(),
            decision: None,
        }
    }
}
