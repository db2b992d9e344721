//! Hours of usage, computed again from their events whenever one of them changes.
//!
//! An hour holds its four quarters, since zones are offset by 30 and 45 minutes. A quarter keeps the
//! sum of the revisions (1, voided 2) of the events it was computed from, and is replaced only by the
//! same or a larger sum: a slow worker, a stale index or expired events never take it back. Computed
//! twice, by two at once, in any order: the largest sum stays. Dies half-way: the message that asked
//! for it comes again.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{
    aggregate::{Partial, QUARTER_SECONDS, Sample, Sketch},
    metric::Kind,
    period::Period,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    error::failed,
    event::RETENTION,
    item::{Item, Reader, at, bytes, int, n, put_some, s},
    keys::{self, Owner, event_id_of_ix_sk},
    resolve::is_unmet,
};

/// After its first receipt a quarter is computed for so long; then its events begin to expire. No
/// event is taken and none is voided for an hour that is older than 85 days.
pub const FROZEN_AFTER: TimeDelta = TimeDelta::days(89);
/// How long after its first receipt an hour takes further events.
pub const FINAL_AFTER: TimeDelta = TimeDelta::days(85);
pub(crate) const QUARTERS: usize = 4;

/// The usage of one owner and metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Whose.
    pub owner: Owner,
    /// Of which metric.
    pub metric_type: String,
    /// Whether its events change a level.
    pub gauge: bool,
}

/// A quarter of an hour as stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Quarter {
    pub partial: Partial,
    /// The sum of the revisions of its events.
    pub revisions: u64,
    /// When its first event was received.
    pub first_received: Option<DateTime<Utc>>,
}

/// An hour as stored.
#[derive(Debug, Clone)]
pub struct Hour {
    /// Its start.
    pub start: DateTime<Utc>,
    pub(crate) quarters: [Option<Quarter>; QUARTERS],
    /// When it is to be computed once more.
    pub settle_at: Option<DateTime<Utc>>,
}

/// An event that must be seen.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its id.
    pub id: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Its revision.
    pub rev: u64,
    /// When it was received.
    pub received_at: DateTime<Utc>,
}

/// An hour after it was computed.
#[derive(Debug, Clone)]
pub struct Computed {
    /// What happened in all of it.
    pub total: Decimal,
    /// Whether every event that must be seen was.
    pub complete: bool,
    /// Events of the quarters that were computed: when received, and the value; voided ones apart.
    pub received: Vec<(DateTime<Utc>, Decimal)>,
}

/// What the index says of an event.
pub(crate) struct Row {
    id: String,
    rev: u64,
    pub voided: bool,
    pub received_at: DateTime<Utc>,
    pub sample: Sample,
}

impl Series {
    /// How its values combine, as far as aggregation goes.
    pub fn kind(&self) -> Kind {
        if self.gauge { Kind::Gauge } else { Kind::Sum }
    }
}

impl Quarter {
    pub(crate) fn to_value(&self) -> AttributeValue {
        let partial = &self.partial;
        let mut item = Item::from([
            ("r".into(), int(self.revisions)),
            ("c".into(), int(partial.count)),
            ("t".into(), n(partial.total)),
            ("l".into(), n(partial.low)),
            ("h".into(), n(partial.high)),
        ]);
        put_some(&mut item, "f", self.first_received.map(at));
        put_some(&mut item, "e", (partial.errors > 0).then(|| int(partial.errors)));
        put_some(&mut item, "a", (!partial.area.is_zero()).then(|| n(partial.area)));
        let timed = partial.times.count() > 0;
        put_some(&mut item, "s", timed.then(|| bytes(partial.times.to_bytes())));
        AttributeValue::M(item)
    }

    pub(crate) fn read(read: &Reader<'_>) -> Result<Self, StoreError> {
        let times = match read.has("s") {
            true => Sketch::from_bytes(read.bytes("s")?).ok_or_else(|| read.corrupt("s"))?,
            false => Sketch::default(),
        };
        Ok(Self {
            partial: Partial {
                count: read.integer("c")?,
                errors: read.integer_opt("e")?.unwrap_or(0),
                total: read.decimal("t")?,
                low: read.decimal("l")?,
                high: read.decimal("h")?,
                area: read.decimal_opt("a")?.unwrap_or_default(),
                times,
            },
            revisions: read.integer("r")?,
            first_received: read.instant_opt("f")?,
        })
    }

