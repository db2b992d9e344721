//! Counters: the one item that decides admissions, read and listed. [`crate::count`] changes it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use metering_domain::{
    metric::{Kind, Metric},
    period::Period,
    plan::QuotaTerms,
    quota::Terms,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, at, int, n, put_some, s},
    keys::{self, COUNTERS_END, CounterKey, Owner, counters_from},
    peak::Peaks,
};

/// The most counters one listing reads; an owner has one per metric and period.
pub const COUNTERS_MAX: usize = 500;

/// A counter as stored.
#[derive(Debug, Clone)]
pub struct Counter {
    /// Its key.
    pub key: CounterKey,
    /// The user whose usage it counts.
    pub user_id: String,
    /// The subscription, or `none`.
    pub subscription_id: String,
    /// How its metric counts.
    pub kind: Kind,
    /// The unit of its metric.
    pub unit: String,
    /// What was counted, pending entries included.
    pub used: Decimal,
    /// The most that may be used, [`metering_domain::number::UNCAPPED`] where nothing limits.
    pub cap: Decimal,
    /// `cap − used − holds`, kept because conditions cannot do arithmetic.
    pub remaining: Decimal,
    /// Counted and not yet known to be confirmed, by attempt.
    pub pending: BTreeMap<String, Pending>,
    /// Reserved quantities, by reservation.
    pub holds: BTreeMap<String, Hold>,
    /// Closed for ever: the period has its statement.
    pub sealed: bool,
    /// From when on a standing counter takes no more, since its subscription ends there.
    pub ended: Option<DateTime<Utc>>,
    /// Incremented by changes of gauges and leases.
    pub version: u64,
    /// Incremented by each reset; events remember it.
    pub arm: u64,
    /// How often each threshold was re-armed.
    pub arms: BTreeMap<String, u64>,
    /// Denied attempts, best effort.
    pub denied: u64,
    /// The period it counts; the one of its birth for standing counters.
    pub period: Period,
    /// Limit and prices in force.
    pub terms: Terms,
    /// The start of the period in which the terms were found: a standing counter takes a newer
    /// version of its plan in the next one, see [`crate::limit`].
    pub terms_from: DateTime<Utc>,
    /// The instant of the last level applied (gauges).
    pub level_at: Option<DateTime<Utc>>,
    /// When its level or its limit was last changed; of counts the entries tell.
    pub changed_at: Option<DateTime<Utc>>,
    /// The highest level of each period (gauges and leases).
    pub peaks: Peaks,
    /// What the last reset noted, and the usage before it: see [`crate::reset`].
    pub last_reset: Option<(Item, Decimal)>,
    /// What its events were when all of them could be seen last: see [`crate::reconcile`].
    pub checkpoint: Option<Checkpoint>,
    /// How often it was repaired.
    pub repaired: u64,
}

/// What a counter's events added up to, for the time when some of them are gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// It holds those that were received until then, and were not voided.
    pub through: DateTime<Utc>,
    /// Their sum; a void of one of them takes it off here, too.
    pub used: Decimal,
    /// The counter's arm.
    pub arm: u64,
}

/// Values counted for events whose insertion is not known yet: of one, or of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// The events, as the bits of their ids, and what was counted for each.
    pub events: Vec<(u128, Decimal)>,
    /// When.
    pub at: DateTime<Utc>,
    /// The reservation whose usage it is: such an entry is never given up for its age.
    pub reservation: Option<String>,
}

/// A reserved quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// How much.
    pub quantity: Decimal,
    /// Until when it counts.
    pub expires_at: DateTime<Utc>,
    /// When it was taken: its maker then writes the reservation's record.
    pub made_at: DateTime<Utc>,
}

impl Counter {
    /// A counter at its birth.
    pub fn new(
        key: CounterKey,
        user_id: &str,
        subscription_id: &str,
        metric: &Metric,
        period: Period,
        terms: Terms,
    ) -> Self {
        let cap = terms.stored_cap();
        Self {
            key,
            user_id: user_id.to_owned(),
            subscription_id: subscription_id.to_owned(),
            kind: metric.kind,
            unit: metric.unit.clone(),
            used: Decimal::ZERO,
            cap,
            remaining: cap,
            pending: BTreeMap::new(),
            holds: BTreeMap::new(),
            sealed: false,
            ended: None,
            version: 0,
            arm: 0,
            arms: BTreeMap::new(),
            denied: 0,
            period,
            terms,
            terms_from: period.start,
            level_at: None,
            changed_at: None,
            peaks: Peaks::default(),
            last_reset: None,
            checkpoint: None,
            repaired: 0,
        }
    }

