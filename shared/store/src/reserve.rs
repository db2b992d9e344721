//! Making a reservation: the hold on the counter, then the record.
//!
//! The hold is one conditional update that also admits it: together with usage and other holds it
//! never passes the cap. Sent twice with a key: the id derives from the key, so the second finds the
//! record, or the hold without one and goes on from there. In parallel: updates of one counter
//! queue up. Dies half-way: a hold without a record can be committed by nobody, and expires.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
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
    gauge::Standing,
    hold::{HOLDS_MAX, Parts, Updated},
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
            let mine = match draft.metric.kind {
                Kind::Sum | Kind::Gauge => None,
                Kind::Lease => Some(self.gauge_queues.enter(&charge.key).await),
            };
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
            let sent = self.hold_send(booking, charge, standing.as_deref()).await?;
            // Whoever makes room takes turns of their own.
            drop(mine);
            match sent {
                Updated::Done => return Ok(Holding::Until(draft.now + booking.ttl)),
                Updated::Unmet(None) => match self.birth(draft, charge).await? {
                    Born::There => continue,
                    Born::Closed => return Ok(Holding::Closed),
                },
                Updated::Unmet(Some(counter)) => {
                    if let Some(holding) = self.unheld(booking, *counter, &mut waits).await? {
                        return Ok(holding);
                    }
                }
            }
            if standing.is_some() {
                self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
            }
        }
        Err(StoreError::busy("hold"))
    }

    async fn hold_send(
        &self,
        booking: &Booking,
        charge: &Charge,
        standing: Option<&Counter>,
    ) -> Result<Updated, StoreError> {
        let (draft, now) = (&booking.draft, booking.draft.now);
        let hold = Hold {
            quantity: draft.value,
            expires_at: now + booking.ttl,
            made_at: now,
        };
        let mut parts = Parts::default();
        parts.open_at(now);
        parts.hold(&booking.id, &hold);
        if let Some(counter) = standing.filter(|counter| counter.kind == Kind::Lease) {
            let level = counter.held(now) + draft.value;
            let peaks = counter.peaks_after(&charge.target, &charge.period, now, level)?;
            parts.under_version(counter, &peaks, now);
        }
        self.holds_update("hold", &charge.key, &parts).await
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

    /// Step 2. Where the hold was given up for its age before this came, the record says so from the
    /// beginning.
    async fn reservation_put(
        &self,
        booking: &Booking,
        charge: &Charge,
        until: DateTime<Utc>,
    ) -> Result<Reserved, StoreError> {
        let mut record = booking.record(charge, until, self.context.attempt());
        for state in [State::Held, State::Expired] {
            record.state = state;
            if let Some(reserved) = self.reservation_put_as(booking, &record).await? {
                return Ok(reserved);
            }
        }
        Err(StoreError::busy("reservation_put"))
    }

    async fn reservation_put_as(
        &self,
        booking: &Booking,
        record: &Reservation,
    ) -> Result<Option<Reserved>, StoreError> {
        let condition = match record.state {
            State::Held => "attribute_not_exists(pk) OR (attribute_not_exists(user_id) AND held_until < :until)",
            _ => "attribute_not_exists(user_id) AND held_until >= :until",
        };
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .set_item(Some(record.to_new_item()))
            .condition_expression(condition)
            .expression_attribute_values(":until", at(record.held_until))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Some(Reserved::Held(Box::new(record.clone())))),
            Err(error) => error,
        };
        let Some(PutItemError::ConditionalCheckFailedException(unmet)) = error.as_service_error() else {
            return Err(failed("reservation_put", error));
        };
        let found = unmet.item().map_or(Ok(None), Reservation::from_item)?;
        Ok(found.map(|found| match found.made_by == record.made_by {
            true => Reserved::Held(Box::new(record.clone())),
            false => booking.before(&found),
        }))
    }
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