    fn is_frozen(&self, now: DateTime<Utc>) -> bool {
        self.first_received.is_some_and(|first| now >= first + FROZEN_AFTER)
    }
}

pub(crate) fn quarter_of(start: DateTime<Utc>, index: usize) -> Period {
    let offset = |index: usize| TimeDelta::seconds(QUARTER_SECONDS * i64::try_from(index).unwrap_or(0));
    Period {
        start: start + offset(index),
        end: start + offset(index + 1),
    }
}

impl Hour {
    pub(crate) fn new(start: DateTime<Utc>) -> Self {
        Self {
            start,
            quarters: Default::default(),
            settle_at: None,
        }
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "hour");
        let mut hour = Self::new(read.instant("sk")?);
        hour.settle_at = read.instant_opt("settle_at")?;
        for (index, quarter) in hour.quarters.iter_mut().enumerate() {
            let name = format!("q{index}");
            if read.has(&name) {
                *quarter = Some(Quarter::read(&Reader::new(&read.map(&name)?, "hour"))?);
            }
        }
        Ok(hour)
    }

    /// Its quarters that hold something, in order.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (Period, &Quarter)> {
        let quarters = self.quarters.iter().enumerate();
        quarters.filter_map(|(index, quarter)| Some((quarter_of(self.start, index), quarter.as_ref()?)))
    }

    /// When its first event was received.
    pub fn first_received(&self) -> Option<DateTime<Utc>> {
        self.stretches().filter_map(|(_, quarter)| quarter.first_received).min()
    }

    /// The quarters to compute for these events, of those that are not frozen; for none, all.
    fn touched(&self, wanted: &[Wanted], now: DateTime<Utc>) -> Vec<usize> {
        let frozen = |index: usize| self.quarters[index].as_ref().is_some_and(|own| own.is_frozen(now));
        let named = |index: usize| {
            let quarter = quarter_of(self.start, index);
            wanted.is_empty() || wanted.iter().any(|event| quarter.contains(event.at))
        };
        (0..QUARTERS).filter(|index| named(*index) && !frozen(*index)).collect()
    }
}

impl Store {
    /// An hour, strongly read.
    pub async fn hour_get(&self, series: &Series, start: DateTime<Utc>) -> Result<Hour, StoreError> {
        let pk = keys::hours(&series.owner, &series.metric_type);
        let item = self.state_get("hour_get", &pk, &keys::instant(start)).await?;
        item.map_or_else(|| Ok(Hour::new(start)), |item| Hour::from_item(&item))
    }

    /// Computes an hour again where these events lie, or all of it if there are none; `settle_at` is
    /// when it will be computed once more, if that was arranged. `whole` asks for all of its events.
    pub async fn hour_compute(
        &self,
        series: &Series,
        hour: &Hour,
        wanted: &[Wanted],
        whole: bool,
        settle_at: Option<DateTime<Utc>>,
    ) -> Result<Computed, StoreError> {
        let now = self.context.now();
        let touched = hour.touched(if whole { &[] } else { wanted }, now);
        let (Some(first), Some(last)) = (touched.first(), touched.last()) else {
            return Ok(Computed {
                total: hour.stretches().map(|(_, quarter)| quarter.partial.total).sum(),
                complete: true,
                received: Vec::new(),
            });
        };
        let range = Period {
            start: quarter_of(hour.start, *first).start,
            end: quarter_of(hour.start, *last).end,
        };
        let rows = self.hour_rows(series, range).await?;
        let quarters = touched
            .into_iter()
            .map(|index| (index, computed(series.kind(), &rows, quarter_of(hour.start, index))));
        let quarters: Vec<(usize, Quarter)> = quarters.filter(|(_, quarter)| quarter.revisions > 0).collect();
        self.quarters_put(series, hour.start, &quarters, settle_at).await?;
        let mut after = hour.clone();
        for (index, quarter) in quarters {
            after.quarters[index] = Some(quarter);
        }
        let seen: HashMap<&str, u64> = rows.iter().map(|row| (row.id.as_str(), row.rev)).collect();
        let is_seen = |event: &Wanted| seen.get(event.id.as_str()).is_some_and(|rev| *rev >= event.rev);
        let is_due = |event: &&Wanted| range.contains(event.at) && now < event.received_at + RETENTION;
        let counted = rows.iter().filter(|row| !row.voided);
        Ok(Computed {
            total: after.stretches().map(|(_, quarter)| quarter.partial.total).sum(),
            complete: wanted.iter().filter(is_due).all(is_seen),
            received: counted.map(|row| (row.received_at, row.sample.value)).collect(),
        })
    }

