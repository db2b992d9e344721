//! When scheduled reports are due and what they cover.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    period::parse_instant,
    report::schedule::{Frequency, Recurrence},
};
use proptest::prelude::*;

fn at(text: &str) -> DateTime<Utc> {
    parse_instant(text).expect("an instant")
}

fn recurrence(frequency: Frequency, time: &str, zone: Tz) -> Recurrence {
    Recurrence {
        frequency,
        time: NaiveTime::parse_from_str(time, "%H:%M").expect("a time"),
        weekday: 1,
        day_of_month: 31,
        zone,
    }
}

#[test]
fn the_next_one_is_at_the_local_time() {
    let berlin = Tz::Europe__Berlin;
    for (frequency, time, zone, after, next) in [
        (
            Frequency::Daily,
            "08:00",
            Tz::UTC,
            "2026-03-01T07:59:59Z",
            "2026-03-01T08:00:00Z",
        ),
        (
            Frequency::Daily,
            "08:00",
            Tz::UTC,
            "2026-03-01T08:00:00Z",
            "2026-03-02T08:00:00Z",
        ),
        (
            Frequency::Daily,
            "08:00",
            berlin,
            "2026-03-28T12:00:00Z",
            "2026-03-29T06:00:00Z",
        ),
        // Skipped by the clocks: half past two is half past three.
        (
            Frequency::Daily,
            "02:30",
            berlin,
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:30:00Z",
        ),
        // Twice on the clocks: the first.
        (
            Frequency::Daily,
            "02:30",
            berlin,
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
        ),
        (
            Frequency::Daily,
            "02:30",
            berlin,
            "2026-10-25T00:30:00Z",
            "2026-10-26T01:30:00Z",
        ),
        (
            Frequency::Weekly,
            "08:00",
            Tz::UTC,
            "2026-03-02T08:00:00Z",
            "2026-03-09T08:00:00Z",
        ),
        // The last day of a month that has no 31st.
        (
            Frequency::Monthly,
            "08:00",
            Tz::UTC,
            "2026-02-01T00:00:00Z",
            "2026-02-28T08:00:00Z",
        ),
        (
            Frequency::Monthly,
            "08:00",
            Tz::UTC,
            "2026-02-28T08:00:00Z",
            "2026-03-31T08:00:00Z",
        ),
    ] {
        let one = recurrence(frequency, time, zone);
        assert_eq!(
            one.next(at(after)),
            Some(at(next)),
            "{frequency:?} {time} after {after}"
        );
        assert_eq!(one.last(at(next)), Some(at(next)));
    }
}

#[test]
fn the_last_full_day_week_or_month_is_covered() {
    let berlin = Tz::Europe__Berlin;
    for (frequency, occurrence, start, end) in [
        (
            Frequency::Daily,
            "2026-03-30T06:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            Frequency::Weekly,
            "2026-03-30T06:00:00Z",
            "2026-03-22T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            Frequency::Monthly,
            "2026-03-31T06:00:00Z",
            "2026-01-31T23:00:00Z",
            "2026-02-28T23:00:00Z",
        ),
    ] {
        let covered = recurrence(frequency, "08:00", berlin)
            .covers(at(occurrence))
            .expect("a period");
        assert_eq!((covered.start, covered.end), (at(start), at(end)), "{frequency:?}");
    }
}

proptest! {
    #[test]
    fn occurrences_follow_each_other_without_gaps(
        seconds in 1_600_000_000_i64..2_000_000_000, frequency in 0..3_usize, weekday in 1..=7_u32, day_of_month in 1..=31_u32,
        minute in 0..1_440_u32, zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::America__New_York, Tz::Asia__Kolkata]),
    ) {
        let one = Recurrence {
            frequency: Frequency::ALL[frequency],
            time: NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).expect("a time"),
            weekday, day_of_month, zone,
        };
        let now = DateTime::from_timestamp(seconds, 0).expect("an instant");
        let (last, next) = (one.last(now).expect("one"), one.next(now).expect("one"));
        prop_assert!(last <= now && now < next);
        prop_assert_eq!(one.next(last), Some(next));
        prop_assert_eq!(one.last(next - TimeDelta::seconds(1)), Some(last));
        prop_assert!(one.covers(next).is_some_and(|covered| covered.end <= next));
    }
}
