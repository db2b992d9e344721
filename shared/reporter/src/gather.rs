//! Gathers what a report says of each user.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use metering_domain::{
    aggregate::Granularity,
    metric::{Kind, Metric},
    period::Period,
    report::{
        AccountInput, AnomalyLine, BillingPeriod, Input, Measured, MetricInput, Report, ReportType, ResourceUse,
        StatementBlock, covered, too_large,
    },
    statement::Line,
};
use metering_edge::{
    App,
    answer::Quota,
    forecast::{HORIZON_DAYS_DEFAULT, foresee},
    problem::{Code, Problem},
};
use metering_store::{
    anomaly_list::AnomalyQuery,
    counter::Counter,
    quota::Quotas,
    statement::{Statement, StatementQuery},
    subscription::Target,
};
use rust_decimal::Decimal;

use crate::{
    Ask,
    measure::{EVENTS_MAX, Measuring},
};

/// Metrics that are read at once.
const WIDTH: usize = 6;
/// Users that are read at once.
const USERS_WIDTH: usize = 2;
/// Billing periods of one report: a year of days, and what a forecast adds.
const PERIODS_MAX: usize = 400;
/// What one page of anomalies or statements reads,
const PAGE: usize = 200;
/// and how many pages.
const PAGES_MAX: usize = 25;

/// The report that is asked for, of these users. 422 `report_too_large` before anything is read.
pub(crate) async fn gather(
    app: &App,
    targets: &[Arc<Target>],
    ask: &Ask,
    now: DateTime<Utc>,
) -> Result<Report, Problem> {
    let granularity = ask.filters.granularity();
    let metrics = match &ask.metrics {
        Some(metrics) => metrics.clone(),
        None => app.store.metrics_all(now).await?.all().into_iter().cloned().collect(),
    };
    too_large(ask.period, granularity, ask.zone, targets.len(), metrics.len())
        .map_err(|large| Problem::new(Code::ReportTooLarge, sentence(&large.to_string())))?;
    let covered = covered(ask.period, granularity, ask.zone)
        .ok_or_else(|| Problem::internal("a report lies beyond the calendar"))?;
    let mut parts = Vec::with_capacity(targets.len());
    for target in targets {
        let of = Gathering {
            app,
            target,
            ask,
            covered,
            now,
        };
        parts.push(of.account(&metrics));
    }
    let accounts = stream::iter(parts).buffered(USERS_WIDTH).try_collect().await?;
    let input = Input {
        report_type: ask.report_type,
        period: ask.period,
        granularity,
        zone: ask.zone,
        generated_at: now,
        filters: ask.filters.named(),
        compare_to_previous: ask.compared_to.is_some(),
        accounts,
    };
    Report::new(input).ok_or_else(|| Problem::internal("a report lies beyond the calendar"))
}

/// A text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

/// What one user's part is made from.
struct Gathering<'a> {
    app: &'a App,
    target: &'a Target,
    ask: &'a Ask,
    covered: Period,
    now: DateTime<Utc>,
}

