//! Aggregates of any granularity and zone, put together from stored hours and days.
//!
//! A UTC day is the sum of its hours, and is replaced only by what was computed from as much or
//! more, as quarters are ([`crate::hour`]). A bucket takes whole days where it can and the quarters
//! of those days that its boundaries cut.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, Partial, Totals, bucket_at, previous_bucket},
    metric::Kind,
    period::Period,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    error::failed,
    hour::{Hour, Quarter, Series},
    item::{Item, Reader, int, s},
    keys,
};

/// Stored hours or days that one page reads.
const PAGE: i32 = 250;
/// Pages that one listing reads: 20 years of days, or 7 of hours.
const PAGES_MAX: usize = 256;

/// What happened in a stretch of time.
struct Stretch {
    period: Period,
    partial: Partial,
}

/// A bucket of an answer.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// From when to when.
    pub period: Period,
    /// What happened.
    pub totals: Totals,
    /// The same, to be added up further.
    pub partial: Partial,
    /// The total of the bucket before: 0 where that is empty; of levels the one carried in.
    pub previous: Decimal,
}

/// Which buckets to list: oldest first, every one that overlaps the range, whole.
#[derive(Debug, Clone)]
pub struct BucketQuery {
    /// Of what.
    pub series: Series,
    /// How long they are.
    pub granularity: Granularity,
    /// On whose calendar.
    pub zone: Tz,
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until when, exclusive.
    pub to: DateTime<Utc>,
    /// Only those that start later than this.
    pub after: Option<DateTime<Utc>>,
    /// How many at most.
    pub limit: usize,
}

fn unbounded() -> StoreError {
    StoreError::Refused {
        operation: "bucket_list",
        source: "a bucket lies beyond the calendar".into(),
    }
}

pub(crate) fn day_of(at: DateTime<Utc>) -> Period {
    let start = at.date_naive().and_time(NaiveTime::MIN).and_utc();
    Period {
        start,
        end: start + TimeDelta::days(1),
    }
}

impl BucketQuery {
    fn bucket(&self, at: DateTime<Utc>) -> Result<Period, StoreError> {
        bucket_at(self.granularity, self.zone, at).ok_or_else(unbounded)
    }

    /// What must be read: from the bucket before the first one on.
    fn range(&self) -> Result<Period, StoreError> {
        let last = self.bucket(self.to - TimeDelta::nanoseconds(1))?;
        let start = match self.after {
            Some(after) => self.bucket(after)?.start,
            None => {
                let first = self.bucket(self.from)?;
                let before = previous_bucket(self.granularity, self.zone, &first);
                before.ok_or_else(unbounded)?.start
            }
        };
        Ok(Period {
            start,
            end: last.end.max(start),
        })
    }

    fn is_wanted(&self, bucket: &Period) -> bool {
        match self.after {
            Some(after) => bucket.start > after,
            None => bucket.end > self.from,
        }
    }
}

/// Puts stretches together to buckets, in order of time.
struct Filling<'a> {
    query: &'a BucketQuery,
    now: DateTime<Utc>,
    /// The level so far.
    level: Decimal,
    open: Option<(Period, Partial, DateTime<Utc>)>,
    last: Option<(Period, Decimal)>,
    done: Vec<Bucket>,
}

impl Filling<'_> {
    fn add(&mut self, stretch: &Stretch) -> Result<(), StoreError> {
        let kind = self.query.series.kind();
        let inside = |open: &(Period, Partial, DateTime<Utc>)| open.0.contains(stretch.period.start);
        if !self.open.as_ref().is_some_and(inside) {
            self.close();
            let bucket = self.query.bucket(stretch.period.start)?;
            self.open = Some((bucket, Partial::default(), bucket.start));
        }
        if let Some((_, partial, filled)) = &mut self.open {
            partial.append(kind, &stretch.partial, stretch.period.end - *filled);
            *filled = stretch.period.end;
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some((period, mut partial, filled)) = self.open.take() else {
            return;
        };
        let kind = self.query.series.kind();
        partial.append(kind, &Partial::default(), period.end - filled);
        let carried_in = self.level;
        self.level = self.level.saturating_add(partial.total);
        if partial.count == 0 {
            return;
        }
        let totals = partial.totals(kind, carried_in, period, self.now);
        let adjacent = self.last.filter(|(before, _)| before.end == period.start);
        let previous = match self.query.series.gauge {
            true => carried_in,
            false => adjacent.map_or(Decimal::ZERO, |(_, total)| total),
        };
        self.last = Some((period, totals.total));
        if self.query.is_wanted(&period) {
            self.done.push(Bucket {
                period,
                totals,
                partial,
                previous,
            });
        }
    }
}

