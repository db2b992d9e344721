//! Voids: an event is taken back, with a reason. It stays, flagged, and the ledger says so.
//!
//! One transaction flags the event if it is not flagged, takes its value off its counter if that is
//! not closed and of the same arm, and appends the ledger entry and, where somebody asked for it, the
//! audit entry. Sent twice, or by two at once: the second finds the flag and answers the first's
//! entry. Out of order: an event that is not there yet cannot be named. Dies half-way: nothing
//! happened.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update, builders::UpdateBuilder};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    adjustment::{Adjustment, AdjustmentKind},
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::Counter,
    event::Event,
    hour::{FINAL_AFTER, Series},
    item::{at, int, n, s},
    keys,
    mutation::{Committed, MutationRecord, Transacted, update},
    renewal::Noted,
};

/// How often a void that met another change looks again.
const TURNS_MAX: u32 = 12;
/// How long after its receipt an event may be taken back; its hour is final then.
pub const VOIDABLE: TimeDelta = TimeDelta::days(85);

/// How a void ended.
#[derive(Debug, Clone)]
pub enum Voided {
    /// It is taken back; whether it was before this call.
    Done {
        /// The event, flagged.
        event: Box<Event>,
        /// The ledger entry.
        adjustment: Box<Adjustment>,
        /// Whether an earlier call did it.
        already: bool,
    },
    /// There is no such event.
    Unknown,
    /// The period it was charged to is closed.
    PeriodClosed,
    /// It is a gauge's: a new level corrects it.
    Gauge,
    /// It was received too long ago, or its hour is final.
    TooOld,
    /// The same request was answered before.
    Before,
}

/// An event that is taken back, as whoever asked for it is told.
#[derive(Debug, Clone, Copy)]
pub struct Voiding<'a> {
    /// The event as it was.
    pub before: &'a Event,
    /// The event, flagged.
    pub after: &'a Event,
    /// The ledger entry.
    pub adjustment: &'a Adjustment,
    /// Whether an earlier call did it: then only the record of the answer is written.
    pub already: bool,
}

/// Who takes an event back, and why.
#[derive(Debug, Clone)]
pub struct VoidOrder {
    /// The event.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
}

impl Store {
    /// Takes an event back, as part of what the system does by itself.
    pub async fn event_void(&self, order: &VoidOrder, now: DateTime<Utc>) -> Result<Voided, StoreError> {
        self.event_void_noted(order, now, |_| Ok(None)).await
    }

