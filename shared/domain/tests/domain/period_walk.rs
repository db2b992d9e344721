//! A decade of periods in awkward zones: consecutive, never empty, each instant in exactly one.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use metering_domain::period::{Period, PeriodLength, Schedule};
use proptest::prelude::*;

/// Zones with every awkwardness: whole-day gaps, half-hour and two-hour changes, changes at midnight or a
/// minute after it, offsets off the hour, no changes at all.
pub const ZONES: [Tz; 14] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::Europe__Lisbon,
    Tz::America__New_York,
    Tz::America__Sao_Paulo,
    Tz::America__St_Johns,
    Tz::America__Havana,
    Tz::Australia__Lord_Howe,
    Tz::Antarctica__Troll,
    Tz::Pacific__Apia,
    Tz::Asia__Kathmandu,
    Tz::Asia__Kolkata,
    Tz::Asia__Beirut,
    Tz::Africa__Casablanca,
];

const MINUTES_PER_DAY: i64 = 1_440;

/// The most periods of a decade: its days.
const PERIODS_MAX: usize = 3_654;

pub fn length() -> impl Strategy<Value = PeriodLength> {
    prop::sample::select(vec![
        PeriodLength::Day,
        PeriodLength::Week,
        PeriodLength::Month,
        PeriodLength::Year,
    ])
}

/// Days at the end of the month and times at which clocks change are as likely as all others.
pub fn schedule() -> impl Strategy<Value = Schedule> {
    let day = prop_oneof![1_u32..=31, 29_u32..=31];
    let minute = prop_oneof![
        0_u32..1_440,
        prop::sample::select(vec![0, 1, 15, 30, 60, 105, 120, 135, 150, 179, 180, 1_410])
    ];
    (
        prop::sample::select(ZONES.to_vec()),
        2000_i32..=2030,
        1_u32..=12,
        day,
        minute,
        length(),
    )
        .prop_map(|(zone, year, month, day, minute, length)| {
            let date = (0..4).find_map(|back| NaiveDate::from_ymd_opt(year, month, day - back));
            let time = NaiveTime::from_num_seconds_from_midnight_opt(minute * 60, 0);
            let anchor = date
                .zip(time)
                .map(|(date, time)| date.and_time(time))
                .expect("a local time");
            Schedule { zone, anchor, length }
        })
}

pub fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    // 2005 to 2035, to the millisecond.
    (1_104_537_600_000_i64..2_051_222_400_000).prop_map(|ms| DateTime::from_timestamp_millis(ms).expect("in range"))
}

/// The calendar day on which a period that begins on this one was anchored: clamped to the month's end.
fn expected_day(schedule: &Schedule, local: NaiveDate) -> bool {
    let anchor = schedule.anchor.date();
    let last = (28..=31).rev().find(|day| local.with_day(*day).is_some()).unwrap_or(28);
    match schedule.length {
        PeriodLength::Day => true,
        PeriodLength::Week => local.weekday() == anchor.weekday(),
        PeriodLength::Month => local.day() == anchor.day().min(last),
        PeriodLength::Year => local.month() == anchor.month() && local.day() == anchor.day().min(last),
    }
}

/// A period starts at the anchor's local time, in its first occurrence, unless that time does not exist.
fn check_local_start(schedule: &Schedule, period: &Period) -> Result<(), TestCaseError> {
    let local = period.start.with_timezone(&schedule.zone).naive_local();
    if local.time() == schedule.anchor.time() && expected_day(schedule, local.date()) {
        let first = schedule.zone.from_local_datetime(&local).earliest();
        prop_assert_eq!(first.map(|first| first.to_utc()), Some(period.start));
        return Ok(());
    }
    // Moved forward: by the length of a gap, a whole day at most, the anchor's own local time lies inside it.
    let skipped = (1..=MINUTES_PER_DAY)
        .map(|minutes| local - TimeDelta::minutes(minutes))
        .find(|before| {
            before.time() == schedule.anchor.time()
                && expected_day(schedule, before.date())
                && schedule.zone.from_local_datetime(before).earliest().is_none()
        });
    prop_assert!(skipped.is_some(), "{} is no start", local);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_decade_has_no_gap_and_no_overlap(schedule in schedule(), from in instant(), share in 0_i32..1_000) {
        let end = from + TimeDelta::days(3_653);
        let mut period = schedule.period_at(from).expect("in range");
        prop_assert!(period.contains(from));
        for _ in 0..PERIODS_MAX {
            prop_assert!(period.start < period.end);
            check_local_start(&schedule, &period)?;
            let last = period.end - TimeDelta::milliseconds(1);
            let inside = period.start + (last - period.start) / 1_000 * share;
            for instant in [period.start, inside, last] {
                prop_assert_eq!(schedule.period_at(instant), Some(period), "{}", instant);
            }
            let next = schedule.next(&period).expect("in range");
            prop_assert_eq!(next.start, period.end);
            prop_assert_eq!(schedule.previous(&next), Some(period));
            if next.start >= end {
                break;
            }
            period = next;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The same period as a search over all boundaries finds, with no estimate to be wrong.
    #[test]
    fn the_estimate_always_reaches_the_period(schedule in schedule(), from in instant()) {
        let period = schedule.period_at(from).expect("in range");
        let per_year = match schedule.length {
            PeriodLength::Day => 366,
            PeriodLength::Week => 53,
            PeriodLength::Month => 12,
            PeriodLength::Year => 1,
        };
        let years = i64::from(from.year()) - i64::from(schedule.anchor.year());
        let (low, high) = ((years.min(0) - 2) * per_year, (years.max(0) + 2) * per_year);
        // Boundaries never go back, so halving finds the first one after the instant.
        let first_after = (0..20).fold((low, high), |(low, high), _| {
            let middle = low + (high - low) / 2;
            if schedule.boundary(middle).expect("in range") <= from { (middle, high) } else { (low, middle) }
        }).1;
        prop_assert_eq!(Some(period.end), schedule.boundary(first_after));
        prop_assert_eq!(Some(period.start), schedule.boundary(first_after - 1));
    }

    /// A default anchor starts the very period that holds the instant it was made for.
    #[test]
    fn a_calendar_period_starts_at_its_anchor(zone in prop::sample::select(ZONES.to_vec()), length in length(), at in instant()) {
        let schedule = Schedule::calendar(zone, length, at);
        prop_assert_eq!(schedule.boundary(0), Some(schedule.anchor_instant()));
        // The second pass of a midnight hour belongs to the day that has begun already.
        let repeated = zone.from_local_datetime(&at.with_timezone(&zone).naive_local()).latest().map(|latest| latest.to_utc());
        let doubled = zone.from_local_datetime(&at.with_timezone(&zone).naive_local()).earliest().map(|first| first.to_utc()) != repeated;
        prop_assume!(!doubled);
        prop_assert_eq!(schedule.period_at(at).map(|period| period.start), Some(schedule.anchor_instant()));
    }

    /// Dense around the days on which calendars break: every hour of them is in one period.
    #[test]
    fn days_around_a_change_are_covered(schedule in schedule(), which in 0_usize..6, hour in 0_i64..96) {
        let changes = ["2011-12-30", "2018-11-04", "2010-11-07", "2026-03-29", "2025-10-05", "2026-11-01"];
        let day: NaiveDate = changes[which].parse().expect("a date");
        let at = day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(hour - 48);
        let period = schedule.period_at(at).expect("in range");
        prop_assert!(period.contains(at));
        prop_assert_eq!(schedule.next(&period).map(|next| next.start), Some(period.end));
        prop_assert_eq!(schedule.previous(&period).map(|previous| previous.end), Some(period.start));
    }
}
