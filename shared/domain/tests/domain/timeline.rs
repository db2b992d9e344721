//! Renewals: time stays cut into periods, each instant in exactly one.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::period::{Period, PeriodLength, RENEWALS_MAX, Schedule, Timeline, instant_text};
use proptest::prelude::*;

use crate::{
    at,
    period_walk::{instant, schedule},
};

fn texts(period: &Period) -> [String; 2] {
    [period.start, period.end].map(instant_text)
}

fn months() -> Schedule {
    Schedule::calendar(Tz::UTC, PeriodLength::Month, at("2026-01-01T00:00:00Z"))
}

#[test]
fn a_renewal_ends_a_period_and_anchors_the_next() {
    let timeline = Timeline::new(months(), []).renewed(at("2026-01-31T10:00:00Z"));
    let expected = [
        ("2026-01-15T00:00:00Z", ["2026-01-01T00:00:00Z", "2026-01-31T10:00:00Z"]),
        (
            "2026-01-31T09:59:59.999Z",
            ["2026-01-01T00:00:00Z", "2026-01-31T10:00:00Z"],
        ),
        ("2026-01-31T10:00:00Z", ["2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z"]),
        ("2026-02-28T10:00:00Z", ["2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z"]),
        ("2025-12-31T00:00:00Z", ["2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"]),
    ];
    for (instant, period) in expected {
        assert_eq!(
            timeline.period_at(at(instant)).as_ref().map(texts),
            Some(period.map(str::to_owned))
        );
    }
    let first = timeline.period_at(at("2026-01-15T00:00:00Z")).expect("in range");
    let next = timeline.next(&first).expect("in range");
    assert_eq!((timeline.is_cut(&first), timeline.is_cut(&next)), (true, false));
    assert_eq!(timeline.previous(&next), Some(first));
    assert_eq!(timeline.anchor_instant(), at("2026-01-31T10:00:00Z"));
    assert_eq!(timeline.first_anchor(), at("2026-01-01T00:00:00Z"));
}

#[test]
fn no_renewal_leaves_an_empty_period() {
    let timeline = Timeline::new(months(), []);
    let start = at("2026-02-01T00:00:00Z");
    assert_eq!(timeline.renewal_at(start), Some(start + TimeDelta::milliseconds(1)));
    let inside = at("2026-02-01T00:00:00.001Z");
    assert_eq!(timeline.renewal_at(inside), Some(inside));
    let renewed = timeline.renewed(inside);
    assert_eq!(renewed.renewal_at(inside), Some(inside + TimeDelta::milliseconds(1)));
    assert_eq!(renewed.renewed(inside), renewed, "the same again is the same");
}

/// In Berlin 02:30 comes twice on 25 October 2026; a renewal in the second pass begins there, while
/// its schedule's own boundary is an hour earlier.
#[test]
fn a_renewal_in_a_doubled_hour_begins_where_it_is() {
    let renewal = at("2026-10-25T01:30:00Z");
    let schedule = Schedule::calendar(Tz::Europe__Berlin, PeriodLength::Day, renewal);
    let timeline = Timeline::new(schedule, [renewal]);
    let before = timeline
        .period_at(renewal - TimeDelta::milliseconds(1))
        .expect("in range");
    let after = timeline.period_at(renewal).expect("in range");
    assert_eq!((before.end, after.start), (renewal, renewal));
    assert_eq!(after.end, at("2026-10-26T01:30:00Z"));
}

/// A schedule, renewed at some instants within a few years: some close together, some far apart.
fn renewed() -> impl Strategy<Value = (Timeline, DateTime<Utc>)> {
    let steps = prop::collection::vec(prop_oneof![1_i64..5_000, 1_i64..100_000_000_000], 1..12);
    (schedule(), instant(), steps).prop_map(|(schedule, from, steps)| {
        let mut timeline = Timeline::new(schedule, []);
        let mut now = from;
        for step in steps {
            now += TimeDelta::milliseconds(step);
            let renewal = timeline.renewal_at(now).expect("in range");
            timeline = timeline.renewed(renewal);
            now = renewal;
        }
        (timeline, from)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn renewals_leave_no_gap_and_no_overlap((timeline, from) in renewed(), share in 0_i32..1_000) {
        let first = timeline.renewals()[0];
        let last = timeline.last_renewal().expect("a renewal");
        // Near the first and near the last renewal; in between there may be thousands of days.
        for begin in [from, first - TimeDelta::days(3), last - TimeDelta::days(3)] {
            let mut period = timeline.period_at(begin).expect("in range");
            prop_assert!(period.contains(begin));
            for _ in 0..40 {
                prop_assert!(period.start < period.end, "{:?}", period);
                let end = period.end - TimeDelta::milliseconds(1);
                let inside = period.start + (end - period.start) / 1_000 * share;
                for instant in [period.start, inside, end] {
                    prop_assert_eq!(timeline.period_at(instant), Some(period), "{}", instant);
                }
                let cut = timeline.renewals().contains(&period.end);
                prop_assert_eq!(timeline.is_cut(&period), cut);
                let inner = timeline.renewals().iter().any(|renewal| period.start < *renewal && *renewal < period.end);
                prop_assert!(!inner, "a renewal is a boundary");
                let next = timeline.next(&period).expect("in range");
                prop_assert_eq!(next.start, period.end);
                prop_assert_eq!(timeline.previous(&next), Some(period));
                period = next;
            }
        }
    }

    /// What is renewed later changes nothing of the periods that were over, and the one that ran
    /// keeps its start.
    #[test]
    fn a_renewal_changes_nothing_of_the_past((timeline, from) in renewed(), after_ms in 1_i64..10_000_000_000, back in 0_i64..1_000) {
        let last = timeline.last_renewal().expect("a renewal");
        let renewal = timeline.renewal_at(last + TimeDelta::milliseconds(after_ms)).expect("in range");
        let renewed = timeline.renewed(renewal);
        let running = timeline.period_at(renewal).expect("in range");
        let ended = renewed.previous(&renewed.period_at(renewal).expect("in range")).expect("in range");
        prop_assert_eq!((ended.start, ended.end), (running.start, renewal));
        let earlier = from + (running.start - from) / 1_000 * i32::try_from(back).expect("small") - TimeDelta::milliseconds(1);
        prop_assert_eq!(renewed.period_at(earlier), timeline.period_at(earlier));
        // From then on it is the schedule anchored there.
        let next = renewed.period_at(renewal).expect("in range");
        let natural = Schedule::new(timeline.zone(), renewal, timeline.length());
        prop_assert_eq!((next.start, Some(next.end)), (renewal, natural.period_at(renewal).map(|period| period.end)));
    }
}

#[test]
fn the_oldest_renewals_are_forgotten() {
    let mut timeline = Timeline::new(months(), []);
    let mut all = timeline.clone();
    for day in 0..RENEWALS_MAX + 20 {
        let renewal = at("2026-03-05T12:00:00Z") + TimeDelta::days(i64::try_from(day).expect("small"));
        timeline = timeline.renewed(renewal);
        all = Timeline::new(months(), all.renewals().iter().copied().chain([renewal]));
    }
    let kept = timeline.renewals();
    assert_eq!((kept.len(), all.renewals().len()), (RENEWALS_MAX, RENEWALS_MAX + 20));
    assert_eq!(kept, &all.renewals()[20..]);
    for renewal in kept {
        assert_eq!(timeline.period_at(*renewal), all.period_at(*renewal));
    }
}
