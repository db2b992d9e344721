//! Reports: what is kept, filled and added up.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, Partial, Sample},
    metric::Kind,
    period::{Period, parse_instant},
    report::{
        AccountInput, Input, Measured, MetricInput, PERIOD_DAYS_MAX, RESOURCES_MAX, Report, ReportType, ResourceName,
        ResourceUse, Section, StatementBlock, TooLarge, row_count, sections, too_large,
    },
    statement::Line,
};
use rust_decimal::Decimal;

fn dec(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

fn at(text: &str) -> DateTime<Utc> {
    parse_instant(text).expect("an instant")
}

fn period(start: &str, end: &str) -> Period {
    Period {
        start: at(start),
        end: at(end),
    }
}

fn day(date: &str) -> Period {
    let start = at(&format!("{date}T00:00:00Z"));
    Period {
        start,
        end: start + TimeDelta::days(1),
    }
}

fn happened(kind: Kind, day: Period, values: &[(i64, Decimal, u32)]) -> (Period, Partial) {
    let mut samples: Vec<Sample> = values
        .iter()
        .map(|(hour, value, response_time_ms)| Sample {
            at: day.start + TimeDelta::hours(*hour),
            value: *value,
            error: false,
            response_time_ms: Some(*response_time_ms),
        })
        .collect();
    (day, Partial::of(kind, &mut samples, day))
}

fn metric(kind: Kind, measured: Measured) -> MetricInput {
    MetricInput {
        metric_type: "api_calls".to_owned(),
        unit: "calls".to_owned(),
        kind,
        quota: None,
        measured,
        previous: Some(dec("20")),
        billing: Vec::new(),
        used_before: Decimal::ZERO,
        forecast: None,
        resources: Vec::new(),
    }
}

fn account(metrics: Vec<MetricInput>) -> AccountInput {
    AccountInput {
        user_id: "u1".to_owned(),
        subscription_id: "sub_1".to_owned(),
        plan: None,
        currency: "EUR".to_owned(),
        metrics,
        anomalies: Vec::new(),
        statements: Vec::new(),
        notes: Vec::new(),
    }
}

fn input(accounts: Vec<AccountInput>) -> Input {
    Input {
        report_type: ReportType::Detailed,
        period: period("2026-03-01T00:00:00Z", "2026-03-05T00:00:00Z"),
        granularity: Granularity::Daily,
        zone: Tz::UTC,
        generated_at: at("2026-04-01T00:00:00Z"),
        filters: Vec::new(),
        compare_to_previous: true,
        accounts,
    }
}

#[test]
fn sums_of_buckets_are_the_total_and_gaps_are_zeros() {
    let measured = Measured::Events {
        carried_in: Decimal::ZERO,
        buckets: vec![
            happened(
                Kind::Sum,
                day("2026-03-01"),
                &[(1, dec("10"), 100), (2, dec("0.5"), 100)],
            ),
            happened(Kind::Sum, day("2026-03-03"), &[(1, dec("19.5"), 1_000)]),
        ],
    };
    let report = Report::new(input(vec![account(vec![metric(Kind::Sum, measured)])])).expect("a report");
    let [account] = report.accounts.as_slice() else {
        panic!("one account")
    };
    let line = &account.usage[0];
    assert_eq!(
        (line.totals.total, line.totals.count, line.totals.average),
        (dec("30"), 3, dec("10"))
    );
    assert_eq!((line.totals.min, line.totals.max), (dec("0.5"), dec("19.5")));
    // Percentiles are of all response times, not of the buckets' percentiles.
    assert!((99..=101).contains(&line.totals.p50.expect("a median")));
    assert!((990..=1_010).contains(&line.totals.p99.expect("a percentile")));
    assert_eq!(line.change_percentage, Some(dec("50")));
    let comparison = &account.comparison[0];
    assert_eq!(
        (comparison.current, comparison.previous, comparison.difference),
        (dec("30"), dec("20"), dec("10"))
    );
    let series = &account.series[0];
    let values: Vec<Decimal> = series.points.iter().map(|point| point.value).collect();
    assert_eq!(values, [dec("10.5"), dec("0"), dec("19.5"), dec("0")]);
    assert_eq!(series.points[2].label, "2026-03-03");
    assert_eq!(
        series.rows().map(|(_, totals)| totals.total).sum::<Decimal>(),
        line.totals.total
    );
}

#[test]
fn a_level_that_nobody_changes_is_used() {
    let measured = Measured::Events {
        carried_in: dec("4"),
        buckets: Vec::new(),
    };
    let report = Report::new(input(vec![account(vec![metric(Kind::Gauge, measured)])])).expect("a report");
    let account = &report.accounts[0];
    let totals = &account.usage[0].totals;
    assert_eq!(
        (totals.total, totals.min, totals.max, totals.average, totals.count),
        (dec("4"), dec("4"), dec("4"), dec("4"), 0)
    );
    assert_eq!(account.series[0].points.len(), 4);
    assert!(
        account.notes.iter().all(|note| !note.contains("no usage")),
        "{:?}",
        account.notes
    );
}

#[test]
fn levels_go_on_over_days_without_events() {
    let measured = Measured::Events {
        carried_in: dec("4"),
        buckets: vec![
            happened(Kind::Gauge, day("2026-03-02"), &[(12, dec("2"), 1)]),
            happened(Kind::Gauge, day("2026-03-04"), &[(12, dec("-1"), 1)]),
        ],
    };
    let report = Report::new(input(vec![account(vec![metric(Kind::Gauge, measured)])])).expect("a report");
    let account = &report.accounts[0];
    let values: Vec<Decimal> = account.series[0].points.iter().map(|point| point.value).collect();
    assert_eq!(values, [dec("4"), dec("6"), dec("6"), dec("5")]);
    // A day and a half at 4, two days at 6, half a day at 5.
    let totals = &account.usage[0].totals;
    assert_eq!(
        (totals.total, totals.min, totals.max, totals.average),
        (dec("5"), dec("4"), dec("6"), dec("5.125"))
    );
}

#[test]
fn leases_are_as_high_as_their_highest_bucket() {
    let measured = Measured::Peaks(vec![(day("2026-03-02"), dec("3")), (day("2026-03-04"), dec("2"))]);
    let report = Report::new(input(vec![account(vec![metric(Kind::Lease, measured)])])).expect("a report");
    let account = &report.accounts[0];
    assert_eq!(account.usage[0].totals.total, dec("3"));
    let values: Vec<Decimal> = account.series[0].points.iter().map(|point| point.value).collect();
    assert_eq!(values, [dec("0"), dec("3"), dec("0"), dec("2")]);
}

#[test]
fn the_running_period_says_so_and_ends_now() {
    let mut input = input(vec![account(vec![metric(Kind::Sum, Measured::Peaks(Vec::new()))])]);
    input.generated_at = at("2026-03-03T10:00:00Z");
    input.period.start = at("2026-03-01T10:30:00Z");
    input.accounts[0].metrics[0].measured = Measured::Events {
        carried_in: Decimal::ZERO,
        buckets: vec![happened(Kind::Sum, day("2026-03-01"), &[(1, dec("7"), 1)])],
    };
    let report = Report::new(input).expect("a report");
    assert_eq!(report.covered, period("2026-03-01T00:00:00Z", "2026-03-05T00:00:00Z"));
    assert_eq!(report.accounts[0].series[0].points.len(), 3);
    // What lies before the start, but in its day, counts.
    assert_eq!(report.accounts[0].usage[0].totals.total, dec("7"));
    assert!(
        report.notes.iter().any(|note| note.contains("whole days of UTC")),
        "{:?}",
        report.notes
    );
    assert!(
        report.notes.iter().any(|note| note.contains("2026-03-03 10:00")),
        "{:?}",
        report.notes
    );
}

#[test]
fn nothing_used_and_nobody_there() {
    let unused = metric(
        Kind::Sum,
        Measured::Events {
            carried_in: Decimal::ZERO,
            buckets: Vec::new(),
        },
    );
    let report = Report::new(input(vec![account(vec![unused])])).expect("a report");
    let account = &report.accounts[0];
    assert!(account.usage.is_empty() && account.series.is_empty());
    assert_eq!(account.notes, ["There was no usage in this period."]);
    assert_eq!(Report::new(input(Vec::new())).expect("a report").notes.len(), 1);
    let mut backward = input(Vec::new());
    std::mem::swap(&mut backward.period.start, &mut backward.period.end);
    assert!(Report::new(backward).is_none());
}

#[test]
fn a_type_drops_what_it_does_not_show() {
    let line = Line {
        metric_type: "api_calls".to_owned(),
        kind: Kind::Sum,
        unit: "calls".to_owned(),
        used: dec("1"),
        peak: None,
        quota_limit: None,
        overage: Decimal::ZERO,
        blocks: None,
        overage_price: None,
        block_size: None,
        cost: dec("1.25"),
    };
    let block = |start: &str, end: &str| StatementBlock {
        id: None,
        period: period(start, end),
        plan: None,
        lines: vec![line.clone(), line.clone()],
        total_cost: dec("999"),
    };
    let made = |report_type| {
        let mut input = input(vec![account(Vec::new())]);
        input.report_type = report_type;
        input.accounts[0].statements = vec![
            block("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z"),
            block("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
        ];
        Report::new(input).expect("a report")
    };
    for report_type in ReportType::ALL {
        let report = made(*report_type);
        let shown = sections(*report_type).contains(&Section::Costs);
        // What was said of the total does not count: lines do.
        let expected = if shown { dec("5") } else { Decimal::ZERO };
        assert_eq!(report.accounts[0].total_cost, expected, "{report_type:?}");
    }
    let report = made(ReportType::Summary);
    assert_eq!(
        report.accounts[0].statements[0].period.start,
        at("2026-03-01T00:00:00Z")
    );
}

#[test]
fn users_are_added_up() {
    let of = |user: &str, value: Decimal, currency: &str| {
        let measured = Measured::Events {
            carried_in: Decimal::ZERO,
            buckets: vec![happened(Kind::Sum, day("2026-03-01"), &[(1, value, 1)])],
        };
        AccountInput {
            user_id: user.to_owned(),
            currency: currency.to_owned(),
            ..account(vec![metric(Kind::Sum, measured)])
        }
    };
    let accounts = vec![
        of("a", dec("1.1"), "EUR"),
        of("b", dec("2.2"), "EUR"),
        of("c", dec("3"), "USD"),
    ];
    let overall = Report::new(input(accounts))
        .expect("a report")
        .overall
        .expect("all users");
    assert_eq!((overall.lines[0].total, overall.lines[0].users), (dec("6.3"), 3));
    assert_eq!(overall.users.len(), 3);
    assert_eq!(overall.overage_cost.len(), 2);
}

#[test]
fn resources_beyond_the_named_ones_are_one_line() {
    let mut one = metric(Kind::Sum, Measured::Peaks(Vec::new()));
    one.resources = (0..RESOURCES_MAX + 3)
        .map(|index| ResourceUse {
            resource_id: (index > 0).then(|| format!("r{index}")),
            event_count: 1,
            total: Decimal::from(index),
        })
        .collect();
    let all: Decimal = one.resources.iter().map(|one| one.total).sum();
    let report = Report::new(input(vec![account(vec![one])])).expect("a report");
    let lines = &report.accounts[0].resources;
    assert_eq!(lines.len(), RESOURCES_MAX + 1);
    assert_eq!(lines[0].resource, ResourceName::Id(format!("r{}", RESOURCES_MAX + 2)));
    assert_eq!(lines[RESOURCES_MAX].resource, ResourceName::Others(3));
    assert_eq!(lines.iter().map(|line| line.total).sum::<Decimal>(), all);
}

#[test]
fn limits() {
    let year = period("2026-01-01T00:00:00Z", "2027-01-02T00:00:00Z");
    assert_eq!(row_count(year, Granularity::Daily, Tz::UTC, 2, 11), 366 * 2 * 11);
    assert_eq!(too_large(year, Granularity::Hourly, Tz::UTC, 1, 11), Ok(()));
    let rows = 366 * 24 * 12;
    assert_eq!(
        too_large(year, Granularity::Hourly, Tz::UTC, 1, 12),
        Err(TooLarge::Rows(rows))
    );
    let longer = Period {
        end: year.end + TimeDelta::days(1),
        ..year
    };
    let refused = too_large(longer, Granularity::Daily, Tz::UTC, 1, 1).expect_err("too long");
    assert_eq!(refused, TooLarge::Period(PERIOD_DAYS_MAX + 1));
    assert!(refused.to_string().contains("shorter periods"), "{refused}");
    // From summer to winter time and on to the next autumn: an hour more, and still 366 days.
    let local = period("2025-10-25T22:00:00Z", "2026-10-26T23:00:00Z");
    assert_eq!(too_large(local, Granularity::Daily, Tz::Europe__Berlin, 1, 1), Ok(()));
    assert_eq!(row_count(local, Granularity::Daily, Tz::Europe__Berlin, 1, 1), 366);
}
