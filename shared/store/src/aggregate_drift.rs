//! Hours and days as they are stored, held against the events they are computed from. Only reads;
//! [`crate::repair`] replaces.
//!
//! What an aggregate lacks may be under way: an hour is looked at once its last event was received
//! twenty minutes ago, and one with voided events only if nothing was voided in that time. What is
//! left is drift if it is seen twice ([`crate::reconcile`]).

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::period::Period;
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    adjustment::AdjustmentKind,
    aggregation::{day_of, day_sum},
    hour::{FINAL_AFTER, Hour, QUARTERS, Quarter, Series},
    item::{Item, Reader},
    keys::{self, instant},
    tally::TrueHour,
};

/// How long a void may be on its way to its hour.
const VOIDED_WITHIN: TimeDelta = TimeDelta::minutes(20);

/// An aggregate that is not what its events say.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateDrift {
    /// Of what.
    pub series: Series,
    /// The start of the hour or day.
    pub start: DateTime<Utc>,
    /// What it says happened.
    pub stored: Decimal,
    /// What happened.
    pub truth: Decimal,
    pub(crate) span: Span,
    /// The item as it is, if there is one.
    pub(crate) item: Option<Item>,
}

/// What must be stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Span {
    Hour(Box<[Option<Quarter>; QUARTERS]>),
    Day(Quarter),
}

impl AggregateDrift {
    /// `hour` or `day`.
    pub fn span(&self) -> &'static str {
        match self.span {
            Span::Hour(_) => "hour",
            Span::Day(_) => "day",
        }
    }

    pub(crate) fn pk(&self) -> String {
        let (owner, metric) = (&self.series.owner, &self.series.metric_type);
        match self.span {
            Span::Hour(_) => keys::hours(owner, metric),
            Span::Day(_) => keys::days(owner, metric),
        }
    }

    /// The attributes that it consists of: as they are, and as they must be.
    pub(crate) fn attributes(&self) -> Vec<(String, Option<AttributeValue>, Option<AttributeValue>)> {
        let stored = |name: &str| self.item.as_ref().and_then(|item| item.get(name).cloned());
        match &self.span {
            Span::Hour(quarters) => quarters
                .iter()
                .enumerate()
                .map(|(index, quarter)| {
                    let name = format!("q{index}");
                    let old = stored(&name);
                    (name, old, quarter.as_ref().map(Quarter::to_value))
                })
                .collect(),
            Span::Day(sum) => vec![("sum".to_owned(), stored("sum"), Some(sum.to_value()))],
        }
    }
}

/// What is stored of a stretch of days.
struct Stored {
    hours: BTreeMap<String, Item>,
    days: BTreeMap<String, Item>,
}

fn total(quarters: &[Option<Quarter>; QUARTERS]) -> Decimal {
    quarters.iter().flatten().map(|quarter| quarter.partial.total).sum()
}

impl Store {
    /// The aggregates of these hours, and of their days, that are not as they should be; and how many
    /// were looked at.
    pub(crate) async fn aggregates_compare(
        &self,
        series: &Series,
        hours: &[TrueHour],
    ) -> Result<(Vec<AggregateDrift>, u64), StoreError> {
        let (Some(first), Some(last)) = (hours.first(), hours.last()) else {
            return Ok((Vec::new(), 0));
        };
        let range = Period {
            start: day_of(first.start).start,
            end: day_of(last.start).end,
        };
        let stored = Stored {
            hours: self
                .stored_all(keys::hours(&series.owner, &series.metric_type), range)
                .await?,
            days: self
                .stored_all(keys::days(&series.owner, &series.metric_type), range)
                .await?,
        };
        let now = self.context.now();
        let may_void = hours.iter().any(|hour| hour.voided) && self.was_voided(series, now).await?;
        let is_young = |hour: &TrueHour| hour.young || (hour.voided && may_void);
        let (mut drifts, mut checked) = (Vec::new(), 0);
        let mut days: BTreeMap<DateTime<Utc>, BTreeMap<String, &TrueHour>> = BTreeMap::new();
        let mut young_days = BTreeSet::new();
        for hour in hours {
            let day = day_of(hour.start).start;
            if is_young(hour) {
                young_days.insert(day);
                continue;
            }
            let item = stored.hours.get(&instant(hour.start));
            let found = item.and_then(|item| Hour::from_item(item).ok());
            let first_received = found.as_ref().and_then(Hour::first_received);
            if first_received.is_some_and(|first| now >= first + FINAL_AFTER) {
                continue;
            }
            checked += 1;
            days.entry(day).or_default().insert(instant(hour.start), hour);
            if found.as_ref().is_none_or(|found| found.quarters != hour.quarters) {
                drifts.push(AggregateDrift {
                    series: series.clone(),
                    start: hour.start,
                    stored: found.map_or(Decimal::ZERO, |found| total(&found.quarters)),
                    truth: total(&hour.quarters),
                    span: Span::Hour(Box::new(hour.quarters.clone())),
                    item: item.cloned(),
                });
            }
        }
        for (day, hours) in days.into_iter().filter(|(day, _)| !young_days.contains(day)) {
            checked += 1;
            drifts.extend(day_drift(series, day, &hours, &stored)?);
        }
        Ok((drifts, checked))
    }

    /// Whether something of an owner was taken back so lately that its hour may not know it yet.
    async fn was_voided(&self, series: &Series, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let kind = Some(AdjustmentKind::Void);
        let (newest, _) = self.adjustment_list(&series.owner, kind, None, 1).await?;
        Ok(newest.first().is_some_and(|void| now < void.created_at + VOIDED_WITHIN))
    }

    async fn stored_all(&self, pk: String, range: Period) -> Result<BTreeMap<String, Item>, StoreError> {
        let (mut all, mut after) = (BTreeMap::new(), None);
        loop {
            let (items, more) = self.stored_page(pk.clone(), range, after.as_deref(), true).await?;
            for item in items {
                all.insert(Reader::new(&item, "aggregate").text("sk")?, item);
            }
            match more {
                Some(more) => after = Some(more),
                None => return Ok(all),
            }
        }
    }
}

/// Whether a day is not the sum of its hours, taken as they should be.
fn day_drift(
    series: &Series,
    start: DateTime<Utc>,
    truth: &BTreeMap<String, &TrueHour>,
    stored: &Stored,
) -> Result<Option<AggregateDrift>, StoreError> {
    let day = day_of(start);
    let own = instant(day.start)..instant(day.end);
    let mut hours = BTreeMap::new();
    for (name, item) in stored.hours.range(own.clone()) {
        if !truth.contains_key(name) {
            hours.insert(name.clone(), Hour::from_item(item)?);
        }
    }
    for (name, hour) in truth {
        let quarters = hour.quarters.clone();
        hours.insert(
            name.clone(),
            Hour {
                quarters,
                ..Hour::new(hour.start)
            },
        );
    }
    let sum = day_sum(series.kind(), hours.values(), day);
    let item = stored.days.get(&own.start);
    let found = item.and_then(|item| match item.get("sum") {
        Some(AttributeValue::M(sum)) => Quarter::read(&Reader::new(sum, "day")).ok(),
        _ => None,
    });
    if found.as_ref() == Some(&sum) {
        return Ok(None);
    }
    Ok(Some(AggregateDrift {
        series: series.clone(),
        start,
        stored: found.map_or(Decimal::ZERO, |found| found.partial.total),
        truth: sum.partial.total,
        span: Span::Day(sum),
        item: item.cloned(),
    }))
}