    /// What live holds reserve at `now`: an expired hold never counts.
    pub fn held(&self, now: DateTime<Utc>) -> Decimal {
        self.live_holds(now).map(|hold| hold.quantity).sum()
    }

    /// When the next live hold expires.
    pub fn next_expiry(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.live_holds(now).map(|hold| hold.expires_at).min()
    }

    /// The pending attempt that counted this for this event, if there is one.
    pub(crate) fn attempt_of(&self, event: u128, value: Decimal) -> Option<&str> {
        let own = |entry: &Pending| entry.events.contains(&(event, value));
        let found = self.pending.iter().find(|(_, entry)| own(entry));
        found.map(|(attempt, _)| attempt.as_str())
    }

    /// The most that could be left at `now` if everything pending were taken back but what is
    /// `kept`.
    pub(crate) fn possible(&self, now: DateTime<Utc>, kept: impl Fn(&str) -> bool) -> Decimal {
        let open = self.pending.iter().filter(|(attempt, _)| !kept(attempt));
        let pending: Decimal = open
            .map(|(_, entry)| entry.total())
            .filter(|total| *total > Decimal::ZERO)
            .sum();
        self.cap - self.used - self.held(now) + pending
    }

    fn live_holds(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Hold> {
        self.holds.values().filter(move |hold| hold.expires_at > now)
    }

    /// The item of a new counter.
    pub(crate) fn to_new_item(&self) -> Item {
        let mut item = Item::from([
            ("pk".into(), s(self.key.pk())),
            ("sk".into(), s(self.key.sk())),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("metric_type".into(), s(&self.key.metric_type)),
            ("kind_of".into(), s(self.kind.as_str())),
            ("unit".into(), s(&self.unit)),
            ("used".into(), n(self.used)),
            ("cap".into(), n(self.cap)),
            ("remaining".into(), n(self.remaining)),
            ("pending".into(), AttributeValue::M(Item::new())),
            ("holds".into(), AttributeValue::M(Item::new())),
            ("arms".into(), AttributeValue::M(Item::new())),
            ("version".into(), int(self.version)),
            ("arm".into(), int(self.arm)),
            ("denied".into(), int(self.denied)),
            ("period_start".into(), at(self.period.start)),
            ("period_end".into(), at(self.period.end)),
            ("terms".into(), AttributeValue::M(terms_item(&self.terms))),
        ]);
        if self.kind != Kind::Sum {
            item.insert("terms_from".into(), at(self.terms_from));
            item.insert("peaks".into(), AttributeValue::M(Item::new()));
            item.insert("carried".into(), AttributeValue::M(Item::new()));
        }
        item
    }

    /// Reads a counter's item.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "counter");
        let owner = Owner::parse(&read.text("pk")?).ok_or_else(|| read.corrupt("pk"))?;
        let key = CounterKey::parse(owner, &read.text("sk")?).ok_or_else(|| read.corrupt("sk"))?;
        Ok(Self {
            key,
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            terms_from: match read.instant_opt("terms_from")? {
                Some(from) => from,
                None => read.instant("period_start")?,
            },
            kind: Kind::parse(&read.text("kind_of")?).ok_or_else(|| read.corrupt("kind_of"))?,
            unit: read.text("unit")?,
            used: read.decimal("used")?,
            cap: read.decimal("cap")?,
            remaining: read.decimal("remaining")?,
            pending: read.map_of("pending", Pending::read)?,
            holds: read.map_of("holds", Hold::read)?,
            sealed: read.has("sealed"),
            ended: read.instant_opt("ended")?,
            version: read.integer("version")?,
            arm: read.integer("arm")?,
            arms: numbers(&read, "arms")?,
            denied: read.integer("denied")?,
            period: Period {
                start: read.instant("period_start")?,
                end: read.instant("period_end")?,
            },
            terms: terms_read(&Reader::new(&read.map("terms")?, "counter's terms"))?,
            level_at: read.instant_opt("level_at")?,
            changed_at: read.instant_opt("changed_at")?,
            peaks: Peaks {
                highest: decimals(&read, "peaks")?,
                carried: decimals(&read, "carried")?,
            },
            last_reset: match read.decimal_opt("previous_usage")? {
                Some(previous) => Some((read.map("last_reset")?, previous)),
                None => None,
            },
            checkpoint: match read.has("checked_sum") {
                true => Some(Checkpoint::read(&Reader::new(&read.map("checked_sum")?, "checkpoint"))?),
                false => None,
            },
            repaired: read.integer_opt("repaired")?.unwrap_or(0),
        })
    }
}

