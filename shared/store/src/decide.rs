//! What becomes of a reservation: committed with the actual quantity, released, or renewed.
//!
//! One conditional update of the record decides; then the counter is changed: a commit turns the
//! hold into usage, pending until its event is stored, a release takes it off. Sent twice: the
//! record says what was decided, and what is missing of it is done. In parallel: one decides. Dies
//! half-way: the same request, a look at the expired hold, at the pending entry, or at the
//! reservation itself does the rest; a commit that was decided is never given up for its age.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure, Update},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use metering_domain::metric::Kind;
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    error::failed,
    event::{Details, Event, RETENTION},
    item::{at, int, n, s},
    keys::{self, CounterKey},
    mutation::{MutationRecord, ONLY, RequestName, Transacted, update},
    reservation::{Decision, LIFE_MAX, Reservation, State},
    track::Tracked,
};

/// How often a renewal that met another one looks again.
const TURNS_MAX: u32 = 12;

/// Who wants to decide.
#[derive(Debug, Clone)]
pub struct Order {
    /// The reservation.
    pub id: String,
    /// The user who asks with a token of their own, and may touch only what they made with one.
    pub by_user: Option<String>,
    /// The request, if it has an idempotency key.
    pub request: Option<RequestName>,
    /// When.
    pub now: DateTime<Utc>,
}

/// The usage of a reservation.
#[derive(Debug, Clone, Default)]
pub struct Actual {
    /// How much; as reserved if nothing is said.
    pub quantity: Option<Decimal>,
    /// What else was said about it.
    pub details: Details,
}

/// How a decision ended.
#[derive(Debug)]
pub enum Decided {
    /// It was made.
    Done {
        /// The reservation as it is now.
        reservation: Box<Reservation>,
        /// The event of a commit.
        event: Option<Box<Event>>,
        /// Whether an earlier call decided the same.
        again: bool,
        /// Whether that was this very request, by its idempotency key.
        replayed: bool,
    },
    /// There is no such reservation of this user.
    Unknown,
    /// Somebody else made it.
    Foreign,
    /// It was decided otherwise.
    Closed(Box<Reservation>),
    /// It expired.
    Expired(Box<Reservation>),
    /// The idempotency key belongs to another request.
    OtherRequest,
    /// Leases are released, not committed.
    Lease,
}

/// How a renewal ended.
#[derive(Debug)]
pub enum Renewed {
    /// It counts until then.
    Done(Box<Reservation>),
    /// The same request was answered before.
    Before,
    /// There is no such reservation of this user.
    Unknown,
    /// Somebody else made it.
    Foreign,
    /// It is not held any more.
    Closed(Box<Reservation>),
    /// It may be held for at most so many seconds more.
    TooLong(i64),
}

/// What the record said to a decision.
enum Verdict {
    /// It is decided so, by this call.
    Mine(Box<Reservation>),
    /// It is as it was.
    Refused(Option<Box<Reservation>>),
}

impl Store {
    /// Records the usage of a reservation.
    pub async fn reservation_commit(&self, order: &Order, actual: &Actual) -> Result<Decided, StoreError> {
        let decision = Decision {
            quantity: actual.quantity,
            at: order.now,
            by: self.context.attempt(),
            request: order.request.clone(),
            details: actual.details.clone(),
        };
        let (reservation, again, replayed) = match self.decide(order, State::Committed, &decision).await? {
            Verdict::Mine(reservation) => (reservation, false, false),
            Verdict::Refused(None) => return Ok(Decided::Unknown),
            Verdict::Refused(Some(found)) => {
                if let Some(refused) = order.refused(&found) {
                    return Ok(refused);
                }
                if found.kind == Kind::Lease {
                    return Ok(Decided::Lease);
                }
                let found = self.reservation_settled(found, order.now).await?;
                let replayed = match order.replays(&found) {
                    Some(false) => return Ok(Decided::OtherRequest),
                    Some(true) => true,
                    None => false,
                };
                let same = found.committed() == Some(actual.quantity.unwrap_or(found.quantity));
                match found.state_at(order.now) {
                    State::Committed if same || replayed => (found, true, replayed),
                    State::Expired => return Ok(Decided::Expired(found)),
                    State::Held => return Err(StoreError::busy("reservation_commit")),
                    State::Committed | State::Released => return Ok(Decided::Closed(found)),
                }
            }
        };
        let event = self.commit_carry_out(&reservation, again, order.now).await?;
        Ok(Decided::Done {
            reservation,
            event: Some(Box::new(event)),
            again,
            replayed,
        })
    }

