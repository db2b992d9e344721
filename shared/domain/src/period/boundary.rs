//! Moves local times along the calendar and finds the instants that they mean.
//!
//! Must not know periods: only single local times, zones and calendar units.

use chrono::{DateTime, Datelike, LocalResult, Months, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use super::PeriodLength;

const DAYS_PER_WEEK: i64 = 7;
const MONTHS_PER_YEAR: i64 = 12;

/// The local time of an instant. None at the very ends of chrono's range.
pub(super) fn to_local(zone: Tz, at: DateTime<Utc>) -> Option<NaiveDateTime> {
    let utc = at.naive_utc();
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
}

/// The instant of a local time. None at the very ends of chrono's range.
///
/// A doubled local time is its first occurrence; one inside a gap is read with the offset in force
/// before the gap, which moves it forward by the gap's length (RFC 5545, section 3.3.5).
pub fn to_instant(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
        LocalResult::None => {
            let (_, before) = GapInfo::new(&local, &zone)?.begin?;
            Some(local.checked_sub_offset(before.fix())?.and_utc())
        }
    }
}

/// A local time moved by whole calendar units; a day that the month lacks becomes its last one.
pub(super) fn shift(local: NaiveDateTime, unit: PeriodLength, count: i64) -> Option<NaiveDateTime> {
    match unit {
        PeriodLength::Day => local.checked_add_signed(TimeDelta::try_days(count)?),
        PeriodLength::Week => local.checked_add_signed(TimeDelta::try_weeks(count)?),
        PeriodLength::Month => shift_months(local, count),
        PeriodLength::Year => shift_months(local, count.checked_mul(MONTHS_PER_YEAR)?),
    }
}

fn shift_months(local: NaiveDateTime, count: i64) -> Option<NaiveDateTime> {
    let months = Months::new(u32::try_from(count.unsigned_abs()).ok()?);
    if count < 0 {
        local.checked_sub_months(months)
    } else {
        local.checked_add_months(months)
    }
}

/// How many units lie between two local times, by their dates alone: at most one off.
pub(super) fn units_between(from: NaiveDateTime, to: NaiveDateTime, unit: PeriodLength) -> i64 {
    let days = to.date().signed_duration_since(from.date()).num_days();
    let years = i64::from(to.year()) - i64::from(from.year());
    match unit {
        PeriodLength::Day => days,
        PeriodLength::Week => days.div_euclid(DAYS_PER_WEEK),
        PeriodLength::Month => years * MONTHS_PER_YEAR + i64::from(to.month()) - i64::from(from.month()),
        PeriodLength::Year => years,
    }
}
