//! One table of all sections, RFC 4180, UTF-8, for machines and spreadsheets.
//!
//! The first record names the columns ([`COLUMNS`]); they are the same for every type of report. `section` says what a
//! record is: `quota`, `usage`, `comparison`, `cost` (a statement's line), `cost_total` (of a statement, or without
//! a period of all), `bucket`, `resource`, `forecast`, `forecast_day`, `forecast_period`, `anomaly`, `overall`, `user`,
//! `note`. What a section has no value for is empty. `value` is its main number: what was used, the total, the
//! level, what is predicted or was observed. Numbers have all digits and no thousands separators, instants are UTC.
//!
//! A text that a spreadsheet would take for a formula begins with an apostrophe; numbers, even negative ones, never
//! do (OWASP, "CSV Injection").

use chrono::{DateTime, Utc};
use metering_domain::{
    aggregate::{Totals, local_text},
    number::plain,
    period::{Period, instant_text},
    report::{
        Account, AnomalyLine, ComparisonLine, ForecastLine, Money, Overall, OverallLine, QuotaLine, Report,
        ResourceLine, Section, Series, UsageLine, UserLine, statistic,
    },
    trend::change_percentage,
};
use rust_decimal::Decimal;

use crate::{RenderError, text};

/// The columns, in order.
pub(crate) const COLUMNS: [&str; 40] = [
    "section",
    "user_id",
    "subscription_id",
    "plan",
    "metric_type",
    "unit",
    "kind",
    "period_start",
    "period_end",
    "local_start",
    "value",
    "event_count",
    "average",
    "min",
    "max",
    "error_count",
    "response_time_ms_p50",
    "response_time_ms_p95",
    "response_time_ms_p99",
    "previous_value",
    "difference",
    "change_percentage",
    "trend",
    "p_value",
    "quota_limit",
    "usage_percentage",
    "overage",
    "overage_cost",
    "cost",
    "currency",
    "expected_value",
    "expected_lower",
    "expected_upper",
    "expected_overage",
    "expected_cost",
    "name",
    "status",
    "severity",
    "risk_score",
    "detail",
];

/// A record: what is not set is empty.
struct Record([String; COLUMNS.len()]);

impl Record {
    fn new(section: &str) -> Self {
        let mut record = Self(std::array::from_fn(|_| String::new()));
        record.0[0] = section.to_owned();
        record
    }

    fn set(mut self, column: &str, value: String) -> Self {
        let at = COLUMNS.iter().position(|one| *one == column);
        debug_assert!(at.is_some(), "there is no column {column}");
        if let Some(cell) = at.and_then(|at| self.0.get_mut(at)) {
            *cell = value;
        }
        self
    }

    fn text(self, column: &str, value: &str) -> Self {
        self.set(column, defused(value))
    }

    fn number(self, column: &str, value: Decimal) -> Self {
        self.set(column, plain(value))
    }

    fn option(self, column: &str, value: Option<Decimal>) -> Self {
        match value {
            Some(value) => self.number(column, value),
            None => self,
        }
    }

    fn count(self, column: &str, value: impl ToString) -> Self {
        self.set(column, value.to_string())
    }

    fn instant(self, column: &str, at: DateTime<Utc>) -> Self {
        self.set(column, instant_text(at))
    }

    fn period(self, period: &Period) -> Self {
        self.instant("period_start", period.start)
            .instant("period_end", period.end)
    }

    fn metric(self, metric_type: &str, unit: &str) -> Self {
        self.text("metric_type", metric_type).text("unit", unit)
    }

    fn totals(self, totals: &Totals) -> Self {
        let times = [
            ("response_time_ms_p50", totals.p50),
            ("response_time_ms_p95", totals.p95),
            ("response_time_ms_p99", totals.p99),
        ];
        let record = self
            .number("value", totals.total)
            .count("event_count", totals.count)
            .number("average", totals.average)
            .number("min", totals.min)
            .number("max", totals.max)
            .count("error_count", totals.errors);
        times.into_iter().fold(record, |record, (column, time)| match time {
            Some(time) => record.count(column, time),
            None => record,
        })
    }
}

/// A text that no spreadsheet takes for a formula.
fn defused(value: &str) -> String {
    if value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{value}")
    } else {
        value.to_owned()
    }
}