    /// Gives a reservation back.
    pub async fn reservation_release(&self, order: &Order) -> Result<Decided, StoreError> {
        let decision = Decision {
            quantity: None,
            at: order.now,
            by: self.context.attempt(),
            request: order.request.clone(),
            details: Details::default(),
        };
        let (reservation, again) = match self.decide(order, State::Released, &decision).await? {
            Verdict::Mine(reservation) => (reservation, false),
            Verdict::Refused(None) => return Ok(Decided::Unknown),
            Verdict::Refused(Some(found)) => {
                if let Some(refused) = order.refused(&found) {
                    return Ok(refused);
                }
                let found = self.reservation_settled(found, order.now).await?;
                match found.state_at(order.now) {
                    State::Released | State::Expired => (found, true),
                    State::Committed => return Ok(Decided::Closed(found)),
                    State::Held => return Err(StoreError::busy("reservation_release")),
                }
            }
        };
        if reservation.state == State::Released {
            self.hold_drop(&reservation, order.now).await?;
        }
        let replayed = again && order.replays(&reservation) == Some(true);
        Ok(Decided::Done {
            reservation,
            event: None,
            again,
            replayed,
        })
    }

    /// Holds a reservation for `ttl` from now on. `answered`: the record of the answer.
    pub async fn reservation_renew(
        &self,
        order: &Order,
        ttl: TimeDelta,
        answered: impl Fn(&Reservation) -> Option<MutationRecord> + Send + Sync,
    ) -> Result<Renewed, StoreError> {
        for turn in 0..TURNS_MAX {
            let Some(found) = self.reservation_get(&order.id).await? else {
                return Ok(Renewed::Unknown);
            };
            match order.refused(&found) {
                None => {}
                Some(Decided::Unknown) => return Ok(Renewed::Unknown),
                Some(_) => return Ok(Renewed::Foreign),
            }
            let found = self.reservation_settled(Box::new(found), order.now).await?;
            if found.state_at(order.now) != State::Held {
                return Ok(Renewed::Closed(found));
            }
            let left = found.created_at + LIFE_MAX - order.now;
            if found.kind != Kind::Lease && ttl > left {
                return Ok(Renewed::TooLong(left.num_seconds()));
            }
            let after = Reservation {
                held_until: order.now + ttl,
                ..(*found).clone()
            };
            match self
                .renew_record(&found, &after, answered(&after).as_ref(), order.now)
                .await?
            {
                Transacted::Done => {
                    if let Some(key) = CounterKey::parse(after.owner(), &after.counter) {
                        self.hold_prolong(&key, &after.id, after.held_until).await?;
                    }
                    return Ok(Renewed::Done(Box::new(after)));
                }
                Transacted::Unmet(unmet) if unmet.contains(&1) => return Ok(Renewed::Before),
                Transacted::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
            }
        }
        Err(StoreError::busy("reservation_renew"))
    }

