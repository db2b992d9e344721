//! A metric over time.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use super::{Measured, MetricInput, buckets};
use crate::{
    aggregate::{Granularity, Partial, Totals},
    metric::Kind,
    number::quotient,
    period::Period,
};

/// A billing period and what is granted in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BillingPeriod {
    /// From when to when.
    pub period: Period,
    /// None: unlimited.
    pub limit: Option<Decimal>,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// From when to when.
    pub period: Period,
    /// Its start on the report's calendar: `2026-03-29`, or `2026-03-29 14:00`.
    pub label: String,
    /// Sums: the total, 0 without events. Gauges: the level at the end. Leases: the highest number held.
    pub value: Decimal,
    /// All figures; None where nothing happened.
    pub totals: Option<Totals>,
}

/// A metric over time: every bucket of the covered period that has begun, oldest first, without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// How it counts.
    pub kind: Kind,
    /// Every bucket.
    pub points: Vec<Point>,
    /// The billing periods that it touches.
    pub billing: Vec<BillingPeriod>,
    /// Sums: what was used in the first billing period before the first point.
    pub used_before: Decimal,
    /// What is granted now, or was last; None: unlimited.
    pub limit: Option<Decimal>,
}

impl Series {
    /// The buckets that hold something.
    pub fn rows(&self) -> impl Iterator<Item = (&Point, &Totals)> {
        let row = |point: &'_ Point| point.totals.is_some();
        self.points
            .iter()
            .filter(move |point| row(point))
            .filter_map(|point| Some((point, point.totals.as_ref()?)))
    }

    /// Local days: their dates and values, of hours put together as the kind says; and whether something happened.
    pub fn days(&self) -> Vec<(String, Decimal, bool)> {
        let mut days: Vec<(String, Decimal, bool)> = Vec::new();
        for point in &self.points {
            let date = point.label.get(..10).unwrap_or(&point.label);
            match days.last_mut().filter(|day| day.0 == date) {
                Some((_, value, used)) => {
                    *value = match self.kind {
                        Kind::Sum => value.saturating_add(point.value),
                        Kind::Gauge => point.value,
                        Kind::Lease => (*value).max(point.value),
                    };
                    *used |= point.totals.is_some();
                }
                None => days.push((date.to_owned(), point.value, point.totals.is_some())),
            }
        }
        days
    }
}

/// The start of a bucket on a calendar.
pub fn label(granularity: Granularity, zone: Tz, at: DateTime<Utc>) -> String {
    let format = match granularity {
        Granularity::Hourly => "%Y-%m-%d %H:%M",
        Granularity::Daily | Granularity::Weekly | Granularity::Monthly => "%Y-%m-%d",
    };
    at.with_timezone(&zone).format(format).to_string()
}

/// Of which time, on whose calendar, seen from when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub covered: Period,
    pub granularity: Granularity,
    pub zone: Tz,
    pub now: DateTime<Utc>,
}

/// The series of a metric, and the figures of the covered period as a whole; None if nothing was used in it.
pub(super) fn series(metric: &MetricInput, frame: &Frame) -> (Series, Option<Totals>) {
    let (found, totals, carried_in) = match &metric.measured {
        Measured::Events { carried_in, buckets } => {
            let (found, totals) = of_events(metric.kind, *carried_in, buckets, frame);
            let level = if metric.kind == Kind::Sum {
                Decimal::ZERO
            } else {
                *carried_in
            };
            (found, totals, level)
        }
        Measured::Peaks(peaks) => {
            let found = peaks
                .iter()
                .map(|(period, peak)| (*period, of_peaks(&[*peak])))
                .collect();
            let all: Vec<Decimal> = peaks.iter().map(|(_, peak)| *peak).collect();
            (found, of_peaks(&all), Decimal::ZERO)
        }
    };
    let series = Series {
        metric_type: metric.metric_type.clone(),
        unit: metric.unit.clone(),
        kind: metric.kind,
        points: points(metric.kind, &found, carried_in, frame),
        billing: metric.billing.clone(),
        used_before: metric.used_before,
        limit: limit(metric),
    };
    // A level that goes on is used, though nothing happens.
    let is_used = !found.is_empty() || carried_in > Decimal::ZERO;
    (series, is_used.then_some(totals))
}

/// What is granted now; without a counter, in the last billing period that is known.
fn limit(metric: &MetricInput) -> Option<Decimal> {
    match (&metric.quota, metric.billing.last()) {
        (Some((_, standing)), _) => standing.quota_limit,
        (None, last) => last.and_then(|billing| billing.limit),
    }
}

/// The figures of each bucket and of the covered period, which they append to.
fn of_events(
    kind: Kind,
    carried_in: Decimal,
    buckets: &[(Period, Partial)],
    frame: &Frame,
) -> (Vec<(Period, Totals)>, Totals) {
    let covered = frame.covered;
    let (mut whole, mut filled, mut level) = (Partial::default(), covered.start, carried_in);
    let mut found = Vec::with_capacity(buckets.len());
    for (period, partial) in buckets.iter().filter(|(period, _)| covered.contains(period.start)) {
        found.push((*period, partial.totals(kind, level, *period, frame.now)));
        level = level.saturating_add(partial.total);
        whole.append(kind, partial, period.end - filled);
        filled = period.end;
    }
    whole.append(kind, &Partial::default(), covered.end - filled);
    let totals = whole.totals(kind, carried_in, covered, frame.now);
    (found, totals)
}

/// Figures of the highest numbers held: the total is the highest of them, the average their mean.
fn of_peaks(peaks: &[Decimal]) -> Totals {
    let sum = peaks.iter().fold(Decimal::ZERO, |sum, peak| sum.saturating_add(*peak));
    let max = peaks.iter().copied().max().unwrap_or_default();
    Totals {
        total: max,
        count: 0,
        average: quotient(sum, Decimal::from(peaks.len())),
        min: peaks.iter().copied().min().unwrap_or_default(),
        max,
        errors: 0,
        p50: None,
        p95: None,
        p99: None,
    }
}

/// Every bucket that has begun, those without events filled: with nothing, or with the level that goes on.
fn points(kind: Kind, found: &[(Period, Totals)], carried_in: Decimal, frame: &Frame) -> Vec<Point> {
    let (mut level, mut rest) = (carried_in, found.iter().peekable());
    buckets(frame.covered, frame.granularity, frame.zone)
        .take_while(|period| period.start <= frame.now)
        .map(|period| {
            let totals = rest
                .next_if(|(of, _)| of.start < period.end)
                .map(|(_, totals)| totals.clone());
            if let (Kind::Gauge, Some(totals)) = (kind, &totals) {
                level = totals.total;
            }
            let value = match (&totals, kind) {
                (Some(totals), _) => totals.total,
                (None, Kind::Gauge) => level,
                (None, Kind::Sum | Kind::Lease) => Decimal::ZERO,
            };
            Point {
                label: label(frame.granularity, frame.zone, period.start),
                period,
                value,
                totals,
            }
        })
        .collect()
}
