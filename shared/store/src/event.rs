//! Events: the truth that counters are held against. An event's insertion is the commit of its
//! admission; [`crate::count`] inserts, this file reads and knows the item,
//! [`crate::event_list`] lists.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{
    ids::{event_id_bits, event_id_from_bits},
    metric::{Metric, Mode},
};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, at, int, n, put_some, s},
    keys::{self, CounterKey, Owner},
};

/// How long an event is kept after its receipt, and its identity known.
pub const RETENTION: TimeDelta = TimeDelta::days(90);

/// By which way an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `POST /usage/track`.
    Api,
    /// `POST /usage/track/batch`.
    Batch,
    /// `POST /events`.
    CloudEvents,
    /// The queue of usage events.
    Queue,
    /// A reservation that was committed.
    Reservation,
    /// Another event, which says more than one thing: pages of a document.
    Derived,
}

impl Source {
    /// Its name in answers and items.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Batch => "batch",
            Self::CloudEvents => "cloudevents",
            Self::Queue => "queue",
            Self::Reservation => "reservation",
            Self::Derived => "derived",
        }
    }
}

/// What a caller reported, checked, with its identity and time settled.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The event's id, `evt_` and 32 hexadecimal digits.
    pub id: String,
    /// Whether the caller named the event, so that it may have been sent before.
    pub identified: bool,
    /// What must agree when the same identity comes again.
    pub fingerprint: String,
    /// The user.
    pub user_id: String,
    /// The subscription, if the caller named one.
    pub subscription_id: Option<String>,
    /// The metric.
    pub metric: Metric,
    /// The value; a gauge's level or difference.
    pub value: Decimal,
    /// How a gauge's value is meant.
    pub mode: Option<Mode>,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The present instant: later than that for what waited in a queue.
    pub now: DateTime<Utc>,
    /// Whether the cap may refuse it.
    pub enforce: bool,
    /// By which way it came.
    pub source: Source,
    /// What was held for it, if it is the usage of a reservation.
    pub hold: Option<Held>,
    /// What else was said about it.
    pub details: Details,
}

/// The hold that usage takes the place of.
#[derive(Debug, Clone)]
pub struct Held {
    /// The reservation.
    pub reservation: String,
    /// How much it held.
    pub quantity: Decimal,
    /// The sort key of the counter it was held on.
    pub counter: String,
}

/// What a caller may say about an event that decides nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// What was used.
    pub resource_id: Option<String>,
    /// Which endpoint served it.
    pub endpoint: Option<String>,
    /// Which operation it was.
    pub operation: Option<String>,
    /// How long it took, in milliseconds.
    pub response_time_ms: Option<u32>,
    /// Whether it failed.
    pub error_occurred: bool,
    /// Anything else, at most 512 bytes.
    pub metadata: Map<String, Value>,
    /// The identity's key as given.
    pub idempotency_key: Option<String>,
}

/// An event as stored.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its identity's fingerprint.
    pub fingerprint: String,
    /// The attempt that its counter was changed by; empty where no counter was.
    pub attempt: String,
    /// Who stored it, where that was not the request that made the attempt: so that of all who
    /// confirm one attempt exactly one knows that it recorded the event.
    pub adopter: Option<String>,
    /// The sort key of the counter it was charged to; none for history.
    pub counter: Option<String>,
    /// The counter's arm at the time.
    pub arm: u64,
    /// The user.
    pub user_id: String,
    /// The subscription, or `none`.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// The metric's unit.
    pub unit: String,
    /// The value as reported.
    pub value: Decimal,
    /// How a gauge's value was meant.
    pub mode: Option<Mode>,
    /// What a gauge's event changed, and the level after it.
    pub gauge: Option<GaugeChange>,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// By which way it came.
    pub source: String,
    /// Charged to a later period than its own, which was closed.
    pub late: bool,
    /// Recorded above the cap.
    pub over_limit: bool,
    /// A level older than one applied before.
    pub superseded: bool,
    /// Taken back.
    pub voided: bool,
    /// When it was.
    pub voided_at: Option<DateTime<Utc>>,
    /// What else was said about it.
    pub details: Details,
}

/// What a gauge's event did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaugeChange {
    /// The difference applied.
    pub applied: Decimal,
    /// The level after it.
    pub level: Decimal,
}

