//! Cuts time into hours, days, weeks and months of a zone, on the quarter-hour grid of UTC.
//!
//! Every boundary lies on the grid, so a bucket is made of whole quarters. All offsets since 1972 are
//! multiples of 15 minutes; where an older one is not, its boundaries are moved back to the grid.
//! Must not know what is counted in a bucket.

use chrono::{DateTime, Offset, SecondsFormat, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::period::{Period, PeriodLength, Schedule};

/// The grid on which all buckets begin, counted from the Unix epoch.
pub const QUARTER_SECONDS: i64 = 900;

/// An hour of one offset has four quarters.
const QUARTERS_PER_HOUR_MAX: usize = 4;

const SECONDS_PER_HOUR: i64 = 3_600;

/// How long a bucket is, on the local calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// From one full local hour, or change of the offset, to the next: at most 60 minutes.
    Hourly,
    /// A local day: 23 to 25 hours where clocks change.
    Daily,
    /// Monday to Sunday (ISO 8601).
    Weekly,
    /// A calendar month.
    Monthly,
}

impl Granularity {
    /// The name in requests, answers and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Granularity::Hourly => "hourly",
            Granularity::Daily => "daily",
            Granularity::Weekly => "weekly",
            Granularity::Monthly => "monthly",
        }
    }

    /// Reads what [`Granularity::as_str`] writes, nothing else.
    pub fn parse(text: &str) -> Option<Granularity> {
        [
            Granularity::Hourly,
            Granularity::Daily,
            Granularity::Weekly,
            Granularity::Monthly,
        ]
        .into_iter()
        .find(|granularity| granularity.as_str() == text)
    }
}

/// The one bucket that contains an instant: half-open, never empty, contiguous with its neighbours.
///
/// A skipped local midnight moves forward, a doubled one is its first occurrence, as for billing periods
/// ([`Schedule`]); a day that a zone never had is no bucket. An hour that comes twice is two buckets.
/// None only near the ends of chrono's range.
pub fn bucket_at(granularity: Granularity, zone: Tz, at: DateTime<Utc>) -> Option<Period> {
    match granularity {
        Granularity::Hourly => hour_at(zone, at),
        Granularity::Daily => calendar_at(zone, PeriodLength::Day, at),
        Granularity::Weekly => calendar_at(zone, PeriodLength::Week, at),
        Granularity::Monthly => calendar_at(zone, PeriodLength::Month, at),
    }
}

/// The bucket after one that [`bucket_at`] gave.
pub fn next_bucket(granularity: Granularity, zone: Tz, bucket: &Period) -> Option<Period> {
    bucket_at(granularity, zone, bucket.end)
}

/// The bucket before one that [`bucket_at`] gave.
pub fn previous_bucket(granularity: Granularity, zone: Tz, bucket: &Period) -> Option<Period> {
    bucket_at(
        granularity,
        zone,
        bucket.start.checked_sub_signed(TimeDelta::nanoseconds(1))?,
    )
}

/// The local time of an instant with its offset: `2026-03-29T00:00:00+01:00` (RFC 3339).
///
/// Never `Z`, UTC is `+00:00`. Fractions of a second are cut off, and so are the seconds of offsets
/// that have some (local mean times, before about 1972).
pub fn local_text(zone: Tz, at: DateTime<Utc>) -> String {
    at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false)
}

fn quarter() -> TimeDelta {
    TimeDelta::seconds(QUARTER_SECONDS)
}

/// The start of the quarter that contains an instant.
fn quarter_start(at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.timestamp().div_euclid(QUARTER_SECONDS) * QUARTER_SECONDS, 0)
}

/// The last instant of the quarter that begins there. What holds then is what holds of the quarter as a
/// whole: that is what moves a boundary inside a quarter back to its start.
fn quarter_last(start: DateTime<Utc>) -> Option<DateTime<Utc>> {
    start.checked_add_signed(quarter() - TimeDelta::nanoseconds(1))
}

fn calendar_at(zone: Tz, length: PeriodLength, at: DateTime<Utc>) -> Option<Period> {
    let judged = quarter_last(quarter_start(at)?)?;
    let exact = Schedule::calendar(zone, length, judged).period_at(judged)?;
    Some(Period {
        start: quarter_start(exact.start)?,
        end: quarter_start(exact.end)?,
    })
}

/// The quarters around an instant that are of the same local hour, offset and day.
fn hour_at(zone: Tz, at: DateTime<Utc>) -> Option<Period> {
    let middle = quarter_start(at)?;
    let hour = local_hour(zone, middle)?;
    let day = calendar_at(zone, PeriodLength::Day, at)?;
    let mut bucket = Period {
        start: middle,
        end: middle.checked_add_signed(quarter())?,
    };
    for _ in 1..QUARTERS_PER_HOUR_MAX {
        let before = bucket.start.checked_sub_signed(quarter())?;
        if bucket.start > day.start && local_hour(zone, before)? == hour {
            bucket.start = before;
        }
        if bucket.end < day.end && local_hour(zone, bucket.end)? == hour {
            bucket.end = bucket.end.checked_add_signed(quarter())?;
        }
    }
    Some(bucket)
}

/// The full local hour that a quarter belongs to, counted from 1970, and the offset in seconds.
fn local_hour(zone: Tz, quarter: DateTime<Utc>) -> Option<(i64, i64)> {
    let judged = quarter_last(quarter)?;
    let offset = zone.offset_from_utc_datetime(&judged.naive_utc()).fix();
    let offset_seconds = i64::from(offset.local_minus_utc());
    Some((
        (judged.timestamp() + offset_seconds).div_euclid(SECONDS_PER_HOUR),
        offset_seconds,
    ))
}