impl Store {
    /// Adds up a UTC day from its hours, strongly read.
    pub async fn day_compute(&self, series: &Series, at: DateTime<Utc>) -> Result<(), StoreError> {
        let day = day_of(at);
        let (hours, _) = self.hours_page(series, day, None, true).await?;
        let sum = day_sum(series.kind(), &hours, day);
        if sum.revisions == 0 {
            return Ok(());
        }
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .item("pk", s(keys::days(&series.owner, &series.metric_type)))
            .item("sk", s(keys::instant(day.start)))
            .item("sum", sum.to_value())
            .condition_expression("attribute_not_exists(pk) OR #sum.r <= :revisions")
            .expression_attribute_names("#sum", "sum")
            .expression_attribute_values(":revisions", int(sum.revisions))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(())
            }
            Err(error) => Err(failed("day_compute", error)),
        }
    }

    /// Buckets that hold something, and the start of the last one if there may be more.
    pub async fn bucket_list(
        &self,
        query: &BucketQuery,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Bucket>, Option<DateTime<Utc>>), StoreError> {
        let range = query.range()?;
        let level = match query.series.gauge {
            true => self.level_at(&query.series, range.start).await?,
            false => Decimal::ZERO,
        };
        let mut filling = Filling {
            query,
            now,
            level,
            open: None,
            last: None,
            done: Vec::new(),
        };
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let (stretches, more) = self.stretches(query, range, after.as_deref()).await?;
            for stretch in &stretches {
                filling.add(stretch)?;
            }
            if filling.done.len() > query.limit {
                break;
            }
            if more.is_none() {
                filling.close();
                break;
            }
            after = more;
        }
        let mut done = filling.done;
        let more = done.len() > query.limit;
        done.truncate(query.limit);
        let next = done.last().filter(|_| more).map(|bucket| bucket.period.start);
        Ok((done, next))
    }

    /// The level of a gauge at an instant on the quarter-hour grid: all changes before it.
    pub async fn level_at(&self, series: &Series, at: DateTime<Utc>) -> Result<Decimal, StoreError> {
        let day = day_of(at);
        let mut level = Decimal::ZERO;
        let before = Period {
            start: DateTime::UNIX_EPOCH - TimeDelta::days(365 * 200),
            end: day.start,
        };
        let mut after = None;
        loop {
            let (days, more) = self.days_page(series, before, after.as_deref()).await?;
            level += days.values().map(|partial| partial.total).sum::<Decimal>();
            match more {
                Some(more) => after = Some(more),
                None => break,
            }
        }
        let (hours, _) = self.hours_page(series, day, None, false).await?;
        let earlier = hours
            .iter()
            .flat_map(Hour::stretches)
            .filter(|(period, _)| period.end <= at);
        Ok(level + earlier.map(|(_, quarter)| quarter.partial.total).sum::<Decimal>())
    }

    /// The next stretches of a range, in order, and the key to go on from.
    async fn stretches(
        &self,
        query: &BucketQuery,
        range: Period,
        after: Option<&str>,
    ) -> Result<(Vec<Stretch>, Option<String>), StoreError> {
        let series = &query.series;
        if query.granularity == Granularity::Hourly {
            let (hours, more) = self.hours_page(series, range, after, false).await?;
            return Ok((quarters(&hours, range), more));
        }
        // The first and the last day may begin before the range, or end after it.
        let days = Period {
            start: day_of(range.start).start,
            end: range.end,
        };
        let (days, more) = self.days_page(series, days, after).await?;
        let mut stretches = Vec::new();
        let mut cut: Option<Period> = None;
        for (start, partial) in days {
            let day = day_of(start);
            let bucket = query.bucket(day.start)?;
            if day.end <= bucket.end && day.start >= range.start {
                stretches.extend(self.cut_days(series, cut.take(), range).await?);
                stretches.push(Stretch { period: day, partial });
                continue;
            }
            // Days that boundaries cut are read together as far as they follow each other.
            cut = match cut.take() {
                Some(run) if run.end == day.start => Some(Period {
                    start: run.start,
                    end: day.end,
                }),
                run => {
                    stretches.extend(self.cut_days(series, run, range).await?);
                    Some(day)
                }
            };
        }
        stretches.extend(self.cut_days(series, cut, range).await?);
        Ok((stretches, more))
    }

    /// The quarters of some days, as far as they are in the range.
    async fn cut_days(&self, series: &Series, days: Option<Period>, range: Period) -> Result<Vec<Stretch>, StoreError> {
        let Some(days) = days else { return Ok(Vec::new()) };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (hours, more) = self.hours_page(series, days, after.as_deref(), false).await?;
            all.extend(quarters(&hours, range));
            match more {
                Some(more) => after = Some(more),
                None => return Ok(all),
            }
        }
    }

    /// Stored hours that start within a range, in order.
    async fn hours_page(
        &self,
        series: &Series,
        range: Period,
        after: Option<&str>,
        consistent: bool,
    ) -> Result<(Vec<Hour>, Option<String>), StoreError> {
        let pk = keys::hours(&series.owner, &series.metric_type);
        // A range may begin within an hour.
        let first = range.start - TimeDelta::minutes(45);
        let whole = Period { start: first, ..range };
        let (items, more) = self.stored_page(pk, whole, after, consistent).await?;
        let hours = items.iter().map(Hour::from_item).collect::<Result<_, _>>()?;
        Ok((hours, more))
    }

    /// Stored days that start within a range, in order.
    async fn days_page(
        &self,
        series: &Series,
        range: Period,
        after: Option<&str>,
    ) -> Result<(BTreeMap<DateTime<Utc>, Partial>, Option<String>), StoreError> {
        let pk = keys::days(&series.owner, &series.metric_type);
        let (items, more) = self.stored_page(pk, range, after, false).await?;
        let mut days = BTreeMap::new();
        for item in &items {
            let read = Reader::new(item, "day");
            let sum = Quarter::read(&Reader::new(&read.map("sum")?, "day"))?;
            days.insert(read.instant("sk")?, sum.partial);
        }
        Ok((days, more))
    }

    pub(crate) async fn stored_page(
        &self,
        pk: String,
        range: Period,
        after: Option<&str>,
        consistent: bool,
    ) -> Result<(Vec<Item>, Option<String>), StoreError> {
        let end = keys::instant(range.end - TimeDelta::milliseconds(1));
        let first = keys::instant(range.start);
        let from = after.map_or(first, |after| format!("{after}~"));
        if from > end {
            return Ok((Vec::new(), None));
        }
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :end")
            .expression_attribute_values(":pk", s(pk))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":end", s(end))
            .consistent_read(consistent)
            .limit(PAGE)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("stored_page", error))?;
        let more = match page.last_evaluated_key() {
            Some(key) => Some(Reader::new(key, "aggregate").text("sk")?),
            None => None,
        };
        Ok((page.items.unwrap_or_default(), more))
    }
}

/// A day from its hours, in order.
pub(crate) fn day_sum<'a>(kind: Kind, hours: impl IntoIterator<Item = &'a Hour>, day: Period) -> Quarter {
    let (mut sum, mut filled) = (Quarter::default(), day.start);
    for (period, quarter) in hours.into_iter().flat_map(Hour::stretches) {
        sum.partial.append(kind, &quarter.partial, period.end - filled);
        sum.revisions += quarter.revisions;
        filled = period.end;
    }
    sum.partial.append(kind, &Partial::default(), day.end - filled);
    sum
}

/// The quarters of hours, as far as they are in the range.
fn quarters(hours: &[Hour], range: Period) -> Vec<Stretch> {
    let all = hours.iter().flat_map(Hour::stretches);
    let inside = all.filter(|(period, _)| period.start >= range.start && period.end <= range.end);
    inside
        .map(|(period, quarter)| Stretch {
            period,
            partial: quarter.partial.clone(),
        })
        .collect()
}
