//! Cuts time into billing periods in the subscription's own zone.
//!
//! A schedule is a zone, a local anchor and a length; its boundaries are the anchor moved by whole
//! lengths on the local calendar. Must not know subscriptions, counters or the clock.

mod boundary;
pub mod instant;
mod timeline;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;
use serde::Serialize;

pub use boundary::to_instant as local_instant;
pub use instant::{instant_option, instant_text, parse_instant};
pub use timeline::{RENEWALS_MAX, Timeline};

/// How far back an event's timestamp may lie, in days of 24 hours (`semantics.md`, "Periods").
pub const BACK_DAYS_MAX: i64 = 35;

/// How far ahead of the clock an event's timestamp may lie, in minutes.
pub const AHEAD_MINUTES_MAX: i64 = 5;

/// How many periods the estimate of [`Schedule::period_at`] may be off, either way.
///
/// Two units away, a boundary lies more than a day of local time from the instant, and no zone has ever
/// skipped or doubled more than a day. Needed in full: the day after the one that Apia skipped, before the
/// anchor's time of day, belongs to the period of two dates before.
const CORRECTION_PERIODS_MAX: i64 = 2;

/// Whether an event of that time is taken: at most 35 days old and 5 minutes ahead, both inclusive.
///
/// `backfill` lifts the lower bound.
pub fn accepts(timestamp: DateTime<Utc>, now: DateTime<Utc>, backfill: bool) -> bool {
    let ahead = timestamp.signed_duration_since(now);
    ahead <= TimeDelta::minutes(AHEAD_MINUTES_MAX) && (backfill || ahead >= -TimeDelta::days(BACK_DAYS_MAX))
}

/// How long a billing period is, on the local calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeriodLength {
    /// From one local time to the same on the next day: 23 to 25 hours where clocks change.
    Day,
    /// Seven days.
    Week,
    /// A calendar month; an anchor after the last day of one falls on its last day.
    Month,
    /// A calendar year; an anchor on 29 February falls on the 28th in common years.
    Year,
}

impl PeriodLength {
    /// The name in requests, answers and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            PeriodLength::Day => "day",
            PeriodLength::Week => "week",
            PeriodLength::Month => "month",
            PeriodLength::Year => "year",
        }
    }

    /// Reads what [`PeriodLength::as_str`] writes, nothing else.
    pub fn parse(text: &str) -> Option<PeriodLength> {
        [
            PeriodLength::Day,
            PeriodLength::Week,
            PeriodLength::Month,
            PeriodLength::Year,
        ]
        .into_iter()
        .find(|length| length.as_str() == text)
    }
}

/// A half-open stretch of time, `[start, end)`, never empty when a [`Schedule`] made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first instant inside.
    pub start: DateTime<Utc>,
    /// The first instant after.
    pub end: DateTime<Utc>,
}

impl Period {
    /// Whether the instant lies inside.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.start <= at && at < self.end
    }
}

/// The billing periods of one subscription, without beginning or end.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The zone whose calendar counts (IANA).
    pub zone: Tz,
    /// The local time at which the period of index 0 begins.
    pub anchor: NaiveDateTime,
    /// The length of each period.
    pub length: PeriodLength,
}

impl Schedule {
    /// The schedule with a boundary at an instant, which becomes a local time in the zone.
    ///
    /// In the second pass of a doubled local time the boundary is the first pass of that time, up to an
    /// hour earlier: a doubled time always means its first occurrence.
    pub fn new(zone: Tz, anchor_instant: DateTime<Utc>, length: PeriodLength) -> Schedule {
        let anchor = boundary::to_local(zone, anchor_instant).unwrap_or(anchor_instant.naive_utc());
        Schedule { zone, anchor, length }
    }

    /// The default schedule: anchored at the start of the calendar unit that contains `at` in the zone.
    ///
    /// Days begin at 00:00, weeks on Monday (ISO 8601), months on the 1st, years on 1 January.
    pub fn calendar(zone: Tz, length: PeriodLength, at: DateTime<Utc>) -> Schedule {
        let date = boundary::to_local(zone, at).unwrap_or(at.naive_utc()).date();
        let first = match length {
            PeriodLength::Day => Some(date),
            PeriodLength::Week => date.week(Weekday::Mon).checked_first_day(),
            PeriodLength::Month => date.with_day(1),
            PeriodLength::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        };
        // Only the very first week that chrono can express has no Monday.
        Schedule {
            zone,
            anchor: first.unwrap_or(date).and_time(NaiveTime::MIN),
            length,
        }
    }

    /// Calendar months in UTC: the periods of the implicit subscription.
    pub fn utc_months() -> Schedule {
        Schedule {
            zone: Tz::UTC,
            anchor: DateTime::UNIX_EPOCH.naive_utc(),
            length: PeriodLength::Month,
        }
    }

    /// The instant of the anchor: boundary 0.
    pub fn anchor_instant(&self) -> DateTime<Utc> {
        boundary::to_instant(self.zone, self.anchor).unwrap_or(self.anchor.and_utc())
    }

    /// Where the period of that index begins; index 0 is the anchor's. None outside chrono's range.
    ///
    /// Always computed from the anchor itself, so an anchor on the 31st comes back to the 31st. A skipped
    /// local time moves forward by the length of the gap, a doubled one is its first occurrence. Two
    /// neighbours may be equal where a whole local day is skipped: that period is empty.
    pub fn boundary(&self, index: i64) -> Option<DateTime<Utc>> {
        boundary::to_instant(self.zone, boundary::shift(self.anchor, self.length, index)?)
    }

    /// The one period that contains an instant. None only near the ends of chrono's range.
    ///
    /// Never empty, and consecutive with its neighbours: empty periods are skipped.
    pub fn period_at(&self, at: DateTime<Utc>) -> Option<Period> {
        let local = boundary::to_local(self.zone, at)?;
        let estimate = boundary::units_between(self.anchor, local, self.length);
        // The last boundary at or before the instant: after it comes the first one beyond, so no empty
        // period is ever chosen.
        let (index, start) = (-CORRECTION_PERIODS_MAX..=CORRECTION_PERIODS_MAX)
            .rev()
            .filter_map(|off| Some((estimate + off, self.boundary(estimate + off)?)))
            .find(|(_, start)| *start <= at)?;
        Some(Period {
            start,
            end: self.boundary(index + 1)?,
        })
    }

    /// The period after one of this schedule.
    pub fn next(&self, period: &Period) -> Option<Period> {
        self.period_at(period.end)
    }

    /// The period before one of this schedule.
    pub fn previous(&self, period: &Period) -> Option<Period> {
        self.period_at(period.start.checked_sub_signed(TimeDelta::nanoseconds(1))?)
    }
}
