//! Which charts a metric gets: its values, and of sums what they come to in each billing period.

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use super::{Slot, Spec};
use crate::{
    metric::Kind,
    report::{BillingPeriod, ForecastLine, Series},
};

/// More buckets than this are drawn as days.
const BARS_MAX: usize = 400;

/// A chart and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What it is of: `calls per day`.
    pub title: String,
    /// What is to be drawn.
    pub spec: Spec,
}

/// A forecast that begins later than this after the last bucket does not go on from it: noon of the day after a
/// day of 25 hours, and an hour.
const GAP_MAX: TimeDelta = TimeDelta::hours(38);

/// One slot to be: of a bucket that was measured, or of a day that is forecast.
struct Step {
    slot: Slot,
    start: DateTime<Utc>,
    value: f64,
    /// Of a forecast.
    bounds: Option<(f64, f64)>,
}

/// The charts of a metric, from top to bottom; none without any bucket.
pub fn panels(series: &Series, forecast: Option<&ForecastLine>, zone: Tz) -> Vec<Panel> {
    if series.points.is_empty() {
        return Vec::new();
    }
    let measured = measured(series, zone);
    let expected = forecast.map_or(Vec::new(), |forecast| expected(forecast, zone));
    // What goes on from somewhere else would look as if it went on from here.
    let follows = |step: &&Step| step.start - series.points[series.points.len() - 1].period.start < GAP_MAX;
    let expected = if expected.first().is_some_and(|step| follows(&step)) {
        expected
    } else {
        Vec::new()
    };
    let by_hour = series.points.len() <= BARS_MAX && series.points[0].label.len() > 10 && expected.is_empty();
    let bucket = if by_hour { "hour" } else { "day" };
    let what = match series.kind {
        Kind::Sum => format!("{} per {bucket}", series.unit),
        Kind::Gauge => format!("{} at the end of each {bucket}", series.unit),
        Kind::Lease => format!("{}, the most in each {bucket}", series.unit),
    };
    let measured = if by_hour {
        measured
    } else {
        by_day(measured, series.kind)
    };
    let mut values = values(&measured, &expected);
    if series.kind != Kind::Sum {
        values.limit = limits(series, &measured, &expected);
        return vec![Panel {
            title: what,
            spec: values,
        }];
    }
    let mut panels = vec![Panel {
        title: what,
        spec: values,
    }];
    if !series.billing.is_empty() {
        panels.push(Panel {
            title: format!("{} in the billing period so far", series.unit),
            spec: running(series, &measured, &expected),
        });
    }
    panels
}

fn float(value: Decimal) -> f64 {
    value.to_f64().unwrap_or(0.0)
}

fn measured(series: &Series, zone: Tz) -> Vec<Step> {
    let mut last: Option<(i32, u32)> = None;
    series
        .points
        .iter()
        .map(|point| {
            let local = point.period.start.with_timezone(&zone);
            let month = (local.year(), local.month());
            let begins = last != Some(month) && (last.is_some() || local.day() == 1);
            last = Some(month);
            let format = if point.label.len() > 10 {
                "%-d %b %H:%M"
            } else {
                "%-d %b"
            };
            Step {
                slot: Slot {
                    label: local.format(format).to_string(),
                    major: begins.then(|| local.format("%b %Y").to_string()),
                },
                start: point.period.start,
                value: float(point.value),
                bounds: None,
            }
        })
        .collect()
}

/// Hours put together to the days that they are of.
fn by_day(steps: Vec<Step>, kind: Kind) -> Vec<Step> {
    let mut days: Vec<Step> = Vec::new();
    let date = |label: &str| label.split(' ').take(2).collect::<Vec<_>>().join(" ");
    for mut step in steps {
        step.slot.label = date(&step.slot.label);
        match days.last_mut().filter(|day| day.slot.label == step.slot.label) {
            Some(day) => {
                day.value = match kind {
                    Kind::Sum => day.value + step.value,
                    Kind::Gauge => step.value,
                    Kind::Lease => day.value.max(step.value),
                }
            }
            None => days.push(step),
        }
    }
    days
}

fn expected(forecast: &ForecastLine, zone: Tz) -> Vec<Step> {
    let step = |(date, expected): &(NaiveDate, crate::forecast::usage::Expected)| {
        let noon = date.and_hms_opt(12, 0, 0)?.and_local_timezone(zone).earliest()?;
        Some(Step {
            slot: Slot {
                label: date.format("%-d %b").to_string(),
                major: (date.day() == 1).then(|| date.format("%b %Y").to_string()),
            },
            start: noon.to_utc(),
            value: float(expected.mean),
            bounds: Some((float(expected.lower), float(expected.upper))),
        })
    };
    forecast.made.path.iter().filter_map(step).collect()
}

fn slots(measured: &[Step], expected: &[Step]) -> Vec<Slot> {
    measured.iter().chain(expected).map(|step| step.slot.clone()).collect()
}

/// Values as bars, expectations as a line with its band.
fn values(measured: &[Step], expected: &[Step]) -> Spec {
    let all = || measured.iter().chain(expected);
    let known = |step: &Step| step.bounds.is_none().then_some(step.value);
    Spec {
        slots: slots(measured, expected),
        bars: all().map(known).collect(),
        expected: all().map(|step| step.bounds.map(|_| step.value)).collect(),
        band: all().map(|step| step.bounds).collect(),
        ..Spec::default()
    }
}

fn period_of(billing: &[BillingPeriod], at: DateTime<Utc>) -> Option<usize> {
    billing.iter().position(|one| one.period.contains(at))
}

/// What is granted in each slot: by its billing period, else what is granted now.
fn limits(series: &Series, measured: &[Step], expected: &[Step]) -> Vec<Option<f64>> {
    let limit = |step: &Step| match period_of(&series.billing, step.start) {
        Some(at) => series.billing[at].limit.map(float),
        None => series.limit.map(float),
    };
    measured.iter().chain(expected).map(limit).collect()
}

/// What values come to in each billing period, and where they are expected to go.
///
/// A bucket belongs to the period in which it begins.
fn running(series: &Series, measured: &[Step], expected: &[Step]) -> Spec {
    let mut sum = float(series.used_before);
    let mut current = measured.first().and_then(|step| period_of(&series.billing, step.start));
    let mut sums: Vec<(f64, bool)> = Vec::new();
    let mut breaks = Vec::new();
    for step in measured.iter().chain(expected) {
        let period = period_of(&series.billing, step.start);
        breaks.push(period != current);
        if period != current {
            (sum, current) = (0.0, period);
        }
        sum += step.value;
        sums.push((sum, step.bounds.is_some()));
    }
    // The expected line begins where the measured one ends.
    let joint = |at: usize| at + 1 == measured.len() && !expected.is_empty();
    Spec {
        slots: slots(measured, expected),
        breaks,
        line: sums
            .iter()
            .map(|(sum, is_expected)| (!is_expected).then_some(*sum))
            .collect(),
        expected: sums
            .iter()
            .enumerate()
            .map(|(at, (sum, is_expected))| (*is_expected || joint(at)).then_some(*sum))
            .collect(),
        limit: limits(series, measured, expected),
        ..Spec::default()
    }
}