/// The table.
pub(crate) fn render(report: &Report) -> Result<Vec<u8>, RenderError> {
    let mut writer = ::csv::WriterBuilder::new()
        .terminator(::csv::Terminator::CRLF)
        .from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    let mut write = |record: Record| writer.write_record(&record.0);
    for note in &report.notes {
        write(Record::new("note").text("detail", note))?;
    }
    for record in report.overall.iter().flat_map(overall) {
        write(record)?;
    }
    for account in &report.accounts {
        let mut records: Vec<Record> = Vec::new();
        for note in &account.notes {
            records.push(Record::new("note").text("detail", note));
        }
        for section in &report.sections {
            records.extend(of_section(report, account, *section));
        }
        for record in records {
            let record = record
                .text("user_id", &account.user_id)
                .text("subscription_id", &account.subscription_id)
                .text("plan", account.plan.as_deref().unwrap_or_default())
                .text("currency", &account.currency);
            write(record)?;
        }
    }
    writer
        .into_inner()
        .map_err(|error| RenderError::Csv(error.into_error().into()))
}

fn of_section(report: &Report, account: &Account, section: Section) -> Vec<Record> {
    match section {
        Section::Quotas => quotas(account),
        Section::Usage => usage(report, account),
        Section::Comparison => comparison(account),
        // A picture of what the others say.
        Section::Charts => Vec::new(),
        Section::Rows => rows(report, account),
        Section::Resources => resources(account),
        Section::Forecasts => forecasts(account),
        Section::Anomalies => anomalies(account),
        Section::Costs => costs(account),
    }
}

fn quotas(account: &Account) -> Vec<Record> {
    let line = |quota: &QuotaLine| {
        Record::new("quota")
            .metric(&quota.metric_type, &quota.unit)
            .text("kind", quota.kind.as_str())
            .period(&quota.period)
            .number("value", quota.used)
            .option("quota_limit", quota.limit)
            .option("usage_percentage", quota.percentage)
            .number("overage", quota.overage)
            .number("overage_cost", quota.cost)
            .option("expected_value", quota.expected.map(|end| end.used))
            .option("expected_overage", quota.expected.map(|end| end.overage))
            .option("expected_cost", quota.expected.map(|end| end.cost))
    };
    account.quotas.iter().map(line).collect()
}

fn usage(report: &Report, account: &Account) -> Vec<Record> {
    let line = |line: &UsageLine| {
        Record::new("usage")
            .metric(&line.metric_type, &line.unit)
            .text("kind", line.kind.as_str())
            .period(&report.covered)
            .totals(&line.totals)
            .option("previous_value", line.previous)
            .option("change_percentage", line.change_percentage)
            .text("trend", line.trend.as_str())
            .option("p_value", line.p_value)
            .text("detail", line.trend_test)
    };
    account.usage.iter().map(line).collect()
}

fn comparison(account: &Account) -> Vec<Record> {
    let line = |line: &ComparisonLine| {
        Record::new("comparison")
            .metric(&line.metric_type, &line.unit)
            .number("value", line.current)
            .number("previous_value", line.previous)
            .number("difference", line.difference)
            .option("change_percentage", line.change_percentage)
    };
    account.comparison.iter().map(line).collect()
}

fn rows(report: &Report, account: &Account) -> Vec<Record> {
    let of = |series: &Series| {
        series
            .rows()
            .map(|(point, totals)| {
                Record::new("bucket")
                    .metric(&series.metric_type, &series.unit)
                    .text("kind", series.kind.as_str())
                    .period(&point.period)
                    .text("local_start", &local_text(report.zone, point.period.start))
                    .totals(totals)
            })
            .collect::<Vec<_>>()
    };
    account.series.iter().flat_map(of).collect()
}

fn resources(account: &Account) -> Vec<Record> {
    let line = |line: &ResourceLine| {
        Record::new("resource")
            .metric(&line.metric_type, &line.unit)
            .number("value", line.total)
            .count("event_count", line.event_count)
            .text("name", &text::resource(&line.resource))
    };
    account.resources.iter().map(line).collect()
}

