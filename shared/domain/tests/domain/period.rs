//! Periods at the places where calendars are awkward.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::period::{Period, PeriodLength, Schedule, accepts, instant_text};

use crate::at;

/// The starts of the periods from the one that contains an instant on.
fn starts(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let first = schedule.period_at(at(from));
    std::iter::successors(first, |period| schedule.next(period))
        .take(count)
        .map(|period| instant_text(period.start))
        .collect()
}

fn month(zone: Tz, anchor: &str) -> Schedule {
    Schedule::new(zone, at(anchor), PeriodLength::Month)
}

fn day(zone: Tz, anchor: &str) -> Schedule {
    Schedule::new(zone, at(anchor), PeriodLength::Day)
}

#[test]
fn an_anchor_on_the_31st_returns_to_the_31st() {
    let schedule = month(Tz::UTC, "2027-10-31T09:30:00Z");
    let expected = ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"];
    assert_eq!(
        starts(&schedule, "2028-02-28T00:00:00Z", 5),
        expected.map(|day| format!("{day}T09:30:00Z"))
    );
    let before_the_anchor = ["2026-12-31", "2027-01-31", "2027-02-28", "2027-03-31"];
    assert_eq!(
        starts(&schedule, "2027-01-01T00:00:00Z", 4),
        before_the_anchor.map(|day| format!("{day}T09:30:00Z"))
    );
}

#[test]
fn an_anchor_on_leap_day_returns_to_leap_day() {
    let schedule = Schedule::new(Tz::UTC, at("2024-02-29T00:00:00Z"), PeriodLength::Year);
    let expected = ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"];
    assert_eq!(
        starts(&schedule, "2024-02-29T00:00:00Z", 5),
        expected.map(|day| format!("{day}T00:00:00Z"))
    );
}

#[test]
fn skipped_local_times_move_forward() {
    // 02:30 does not exist where clocks go from 02:00 to 03:00: read as 03:30.
    let expected = ["2026-03-07T07:30:00Z", "2026-03-08T07:30:00Z", "2026-03-09T06:30:00Z"];
    let new_york = day(Tz::America__New_York, "2026-01-01T07:30:00Z");
    assert_eq!(starts(&new_york, "2026-03-08T00:00:00Z", 3), expected);
    let expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"];
    let berlin = day(Tz::Europe__Berlin, "2026-01-01T01:30:00Z");
    assert_eq!(starts(&berlin, "2026-03-28T12:00:00Z", 3), expected);
    // Half an hour, from 02:00 to 02:30: 02:15 at +10:30 is 02:45 at +11.
    let expected = ["2025-10-03T15:45:00Z", "2025-10-04T15:45:00Z", "2025-10-05T15:15:00Z"];
    let lord_howe = day(Tz::Australia__Lord_Howe, "2025-07-31T15:45:00Z");
    assert_eq!(starts(&lord_howe, "2025-10-04T00:00:00Z", 3), expected);
    // At midnight: the day begins at 01:00.
    let expected = ["2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"];
    let sao_paulo = Schedule::calendar(Tz::America__Sao_Paulo, PeriodLength::Day, at("2018-06-01T12:00:00Z"));
    assert_eq!(starts(&sao_paulo, "2018-11-03T12:00:00Z", 3), expected);
}

#[test]
fn doubled_local_times_are_their_first_occurrence() {
    let expected = ["2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"];
    let new_york = day(Tz::America__New_York, "2026-07-01T05:30:00Z");
    assert_eq!(starts(&new_york, "2026-10-31T12:00:00Z", 3), expected);
    // 01:45 happens twice where clocks go from 02:00 back to 01:30.
    let expected = ["2026-04-03T14:45:00Z", "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"];
    let lord_howe = day(Tz::Australia__Lord_Howe, "2026-01-31T14:45:00Z");
    assert_eq!(starts(&lord_howe, "2026-04-04T00:00:00Z", 3), expected);
    // An anchor in the second pass of a doubled time means the first.
    let second_pass = day(Tz::America__New_York, "2026-11-01T06:30:00Z");
    assert_eq!(second_pass.anchor_instant(), at("2026-11-01T05:30:00Z"));
    // Midnight itself doubled, and the instant asked for in its second pass, on the day before by date.
    let st_johns = Schedule::calendar(Tz::America__St_Johns, PeriodLength::Day, at("2010-11-01T12:00:00Z"));
    let second_2330 = at("2010-11-07T03:00:00Z");
    let period = st_johns.period_at(second_2330).expect("in range");
    assert_eq!(
        (period.start, period.end),
        (at("2010-11-07T02:30:00Z"), at("2010-11-08T03:30:00Z"))
    );
}

