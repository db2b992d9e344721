//! Reservations: what was held, for whom, and what became of it.
//!
//! The record decides: a reservation leaves the state `held` by one conditional update of its
//! record, so that of a commit, a release and an expiry at the same time exactly one takes place.
//! What was decided is then carried out on the counter that holds it (see [`crate::hold`]), by
//! whoever decided or by anybody who finds the hold there afterwards.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{
    ids::{self, Namespace, event_id_bits},
    metric::{Kind, Metric, Mode},
};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::{
    Store, StoreError,
    event::{Details, Draft, Event, Held, RETENTION, Source, Stored},
    item::{Item, Reader, at, int, n, put_some, s},
    keys::{self, Owner},
    mutation::{ONLY, RequestName},
};

/// The longest time a reservation may be held at first, or be renewed for.
pub const TTL_MAX: TimeDelta = TimeDelta::hours(24);
/// How long after its creation a reservation may be held in all, leases excepted.
pub const LIFE_MAX: TimeDelta = TimeDelta::hours(24);
/// How many pages one listing reads while a filter leaves it unfilled.
const LIST_PAGES_MAX: usize = 5;

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is held.
    Held,
    /// Its usage was recorded.
    Committed,
    /// It was given back.
    Released,
    /// Nobody came in time.
    Expired,
}

impl State {
    const ALL: [Self; 4] = [Self::Held, Self::Committed, Self::Released, Self::Expired];
    /// All names, for messages.
    pub const NAMES: &[&str] = &["held", "committed", "released", "expired"];

    /// Its name in answers and items.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    /// The state of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A reservation as stored.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Its id.
    pub id: String,
    /// Whose usage it holds.
    pub user_id: String,
    /// The subscription, or `none`.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// How the metric counts.
    pub kind: Kind,
    /// The unit of the metric.
    pub unit: String,
    /// How much is held.
    pub quantity: Decimal,
    /// What was decided; who only looks asks [`Reservation::state_at`].
    pub state: State,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it counts.
    pub held_until: DateTime<Utc>,
    /// For how long it was asked at first.
    pub ttl: TimeDelta,
    /// The sort key of the counter that holds it.
    pub counter: String,
    /// Whether the user made it with a token of their own.
    pub by_user: bool,
    /// The call that made it.
    pub made_by: String,
    /// What the request with an idempotency key that made it said.
    pub made_as: Option<String>,
    /// What is to be used.
    pub resource_id: Option<String>,
    /// Anything else, at most 512 bytes.
    pub metadata: Map<String, Value>,
    /// How it left the state `held`, if somebody said.
    pub decision: Option<Decision>,
}

/// A commit or a release.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The quantity that was used; nothing for a release.
    pub quantity: Option<Decimal>,
    /// When.
    pub at: DateTime<Utc>,
    /// By which call.
    pub by: String,
    /// The request, if it had an idempotency key.
    pub request: Option<RequestName>,
    /// What else was said about the usage.
    pub details: Details,
}

impl Reservation {
    /// What it is at `now`: an expired one may not have been noted as such.
    pub fn state_at(&self, now: DateTime<Utc>) -> State {
        match self.state {
            State::Held if self.held_until <= now => State::Expired,
            state => state,
        }
    }

    /// The id of the event that a commit becomes.
    pub fn usage_id(&self) -> String {
        usage_id(&self.user_id, &self.id)
    }

    /// The quantity that was committed.
    pub fn committed(&self) -> Option<Decimal> {
        let decision = self.decision.as_ref().filter(|_| self.state == State::Committed);
        decision.and_then(|decision| decision.quantity)
    }

    /// Who is charged.
    pub fn owner(&self) -> Owner {
        Owner::of(&self.user_id, &self.subscription_id)
    }

    /// As it was answered to the request that made it.
    pub fn at_first(&self) -> Self {
        Self {
            state: State::Held,
            held_until: self.created_at + self.ttl,
            decision: None,
            ..self.clone()
        }
    }

    /// The usage that a commit records: at the time of the reservation, whatever the cap is now.
    /// `again`: it may be there already.
    pub(crate) fn draft(&self, again: bool, now: DateTime<Utc>) -> Result<Draft, StoreError> {
        let committed = self.decision.as_ref().zip(self.committed());
        let (decision, quantity) = committed.ok_or(StoreError::Corrupt {
            what: "reservation",
            attribute: "committed".into(),
        })?;
        let mut details = decision.details.clone();
        details.resource_id = self.resource_id.clone();
        if details.metadata.is_empty() {
            details.metadata = self.metadata.clone();
        }
        let subscription = self.subscription_id.as_str();
        Ok(Draft {
            id: self.usage_id(),
            identified: again,
            fingerprint: ids::fingerprint(&self.metric_type, quantity, None, Some(subscription)),
            user_id: self.user_id.clone(),
            subscription_id: Some(subscription.to_owned()),
            metric: self.metric(),
            value: quantity,
            mode: mode_of(self.kind),
            timestamp: self.created_at,
            received_at: decision.at,
            now,
            enforce: false,
            source: Source::Reservation,
            hold: Some(Held {
                reservation: self.id.clone(),
                quantity: self.quantity,
                counter: self.counter.clone(),
            }),
            details,
        })
    }