fn forecasts(account: &Account) -> Vec<Record> {
    let mut records = Vec::new();
    for line in &account.forecasts {
        let made = &line.made;
        let of = |section| Record::new(section).metric(&line.metric_type, &line.unit);
        records.push(
            of("forecast")
                .text("kind", line.kind.as_str())
                .number("value", made.predicted.mean)
                .number("expected_lower", made.predicted.lower)
                .number("expected_upper", made.predicted.upper)
                .number("expected_overage", line.expected_overage)
                .number("expected_cost", line.expected_cost)
                .text("name", made.forecast.model.as_str())
                .text("detail", &forecast_detail(line)),
        );
        for period in &made.periods {
            records.push(
                of("forecast_period")
                    .period(&period.period)
                    .number("value", period.predicted)
                    .option("quota_limit", period.quota_limit)
                    .number("expected_overage", period.overage)
                    .number("expected_cost", period.cost)
                    .text(
                        "status",
                        if period.will_exceed {
                            "will_exceed"
                        } else {
                            "within_limit"
                        },
                    ),
            );
        }
        for (date, step) in &made.path {
            records.push(
                of("forecast_day")
                    .text("local_start", &date.to_string())
                    .number("value", step.mean)
                    .number("expected_lower", step.lower)
                    .number("expected_upper", step.upper),
            );
        }
    }
    records
}

/// What has no column of its own.
fn forecast_detail(line: &ForecastLine) -> String {
    let made = &line.made;
    let statistic = |value: Option<f64>| value.and_then(statistic).map_or("none".to_owned(), plain);
    let at = |at: Option<DateTime<Utc>>| at.map_or("not within the horizon".to_owned(), instant_text);
    format!(
        "{}; MASE {}; sMAPE {}; exhausted at {} (earliest {}, latest {})",
        made.forecast.reason,
        statistic(made.forecast.backtest.mase),
        statistic(made.forecast.backtest.smape),
        at(made.exhausted_at),
        at(made.exhausted_between.0),
        at(made.exhausted_between.1),
    )
}

fn anomalies(account: &Account) -> Vec<Record> {
    let line = |line: &AnomalyLine| {
        let finding = &line.finding;
        let reasons: Vec<String> = finding
            .reasons
            .iter()
            .map(|reason| format!("{} ({}, {} points)", reason.detail, reason.code, reason.points))
            .chain(line.note.iter().map(|note| format!("note: {note}")))
            .collect();
        Record::new("anomaly")
            .metric(&line.metric_type, &line.unit)
            .period(&finding.window)
            .number("value", finding.observed)
            .number("expected_value", finding.expected)
            .number("expected_lower", finding.expected_lower)
            .number("expected_upper", finding.expected_upper)
            .option(
                "change_percentage",
                change_percentage(finding.expected, finding.observed),
            )
            .text(
                "name",
                &format!("{}/{}", finding.anomaly_type.as_str(), finding.method.as_str()),
            )
            .text("status", line.status.as_str())
            .text("severity", finding.severity().as_str())
            .count("risk_score", finding.risk)
            .text("detail", &reasons.join("; "))
    };
    account.anomalies.iter().map(line).collect()
}

fn costs(account: &Account) -> Vec<Record> {
    let mut records = Vec::new();
    for statement in &account.statements {
        let id = statement.id.as_deref().unwrap_or_default();
        for line in &statement.lines {
            records.push(
                Record::new("cost")
                    .metric(&line.metric_type, &line.unit)
                    .text("kind", line.kind.as_str())
                    .period(&statement.period)
                    .number("value", line.peak.unwrap_or(line.used))
                    .option("quota_limit", line.quota_limit)
                    .number("overage", line.overage)
                    .number("cost", line.cost)
                    .text("name", id),
            );
        }
        records.push(
            Record::new("cost_total")
                .period(&statement.period)
                .number("cost", statement.total_cost)
                .text("name", id)
                .text("status", if statement.id.is_some() { "closed" } else { "running" }),
        );
    }
    records.push(Record::new("cost_total").number("cost", account.total_cost));
    records
}

fn overall(overall: &Overall) -> Vec<Record> {
    let line = |line: &OverallLine| {
        Record::new("overall")
            .metric(&line.metric_type, &line.unit)
            .text("kind", line.kind.as_str())
            .number("value", line.total)
            .count("event_count", line.event_count)
            .text("detail", &format!("{} users", line.users))
    };
    let user = |user: &UserLine| {
        Record::new("user")
            .text("user_id", &user.user_id)
            .text("subscription_id", &user.subscription_id)
            .text("plan", user.plan.as_deref().unwrap_or_default())
            .option("usage_percentage", user.highest_percentage)
            .number("cost", user.total_cost)
            .number("overage_cost", user.overage_cost)
            .text("currency", &user.currency)
            .text("detail", &format!("{} anomalies", user.anomalies))
    };
    let money = |money: &Money| {
        Record::new("overall")
            .number("cost", money.amount)
            .text("currency", &money.currency)
    };
    let lines = overall.lines.iter().map(line);
    let users = overall.users.iter().map(user);
    lines.chain(users).chain(overall.total_cost.iter().map(money)).collect()
}
