//! What is found in hours and days, how bad it is, and what is left alone.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    alert::Severity,
    anomaly::{AnomalyStatus, AnomalyType, Bucket, Finding, Method, Sighting, Usage, detect, severity},
    period::Period,
};
use rust_decimal::Decimal;

use crate::{at, dec};

fn buckets(values: &[i64], each: TimeDelta) -> Vec<Bucket> {
    let mut start = at("2026-03-02T00:00:00Z");
    let mut next = |value: &i64| {
        let period = Period {
            start,
            end: start + each,
        };
        start = period.end;
        Bucket {
            period,
            value: Decimal::from(*value),
            is_over: true,
        }
    };
    values.iter().map(&mut next).collect()
}

fn hours(values: &[i64]) -> Usage {
    Usage {
        hours: buckets(values, TimeDelta::hours(1)),
        days: Vec::new(),
        zone: Tz::UTC,
        sightings: Vec::new(),
    }
}

fn days(values: &[i64]) -> Usage {
    Usage {
        days: buckets(values, TimeDelta::days(1)),
        ..hours(&[])
    }
}

/// Findings of one method.
fn by(method: Method, usage: &Usage) -> Vec<Finding> {
    let found = detect(usage).findings.into_iter();
    found.filter(|finding| finding.method == method).collect()
}

/// A history with the mean 100 and the deviation 20, then a value.
fn hundred(value: i64) -> Vec<i64> {
    let mut values = [80, 120].repeat(10);
    values.push(value);
    values
}

#[test]
fn three_deviations_are_usual_and_more_are_not() {
    for usage in [hours, days] {
        for (value, anomaly_type) in [(161, AnomalyType::Spike), (39, AnomalyType::Drop)] {
            let found = by(Method::Statistical, &usage(&hundred(value)));
            assert_eq!(found.len(), 1, "{value}");
            let one = &found[0];
            assert_eq!(one.anomaly_type, anomaly_type);
            assert_eq!((one.observed, one.expected), (Decimal::from(value), dec("100")));
            assert_eq!((one.expected_lower, one.expected_upper), (dec("40"), dec("160")));
            assert_eq!(one.reasons[0].code, "z_score");
            assert_eq!(one.risk, 70);
        }
        for value in [160, 40, 100] {
            assert_eq!(by(Method::Statistical, &usage(&hundred(value))), [], "{value}");
        }
    }
}

#[test]
fn an_earlier_spike_hides_none() {
    let mut values = [98, 100, 102].repeat(8);
    values[11] = 5_000;
    values.push(400);
    let found = by(Method::Statistical, &days(&values));
    let late: Vec<&Finding> = found.iter().filter(|one| one.observed == dec("400")).collect();
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].reasons[0].code, "robust_z_score");
    assert!(
        found.iter().any(|one| one.observed == dec("5000")),
        "and it was found itself"
    );
}

#[test]
fn growth_by_500_per_cent_is_found_and_less_is_not() {
    let history = |last: i64| [[10; 12].as_slice(), &[last]].concat();
    let found = by(Method::Velocity, &hours(&history(60)));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].anomaly_type, AnomalyType::VelocitySpike);
    assert_eq!(found[0].expected, dec("10"));
    assert!(found[0].risk >= 50);
    assert_eq!(by(Method::Velocity, &hours(&history(59))), []);
    // Of a user who does more at other times, too.
    let busy = |last: i64| [[12, 15, 14].repeat(6).as_slice(), &[10, last]].concat();
    assert_eq!(by(Method::Velocity, &hours(&busy(60))).len(), 1);
    assert_eq!(by(Method::Velocity, &hours(&busy(59))), []);
}

#[test]
fn the_jump_of_every_morning_is_a_habit() {
    let mut values = Vec::new();
    for day in 0..10 {
        values.extend([[1; 9].as_slice(), &[90 + day % 3; 8], &[1; 7]].concat());
    }
    let found = by(Method::Velocity, &hours(&values));
    assert_eq!(found.len(), 2, "until three days make it one");
    values.extend([[1; 9].as_slice(), &[190]].concat());
    assert_eq!(by(Method::Velocity, &hours(&values)).len(), 3, "twice as much is none");
}