    /// Takes an event back; `note` says what is written with it.
    pub async fn event_void_noted<E>(
        &self,
        order: &VoidOrder,
        now: DateTime<Utc>,
        note: impl Fn(Voiding<'_>) -> Result<Option<Noted>, E> + Send + Sync,
    ) -> Result<Voided, E>
    where
        E: From<StoreError>,
    {
        for turn in 0..TURNS_MAX {
            let Some(event) = self.event_get(&order.id, now).await? else {
                return Ok(Voided::Unknown);
            };
            if event.mode.is_some() {
                return Ok(Voided::Gauge);
            }
            if event.voided {
                let adjustment = self.void_entry(&event).await?;
                let noted = note(Voiding {
                    before: &event,
                    after: &event,
                    adjustment: &adjustment,
                    already: true,
                })?;
                let record = noted.and_then(|noted| noted.record);
                return Ok(self.voided_before(event, adjustment, record, now).await?);
            }
            if now - event.received_at > VOIDABLE || self.is_hour_final(&event, now).await? {
                return Ok(Voided::TooOld);
            }
            if let Some(voided) = self.void_try(order, event, now, &note).await? {
                return Ok(voided);
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy("event_void").into())
    }

    /// Whether the hour of an event is final: others of it are about to expire.
    async fn is_hour_final(&self, event: &Event, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let series = Series {
            owner: event.owner(),
            metric_type: event.metric_type.clone(),
            gauge: event.mode.is_some(),
        };
        let start = event.timestamp.duration_trunc(TimeDelta::hours(1));
        let hour = self.hour_get(&series, start.unwrap_or(event.timestamp)).await?;
        Ok(hour.first_received().is_some_and(|first| now >= first + FINAL_AFTER))
    }

    /// The ledger entry of an event that was taken back.
    async fn void_entry(&self, event: &Event) -> Result<Adjustment, StoreError> {
        let id = adjustment_id(&event.id);
        let entry = self.adjustment_of(&event.owner(), event.voided_at, &id).await?;
        entry.ok_or(StoreError::Corrupt {
            what: "event",
            attribute: "voided_at".into(),
        })
    }

    /// The answer about what was taken back before, recorded for the same request.
    async fn voided_before(
        &self,
        event: Event,
        adjustment: Adjustment,
        record: Option<MutationRecord>,
        now: DateTime<Utc>,
    ) -> Result<Voided, StoreError> {
        if let Some(record) = record
            && !self.record_put(&record, now).await?
        {
            return Ok(Voided::Before);
        }
        Ok(Voided::Done {
            event: Box::new(event),
            adjustment: Box::new(adjustment),
            already: true,
        })
    }

    /// One try; nothing if something changed meanwhile.
    async fn void_try<E>(
        &self,
        order: &VoidOrder,
        event: Event,
        now: DateTime<Utc>,
        note: &(impl Fn(Voiding<'_>) -> Result<Option<Noted>, E> + Send + Sync),
    ) -> Result<Option<Voided>, E>
    where
        E: From<StoreError>,
    {
        let counter = match event.counter_key() {
            Some(key) => self.counter_get(&key).await?,
            None => None,
        };
        if counter.as_ref().is_some_and(|counter| counter.sealed) {
            return Ok(Some(Voided::PeriodClosed));
        }
        let charged = counter.filter(|counter| counter.arm == event.arm);
        let adjustment = order.adjustment(&event, charged.is_some(), now);
        let mut items = vec![self.void_flag(&event, now)?, self.put_new(adjustment.to_item())?];
        if let Some(counter) = &charged {
            items.push(update(self.take_back(counter, &event))?);
        }
        let after = Event {
            voided: true,
            voided_at: Some(now),
            ..event.clone()
        };
        let noted = note(Voiding {
            before: &event,
            after: &after,
            adjustment: &adjustment,
            already: false,
        })?;
        let committed = match &noted {
            Some(noted) => self.mutation_commit(items, &noted.audit, noted.record.as_ref()).await?,
            None => match self.transact("event_void", items).await? {
                Transacted::Done => Committed::Done,
                Transacted::Unmet(unmet) => Committed::Unmet(unmet),
            },
        };
        Ok(match committed {
            Committed::Done => Some(Voided::Done {
                event: Box::new(after),
                adjustment: Box::new(adjustment),
                already: false,
            }),
            Committed::Before => Some(Voided::Before),
            Committed::Unmet(_) => None,
        })
    }

    /// A part of the transaction: the event's flag.
    fn void_flag(&self, event: &Event, now: DateTime<Utc>) -> Result<TransactWriteItem, StoreError> {
        let flag = Update::builder()
            .table_name(&self.tables.events)
            .key("pk", s(keys::event(&event.id)))
            .update_expression("SET rev = :voided, voided_at = :now ADD flags :flag")
            .condition_expression("attribute_exists(attempt) AND rev = :counted")
            .expression_attribute_values(":counted", int(1))
            .expression_attribute_values(":voided", int(2))
            .expression_attribute_values(":now", at(now))
            .expression_attribute_values(":flag", AttributeValue::Ss(vec!["voided".to_owned()]));
        update(flag)
    }
}

impl VoidOrder {
    fn adjustment(&self, event: &Event, charged: bool, now: DateTime<Utc>) -> Adjustment {
        let period_start = event.counter_key().and_then(|key| key.period_start);
        Adjustment {
            id: adjustment_id(&event.id),
            kind: AdjustmentKind::Void,
            user_id: event.user_id.clone(),
            subscription_id: event.subscription_id.clone(),
            metric_type: event.metric_type.clone(),
            period_start: period_start.unwrap_or(event.timestamp),
            amount: if charged { -event.value } else { Decimal::ZERO },
            usage_id: Some(event.id.clone()),
            reason: self.reason.clone(),
            actor: self.actor.clone(),
            created_at: now,
        }
    }
}

impl Store {
    /// Takes an event's value off its counter, and off what the counter keeps of its earlier events.
    fn take_back(&self, counter: &Counter, event: &Event) -> UpdateBuilder {
        let mut expression = "SET used = used - :v, remaining = remaining + :v".to_owned();
        let mut condition = "arm = :arm AND attribute_not_exists(sealed)".to_owned();
        let mut builder = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(counter.key.pk()))
            .key("sk", s(counter.key.sk()))
            .expression_attribute_values(":v", n(event.value))
            .expression_attribute_values(":arm", int(event.arm));
        match &counter.checkpoint {
            None => condition.push_str(" AND attribute_not_exists(checked_sum)"),
            Some(kept) => {
                condition.push_str(" AND checked_sum.t = :through AND checked_sum.a = :kept_arm");
                builder = builder
                    .expression_attribute_values(":through", at(kept.through))
                    .expression_attribute_values(":kept_arm", int(kept.arm));
                if kept.arm == event.arm && event.received_at <= kept.through {
                    expression.push_str(", checked_sum.u = checked_sum.u - :v");
                }
            }
        }
        builder.update_expression(expression).condition_expression(condition)
    }
}

fn adjustment_id(event_id: &str) -> String {
    format!("adj_void_{event_id}")
}
