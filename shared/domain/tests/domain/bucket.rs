//! Calendar buckets: whole quarters, contiguous, the right ones where clocks change.

use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, QUARTER_SECONDS, bucket_at, local_text, next_bucket, previous_bucket},
    period::{Period, instant_text},
};
use proptest::prelude::*;

use crate::at;

const ALL: [Granularity; 4] = [
    Granularity::Hourly,
    Granularity::Daily,
    Granularity::Weekly,
    Granularity::Monthly,
];

/// No midnight comes twice in these zones, so a day is the quarters of one local date.
const ZONES: [Tz; 8] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Australia__Lord_Howe,
    Tz::America__Sao_Paulo,
    Tz::Pacific__Apia,
    Tz::Africa__Cairo,
];

/// Zones whose midnight came twice, or whose clocks changed, or stood, off the quarters.
const AWKWARD: [(Tz, &str); 6] = [
    (Tz::America__St_Johns, "2010-11-07T02:31:00Z"),
    (Tz::America__St_Johns, "2011-03-13T03:31:00Z"),
    (Tz::America__Havana, "2026-11-01T05:00:00Z"),
    (Tz::Africa__Monrovia, "1972-01-07T00:44:30Z"),
    (Tz::Europe__Amsterdam, "1937-06-30T23:40:28Z"),
    (Tz::America__New_York, "1883-11-18T17:00:00Z"),
];

fn starts(granularity: Granularity, zone: Tz, from: &str, count: usize) -> Vec<String> {
    let first = bucket_at(granularity, zone, at(from));
    std::iter::successors(first, |bucket| next_bucket(granularity, zone, bucket))
        .take(count)
        .map(|bucket| instant_text(bucket.start))
        .collect()
}