impl Gathering<'_> {
    async fn account(self, metrics: &[Metric]) -> Result<AccountInput, Problem> {
        let quotas = self.app.store.quota_list(self.target, self.now).await?;
        let quotas = quotas.ok_or_else(|| Problem::not_found("subscription"))?;
        let statements = self.statements(&quotas).await?;
        let each: Vec<_> = metrics
            .iter()
            .map(|metric| self.metric(metric, &quotas, &statements))
            .collect();
        let found: Vec<Option<(MetricInput, Vec<String>)>> = stream::iter(each).buffered(WIDTH).try_collect().await?;
        let (mut inputs, mut notes) = (Vec::new(), Vec::new());
        for (input, said) in found.into_iter().flatten() {
            inputs.push(input);
            notes.extend(said);
        }
        let plan = match &quotas.configuration.limits.plan {
            Some(id) => self.app.store.plan_get(id).await?.map(|version| version.plan.name),
            None => None,
        };
        let currency = quotas.counters.first().map(|counter| counter.terms.currency.clone());
        Ok(AccountInput {
            user_id: self.target.user_id.clone(),
            subscription_id: self.target.subscription_id.clone(),
            plan,
            currency: currency.unwrap_or_else(|| "EUR".to_owned()),
            anomalies: self.anomalies(&inputs).await?,
            metrics: inputs,
            statements,
            notes,
        })
    }

    /// What is known of a metric, and what is to be said of it; None: it is neither used nor limited, nor asked for.
    async fn metric(
        &self,
        metric: &Metric,
        quotas: &Quotas,
        statements: &[StatementBlock],
    ) -> Result<Option<(MetricInput, Vec<String>)>, Problem> {
        let measuring = Measuring {
            app: self.app,
            target: self.target,
            metric,
            ask: self.ask,
            covered: self.covered,
            now: self.now,
        };
        let counter = quotas
            .counters
            .iter()
            .find(|counter| counter.key.metric_type == metric.metric_type);
        let measured = measuring.measured().await?;
        let is_used = match &measured {
            Measured::Events { buckets, carried_in } => !buckets.is_empty() || *carried_in > Decimal::ZERO,
            Measured::Peaks(peaks) => !peaks.is_empty(),
        };
        let is_notable = counter.is_some_and(Counter::is_notable);
        if self.ask.metrics.is_none() && !is_used && !is_notable {
            return Ok(None);
        }
        let quota = counter.map(|counter| Quota::of(counter, quotas.period, self.now));
        let billing = self.billing(metric, quota.as_ref(), statements);
        let (mut notes, mut resources) = (Vec::new(), Vec::new());
        if is_used {
            (resources, notes) = self.resources(&measuring).await?;
        }
        let forecast = match self.ask.report_type {
            ReportType::Forecast => {
                Some(foresee(self.app, self.target, metric, HORIZON_DAYS_DEFAULT, None, self.now).await?)
            }
            ReportType::Summary | ReportType::Detailed | ReportType::Anomaly => None,
        };
        let input = MetricInput {
            metric_type: metric.metric_type.clone(),
            unit: metric.unit.clone(),
            kind: metric.kind,
            quota: quota.map(|quota| (quota.period(), quota.standing().clone())),
            measured,
            previous: self.previous(&measuring).await?,
            used_before: self.used_before(&measuring, &billing).await?,
            billing,
            forecast,
            resources,
        };
        Ok(Some((input, notes)))
    }

    /// What resources used of a metric, in a report that shows it, and what is to be said of that.
    async fn resources(&self, measuring: &Measuring<'_>) -> Result<(Vec<ResourceUse>, Vec<String>), Problem> {
        let (metric, of_endpoint) = (measuring.metric, self.ask.filters.endpoint.is_some());
        let is_detailed = self.ask.report_type == ReportType::Detailed;
        let (mut resources, mut notes) = (Vec::new(), Vec::new());
        let mut note = |text: String| notes.push(format!("{}: {text}", metric.metric_type));
        if is_detailed {
            match measuring.resources().await? {
                Some(found) => resources = found,
                None => note(format!(
                    "there are more than {EVENTS_MAX} events, too many to tell its resources apart."
                )),
            }
        }
        if of_endpoint && metric.kind != Kind::Sum {
            note("a level is no single endpoint's, and shown as a whole.".to_owned());
        }
        if (is_detailed || of_endpoint) && metric.kind == Kind::Sum && measuring.reaches_back_too_far() {
            note("events are kept for 90 days; resources and endpoints are told of those alone.".to_owned());
        }
        Ok((resources, notes))
    }

    /// The total of the period before; not known of one endpoint.
    async fn previous(&self, measuring: &Measuring<'_>) -> Result<Option<Decimal>, Problem> {
        let before = self.ask.compared_to.or_else(|| self.ask.period_before());
        match before.filter(|_| self.ask.filters.endpoint.is_none()) {
            Some(before) => Ok(Some(measuring.total(before, self.ask.filters.granularity()).await?)),
            None => Ok(None),
        }
    }

    /// What was used of the first billing period before the report begins.
    async fn used_before(&self, measuring: &Measuring<'_>, billing: &[BillingPeriod]) -> Result<Decimal, Problem> {
        let end = self.covered.start;
        match billing.first().map(|first| first.period.start) {
            Some(start) if measuring.metric.kind == Kind::Sum && start < end => {
                measuring.total(Period { start, end }, Granularity::Hourly).await
            }
            _ => Ok(Decimal::ZERO),
        }
    }

    /// The billing periods that the report touches, with what was granted of a metric in each: in a closed one what its
    /// statement says, in others what is granted now.
    fn billing(&self, metric: &Metric, quota: Option<&Quota>, statements: &[StatementBlock]) -> Vec<BillingPeriod> {
        let granted = quota.and_then(|quota| quota.standing().quota_limit);
        let until = match self.ask.report_type {
            ReportType::Forecast => self.now + TimeDelta::days(i64::from(HORIZON_DAYS_DEFAULT) + 1),
            ReportType::Summary | ReportType::Detailed | ReportType::Anomaly => self.covered.end,
        };
        let timeline = &self.target.timeline;
        let first = timeline.period_at(self.covered.start);
        let periods = std::iter::successors(first, |period| timeline.next(period));
        let touched = periods.take_while(|period| period.start < until.max(self.covered.end));
        let of_statement = |period: &Period| {
            let closed = statements
                .iter()
                .find(|block| block.id.is_some() && block.period.start == period.start)?;
            closed.lines.iter().find(|line| line.metric_type == metric.metric_type)
        };
        let billing = |period: Period| BillingPeriod {
            period,
            limit: of_statement(&period).map_or(granted, |line| line.quota_limit),
        };
        touched.take(PERIODS_MAX).map(billing).collect()
    }

    /// Statements of billing periods that touch the report's, and the running one if it does.
    async fn statements(&self, quotas: &Quotas) -> Result<Vec<StatementBlock>, Problem> {
        let mut query = StatementQuery {
            user_id: Some(self.target.user_id.clone()),
            subscription_id: Some(self.target.subscription_id.clone()),
            from: None,
            to: Some(self.covered.end),
            before: None,
            limit: PAGE,
        };
        let mut blocks = Vec::new();
        for _ in 0..PAGES_MAX {
            let (page, next) = self.app.store.statement_list(&query).await?;
            // Newest first: what ended before has nothing that touches behind it.
            let is_last = page.iter().any(|one| one.period.end <= self.covered.start);
            let touching = page.into_iter().filter(|one| one.period.end > self.covered.start);
            blocks.extend(touching.map(|one| self.closed(one)));
            query.before = next;
            if query.before.is_none() || is_last {
                break;
            }
        }
        let running = quotas.period;
        let is_told = blocks
            .iter()
            .any(|block: &StatementBlock| block.period.start == running.start);
        if !is_told && running.start < self.covered.end && running.end > self.covered.start {
            blocks.push(self.running(quotas));
        }
        Ok(blocks)
    }

    fn is_wanted(&self, metric: &str) -> bool {
        let wanted = self.ask.metrics.as_ref();
        wanted.is_none_or(|metrics| metrics.iter().any(|one| one.metric_type == metric))
    }

    fn closed(&self, statement: Statement) -> StatementBlock {
        let lines = statement.lines.into_iter();
        StatementBlock {
            id: Some(statement.id),
            period: statement.period,
            plan: Some(statement.plan),
            lines: lines.filter(|line| self.is_wanted(&line.metric_type)).collect(),
            total_cost: statement.total_cost,
        }
    }

    /// What the running period would cost if it ended now.
    fn running(&self, quotas: &Quotas) -> StatementBlock {
        let counters = quotas.counters.iter();
        let shown = counters.filter(|counter| counter.is_notable() && self.is_wanted(&counter.key.metric_type));
        let line = |counter: &Counter| {
            let quota = Quota::of(counter, quotas.period, self.now);
            let (metric, used) = (&counter.key.metric_type, quota.standing().current_usage);
            Line::of(metric, counter.kind, &counter.unit, &counter.terms, used, quota.peak())
        };
        StatementBlock {
            id: None,
            period: quotas.period,
            plan: quotas.configuration.limits.plan.clone(),
            lines: shown.map(line).collect(),
            total_cost: Decimal::ZERO,
        }
    }

    /// Anomalies whose windows touch the report's period.
    async fn anomalies(&self, metrics: &[MetricInput]) -> Result<Vec<AnomalyLine>, Problem> {
        if self.ask.report_type != ReportType::Anomaly {
            return Ok(Vec::new());
        }
        let mut query = AnomalyQuery {
            user_id: Some(self.target.user_id.clone()),
            subscription_id: Some(self.target.subscription_id.clone()),
            metric_type: None,
            severity: self.ask.filters.severity,
            status: self.ask.filters.status,
            // What is found lies before its detection.
            since: self.covered.start,
            before: None,
            limit: PAGE,
        };
        let mut lines = Vec::new();
        for _ in 0..PAGES_MAX {
            let (page, next) = self.app.store.anomaly_list(&query).await?;
            for one in page {
                let window = one.finding.window;
                let unit = metrics.iter().find(|metric| metric.metric_type == one.metric_type);
                let is_inside = window.start < self.covered.end && window.end > self.covered.start;
                if is_inside && self.is_wanted(&one.metric_type) {
                    lines.push(AnomalyLine {
                        id: one.id,
                        unit: unit.map(|metric| metric.unit.clone()).unwrap_or_default(),
                        metric_type: one.metric_type,
                        finding: one.finding,
                        status: one.status,
                        detected_at: one.detected_at,
                        note: one.note,
                    });
                }
            }
            query.before = next;
            if query.before.is_none() {
                break;
            }
        }
        Ok(lines)
    }
}