impl Event {
    /// The event that a draft becomes when charged to nothing yet.
    pub(crate) fn of(draft: &Draft, subscription_id: &str) -> Self {
        Self {
            id: draft.id.clone(),
            fingerprint: draft.fingerprint.clone(),
            attempt: String::new(),
            adopter: None,
            counter: None,
            arm: 0,
            user_id: draft.user_id.clone(),
            subscription_id: subscription_id.to_owned(),
            metric_type: draft.metric.metric_type.clone(),
            unit: draft.metric.unit.clone(),
            value: draft.value,
            mode: draft.mode,
            gauge: None,
            timestamp: draft.timestamp,
            received_at: draft.received_at,
            source: draft.source.as_str().to_owned(),
            late: false,
            over_limit: false,
            superseded: false,
            voided: false,
            voided_at: None,
            details: draft.details.clone(),
        }
    }

    /// Whether it was charged to this counter by this attempt.
    pub(crate) fn is_of(&self, attempt: &str, key: &CounterKey) -> bool {
        self.attempt == attempt && self.counter.as_deref() == Some(key.sk().as_str()) && self.owner() == key.owner
    }

    /// Who it is charged to.
    pub fn owner(&self) -> Owner {
        Owner::of(&self.user_id, &self.subscription_id)
    }

    pub(crate) fn to_item(&self) -> Item {
        let details = &self.details;
        let mut item = Item::from([
            ("pk".into(), s(keys::event(&self.id))),
            ("ix_pk".into(), s(self.owner().events_ix_pk(&self.metric_type))),
            ("ix_sk".into(), s(keys::event_ix_sk(self.timestamp, &self.id))),
            ("expires_at".into(), int((self.received_at + RETENTION).timestamp())),
            ("fp".into(), s(&self.fingerprint)),
            ("attempt".into(), s(&self.attempt)),
            ("arm".into(), int(self.arm)),
            ("rev".into(), int(1)),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("metric_type".into(), s(&self.metric_type)),
            ("unit".into(), s(&self.unit)),
            ("v".into(), n(self.value)),
            ("ts".into(), at(self.timestamp)),
            ("received_at".into(), at(self.received_at)),
            ("source".into(), s(&self.source)),
        ]);
        put_some(&mut item, "adopter", self.adopter.clone().map(s));
        put_some(&mut item, "counter", self.counter.clone().map(s));
        put_some(&mut item, "mode", self.mode.map(|mode| s(mode.as_str())));
        put_some(&mut item, "applied", self.gauge.map(|change| n(change.applied)));
        put_some(&mut item, "level", self.gauge.map(|change| n(change.level)));
        put_some(&mut item, "flags", self.flags());
        put_some(&mut item, "voided_at", self.voided_at.map(at));
        put_some(&mut item, "resource_id", details.resource_id.clone().map(s));
        put_some(&mut item, "endpoint", details.endpoint.clone().map(s));
        put_some(&mut item, "operation", details.operation.clone().map(s));
        put_some(&mut item, "response_time_ms", details.response_time_ms.map(int));
        put_some(&mut item, "idempotency_key", details.idempotency_key.clone().map(s));
        if !details.metadata.is_empty() {
            // As text: DynamoDB's own maps would lose the order of a number's digits.
            item.insert(
                "metadata".into(),
                s(Value::Object(details.metadata.clone()).to_string()),
            );
        }
        item
    }

    fn flags(&self) -> Option<AttributeValue> {
        let flags = [
            (self.late, "late"),
            (self.over_limit, "over_limit"),
            (self.superseded, "superseded"),
            (self.voided, "voided"),
            (self.details.error_occurred, "error"),
        ];
        let set: Vec<String> = flags
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| name.to_owned())
            .collect();
        (!set.is_empty()).then_some(AttributeValue::Ss(set))
    }

    /// Reads an event's item.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "event");
        let flags = read.texts("flags")?;
        let flag = |name: &str| flags.iter().any(|flag| flag == name);
        let pk = read.text("pk")?;
        let id = pk
            .strip_prefix("EVT#")
            .filter(|id| event_id_bits(id).is_some())
            .ok_or_else(|| read.corrupt("pk"))?;
        let mode = match read.text_opt("mode")? {
            None => None,
            Some(name) => Some(Mode::parse(&name).ok_or_else(|| read.corrupt("mode"))?),
        };
        let gauge = match (read.decimal_opt("applied")?, read.decimal_opt("level")?) {
            (Some(applied), Some(level)) => Some(GaugeChange { applied, level }),
            _ => None,
        };
        Ok(Self {
            id: id.to_owned(),
            fingerprint: read.text("fp")?,
            attempt: read.text("attempt")?,
            adopter: read.text_opt("adopter")?,
            counter: read.text_opt("counter")?,
            arm: read.integer("arm")?,
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            metric_type: read.text("metric_type")?,
            unit: read.text("unit")?,
            value: read.decimal("v")?,
            mode,
            gauge,
            timestamp: read.instant("ts")?,
            received_at: read.instant("received_at")?,
            source: read.text("source")?,
            late: flag("late"),
            over_limit: flag("over_limit"),
            superseded: flag("superseded"),
            voided: flag("voided"),
            voided_at: read.instant_opt("voided_at")?,
            details: details_read(&read, flag("error"))?,
        })
    }
}