#[test]
fn a_doubled_hour_is_two_buckets_and_a_skipped_one_none() {
    let berlin = |from| starts(Granularity::Hourly, Tz::Europe__Berlin, from, 4);
    // 02:00 to 03:00 at +02:00, then again at +01:00.
    let expected = ["T00:00:00Z", "T01:00:00Z", "T02:00:00Z", "T03:00:00Z"];
    assert_eq!(
        berlin("2026-10-25T00:59:59Z"),
        expected.map(|time| format!("2026-10-25{time}"))
    );
    assert_eq!(
        berlin("2026-03-29T00:00:00Z"),
        expected.map(|time| format!("2026-03-29{time}"))
    );
    let day = bucket_at(Granularity::Daily, Tz::Europe__Berlin, at("2026-03-29T12:00:00Z")).expect("in range");
    assert_eq!(
        (day.start, day.end),
        (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z"))
    );
}

#[test]
fn hours_begin_where_the_local_hour_does() {
    let kolkata = starts(Granularity::Hourly, Tz::Asia__Kolkata, "2026-01-01T00:00:00Z", 2);
    assert_eq!(kolkata, ["2025-12-31T23:30:00Z", "2026-01-01T00:30:00Z"]);
    let kathmandu = starts(Granularity::Hourly, Tz::Asia__Kathmandu, "2026-01-01T00:15:00Z", 2);
    assert_eq!(kathmandu, ["2026-01-01T00:15:00Z", "2026-01-01T01:15:00Z"]);
    // 01:30 to 02:00 comes twice where Lord Howe goes half an hour back: 01:00, 01:30 again, 02:00.
    let lord_howe = starts(Granularity::Hourly, Tz::Australia__Lord_Howe, "2026-04-04T14:30:00Z", 3);
    assert_eq!(
        lord_howe,
        ["2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"]
    );
}

#[test]
fn days_weeks_and_months_are_those_of_the_zone() {
    let sao_paulo = starts(Granularity::Daily, Tz::America__Sao_Paulo, "2018-11-03T12:00:00Z", 3);
    // Midnight is skipped on the 4th: the day begins at 01:00, 03:00 UTC.
    assert_eq!(
        sao_paulo,
        ["2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]
    );
    // Apia never had 30 December 2011.
    let apia = starts(Granularity::Daily, Tz::Pacific__Apia, "2011-12-29T12:00:00Z", 2);
    assert_eq!(apia, ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"]);
    let weeks = starts(Granularity::Weekly, Tz::Asia__Kathmandu, "2026-01-01T00:00:00Z", 2);
    assert_eq!(weeks, ["2025-12-28T18:15:00Z", "2026-01-04T18:15:00Z"]);
    let months = starts(Granularity::Monthly, Tz::Africa__Cairo, "2026-04-10T00:00:00Z", 3);
    // Summer time begins on 24 April.
    assert_eq!(
        months,
        ["2026-03-31T22:00:00Z", "2026-04-30T21:00:00Z", "2026-05-31T21:00:00Z"]
    );
    // Midnight comes twice: 02:30 UTC at -02:30 is the first.
    let st_johns = starts(Granularity::Daily, Tz::America__St_Johns, "2010-11-07T03:00:00Z", 2);
    assert_eq!(st_johns, ["2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"]);
}

#[test]
fn boundaries_off_the_grid_move_back_to_it() {
    // -00:44:30: midnight is 00:44:30 UTC.
    for (granularity, instant, start) in [
        (Granularity::Daily, "1971-06-15T00:44:29Z", "1971-06-15T00:30:00Z"),
        (Granularity::Daily, "1971-06-15T00:29:59.999Z", "1971-06-14T00:30:00Z"),
        (Granularity::Monthly, "1971-06-15T00:00:00Z", "1971-06-01T00:30:00Z"),
        (Granularity::Hourly, "1971-06-15T05:29:00Z", "1971-06-15T04:30:00Z"),
        (Granularity::Hourly, "1971-06-15T05:30:00Z", "1971-06-15T05:30:00Z"),
    ] {
        let bucket = bucket_at(granularity, Tz::Africa__Monrovia, at(instant)).expect("in range");
        assert_eq!(instant_text(bucket.start), start, "{granularity:?} {instant}");
    }
}

#[test]
fn local_texts_carry_the_offset() {
    for (zone, instant, text) in [
        (Tz::UTC, "2026-03-28T23:00:00Z", "2026-03-28T23:00:00+00:00"),
        (Tz::Europe__Berlin, "2026-03-28T23:00:00Z", "2026-03-29T00:00:00+01:00"),
        (Tz::Europe__Berlin, "2026-10-25T00:30:00Z", "2026-10-25T02:30:00+02:00"),
        (Tz::Europe__Berlin, "2026-10-25T01:30:00Z", "2026-10-25T02:30:00+01:00"),
        (
            Tz::Asia__Kathmandu,
            "2026-01-01T00:15:00.900Z",
            "2026-01-01T06:00:00+05:45",
        ),
        (
            Tz::America__St_Johns,
            "2026-01-01T00:00:00Z",
            "2025-12-31T20:30:00-03:30",
        ),
    ] {
        assert_eq!(local_text(zone, at(instant)), text);
    }
}

#[test]
fn names_are_read_back_and_extremes_answered() {
    for (granularity, name) in ALL.into_iter().zip(["hourly", "daily", "weekly", "monthly"]) {
        assert_eq!(granularity.as_str(), name);
        assert_eq!(Granularity::parse(name), Some(granularity));
        assert_eq!(
            serde_json::to_string(&granularity).expect("JSON"),
            format!("\"{name}\"")
        );
        for (zone, _) in AWKWARD {
            assert_eq!(bucket_at(granularity, zone, DateTime::<Utc>::MIN_UTC), None);
            assert_eq!(bucket_at(granularity, zone, DateTime::<Utc>::MAX_UTC), None);
        }
    }
    for other in ["", "Daily", "yearly", "hour", "daily "] {
        assert_eq!(Granularity::parse(other), None, "{other:?}");
    }
}

/// What all quarters of a bucket have in common, and no neighbour's: read from chrono alone.
fn label(granularity: Granularity, zone: Tz, quarter: DateTime<Utc>) -> String {
    let local = quarter.with_timezone(&zone);
    match granularity {
        Granularity::Hourly => format!("{} {} {}", local.date_naive(), local.hour(), local.offset().fix()),
        Granularity::Daily => local.date_naive().to_string(),
        Granularity::Weekly => format!("{:?}", local.iso_week()),
        Granularity::Monthly => format!("{}-{}", local.year(), local.month()),
    }
}

fn quarter() -> TimeDelta {
    TimeDelta::seconds(QUARTER_SECONDS)
}

fn check_shape(granularity: Granularity, zone: Tz, at: DateTime<Utc>) -> Result<Period, TestCaseError> {
    let bucket = bucket_at(granularity, zone, at).expect("in range");
    prop_assert!(bucket.start < bucket.end && bucket.contains(at), "{:?}", bucket);
    for boundary in [bucket.start, bucket.end] {
        prop_assert_eq!(boundary.timestamp().rem_euclid(QUARTER_SECONDS), 0);
        prop_assert_eq!(boundary.timestamp_subsec_nanos(), 0);
    }
    let next = next_bucket(granularity, zone, &bucket).expect("in range");
    prop_assert_eq!(next.start, bucket.end);
    prop_assert_eq!(previous_bucket(granularity, zone, &next), Some(bucket));
    let last = bucket.end - TimeDelta::nanoseconds(1);
    for inside in [bucket.start, last] {
        prop_assert_eq!(bucket_at(granularity, zone, inside), Some(bucket));
    }
    Ok(bucket)
}

/// Both ends of what is made of finer buckets are ends of finer buckets.
fn check_nested(zone: Tz, at: DateTime<Utc>) -> Result<(), TestCaseError> {
    for (coarse, fine) in [
        (Granularity::Daily, Granularity::Hourly),
        (Granularity::Weekly, Granularity::Daily),
        (Granularity::Monthly, Granularity::Daily),
    ] {
        let bucket = bucket_at(coarse, zone, at).expect("in range");
        for boundary in [bucket.start, bucket.end] {
            let inner = bucket_at(fine, zone, boundary).expect("in range");
            prop_assert_eq!(inner.start, boundary, "{:?} in {:?}", fine, coarse);
        }
    }
    Ok(())
}

/// From 1990 to 2037 to the millisecond, half of them within two days of a change of the clocks.
fn instant_in(zone: Tz) -> impl Strategy<Value = DateTime<Utc>> {
    let anywhere =
        (631_152_000_000_i64..2_114_380_800_000).prop_map(|ms| DateTime::from_timestamp_millis(ms).expect("in range"));
    let near = (
        2000_i32..2036,
        -172_800_000_i64..172_800_000,
        any::<prop::sample::Index>(),
    )
        .prop_map(move |(year, off_ms, which)| {
            let first = NaiveDate::from_ymd_opt(year, 1, 1)
                .expect("a date")
                .and_time(chrono::NaiveTime::MIN);
            let offset = |hour: i64| zone.offset_from_utc_datetime(&(first + TimeDelta::hours(hour))).fix();
            let changes: Vec<i64> = (1..8_760).filter(|hour| offset(*hour) != offset(hour - 1)).collect();
            let hour = if changes.is_empty() { 0 } else { *which.get(&changes) };
            first.and_utc() + TimeDelta::hours(hour) + TimeDelta::milliseconds(off_ms)
        });
    prop_oneof![anywhere, near]
}

fn zone_and_instant() -> impl Strategy<Value = (Tz, DateTime<Utc>)> {
    prop::sample::select(ZONES.to_vec()).prop_flat_map(|zone| (Just(zone), instant_in(zone)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// A bucket is exactly the quarters that share their hour and offset, date, week or month.
    #[test]
    fn a_bucket_is_the_quarters_of_one_label((zone, at) in zone_and_instant()) {
        for granularity in ALL {
            let bucket = check_shape(granularity, zone, at)?;
            let mut quarters: Vec<_> = std::iter::successors(Some(bucket.start), |start| Some(*start + quarter()))
                .take_while(|start| *start < bucket.end)
                .map(|start| label(granularity, zone, start))
                .collect();
            quarters.dedup();
            prop_assert_eq!(quarters.len(), 1, "{:?}", quarters);
            prop_assert_ne!(&label(granularity, zone, bucket.start - quarter()), &quarters[0]);
            prop_assert_ne!(&label(granularity, zone, bucket.end), &quarters[0]);
        }
        check_nested(zone, at)?;
    }

    /// Where midnight comes twice or offsets are odd: still contiguous, on the grid, days made of hours.
    #[test]
    fn awkward_zones_have_whole_buckets((zone, change) in prop::sample::select(AWKWARD.to_vec()), off_ms in -172_800_000_i64..172_800_000) {
        let at = at(change) + TimeDelta::milliseconds(off_ms);
        for granularity in ALL {
            check_shape(granularity, zone, at)?;
        }
        check_nested(zone, at)?;
    }
}