#[test]
fn a_hundred_documents_in_an_hour_are_found_where_a_day_has_ten_to_fifteen() {
    for spread in [1, 5] {
        // All at once, or over five hours of the day.
        let mut values = vec![0; 24 * 20];
        for (day, total) in (10..=15).cycle().take(20).enumerate() {
            for hour in 0..spread {
                values[24 * day + 9 + hour] = total / i64::try_from(spread).expect("small");
            }
        }
        assert_eq!(by(Method::Velocity, &hours(&values)), [], "the days before");
        values.extend([0, 0, 0, 100]);
        let found = by(Method::Velocity, &hours(&values));
        assert_eq!(found.len(), 1, "{spread}");
        assert_eq!(found[0].observed, dec("100"));
        assert!(found[0].risk > 75, "{}", found[0].risk);
    }
}

#[test]
fn a_running_hour_is_judged_upward_only_and_is_nobodys_history() {
    for (value, found) in [(500, true), (0, false)] {
        let mut usage = hours(&[80, 120].repeat(10));
        let last = usage.hours.last_mut().expect("an hour");
        *last = Bucket {
            value: Decimal::from(value),
            is_over: false,
            ..*last
        };
        assert_eq!(!by(Method::Statistical, &usage).is_empty(), found, "{value}");
    }
}

#[test]
fn ten_points_of_history_are_needed_and_who_lacks_them_is_named() {
    let mut values = [10; 10].to_vec();
    assert_eq!(detect(&hours(&values)).skipped, Method::ALL);
    values.push(1_000);
    let detected = detect(&hours(&values));
    assert_eq!(detected.skipped, []);
    assert_eq!(detected.findings.len(), 2, "a spike, and a jump");
    assert_eq!(detect(&days(&values)).skipped, [Method::Velocity, Method::Pattern]);
    assert_eq!(detect(&hours(&[])).skipped, Method::ALL);
}

#[test]
fn methods_that_agree_make_it_worse_and_points_sum_up() {
    let growth_only = by(
        Method::Velocity,
        &hours(&[[10, 200].repeat(12).as_slice(), &[10, 100]].concat()),
    );
    assert!(
        growth_only
            .iter()
            .all(|one| one.reasons.iter().all(|reason| reason.code != "agreement"))
    );
    let detected = detect(&hours(&[[10; 30].as_slice(), &[60]].concat()));
    let jump = detected.findings.iter().find(|one| one.method == Method::Velocity);
    let jump = jump.expect("a jump");
    assert!(jump.reasons.iter().any(|reason| reason.code == "agreement"), "{jump:?}");
    assert!(jump.risk > 75);
    for one in detected.findings.iter().chain(&growth_only) {
        let points: u32 = one.reasons.iter().map(|reason| u32::from(reason.points)).sum();
        assert_eq!(points, u32::from(one.risk), "{one:?}");
        assert!(one.confidence > Decimal::ZERO && one.confidence <= Decimal::ONE);
        assert!(one.expected_lower >= Decimal::ZERO);
    }
}

#[test]
fn hours_that_follow_each_other_are_one_anomaly_and_a_day_repeats_none_of_its_hours() {
    let mut usage = hours(&[[80, 120].repeat(60).as_slice(), &[900, 950, 990, 100]].concat());
    let found = by(Method::Statistical, &usage);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].window.end - found[0].window.start, TimeDelta::hours(3));
    usage.days = buckets(&[[2_400; 5].as_slice(), &[4_500]].concat(), TimeDelta::days(1));
    assert_eq!(by(Method::Statistical, &usage), found);
}

#[test]
fn constant_series_are_quiet_until_they_are_not() {
    for value in [0, 1, 7, 1_000_000] {
        let mut values = vec![value; 24 * 30];
        assert_eq!(detect(&hours(&values)).findings, [], "{value}");
        values[600] = 1_000_000_000_000;
        // Where nothing was used there is no mean, but there is a jump.
        let method = if value == 0 {
            Method::Velocity
        } else {
            Method::Statistical
        };
        let found = by(method, &hours(&values));
        assert_eq!(
            found.len(),
            1,
            "{value}: one huge outlier is one anomaly, and what follows it is none"
        );
        assert_eq!(found[0].severity(), Severity::Critical);
    }
    // One more unit is none.
    assert_eq!(detect(&days(&[[1; 20].as_slice(), &[2]].concat())).findings, []);
}

