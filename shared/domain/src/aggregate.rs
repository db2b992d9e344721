//! Adds events up over stretches of time, so that stretches that follow each other add up exactly.
//!
//! A [`Partial`] says what happened in a stretch relative to its beginning; appended to each other,
//! quarters become hours, days, weeks and months in any zone ([`bucket`]). Must not know where events
//! and partials are stored, which buckets are wanted, or the clock.
//!
//! Nothing here panics. Decimals have 28 digits: sums are exact up to 7.9·10^19 with 9 decimals, areas
//! (12 decimals) up to 7.9·10^16; above that the last digits are rounded, and what no [`Decimal`] holds
//! becomes the largest one of its sign. Counts end at `u64::MAX`.

pub mod bucket;
mod sketch;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::{metric::Kind, number::quotient, period::Period};

pub use bucket::{Granularity, QUARTER_SECONDS, bucket_at, local_text, next_bucket, previous_bucket};
pub use sketch::{RESPONSE_TIME_MS_MAX, Sketch};

/// Decimals of seconds that are counted in milliseconds.
const SECONDS_SCALE: u32 = 3;

/// One event as aggregation sees it. Voided events are not passed in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it happened. Areas are computed on whole milliseconds, finer digits are cut off.
    pub at: DateTime<Utc>,
    /// Sums: the value. Gauges and leases: the applied change of the level, 0 if superseded.
    pub value: Decimal,
    /// Whether it reports a failure.
    pub error: bool,
    /// How long what it reports took, in milliseconds.
    pub response_time_ms: Option<u32>,
}

/// What happened in a stretch of time. The default is a stretch without events, of any length.
///
/// Levels (gauges, leases) are relative to the level carried into the stretch: the level at `t` is that
/// plus the changes at or before `t`. Changes at the same instant are one change, so neither their
/// order nor that of the input matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Events.
    pub count: u64,
    /// Events that report a failure.
    pub errors: u64,
    /// Sums: of the values. Levels: the net change.
    pub total: Decimal,
    /// Sums: the smallest value; means nothing where `count` is 0. Levels: the lowest one, ≤ 0.
    pub low: Decimal,
    /// Sums: the largest value; means nothing where `count` is 0. Levels: the highest one, ≥ 0.
    pub high: Decimal,
    /// Levels: the integral over the stretch, in unit × seconds. Sums: 0.
    pub area: Decimal,
    /// The response times of those events that have one.
    pub times: Sketch,
}

/// The figures of one bucket, as answers print them.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// Sums: of the values. Levels: the level at the end.
    pub total: Decimal,
    /// Events.
    pub count: u64,
    /// Sums: total ÷ count, 0 without events. Levels: the mean over time. 9 places, half even.
    pub average: Decimal,
    /// Sums: the smallest value, 0 without events. Levels: the lowest one, the carried-in one included.
    pub min: Decimal,
    /// Sums: the largest value, 0 without events. Levels: the highest one, the carried-in one included.
    pub max: Decimal,
    /// Events that report a failure.
    pub errors: u64,
    /// Median response time in milliseconds, within 1 % ([`Sketch::percentile`]); None without any.
    pub p50: Option<u32>,
    /// 95th percentile of the response times.
    pub p95: Option<u32>,
    /// 99th percentile of the response times.
    pub p99: Option<u32>,
}

/// Whether the values are changes of a level rather than amounts.
fn is_level(kind: Kind) -> bool {
    match kind {
        Kind::Sum => false,
        Kind::Gauge | Kind::Lease => true,
    }
}

/// From one instant to another in seconds, each cut to milliseconds; below 0 when the first is later.
fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> Decimal {
    Decimal::new(to.timestamp_millis() - from.timestamp_millis(), SECONDS_SCALE)
}

impl Partial {
    /// What the samples inside the stretch add up to; those outside it are left out.
    ///
    /// They come in any order and are sorted by time in place.
    pub fn of(kind: Kind, samples: &mut [Sample], stretch: Period) -> Partial {
        samples.sort_by_key(|sample| sample.at);
        let from = samples.partition_point(|sample| sample.at < stretch.start);
        let to = samples.partition_point(|sample| sample.at < stretch.end);
        let mut partial = Partial::default();
        let Some(inside) = samples.get(from..to) else {
            return partial;
        };
        for simultaneous in inside.chunk_by(|a, b| a.at == b.at) {
            for sample in simultaneous {
                partial.add(kind, sample, stretch.end);
            }
            if is_level(kind) {
                partial.low = partial.low.min(partial.total);
                partial.high = partial.high.max(partial.total);
            }
        }
        partial
    }