    async fn renew_record(
        &self,
        before: &Reservation,
        after: &Reservation,
        record: Option<&MutationRecord>,
        now: DateTime<Utc>,
    ) -> Result<Transacted, StoreError> {
        let renewal = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(keys::reservation(&after.id)))
            .key("sk", s(ONLY))
            .update_expression("SET held_until = :after, expires_at = :life")
            .condition_expression("#state = :held AND held_until = :before")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":held", s(State::Held.as_str()))
            .expression_attribute_values(":before", at(before.held_until))
            .expression_attribute_values(":after", at(after.held_until))
            .expression_attribute_values(":life", int((after.held_until + RETENTION).timestamp()));
        let mut items = vec![update(renewal)?];
        if let Some(record) = record {
            items.push(self.put_record(record, now).await?);
        }
        self.transact("reservation_renew", items).await
    }

    /// Carries a commit out that somebody decided; its event. While its writer is still at work,
    /// too: the two meet at the hold, at the entry or at the event, and one of them does it.
    pub fn commit_finish<'a>(
        &'a self,
        reservation: &'a Reservation,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Event, StoreError>> {
        // In a box, since who makes room for usage may have to finish another's.
        Box::pin(self.commit_carry_out(reservation, true, now))
    }

    /// Turns the hold into usage. `again`: it may have been done.
    async fn commit_carry_out(
        &self,
        reservation: &Reservation,
        again: bool,
        now: DateTime<Utc>,
    ) -> Result<Event, StoreError> {
        let draft = reservation.draft(again, now)?;
        match self.track(&draft).await? {
            Tracked::Recorded(event, _) => Ok(*event),
            Tracked::Duplicate(event, _) => {
                // A hold that a send of its creation brought back late is not needed any more.
                self.hold_drop(reservation, now).await?;
                Ok(*event)
            }
            refused => Err(StoreError::Refused {
                operation: "reservation_commit",
                source: format!("{refused:?}").into(),
            }),
        }
    }

    /// One that expired is noted as such, and its room is freed, before anybody is told; what it is
    /// then. The record decides: another instance, whose clock is behind, may have been faster.
    async fn reservation_settled(
        &self,
        found: Box<Reservation>,
        now: DateTime<Utc>,
    ) -> Result<Box<Reservation>, StoreError> {
        if found.state_at(now) != State::Expired {
            return Ok(found);
        }
        if found.state == State::Held {
            self.hold_fate(&found.id, found.held_until, now).await?;
        }
        let settled = self.reservation_get(&found.id).await?.map(Box::new);
        let settled = settled.ok_or(StoreError::busy("reservation_settled"))?;
        if settled.state == State::Expired {
            self.hold_drop(&settled, now).await?;
        }
        Ok(settled)
    }

    /// One conditional update of the record. The quantity of a commit without one is the reserved.
    async fn decide(&self, order: &Order, to: State, decision: &Decision) -> Result<Verdict, StoreError> {
        let mut set = vec!["#state = :to".to_owned()];
        let mut condition = "#state = :held AND held_until > :now".to_owned();
        let mut request = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::reservation(&order.id)))
            .key("sk", s(ONLY))
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":to", s(to.as_str()))
            .expression_attribute_values(":held", s(State::Held.as_str()))
            .expression_attribute_values(":now", at(order.now));
        if to == State::Committed {
            condition.push_str(" AND kind_of <> :lease");
            request = request.expression_attribute_values(":lease", s(Kind::Lease.as_str()));
            match decision.quantity {
                None => set.push("committed = quantity".to_owned()),
                Some(quantity) => {
                    set.push("committed = :quantity".to_owned());
                    request = request.expression_attribute_values(":quantity", n(quantity));
                }
            }
        }
        if let Some(user) = &order.by_user {
            condition.push_str(" AND user_id = :user AND by_user = :yes");
            request = request
                .expression_attribute_values(":user", s(user))
                .expression_attribute_values(":yes", aws_sdk_dynamodb::types::AttributeValue::Bool(true));
        }
        for (name, value) in decision.to_attributes().into_iter().collect::<BTreeMap<_, _>>() {
            set.push(format!("#{name} = :{name}"));
            request = request
                .expression_attribute_names(format!("#{name}"), &name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        let sent = request
            .update_expression(format!("SET {}", set.join(", ")))
            .condition_expression(condition)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match sent {
            Ok(sent) => {
                let record = Reservation::from_item(&sent.attributes.unwrap_or_default())?;
                let record = record.ok_or(StoreError::busy("decide"))?;
                return Ok(Verdict::Mine(Box::new(record)));
            }
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(unmet)) = error.as_service_error() else {
            return Err(failed("decide", error));
        };
        let found = unmet.item().map_or(Ok(None), Reservation::from_item)?;
        let own = |found: &Reservation| found.decision.as_ref().is_some_and(|own| own.by == decision.by);
        Ok(match found {
            // The answer to the first send was lost.
            Some(found) if own(&found) => Verdict::Mine(Box::new(found)),
            found => Verdict::Refused(found.map(Box::new)),
        })
    }
}

impl Order {
    /// Whether a reservation is out of this caller's reach.
    fn refused(&self, found: &Reservation) -> Option<Decided> {
        match &self.by_user {
            Some(user) if *user != found.user_id => Some(Decided::Unknown),
            Some(_) if !found.by_user => Some(Decided::Foreign),
            _ => None,
        }
    }

    /// Whether a decision was made by the request with this key: with the same body, or another.
    fn replays(&self, found: &Reservation) -> Option<bool> {
        let own = self.request.as_ref()?;
        let theirs = found.decision.as_ref()?.request.as_ref()?;
        (own.hash == theirs.hash).then(|| own.fingerprint == theirs.fingerprint)
    }
}