    /// What the index by time says of a stretch.
    async fn hour_rows(&self, series: &Series, range: Period) -> Result<Vec<Row>, StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.events)
            .index_name("by_time")
            .key_condition_expression("ix_pk = :pk AND ix_sk BETWEEN :from AND :end")
            .expression_attribute_values(":pk", s(series.owner.events_ix_pk(&series.metric_type)))
            .expression_attribute_values(":from", s(keys::event_ix_bound(range.start)))
            // No key equals the bare bound of an instant.
            .expression_attribute_values(":end", s(keys::event_ix_bound(range.end)))
            .projection_expression("ix_sk, v, rev, flags, response_time_ms, received_at, applied")
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .items()
            .send();
        let mut rows = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| failed("hour_rows", error))?;
            rows.push(row(&Reader::new(&item, "event"), series.gauge)?);
        }
        Ok(rows)
    }

    /// Puts quarters in their places: all in one write, or where one of them was computed from more
    /// meanwhile, each for itself.
    async fn quarters_put(
        &self,
        series: &Series,
        hour: DateTime<Utc>,
        quarters: &[(usize, Quarter)],
        settle_at: Option<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        if quarters.is_empty() || self.quarters_try(series, hour, quarters, settle_at).await? {
            return Ok(());
        }
        for one in quarters.chunks(1) {
            self.quarters_try(series, hour, one, settle_at).await?;
        }
        Ok(())
    }

    /// Puts quarters in their places if what is there was computed from no more; whether it did.
    async fn quarters_try(
        &self,
        series: &Series,
        hour: DateTime<Utc>,
        quarters: &[(usize, Quarter)],
        settle_at: Option<DateTime<Utc>>,
    ) -> Result<bool, StoreError> {
        let (mut sets, mut conditions) = (Vec::new(), Vec::new());
        let mut request = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::hours(&series.owner, &series.metric_type)))
            .key("sk", s(keys::instant(hour)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        for (index, quarter) in quarters {
            sets.push(format!("q{index} = :q{index}"));
            conditions.push(format!("(attribute_not_exists(q{index}) OR q{index}.r <= :r{index})"));
            request = request
                .expression_attribute_values(format!(":q{index}"), quarter.to_value())
                .expression_attribute_values(format!(":r{index}"), int(quarter.revisions));
        }
        if let Some(settle_at) = settle_at {
            sets.push("settle_at = :settle".to_owned());
            request = request.expression_attribute_values(":settle", at(settle_at));
        }
        let request = request
            .update_expression(format!("SET {}", sets.join(", ")))
            .condition_expression(conditions.join(" AND "));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if is_unmet(&error) => Ok(false),
            Err(error) => Err(failed("quarters_put", error)),
        }
    }
}

pub(crate) fn row(read: &Reader<'_>, gauge: bool) -> Result<Row, StoreError> {
    let sk = read.text("ix_sk")?;
    let (id, at) = event_id_of_ix_sk(&sk)
        .zip(keys::event_ix_instant(&sk))
        .ok_or_else(|| read.corrupt("ix_sk"))?;
    let flags = read.texts("flags")?;
    let flag = |name: &str| flags.iter().any(|flag| flag == name);
    let value = match gauge {
        // A level from before the subscription's start changed nothing.
        true => read.decimal_opt("applied")?.unwrap_or_default(),
        false => read.decimal("v")?,
    };
    Ok(Row {
        id: id.to_owned(),
        rev: read.integer("rev")?,
        voided: flag("voided"),
        received_at: read.instant("received_at")?,
        sample: Sample {
            at,
            value,
            error: flag("error"),
            response_time_ms: read.integer_opt("response_time_ms")?,
        },
    })
}

/// A quarter from what the index says of it.
pub(crate) fn computed(kind: Kind, rows: &[Row], stretch: Period) -> Quarter {
    let own = || rows.iter().filter(|row| stretch.contains(row.sample.at));
    let mut samples: Vec<Sample> = own().filter(|row| !row.voided).map(|row| row.sample).collect();
    Quarter {
        partial: Partial::of(kind, &mut samples, stretch),
        revisions: own().map(|row| row.rev).sum(),
        first_received: own().map(|row| row.received_at).min(),
    }
}
