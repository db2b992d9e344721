//! What a forecast means for somebody's quota: the total, each billing period, the instant it runs out.
//!
//! Days are those of the subscription's zone. The running day is not over: of sums and leases it is forecast as well
//! and only what is left of it counts; of gauges its level is known, and is the last value. Path and total are of the
//! days after it.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive as _};

use super::{Forecast, Interval, Model, forecast};
use crate::{
    aggregate::{Granularity, bucket_at, next_bucket},
    metric::Kind,
    period::Period,
    quota::{Terms, Usage, charge},
};

/// Days from the first usage to the last one without which nothing is forecast.
pub const DAYS_MIN: usize = 7;
/// The season that days may have.
const WEEK: usize = 7;
/// Decimals of predicted quantities.
const PLACES: u32 = 9;
/// The largest quantity that is said, far above what can be counted.
const QUANTITY_MAX: f64 = 1e18;

/// What is known, and what is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// How the metric counts.
    pub kind: Kind,
    /// Usage of days that have some, oldest first, the running one included: of gauges the level at the day's end,
    /// of leases its peak.
    pub days: &'a [(Period, Decimal)],
    /// Whose days they are.
    pub zone: Tz,
    /// The present.
    pub now: DateTime<Utc>,
    /// Usage of the running period, the level, or the live leases.
    pub used: Decimal,
    /// The highest level in the running period.
    pub peak: Option<Decimal>,
    /// The billing periods from the running one on, until the horizon at least, with what is in force in each.
    pub periods: &'a [(Period, Terms)],
    /// How many days to forecast.
    pub horizon: usize,
    /// By which model; none: the one that tests best.
    pub model: Option<Model>,
}

/// An expected quantity and its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// What is expected.
    pub mean: Decimal,
    /// The lower bound.
    pub lower: Decimal,
    /// The upper bound.
    pub upper: Decimal,
}

/// What is expected of a billing period, as far as the horizon reaches into it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeriodForecast {
    /// From when to when it lasts.
    pub period: Period,
    /// Used so far and predicted; of gauges and leases the highest level.
    pub predicted: Decimal,
    /// None: unlimited.
    pub quota_limit: Option<Decimal>,
    /// Whether that is above the limit.
    pub will_exceed: bool,
    /// By how much.
    pub overage: Decimal,
    /// What that costs, exact.
    pub cost: Decimal,
}

/// What is expected of somebody's usage.
#[derive(Clone, Debug)]
pub struct UsageForecast {
    /// The model and its errors.
    pub forecast: Forecast,
    /// Days that it was made from.
    pub data_points: usize,
    /// Each day.
    pub path: Vec<(NaiveDate, Expected)>,
    /// The total of the path; of gauges the level at its end, of leases its peak.
    pub predicted: Expected,
    /// The last day of the path, its start.
    pub until: DateTime<Utc>,
    /// Each billing period that the horizon touches.
    pub periods: Vec<PeriodForecast>,
    /// When the quota is expected to run out.
    pub exhausted_at: Option<DateTime<Utc>>,
    /// The earliest and the latest such instant that the intervals allow; none: not within the horizon.
    pub exhausted_between: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
}

/// Too little is known: how many days lie between the first and the last usage, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewDays(pub usize);

/// A stretch of the future: what is used in it, or the level in it.
struct Slice {
    period: Period,
    step: Interval,
    /// How far below and above the total until its end may be.
    spread: (f64, f64),
}

/// Which course usage takes.
#[derive(Clone, Copy)]
enum Course {
    Expected,
    Least,
    Most,
}

/// Forecasts somebody's usage. None only near the ends of the calendar.
pub fn forecast_usage(question: &Question<'_>) -> Option<Result<UsageForecast, TooFewDays>> {
    let today = bucket_at(Granularity::Daily, question.zone, question.now)?;
    let Some(((first, _), (last, _))) = question.days.first().zip(question.days.last()) else {
        return Some(Err(TooFewDays(0)));
    };
    let days = days_from(*first, question.zone, question.now)?;
    // A level that is kept is used.
    let known = match question.kind {
        Kind::Gauge => days.len(),
        Kind::Sum | Kind::Lease => days.iter().take_while(|day| day.start <= last.start).count(),
    };
    if known < DAYS_MIN {
        return Some(Err(TooFewDays(known)));
    }
    let values = values(question, &days, &today);
    // The running day is forecast, too, unless its level is known.
    let running = usize::from(question.kind != Kind::Gauge);
    let done = forecast(&values, &[WEEK], question.horizon + running, question.model)?;
    let ahead = days_after(today, question)?;
    let slices = slices(question, &today, &ahead, &done, running);
    let path = ahead.iter().zip(&done.path[running..]);
    let path: Vec<(NaiveDate, Expected)> = path
        .map(|(day, step)| (day.start.with_timezone(&question.zone).date_naive(), expected(*step)))
        .collect();
    let instant = |course| {
        question
            .periods
            .iter()
            .enumerate()
            .find_map(|(at, of)| runs_out(question, &slices, at, of, course))
    };
    Some(Ok(UsageForecast {
        data_points: values.len(),
        predicted: predicted(question.kind, &done, running),
        until: ahead.last()?.start,
        periods: periods(question, &slices, ahead.last()?.end),
        exhausted_at: instant(Course::Expected),
        exhausted_between: (instant(Course::Most), instant(Course::Least)),
        path,
        forecast: done,
    }))
}