impl Pending {
    /// What was counted for all of them.
    pub fn total(&self) -> Decimal {
        self.events.iter().map(|(_, value)| value).sum()
    }

    fn read(read: Reader<'_>) -> Result<Self, StoreError> {
        let (ids, rest) = read.bytes("e")?.as_chunks::<16>();
        if ids.is_empty() || !rest.is_empty() {
            return Err(read.corrupt("e"));
        }
        let values = match read.decimals_opt("vs")? {
            Some(values) => values,
            None => vec![read.decimal("v")?; ids.len()],
        };
        if values.len() != ids.len() {
            return Err(read.corrupt("vs"));
        }
        let at = DateTime::from_timestamp_millis(read.integer("t")?).ok_or_else(|| read.corrupt("t"))?;
        let bits = ids.iter().map(|id| u128::from_be_bytes(*id));
        Ok(Self {
            events: bits.zip(values).collect(),
            at,
            reservation: read.text_opt("r")?,
        })
    }

    /// The entry as stored; names are short because a hot counter holds several, and a value that
    /// all share is written once.
    pub(crate) fn to_value(&self) -> AttributeValue {
        let ids: Vec<u8> = self.events.iter().flat_map(|(event, _)| event.to_be_bytes()).collect();
        let mut item = Item::from([
            ("e".into(), crate::item::bytes(ids)),
            ("t".into(), int(self.at.timestamp_millis())),
        ]);
        put_some(&mut item, "r", self.reservation.clone().map(s));
        match self.events.first() {
            Some((_, first)) if self.events.iter().all(|(_, value)| value == first) => {
                item.insert("v".into(), n(*first))
            }
            _ => {
                let values = self.events.iter().map(|(_, value)| n(*value));
                item.insert("vs".into(), AttributeValue::L(values.collect()))
            }
        };
        AttributeValue::M(item)
    }
}

impl Checkpoint {
    fn read(read: &Reader<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            through: read.instant("t")?,
            used: read.decimal("u")?,
            arm: read.integer("a")?,
        })
    }

    pub(crate) fn to_value(&self) -> AttributeValue {
        AttributeValue::M(Item::from([
            ("t".into(), at(self.through)),
            ("u".into(), n(self.used)),
            ("a".into(), int(self.arm)),
        ]))
    }
}

impl Hold {
    fn read(read: Reader<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            quantity: read.decimal("q")?,
            expires_at: read.instant("x")?,
            made_at: DateTime::from_timestamp_millis(read.integer("m")?).ok_or_else(|| read.corrupt("m"))?,
        })
    }
}

fn numbers(read: &Reader<'_>, name: &str) -> Result<BTreeMap<String, u64>, StoreError> {
    let map = read.map(name)?;
    let inner = Reader::new(&map, "counter");
    map.keys().map(|key| Ok((key.clone(), inner.integer(key)?))).collect()
}

fn decimals(read: &Reader<'_>, name: &str) -> Result<BTreeMap<String, Decimal>, StoreError> {
    let map = read.map(name)?;
    let inner = Reader::new(&map, "counter");
    map.keys().map(|key| Ok((key.clone(), inner.decimal(key)?))).collect()
}

