//! Makes a report of what was gathered: keeps what its type shows, adds up what is to be added.

use std::cmp::Reverse;

use rust_decimal::Decimal;

use super::{
    Account, AccountInput, ExpectedEnd, ForecastLine, Input, MetricInput, QuotaLine, RESOURCES_MAX, Report,
    ResourceLine, ResourceName, Section, StatementBlock, buckets, covered,
    overall::overall,
    sections,
    series::{Frame, label, series},
    usage::usage,
};
use crate::{
    forecast::usage::{DAYS_MIN, TooFewDays},
    period::Period,
    statement::total_cost,
};

impl Report {
    /// The report; None if its period is empty or lies beyond the calendar.
    pub fn new(input: Input) -> Option<Report> {
        let frame = Frame {
            covered: covered(input.period, input.granularity, input.zone)?,
            granularity: input.granularity,
            zone: input.zone,
            now: input.generated_at,
        };
        let shown: Vec<Section> = sections(input.report_type)
            .iter()
            .copied()
            .filter(|section| *section != Section::Comparison || input.compare_to_previous)
            .collect();
        let accounts: Vec<Account> = input
            .accounts
            .into_iter()
            .map(|one| account(one, &shown, &frame))
            .collect();
        Some(Report {
            title: input.report_type.title().to_owned(),
            report_type: input.report_type,
            period: input.period,
            covered: frame.covered,
            granularity: input.granularity,
            zone: input.zone,
            generated_at: input.generated_at,
            filters: input.filters,
            sections: shown,
            overall: (accounts.len() > 1).then(|| overall(&accounts)),
            notes: notes(input.period, &frame, &accounts),
            accounts,
        })
    }
}

/// What readers should know of the whole.
fn notes(asked: Period, frame: &Frame, accounts: &[Account]) -> Vec<String> {
    let mut notes = Vec::new();
    if accounts.is_empty() {
        notes.push("There are no users to report on.".to_owned());
    }
    if asked != frame.covered {
        let what = match frame.granularity {
            crate::aggregate::Granularity::Hourly => "hours",
            _ => "days",
        };
        notes.push(format!(
            "Figures are of whole {what} of {}: the first and the last one are included in full.",
            frame.zone.name()
        ));
    }
    if frame.covered.end > frame.now {
        let begun = buckets(frame.covered, frame.granularity, frame.zone).any(|bucket| bucket.contains(frame.now));
        if begun {
            let now = label(crate::aggregate::Granularity::Hourly, frame.zone, frame.now);
            notes.push(format!("The period is not over: figures are as of {now}."));
        }
    }
    notes
}

/// The block of a user.
fn account(input: AccountInput, shown: &[Section], frame: &Frame) -> Account {
    let shows = |section: Section| shown.contains(&section);
    let mut notes = input.notes;
    let quotas: Vec<QuotaLine> = input.metrics.iter().filter_map(quota).collect();
    let (mut lines, mut all) = (Vec::new(), Vec::new());
    for metric in &input.metrics {
        let (of_metric, totals) = series(metric, frame);
        if let Some(totals) = totals {
            lines.push(usage(metric, &of_metric, totals, frame.now));
            all.push(of_metric);
        }
    }
    if lines.is_empty() {
        notes.push("There was no usage in this period.".to_owned());
    }
    if shows(Section::Forecasts) {
        notes.extend(input.metrics.iter().filter_map(too_few));
    }
    let comparison = lines.iter().filter_map(|line| line.comparison()).collect();
    let mut statements: Vec<StatementBlock> = input.statements.into_iter().map(added_up).collect();
    statements.sort_by_key(|statement| statement.period.start);
    let mut anomalies = input.anomalies;
    anomalies.sort_by(|one, other| {
        let key = |line: &super::AnomalyLine| (Reverse(line.finding.window.start), line.id.clone());
        key(one).cmp(&key(other))
    });
    let mut account = Account {
        user_id: input.user_id,
        subscription_id: input.subscription_id,
        plan: input.plan,
        currency: input.currency,
        overage_cost: sum(quotas.iter().map(|quota| quota.cost)),
        quotas,
        usage: lines,
        comparison,
        series: all,
        resources: input.metrics.iter().flat_map(resources).collect(),
        forecasts: input.metrics.iter().filter_map(forecast).collect(),
        anomalies,
        total_cost: sum(statements.iter().map(|statement| statement.total_cost)),
        statements,
        notes,
    };
    account.drop_unless(shows);
    account
}