/// The days from one on to the one that `until` lies in.
fn days_from(first: Period, zone: Tz, until: DateTime<Utc>) -> Option<Vec<Period>> {
    let mut days = vec![first];
    let mut last = first;
    while last.end <= until {
        last = next_bucket(Granularity::Daily, zone, &last)?;
        days.push(last);
    }
    Some(days)
}

fn days_after(today: Period, question: &Question<'_>) -> Option<Vec<Period>> {
    let mut last = today;
    let next = |_| {
        last = next_bucket(Granularity::Daily, question.zone, &last)?;
        Some(last)
    };
    (0..question.horizon).map(next).collect()
}

/// The series: a day without usage is 0, or keeps the level. Without the running day, but for gauges.
fn values(question: &Question<'_>, days: &[Period], today: &Period) -> Vec<f64> {
    let mut used = question.days.iter().peekable();
    let mut level = 0.0;
    let mut values = Vec::with_capacity(days.len());
    for day in days {
        let own = used
            .next_if(|(period, _)| period.start <= day.start)
            .map(|(_, value)| float(*value));
        level = match (question.kind, own) {
            (_, Some(value)) => value,
            (Kind::Gauge, None) => level,
            (Kind::Sum | Kind::Lease, None) => 0.0,
        };
        values.push(level);
    }
    if days.last() == Some(today) {
        values.pop();
    }
    if question.kind == Kind::Gauge {
        values.push(float(question.used));
    }
    values
}

/// What is ahead: the rest of the running day, then each day.
fn slices(question: &Question<'_>, today: &Period, ahead: &[Period], done: &Forecast, running: usize) -> Vec<Slice> {
    let used_today = question
        .days
        .last()
        .filter(|(day, _)| day == today)
        .map_or(0.0, |(_, used)| float(*used));
    let left = |value: f64| match question.kind {
        Kind::Sum => (value - used_today).max(0.0),
        Kind::Gauge | Kind::Lease => value.max(float(question.used)),
    };
    let rest = match (question.kind, done.path.first()) {
        (Kind::Sum | Kind::Lease, Some(step)) => Interval {
            mean: left(step.mean),
            lower: left(step.lower),
            upper: left(step.upper),
        },
        _ => {
            let level = float(question.used);
            Interval {
                mean: level,
                lower: level,
                upper: level,
            }
        }
    };
    let now = Period {
        start: question.now,
        end: today.end,
    };
    let steps = done.path[running..].iter().zip(&done.totals[running..]);
    let ahead = ahead.iter().zip(steps).map(|(day, (step, total))| Slice {
        period: *day,
        step: *step,
        spread: (total.mean - total.lower, total.upper - total.mean),
    });
    let spread = (rest.mean - rest.lower, rest.upper - rest.mean);
    std::iter::once(Slice {
        period: now,
        step: rest,
        spread,
    })
    .chain(ahead)
    .collect()
}

/// The total with its interval, which is that of the whole path: the running day's share in it is small.
fn predicted(kind: Kind, done: &Forecast, running: usize) -> Expected {
    let path = &done.path[running..];
    match kind {
        Kind::Gauge => path.last().copied().map(expected).unwrap_or_default(),
        Kind::Lease => {
            let highest = path
                .iter()
                .copied()
                .reduce(|high, step| if step.mean > high.mean { step } else { high });
            let upper = path.iter().map(|step| step.upper).fold(0.0, f64::max);
            highest
                .map(|high| expected(Interval { upper, ..high }))
                .unwrap_or_default()
        }
        Kind::Sum => {
            // Added up as it is shown, so that it is what a reader gets who adds the days.
            let mean: Decimal = path.iter().map(|step| decimal(step.mean)).sum();
            let total = done.totals.last().copied().unwrap_or_default();
            let (below, above) = (decimal(total.mean - total.lower), decimal(total.upper - total.mean));
            Expected {
                mean: mean.normalize(),
                lower: (mean - below).max(Decimal::ZERO).normalize(),
                upper: (mean + above).normalize(),
            }
        }
    }
}