/// Numbers by name, as stored.
pub(crate) fn decimals_value(numbers: &BTreeMap<String, Decimal>) -> AttributeValue {
    AttributeValue::M(
        numbers
            .iter()
            .map(|(name, number)| (name.clone(), n(*number)))
            .collect(),
    )
}

/// Terms as stored on a counter; what is not there is unlimited, or not allowed.
pub(crate) fn terms_item(terms: &Terms) -> Item {
    let mut item = quota_item(&terms.quota);
    item.extend([
        ("currency".into(), s(&terms.currency)),
        ("plan_version".into(), int(terms.plan_version)),
    ]);
    put_some(&mut item, "plan", terms.plan.clone().map(s));
    put_some(
        &mut item,
        "overridden",
        terms.overridden.then_some(AttributeValue::Bool(true)),
    );
    item
}

fn terms_read(read: &Reader<'_>) -> Result<Terms, StoreError> {
    Ok(Terms {
        plan: read.text_opt("plan")?,
        plan_version: read.integer("plan_version")?,
        currency: read.text("currency")?,
        overridden: read.flag("overridden")?,
        quota: quota_read(read)?,
    })
}

/// Limit and prices as stored, on a counter and in a plan.
pub(crate) fn quota_item(quota: &QuotaTerms) -> Item {
    let mut item = Item::new();
    put_some(&mut item, "limit", quota.quota_limit.map(n));
    put_some(&mut item, "overage_limit", quota.overage_limit.map(n));
    put_some(&mut item, "price", quota.overage_price.map(n));
    put_some(&mut item, "block", quota.block_size.map(n));
    put_some(
        &mut item,
        "overage",
        quota.allow_overage.then_some(AttributeValue::Bool(true)),
    );
    item
}

pub(crate) fn quota_read(read: &Reader<'_>) -> Result<QuotaTerms, StoreError> {
    Ok(QuotaTerms {
        quota_limit: read.decimal_opt("limit")?,
        allow_overage: read.flag("overage")?,
        overage_price: read.decimal_opt("price")?,
        block_size: read.decimal_opt("block")?,
        overage_limit: read.decimal_opt("overage_limit")?,
    })
}

impl Store {
    /// A counter, strongly read.
    pub async fn counter_get(&self, key: &CounterKey) -> Result<Option<Counter>, StoreError> {
        let item = self.state_get("counter_get", &key.pk(), &key.sk()).await?;
        item.as_ref().map(Counter::from_item).transpose()
    }

    /// An item of the State table, strongly read. Under a key that DynamoDB would not take, such as
    /// an empty or endless name that somebody made up, there is none.
    pub(crate) async fn state_get(
        &self,
        operation: &'static str,
        pk: &str,
        sk: &str,
    ) -> Result<Option<Item>, StoreError> {
        if !keys::is_possible(pk, sk) {
            return Ok(None);
        }
        let found = self
            .dynamodb
            .get_item()
            .table_name(&self.tables.state)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .consistent_read(true)
            .return_consumed_capacity(aws_sdk_dynamodb::types::ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed(operation, error))?;
        Ok(found.item)
    }

    /// An owner's own item, if any, and its counters of the period that starts at `from`, of later
    /// periods and the standing ones: one strong query.
    pub(crate) async fn counters_list(
        &self,
        owner: &Owner,
        from: DateTime<Utc>,
    ) -> Result<(Option<Item>, Vec<Counter>), StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :end")
            .expression_attribute_values(":pk", s(owner.pk()))
            .expression_attribute_values(":from", s(counters_from(from)))
            .expression_attribute_values(":end", s(COUNTERS_END))
            .consistent_read(true)
            .return_consumed_capacity(aws_sdk_dynamodb::types::ReturnConsumedCapacity::Total)
            .into_paginator()
            .items()
            .send();
        let (mut own, mut counters) = (None, Vec::new());
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| failed("counters_list", error))?;
            if item.get("sk").is_some_and(|sk| *sk == s(COUNTERS_END)) {
                own = Some(item);
            } else if counters.len() < COUNTERS_MAX {
                counters.push(Counter::from_item(&item)?);
            } else {
                return Err(StoreError::busy("counters_list: more counters than one listing reads"));
            }
        }
        Ok((own, counters))
    }
}