    fn metric(&self) -> Metric {
        Metric {
            metric_type: self.metric_type.clone(),
            kind: self.kind,
            unit: self.unit.clone(),
            description: None,
            built_in: false,
        }
    }

    pub(crate) fn to_new_item(&self) -> Item {
        let mut item = Item::from([
            ("pk".into(), s(keys::reservation(&self.id))),
            ("sk".into(), s(ONLY)),
            ("kind".into(), s(keys::reservations(&self.user_id))),
            ("kind_sort".into(), s(keys::by_instant(self.created_at, &self.id))),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("metric_type".into(), s(&self.metric_type)),
            ("kind_of".into(), s(self.kind.as_str())),
            ("unit".into(), s(&self.unit)),
            ("quantity".into(), n(self.quantity)),
            ("state".into(), s(self.state.as_str())),
            ("created_at".into(), at(self.created_at)),
            ("held_until".into(), at(self.held_until)),
            ("ttl".into(), int(self.ttl.num_seconds())),
            ("counter".into(), s(&self.counter)),
            (
                "by_user".into(),
                aws_sdk_dynamodb::types::AttributeValue::Bool(self.by_user),
            ),
            ("made_by".into(), s(&self.made_by)),
            ("expires_at".into(), int((self.held_until + RETENTION).timestamp())),
        ]);
        put_some(&mut item, "made_as", self.made_as.clone().map(s));
        put_some(&mut item, "resource_id", self.resource_id.clone().map(s));
        put_some(&mut item, "metadata", metadata_value(&self.metadata));
        item
    }

    /// Reads a record; none if there is only the note that its hold was given up.
    pub(crate) fn from_item(item: &Item) -> Result<Option<Self>, StoreError> {
        let read = Reader::new(item, "reservation");
        if !read.has("user_id") {
            return Ok(None);
        }
        let pk = read.text("pk")?;
        let id = keys::reservation_of(&pk).ok_or_else(|| read.corrupt("pk"))?;
        let state = State::parse(&read.text("state")?).ok_or_else(|| read.corrupt("state"))?;
        let ttl = TimeDelta::try_seconds(read.integer("ttl")?).ok_or_else(|| read.corrupt("ttl"))?;
        Ok(Some(Self {
            id: id.to_owned(),
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            metric_type: read.text("metric_type")?,
            kind: Kind::parse(&read.text("kind_of")?).ok_or_else(|| read.corrupt("kind_of"))?,
            unit: read.text("unit")?,
            quantity: read.decimal("quantity")?,
            state,
            created_at: read.instant("created_at")?,
            held_until: read.instant("held_until")?,
            ttl,
            counter: read.text("counter")?,
            by_user: read.flag("by_user")?,
            made_by: read.text("made_by")?,
            made_as: read.text_opt("made_as")?,
            resource_id: read.text_opt("resource_id")?,
            metadata: metadata_read(&read, "metadata")?,
            decision: Decision::read(&read)?,
        }))
    }
}

impl Decision {
    /// What the decision adds to the record; the quantity is written by an expression.
    pub(crate) fn to_attributes(&self) -> Item {
        let details = &self.details;
        let mut item = Item::from([
            ("decided_at".into(), at(self.at)),
            ("decided_by".into(), s(&self.by)),
            ("expires_at".into(), int((self.at + RETENTION).timestamp())),
        ]);
        if let Some(request) = &self.request {
            item.insert("request".into(), s(&request.hash));
            item.insert("request_fp".into(), s(&request.fingerprint));
        }
        put_some(&mut item, "endpoint", details.endpoint.clone().map(s));
        put_some(&mut item, "operation", details.operation.clone().map(s));
        put_some(&mut item, "response_time_ms", details.response_time_ms.map(int));
        put_some(&mut item, "usage_metadata", metadata_value(&details.metadata));
        let failed = details.error_occurred;
        put_some(
            &mut item,
            "error_occurred",
            failed.then_some(aws_sdk_dynamodb::types::AttributeValue::Bool(true)),
        );
        item
    }

    fn read(read: &Reader<'_>) -> Result<Option<Self>, StoreError> {
        let Some(at) = read.instant_opt("decided_at")? else {
            return Ok(None);
        };
        let request = read.text_opt("request")?.zip(read.text_opt("request_fp")?);
        Ok(Some(Self {
            quantity: read.decimal_opt("committed")?,
            at,
            by: read.text("decided_by")?,
            request: request.map(|(hash, fingerprint)| RequestName { hash, fingerprint }),
            details: Details {
                endpoint: read.text_opt("endpoint")?,
                operation: read.text_opt("operation")?,
                response_time_ms: read.integer_opt("response_time_ms")?,
                error_occurred: read.flag("error_occurred")?,
                metadata: metadata_read(read, "usage_metadata")?,
                ..Details::default()
            },
        }))
    }
}