/// Which share of a slice lies in a period.
fn share(slice: &Slice, period: &Period) -> f64 {
    let length = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).max(TimeDelta::zero()).num_milliseconds() as f64;
    let all = length(slice.period.start, slice.period.end);
    let common = length(slice.period.start.max(period.start), slice.period.end.min(period.end));
    if all > 0.0 { common / all } else { 0.0 }
}

/// Whether it is the period that runs now.
fn is_running(question: &Question<'_>, period: &Period) -> bool {
    period.contains(question.now)
}

fn periods(question: &Question<'_>, slices: &[Slice], end: DateTime<Utc>) -> Vec<PeriodForecast> {
    let touched = question.periods.iter().filter(|(period, _)| period.start < end);
    let of = |(period, terms): &(Period, Terms)| {
        let running = is_running(question, period);
        let inside = slices
            .iter()
            .map(|slice| (share(slice, period), slice.step.mean))
            .filter(|(share, _)| *share > 0.0);
        let predicted = match question.kind {
            Kind::Sum => {
                let so_far = if running { question.used } else { Decimal::ZERO };
                so_far + decimal(inside.map(|(share, mean)| share * mean).sum())
            }
            Kind::Gauge | Kind::Lease => {
                let highest = decimal(inside.map(|(_, mean)| mean).fold(0.0, f64::max));
                let so_far = question.peak.filter(|_| running).unwrap_or_default();
                highest.max(so_far)
            }
        };
        let predicted = predicted.normalize();
        let usage = Usage {
            used: predicted,
            held: Decimal::ZERO,
            peak: Some(predicted),
        };
        let charged = charge(question.kind, terms, &usage);
        let quota_limit = terms.quota.quota_limit;
        PeriodForecast {
            period: *period,
            predicted,
            quota_limit,
            will_exceed: quota_limit.is_some_and(|limit| predicted > limit),
            overage: charged.overage,
            cost: charged.cost,
        }
    };
    touched.map(of).collect()
}

/// When a period's usage reaches its limit, if it does: between two instants in proportion.
fn runs_out(
    question: &Question<'_>,
    slices: &[Slice],
    at: usize,
    (period, terms): &(Period, Terms),
    course: Course,
) -> Option<DateTime<Utc>> {
    let limit = float(terms.quota.quota_limit?);
    let base = match question.kind {
        Kind::Sum if at > 0 => 0.0,
        Kind::Sum | Kind::Gauge | Kind::Lease => float(question.used),
    };
    if at == 0 && base >= limit {
        return Some(question.now);
    }
    let (mut sum, mut before) = (base, base);
    for slice in slices.iter().filter(|slice| share(slice, period) > 0.0) {
        let reached = match (question.kind, course) {
            (Kind::Sum, course) => {
                sum += slice.step.mean * share(slice, period);
                match course {
                    Course::Expected => sum,
                    Course::Least => (sum - slice.spread.0).max(before),
                    Course::Most => sum + slice.spread.1,
                }
            }
            (Kind::Gauge | Kind::Lease, Course::Expected) => slice.step.mean,
            (Kind::Gauge | Kind::Lease, Course::Least) => slice.step.lower,
            (Kind::Gauge | Kind::Lease, Course::Most) => slice.step.upper,
        };
        let (from, to) = (slice.period.start.max(period.start), slice.period.end.min(period.end));
        if reached >= limit {
            let part = if reached > before {
                ((limit - before) / (reached - before)).clamp(0.0, 1.0)
            } else {
                0.0
            };
            let milliseconds = (to - from).num_milliseconds() as f64 * part;
            return Some(from + TimeDelta::milliseconds(milliseconds as i64));
        }
        before = reached;
    }
    None
}

fn float(value: Decimal) -> f64 {
    value.to_f64().unwrap_or_default()
}

/// A quantity that can be told; statistics have no more digits than these.
fn decimal(value: f64) -> Decimal {
    let value = Decimal::try_from(value.clamp(-QUANTITY_MAX, QUANTITY_MAX)).unwrap_or_default();
    value
        .round_dp_with_strategy(PLACES, RoundingStrategy::MidpointNearestEven)
        .normalize()
}

fn expected(step: Interval) -> Expected {
    Expected {
        mean: decimal(step.mean),
        lower: decimal(step.lower),
        upper: decimal(step.upper),
    }
}