fn details_read(read: &Reader<'_>, error_occurred: bool) -> Result<Details, StoreError> {
    let metadata = match read.text_opt("metadata")? {
        None => Map::new(),
        Some(text) => serde_json::from_str(&text).map_err(|_| read.corrupt("metadata"))?,
    };
    Ok(Details {
        resource_id: read.text_opt("resource_id")?,
        endpoint: read.text_opt("endpoint")?,
        operation: read.text_opt("operation")?,
        response_time_ms: read.integer_opt("response_time_ms")?,
        error_occurred,
        metadata,
        idempotency_key: read.text_opt("idempotency_key")?,
    })
}

/// What is stored under an event's key.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    /// The event.
    Event(Box<Event>),
    /// A tombstone: attempts that must not confirm.
    Tombstone {
        /// The attempts.
        abandoned: Vec<String>,
    },
}

impl Stored {
    /// Reads the item under an event's key. An event past its retention is as good as gone.
    pub(crate) fn read(item: &Item, now: DateTime<Utc>) -> Result<Option<Self>, StoreError> {
        let read = Reader::new(item, "event");
        if read.has("attempt") {
            let expired = read.integer::<i64>("expires_at")? <= now.timestamp();
            return Ok(if expired {
                None
            } else {
                Some(Self::Event(Box::new(Event::from_item(item)?)))
            });
        }
        Ok(Some(Self::Tombstone {
            abandoned: read.texts("abandoned")?,
        }))
    }
}

impl Store {
    /// The event with this id, strongly read; a tombstone is none.
    pub async fn event_get(&self, id: &str, now: DateTime<Utc>) -> Result<Option<Event>, StoreError> {
        Ok(match self.event_stored(id, now).await? {
            Some(Stored::Event(event)) => Some(*event),
            Some(Stored::Tombstone { .. }) | None => None,
        })
    }

    /// What is stored under the event's key, strongly read.
    pub(crate) async fn event_stored(&self, id: &str, now: DateTime<Utc>) -> Result<Option<Stored>, StoreError> {
        let found = self
            .dynamodb
            .get_item()
            .table_name(&self.tables.events)
            .key("pk", s(keys::event(id)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("event_get", error))?;
        found.item.as_ref().map_or(Ok(None), |item| Stored::read(item, now))
    }

    /// What is stored under the keys of some events, strongly read.
    pub(crate) async fn events_stored(
        &self,
        events: &[u128],
        now: DateTime<Utc>,
    ) -> Result<HashMap<u128, Stored>, StoreError> {
        // One is read alone, which costs half the latency of a batch.
        if let [event] = events {
            let stored = self.event_stored(&event_id_from_bits(*event), now).await?;
            return Ok(stored.map(|stored| (*event, stored)).into_iter().collect());
        }
        let key = |event: &u128| Item::from([("pk".into(), s(keys::event(&event_id_from_bits(*event))))]);
        let keys: Vec<Item> = events.iter().map(key).collect();
        let mut found = HashMap::new();
        for item in self.batch_get(&self.tables.events, &keys).await? {
            let read = Reader::new(&item, "event");
            let id = read.text("pk")?;
            let bits = id.strip_prefix("EVT#").and_then(event_id_bits);
            if let Some(stored) = Stored::read(&item, now)? {
                found.insert(bits.ok_or_else(|| read.corrupt("pk"))?, stored);
            }
        }
        Ok(found)
    }
}