#[test]
fn an_hour_at_which_there_never_was_anything_is_odd_and_no_more() {
    let mut values = vec![0; 24 * 14];
    for day in 0..14 {
        values[24 * day + 9..24 * day + 17].fill(20);
    }
    assert_eq!(by(Method::Pattern, &hours(&values)), []);
    values.extend([0, 0, 0, 20]);
    let found = by(Method::Pattern, &hours(&values));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].anomaly_type, AnomalyType::UnusualPattern);
    assert!(found[0].reasons.iter().any(|reason| reason.code == "unusual_hour"));
    // In Kathmandu the same hours are 15:00 to 23:00, and what is odd there is 8:45.
    let there = Usage {
        zone: Tz::Asia__Kathmandu,
        ..hours(&values)
    };
    let found = by(Method::Pattern, &there);
    assert!(found[0].reasons[0].detail.contains("8:00"), "{:?}", found[0].reasons);
}

fn sighting(at: DateTime<Utc>, country: &str, position: Option<(f64, f64)>) -> Sighting {
    Sighting {
        at,
        country: Some(country.to_owned()),
        position,
    }
}

const BERLIN: (f64, f64) = (52.52, 13.40);
const SYDNEY: (f64, f64) = (-33.87, 151.21);

#[test]
fn new_countries_and_impossible_journeys_are_told() {
    let mut usage = hours(&[5; 48]);
    let start = usage.hours[0].period.start;
    // Every two hours, a few minutes off: no machine.
    let seen = |index: i32| {
        let at = start + TimeDelta::minutes(i64::from(index * 120 + index * index % 37));
        sighting(at, "DE", Some(BERLIN))
    };
    usage.sightings = (0..20).map(seen).collect();
    assert_eq!(by(Method::Pattern, &usage), []);
    let soon = usage.sightings[19].at + TimeDelta::minutes(90);
    usage.sightings.push(sighting(soon, "AU", Some(SYDNEY)));
    let found = by(Method::Pattern, &usage);
    assert_eq!(found.len(), 1);
    let codes: Vec<&str> = found[0].reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["impossible_travel", "new_country"]);
    assert_eq!(found[0].severity(), Severity::Critical);
    // A day later it is a flight.
    usage.sightings[20].at = soon + TimeDelta::hours(20);
    usage.hours = buckets(&[5; 96], TimeDelta::hours(1));
    let found = by(Method::Pattern, &usage);
    assert_eq!(found[0].reasons.len(), 1);
    assert_eq!((found[0].reasons[0].code.as_str(), found[0].risk), ("new_country", 40));
}

#[test]
fn events_at_one_interval_are_a_machines() {
    let mut usage = hours(&[12; 48]);
    let start = usage.hours[0].period.start;
    let event = |index: i64, jitter: i64| Sighting {
        at: start + TimeDelta::seconds(300 * index + jitter),
        country: None,
        position: None,
    };
    usage.sightings = (0..40).map(|index| event(index, index % 3)).collect();
    let found = by(Method::Pattern, &usage);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].reasons[0].code, "machine_like");
    assert_eq!(found[0].severity(), Severity::Medium);
    usage.sightings = (0..40).map(|index| event(index, index * index * 17 % 250)).collect();
    assert_eq!(by(Method::Pattern, &usage), []);
}

#[test]
fn severities_begin_where_the_rules_say() {
    for (risk, wanted) in [
        (0, Severity::Low),
        (25, Severity::Low),
        (26, Severity::Medium),
        (50, Severity::Medium),
        (51, Severity::High),
        (75, Severity::High),
        (76, Severity::Critical),
        (100, Severity::Critical),
    ] {
        assert_eq!(severity(risk), wanted, "{risk}");
    }
}

#[test]
fn a_review_goes_forward_and_ends() {
    use AnomalyStatus::{Detected, FalsePositive, Investigating, Resolved};
    for (from, next) in [
        (Detected, vec![Detected, Investigating, Resolved, FalsePositive]),
        (Investigating, vec![Investigating, Resolved, FalsePositive]),
        (Resolved, vec![Resolved]),
        (FalsePositive, vec![FalsePositive]),
    ] {
        for to in AnomalyStatus::ALL {
            assert_eq!(from.may_become(*to), next.contains(to), "{from:?} to {to:?}");
        }
    }
}