#[test]
fn a_day_that_never_was_is_no_period() {
    let apia = Schedule::calendar(Tz::Pacific__Apia, PeriodLength::Day, at("2011-12-28T20:00:00Z"));
    let expected = [
        "2011-12-28T10:00:00Z",
        "2011-12-29T10:00:00Z",
        "2011-12-30T10:00:00Z",
        "2011-12-31T10:00:00Z",
    ];
    assert_eq!(starts(&apia, "2011-12-29T00:00:00Z", 4), expected);
    // Before the anchor's time of day, two dates back is the running period.
    let late = day(Tz::Pacific__Apia, "2011-12-29T09:00:00Z");
    let expected = ["2011-12-30T09:00:00Z", "2011-12-31T09:00:00Z"];
    assert_eq!(starts(&late, "2011-12-30T15:00:00Z", 2), expected);
    let week_from_friday = Schedule::new(Tz::Pacific__Apia, at("2011-12-23T10:00:00Z"), PeriodLength::Week);
    let expected = ["2011-12-23T10:00:00Z", "2011-12-30T10:00:00Z", "2012-01-05T10:00:00Z"];
    assert_eq!(starts(&week_from_friday, "2011-12-24T00:00:00Z", 3), expected);
    let month_from_the_30th = month(Tz::Pacific__Apia, "2011-08-30T11:00:00Z");
    let expected = ["2011-11-30T10:00:00Z", "2011-12-30T10:00:00Z", "2012-01-29T10:00:00Z"];
    assert_eq!(starts(&month_from_the_30th, "2011-12-01T00:00:00Z", 3), expected);
}

#[test]
fn zones_off_the_hour_are_exact() {
    let kathmandu = Schedule::calendar(Tz::Asia__Kathmandu, PeriodLength::Month, at("2026-01-31T18:15:00Z"));
    let expected = ["2026-01-31T18:15:00Z", "2026-02-28T18:15:00Z"];
    assert_eq!(starts(&kathmandu, "2026-01-31T18:15:00Z", 2), expected);
    assert_eq!(kathmandu.anchor_instant(), at("2026-01-31T18:15:00Z"));
}

#[test]
fn default_anchors_start_the_calendar_unit() {
    // 22:30 UTC on Sunday 2023-12-31 is Monday 2024-01-01, 00:30, in Cairo (+02:00).
    let instant = at("2023-12-31T22:30:00Z");
    for length in [
        PeriodLength::Day,
        PeriodLength::Week,
        PeriodLength::Month,
        PeriodLength::Year,
    ] {
        let schedule = Schedule::calendar(Tz::Africa__Cairo, length, instant);
        assert_eq!(schedule.anchor_instant(), at("2023-12-31T22:00:00Z"), "{length:?}");
        let in_utc = Schedule::calendar(Tz::UTC, length, instant).anchor.to_string();
        let expected = match length {
            PeriodLength::Day => "2023-12-31 00:00:00",
            PeriodLength::Week => "2023-12-25 00:00:00",
            PeriodLength::Month => "2023-12-01 00:00:00",
            PeriodLength::Year => "2023-01-01 00:00:00",
        };
        assert_eq!(in_utc, expected);
        assert_eq!(PeriodLength::parse(length.as_str()), Some(length));
        assert_eq!(
            serde_json::to_string(&length).expect("JSON"),
            format!("\"{}\"", length.as_str())
        );
    }
    assert_eq!(PeriodLength::parse("Month"), None);
    let february = Schedule::utc_months().period_at(at("2026-02-03T00:00:00Z"));
    assert_eq!(
        february,
        Some(Period {
            start: at("2026-02-01T00:00:00Z"),
            end: at("2026-03-01T00:00:00Z")
        })
    );
}

#[test]
fn the_ends_of_time_do_not_panic() {
    for length in [
        PeriodLength::Day,
        PeriodLength::Week,
        PeriodLength::Month,
        PeriodLength::Year,
    ] {
        for instant in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            for zone in [Tz::UTC, Tz::Pacific__Apia, Tz::America__New_York] {
                let schedule = Schedule::new(zone, instant, length);
                let _ = (schedule.anchor_instant(), schedule.period_at(instant));
                let _ = Schedule::calendar(zone, length, instant).period_at(instant);
                for index in [i64::MIN, -1, 0, 1, i64::MAX] {
                    let _ = schedule.boundary(index);
                }
                let period = Period {
                    start: instant,
                    end: instant,
                };
                let _ = (schedule.next(&period), schedule.previous(&period));
                let _ = accepts(instant, DateTime::<Utc>::MIN_UTC, false);
            }
        }
    }
}

#[test]
fn timestamps_are_taken_from_35_days_back_to_5_minutes_ahead() {
    let now = at("2026-03-31T12:00:00Z");
    let millisecond = TimeDelta::milliseconds(1);
    let (oldest, newest) = (at("2026-02-24T12:00:00Z"), at("2026-03-31T12:05:00Z"));
    assert!(accepts(now, now, false) && accepts(oldest, now, false) && accepts(newest, now, false));
    assert!(!accepts(oldest - millisecond, now, false) && !accepts(newest + millisecond, now, false));
    assert!(accepts(oldest - TimeDelta::days(9_000), now, true) && !accepts(newest + millisecond, now, true));
}