    /// One more sample of a stretch that ends there; lowest and highest levels are the caller's.
    fn add(&mut self, kind: Kind, sample: &Sample, end: DateTime<Utc>) {
        if is_level(kind) {
            let area = sample.value.saturating_mul(seconds_between(sample.at, end));
            self.area = self.area.saturating_add(area);
        } else {
            let first = self.count == 0;
            self.low = if first {
                sample.value
            } else {
                self.low.min(sample.value)
            };
            self.high = if first {
                sample.value
            } else {
                self.high.max(sample.value)
            };
        }
        self.count = self.count.saturating_add(1);
        self.errors = self.errors.saturating_add(u64::from(sample.error));
        self.total = self.total.saturating_add(sample.value);
        if let Some(response_time_ms) = sample.response_time_ms {
            self.times.add(response_time_ms);
        }
    }

    /// Makes this stretch longer: `next` follows it, perhaps after a gap without events.
    ///
    /// `longer_by` is the time from the end of this stretch to the end of `next`, the gap included. A
    /// default `next` is a gap alone, a default `self` a gap before. Associative.
    pub fn append(&mut self, kind: Kind, next: &Partial, longer_by: TimeDelta) {
        if is_level(kind) {
            let carried = Decimal::new(longer_by.num_milliseconds(), SECONDS_SCALE).saturating_mul(self.total);
            self.area = self.area.saturating_add(carried).saturating_add(next.area);
            self.low = self.low.min(self.total.saturating_add(next.low));
            self.high = self.high.max(self.total.saturating_add(next.high));
        } else if self.count == 0 {
            (self.low, self.high) = (next.low, next.high);
        } else if next.count > 0 {
            (self.low, self.high) = (self.low.min(next.low), self.high.max(next.high));
        }
        self.count = self.count.saturating_add(next.count);
        self.errors = self.errors.saturating_add(next.errors);
        self.total = self.total.saturating_add(next.total);
        self.times.merge(&next.times);
    }

    /// The figures of the bucket that this partial covers as a whole.
    ///
    /// `carried_in` is the level at the bucket's start and means nothing for sums. The mean of a level
    /// weighs the time from the start until `until`, at most the end: `now` for the bucket that runs.
    /// It is exact where no change lies after `until`; such changes (timestamps may be a few minutes
    /// ahead) can move it, but not out of `[min, max]`. Before the start it is the level at the end.
    pub fn totals(&self, kind: Kind, carried_in: Decimal, bucket: Period, until: DateTime<Utc>) -> Totals {
        let (total, average, min, max) = if is_level(kind) {
            let level = |relative: Decimal| carried_in.saturating_add(relative);
            let (min, max) = (level(self.low), level(self.high));
            let mean = self.mean_level(carried_in, bucket, until).max(min).min(max);
            (level(self.total), mean, min, max)
        } else if self.count == 0 {
            (Decimal::ZERO, Decimal::ZERO, Decimal::ZERO, Decimal::ZERO)
        } else {
            let average = quotient(self.total, Decimal::from(self.count));
            (self.total, average, self.low, self.high)
        };
        Totals {
            total,
            count: self.count,
            average,
            min,
            max,
            errors: self.errors,
            p50: self.times.percentile(50),
            p95: self.times.percentile(95),
            p99: self.times.percentile(99),
        }
    }

    /// The integral of the level from the bucket's start until `until`, divided by that time.
    fn mean_level(&self, carried_in: Decimal, bucket: Period, until: DateTime<Utc>) -> Decimal {
        let until = until.min(bucket.end);
        let weighed = seconds_between(bucket.start, until);
        if weighed <= Decimal::ZERO {
            return carried_in.saturating_add(self.total);
        }
        // Every change counts from its instant to the bucket's end: what lies after `until` comes off.
        let after = self.total.saturating_mul(seconds_between(until, bucket.end));
        let area = carried_in
            .saturating_mul(weighed)
            .saturating_add(self.area)
            .saturating_sub(after);
        quotient(area, weighed)
    }
}
