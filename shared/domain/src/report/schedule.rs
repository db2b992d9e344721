//! When a scheduled report is due, and which period it covers: the last full day, week or month.
//!
//! Must not know who makes it, nor whether it was made.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::{
    aggregate::{Granularity, bucket_at, previous_bucket},
    named::named,
    period::{Period, local_instant},
};

/// A day of the month that some months lack is their last one.
pub const DAY_OF_MONTH_MAX: u32 = 31;
/// Monday is 1 (ISO 8601).
pub const WEEKDAY_MAX: u32 = 7;
/// The longest way from one occurrence to the next, in days, and one day for a date that a zone skipped.
const SEARCH_DAYS: i64 = 64;

named! {
    /// How often a report is made.
    Frequency {
        /// Every day, of the day before.
        Daily = "daily",
        /// Every week, of the week before (Monday to Sunday).
        Weekly = "weekly",
        /// Every month, of the month before.
        Monthly = "monthly",
    }
}

/// When a report is made, on the calendar of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrence {
    /// How often.
    pub frequency: Frequency,
    /// At which local time. One that clocks skip is made up for by as much later as they skip; of one that comes
    /// twice the first counts.
    pub time: NaiveTime,
    /// Weekly: on which day, 1 (Monday) to 7.
    pub weekday: u32,
    /// Monthly: on which day, 1 to 31; where the month is shorter, on its last.
    pub day_of_month: u32,
    /// On whose clock.
    pub zone: Tz,
}

impl Recurrence {
    /// The first occurrence after an instant. None near the end of the calendar.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.occurrences(after, 1).find(|at| *at > after)
    }

    /// The last occurrence at an instant or before it. None near the beginning of the calendar.
    pub fn last(&self, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.occurrences(until, -1).find(|at| *at <= until)
    }

    /// The period that the occurrence at an instant covers: the full one before the day it falls on.
    pub fn covers(&self, occurrence: DateTime<Utc>) -> Option<Period> {
        let granularity = match self.frequency {
            Frequency::Daily => Granularity::Daily,
            Frequency::Weekly => Granularity::Weekly,
            Frequency::Monthly => Granularity::Monthly,
        };
        let running = bucket_at(granularity, self.zone, occurrence)?;
        previous_bucket(granularity, self.zone, &running)
    }

    /// Occurrences near an instant, in one direction, from a day on its other side.
    fn occurrences(&self, near: DateTime<Utc>, direction: i64) -> impl Iterator<Item = DateTime<Utc>> {
        let here = near.with_timezone(&self.zone).date_naive();
        let first = here.checked_sub_signed(TimeDelta::days(direction));
        let days = (0..SEARCH_DAYS).map_while(move |days| first?.checked_add_signed(TimeDelta::days(direction * days)));
        let due = days.filter(|day| self.falls_on(*day));
        due.filter_map(|day| local_instant(self.zone, NaiveDateTime::new(day, self.time)))
    }

    fn falls_on(&self, day: NaiveDate) -> bool {
        match self.frequency {
            Frequency::Daily => true,
            Frequency::Weekly => day.weekday().number_from_monday() == self.weekday,
            Frequency::Monthly => {
                let last = day.succ_opt().is_none_or(|next| next.month() != day.month());
                day.day() == self.day_of_month || (last && day.day() < self.day_of_month)
            }
        }
    }
}
