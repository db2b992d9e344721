//! How a user behaves: at which hours, how regularly, where, and whether the stream of usage goes on as it did.
//!
//! Must not know how much is too much: that is the other methods' question.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use rust_decimal::Decimal;

use super::{
    AnomalyType, Bucket, Detector, Evidence, Grain, HISTORY_MIN, Method, Sighting, Usage, View, float, local, place,
    statistical, tail::as_f64,
};

/// So many days with usage make habits of hours.
const DAYS_MIN: usize = 7;
/// Who uses more hours of the day than this has no quiet ones.
const HOURS_USED_MAX: usize = 16;
/// An hour at a quiet time is worth this much, and with as much usage as other hours twice that.
const QUIET_POINTS: f64 = 20.0;
/// So many intervals between events say how regular they are.
const INTERVALS_MIN: usize = 20;
/// Regular as a machine: the deviation of the intervals is at most this share of their mean.
const REGULAR_SHARE: f64 = 0.05;
/// Shorter intervals are a batch, not a rhythm.
const INTERVAL_MIN: TimeDelta = TimeDelta::seconds(5);
const REGULAR_POINTS: f64 = 30.0;
/// A week of hours, before which the stream is not judged.
const STREAM_HOURS_MIN: usize = 168;

/// A mean with its reach, for what has no better expectation.
struct Expected {
    mean: f64,
    reach: f64,
}

impl Expected {
    /// Whether the history hardly moves and the value hardly leaves it: rare, and of no weight.
    fn is_next_to_constant(&self, value: f64) -> bool {
        let least = statistical::deviation_min(self.mean);
        self.reach <= 3.0 * least && (value - self.mean).abs() <= 3.0 * least
    }
}

/// What is unlike this user.
pub(super) fn look(usage: &Usage) -> Vec<Evidence> {
    let mut found = quiet_hours(usage);
    found.extend(stream(usage));
    let odd = place::look(&usage.sightings).into_iter();
    let odd = odd.chain(regularity(&usage.sightings));
    for one in odd {
        let Some(index) = hour_of(&usage.hours, one.at) else {
            continue;
        };
        let usual = expected(&usage.hours[..index]);
        found.push(evidence(
            index,
            one.code,
            one.detail,
            (one.points, one.confidence),
            &usual,
        ));
    }
    found
}

fn hour_of(hours: &[Bucket], at: DateTime<Utc>) -> Option<usize> {
    hours
        .iter()
        .rposition(|hour| hour.period.start <= at && at < hour.period.end)
}

fn evidence(
    index: usize,
    code: &'static str,
    detail: String,
    (points, confidence): (f64, f64),
    expected: &Expected,
) -> Evidence {
    Evidence {
        anomaly_type: AnomalyType::UnusualPattern,
        method: Method::Pattern,
        grain: Grain::Hour,
        index,
        code,
        detail,
        points,
        confidence,
        expected: expected.mean,
        lower: (expected.mean - expected.reach).max(0.0),
        upper: expected.mean + expected.reach,
    }
}

fn expected(before: &[Bucket]) -> Expected {
    let count = as_f64(before.len().max(1));
    let mean = before.iter().map(|hour| float(hour.value)).sum::<f64>() / count;
    let squares = before
        .iter()
        .map(|hour| (float(hour.value) - mean).powi(2))
        .sum::<f64>();
    Expected {
        mean,
        reach: 3.0 * (squares / count).sqrt(),
    }
}

/// Usage at an hour of the day at which, and around which, there never was any.
fn quiet_hours(usage: &Usage) -> Vec<Evidence> {
    let (mut found, mut days) = (Vec::new(), BTreeSet::new());
    let (mut used, mut sum, mut count) = ([false; 24], 0.0, 0_usize);
    for (index, hour) in usage
        .hours
        .iter()
        .enumerate()
        .filter(|(_, hour)| hour.value > Decimal::ZERO)
    {
        let start = local(hour.period.start, usage.zone);
        let at = start.hour() as usize;
        let around = [(at + 23) % 24, at, (at + 1) % 24];
        let busy = used.iter().filter(|used| **used).count();
        let has_habits = days.len() >= DAYS_MIN && busy <= HOURS_USED_MAX && index >= HISTORY_MIN;
        if has_habits && around.iter().all(|hour| !used[*hour]) {
            let share = (float(hour.value) / (sum / as_f64(count))).min(1.0);
            let known = as_f64(days.len());
            found.push(evidence(
                index,
                "unusual_hour",
                format!("used at {at}:00, where there was nothing on {} days", days.len()),
                (QUIET_POINTS * (1.0 + share), known / (known + 3.0)),
                &Expected { mean: 0.0, reach: 0.0 },
            ));
        }
        // A running hour is judged, and becomes a habit once it is over.
        if hour.is_over {
            days.insert(start.date());
            used[at] = true;
            sum += float(hour.value);
            count += 1;
        }
    }
    found
}

/// What a detector says that was given the hours one by one.
fn stream(usage: &Usage) -> Vec<Evidence> {
    let mut detector = Detector::default();
    let mut found = Vec::new();
    for (index, hour) in usage.hours.iter().enumerate().filter(|(_, hour)| hour.is_over) {
        let score = detector.push(local(hour.period.start, usage.zone), float(hour.value));
        if index < STREAM_HOURS_MIN || !score.is_remarkable() {
            continue;
        }
        let against = match score.view {
            View::Value => "the value is beyond all before".to_owned(),
            View::Mean => "the last hours together are beyond all before".to_owned(),
            View::Change(width) => format!("{width} hours differ from the {width} before as never"),
            View::Spread => "the last hours scatter as never".to_owned(),
            View::Daily => "nothing like it at this time of the day".to_owned(),
        };
        let usual = expected(&usage.hours[..index]);
        if usual.is_next_to_constant(float(hour.value)) {
            continue;
        }
        let weight = (100.0 * score.value, score.value);
        found.push(evidence(index, "unlike_before", against, weight, &usual));
    }
    found
}

/// Events that follow each other at the same interval, as no human works; said once, of the last of them.
fn regularity(sightings: &[Sighting]) -> Option<place::Oddity> {
    let last = sightings.last()?;
    let start = sightings.len().checked_sub(INTERVALS_MIN + 1)?;
    let intervals: Vec<f64> = sightings[start..]
        .windows(2)
        .map(|pair| (pair[1].at - pair[0].at).as_seconds_f64())
        .collect();
    let count = as_f64(intervals.len());
    let mean = intervals.iter().sum::<f64>() / count;
    let squares = intervals.iter().map(|one| (one - mean).powi(2)).sum::<f64>();
    let deviation = (squares / count).sqrt();
    (mean >= INTERVAL_MIN.as_seconds_f64() && deviation <= REGULAR_SHARE * mean).then(|| place::Oddity {
        at: last.at,
        code: "machine_like",
        detail: format!("{INTERVALS_MIN} events follow each other every {mean:.0} s, give or take {deviation:.1} s"),
        points: REGULAR_POINTS,
        confidence: 1.0 - deviation / mean,
    })
}