/// The id of the event that a reservation of a user becomes.
pub fn usage_id(user_id: &str, reservation_id: &str) -> String {
    ids::event_id(Namespace::Derived, user_id, "reservation", reservation_id)
}

/// How the usage of a reservation changes its counter: a gauge moves.
pub fn mode_of(kind: Kind) -> Option<Mode> {
    (kind == Kind::Gauge).then_some(Mode::Delta)
}

/// As text: DynamoDB's own maps would lose the order of a number's digits.
fn metadata_value(metadata: &Map<String, Value>) -> Option<aws_sdk_dynamodb::types::AttributeValue> {
    (!metadata.is_empty()).then(|| s(Value::Object(metadata.clone()).to_string()))
}

fn metadata_read(read: &Reader<'_>, name: &str) -> Result<Map<String, Value>, StoreError> {
    read.text_opt(name)?.map_or_else(
        || Ok(Map::new()),
        |text| serde_json::from_str(&text).map_err(|_| read.corrupt(name)),
    )
}

/// Which reservations of a user to list: newest first.
#[derive(Debug, Clone)]
pub struct ReservationQuery {
    /// Whose.
    pub user_id: String,
    /// Only of this subscription.
    pub subscription_id: Option<String>,
    /// Only of this metric.
    pub metric_type: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

impl ReservationQuery {
    fn fits(&self, one: &Reservation, now: DateTime<Utc>) -> bool {
        let text = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|wanted| wanted == own);
        text(&self.subscription_id, &one.subscription_id)
            && text(&self.metric_type, &one.metric_type)
            && self.state.is_none_or(|wanted| wanted == one.state_at(now))
    }
}

impl Store {
    /// A reservation, strongly read.
    pub async fn reservation_get(&self, id: &str) -> Result<Option<Reservation>, StoreError> {
        let item = self.state_get("reservation_get", &keys::reservation(id), ONLY).await?;
        item.as_ref().map_or(Ok(None), Reservation::from_item)
    }

    /// The events of committed reservations, by the reservations' ids.
    pub async fn reservation_events(
        &self,
        reservations: &[Reservation],
        now: DateTime<Utc>,
    ) -> Result<HashMap<String, Event>, StoreError> {
        let committed = reservations.iter().filter(|one| one.state == State::Committed);
        let by_bits: BTreeMap<u128, &str> = committed
            .filter_map(|one| Some((event_id_bits(&one.usage_id())?, one.id.as_str())))
            .collect();
        let bits: Vec<u128> = by_bits.keys().copied().collect();
        let stored = self.events_stored(&bits, now).await?;
        let events = stored.into_iter().filter_map(|(bits, stored)| match stored {
            Stored::Event(event) => Some(((*by_bits.get(&bits)?).to_owned(), *event)),
            Stored::Tombstone { .. } => None,
        });
        Ok(events.collect())
    }

    /// A user's reservations, newest first, and the sort key to go on from if there may be more.
    /// They come from an index, so one may be missing for some milliseconds after it was made.
    pub async fn reservation_list(
        &self,
        query: &ReservationQuery,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Reservation>, Option<String>), StoreError> {
        let kind = keys::reservations(&query.user_id);
        let mut before = query.before.clone();
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let (sort_keys, next) = self.kind_list(&kind, before.as_deref(), query.limit).await?;
            let page = self.reservations_by_sort(&sort_keys).await?;
            for (sort_key, one) in page {
                if !query.fits(&one, now) {
                    continue;
                }
                found.push(one);
                if found.len() == query.limit {
                    let is_end = next.is_none() && sort_keys.last() == Some(&sort_key);
                    return Ok((found, (!is_end).then_some(sort_key)));
                }
            }
            before = next;
            if before.is_none() {
                break;
            }
        }
        Ok((found, before))
    }

    pub(crate) async fn reservations_by_sort(
        &self,
        sort_keys: &[String],
    ) -> Result<Vec<(String, Reservation)>, StoreError> {
        let ids: Vec<(&String, &str)> = sort_keys
            .iter()
            .filter_map(|key| key.split_once('#').map(|(_, id)| (key, id)))
            .collect();
        let key = |id: &str| Item::from([("pk".into(), s(keys::reservation(id))), ("sk".into(), s(ONLY))]);
        let wanted: Vec<Item> = ids.iter().map(|(_, id)| key(id)).collect();
        let mut found = HashMap::new();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            if let Some(one) = Reservation::from_item(&item)? {
                found.insert(one.id.clone(), one);
            }
        }
        let in_order = ids.into_iter();
        Ok(in_order
            .filter_map(|(key, id)| found.remove(id).map(|one| (key.clone(), one)))
            .collect())
    }
}