impl Account {
    /// Drops what the report does not show. Series stay as what charts and rows are of.
    fn drop_unless(&mut self, shows: impl Fn(Section) -> bool) {
        if !shows(Section::Quotas) {
            self.quotas.clear();
            self.overage_cost = Decimal::ZERO;
        }
        if !shows(Section::Usage) {
            self.usage.clear();
        }
        if !shows(Section::Comparison) {
            self.comparison.clear();
        }
        if !shows(Section::Resources) {
            self.resources.clear();
        }
        if !shows(Section::Forecasts) {
            self.forecasts.clear();
        }
        if !shows(Section::Anomalies) {
            self.anomalies.clear();
        }
        if !shows(Section::Costs) {
            self.statements.clear();
            self.total_cost = Decimal::ZERO;
        }
        if !shows(Section::Charts) && !shows(Section::Rows) {
            self.series.clear();
        }
    }
}

fn sum(amounts: impl Iterator<Item = Decimal>) -> Decimal {
    amounts
        .fold(Decimal::ZERO, |sum, amount| sum.saturating_add(amount))
        .normalize()
}

fn added_up(statement: StatementBlock) -> StatementBlock {
    StatementBlock {
        total_cost: total_cost(&statement.lines),
        ..statement
    }
}

fn quota(metric: &MetricInput) -> Option<QuotaLine> {
    let (period, standing) = metric.quota.as_ref()?;
    let made = metric.forecast.as_ref().and_then(|forecast| forecast.as_ref().ok());
    let expected = made.and_then(|made| made.periods.iter().find(|one| one.period == *period));
    Some(QuotaLine {
        metric_type: metric.metric_type.clone(),
        unit: metric.unit.clone(),
        kind: metric.kind,
        period: *period,
        used: standing.current_usage,
        limit: standing.quota_limit,
        percentage: standing.usage_percentage,
        overage: standing.overage,
        cost: standing.overage_cost,
        expected: expected.map(|end| ExpectedEnd {
            used: end.predicted,
            overage: end.overage,
            cost: end.cost,
        }),
    })
}

fn forecast(metric: &MetricInput) -> Option<ForecastLine> {
    let made = metric.forecast.as_ref()?.as_ref().ok()?;
    Some(ForecastLine {
        metric_type: metric.metric_type.clone(),
        unit: metric.unit.clone(),
        kind: metric.kind,
        expected_overage: sum(made.periods.iter().map(|period| period.overage)),
        expected_cost: sum(made.periods.iter().map(|period| period.cost)),
        made: made.clone(),
    })
}

fn too_few(metric: &MetricInput) -> Option<String> {
    let TooFewDays(days) = metric.forecast.as_ref()?.as_ref().err()?;
    Some(format!(
        "{} is not forecast: its usage spans {days} days, and {DAYS_MIN} are needed.",
        metric.metric_type
    ))
}

/// The resources of a metric, the most used first; beyond the most that are named, one line for all others.
fn resources(metric: &MetricInput) -> Vec<ResourceLine> {
    let mut found: Vec<_> = metric.resources.iter().collect();
    found.sort_by(|one, other| (other.total, &one.resource_id).cmp(&(one.total, &other.resource_id)));
    let line = |resource, event_count, total| ResourceLine {
        metric_type: metric.metric_type.clone(),
        unit: metric.unit.clone(),
        resource,
        event_count,
        total,
    };
    let (named, others) = found.split_at(found.len().min(RESOURCES_MAX));
    let mut lines: Vec<ResourceLine> = named
        .iter()
        .map(|one| {
            let name = one.resource_id.clone().map_or(ResourceName::Unnamed, ResourceName::Id);
            line(name, one.event_count, one.total)
        })
        .collect();
    if !others.is_empty() {
        let count = others
            .iter()
            .fold(0_u64, |count, one| count.saturating_add(one.event_count));
        let total = sum(others.iter().map(|one| one.total));
        lines.push(line(ResourceName::Others(others.len()), count, total));
    }
    lines
}
