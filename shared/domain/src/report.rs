//! What a report says, whatever file it becomes: typed sections, whose totals are computed here, once.
//!
//! Whoever gathers fills an [`Input`] and calls [`Report::new`]; whoever renders walks over
//! [`Report::sections`] and prints what it finds, and computes nothing. So every format shows the same number.
//! Must not know where usage is stored, who asks, how a file is written, or the clock.
//!
//! How to fill it:
//! 1. Check with [`too_large`], before anything is read, that the report stays within its limits.
//! 2. Figures are of whole buckets (local days, or hours): [`covered`] widens the period that was asked for to their
//!    boundaries. Read each metric's stretches in it and hand them over as [`Measured::Events`]; buckets without
//!    events are left out. Of leases hand over the highest number held in each bucket, as [`Measured::Peaks`].
//! 3. Give of each metric what is known: where it stands against its quota, the total of the period before
//!    (as long as the covered one, ending where that begins), its billing periods, and, for a `forecast` report, the
//!    forecast or how few days there were. What a type of report does not show ([`sections`]) may be left empty and is
//!    dropped otherwise.
//! 4. Filters on severity and status are applied by whoever gathers; [`Input::filters`] only says so to readers.
//!
//! A metric that is neither used nor limited should be left out by whoever gathers, unless it was asked for.

mod build;
pub mod chart;
pub mod input;
mod overall;
pub mod schedule;
mod series;
mod usage;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

pub use input::{AccountInput, Input, Measured, MetricInput, ResourceUse};
pub use overall::{Money, Overall, OverallLine, UserLine};
pub use series::{BillingPeriod, Point, Series, label};
pub use usage::{ComparisonLine, UsageLine};

use crate::{
    aggregate::{Granularity, bucket_at, next_bucket},
    anomaly::{AnomalyStatus, Finding},
    forecast::usage::UsageForecast,
    metric::Kind,
    named::named,
    period::Period,
    statement::Line,
};

/// The longest period, in days of 24 hours; one day more is let pass for a change of clocks.
pub const PERIOD_DAYS_MAX: i64 = 366;
/// The most rows: users × metrics × buckets.
pub const ROWS_MAX: usize = 100_000;
/// Resources that are named of each metric; the others are one line.
pub const RESOURCES_MAX: usize = 50;
/// Decimals of statistics: errors, shares, probabilities.
const STATISTIC_PLACES: u32 = 9;

named! {
    /// What a report is about.
    ReportType {
        /// How much was used, against which quota, at what cost.
        Summary = "summary",
        /// That, and every day or hour.
        Detailed = "detailed",
        /// How usage goes on, and what that will cost.
        Forecast = "forecast",
        /// What was unusual, and why.
        Anomaly = "anomaly",
    }
}

impl ReportType {
    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Summary => "Usage summary",
            Self::Detailed => "Detailed usage",
            Self::Forecast => "Usage forecast",
            Self::Anomaly => "Usage anomalies",
        }
    }
}

named! {
    /// What file a report becomes.
    ReportFormat {
        /// For people, to print.
        Pdf = "pdf",
        /// One table for machines and spreadsheets.
        Csv = "csv",
        /// For machines.
        Json = "json",
        /// A workbook.
        Excel = "excel",
    }
}

impl ReportFormat {
    /// How the file's name ends.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Excel => "xlsx",
        }
    }

    /// The media type (IANA).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Excel => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

/// A part of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// Where each metric stands against its quota: [`Account::quotas`].
    Quotas,
    /// What was used in the period: [`Account::usage`].
    Usage,
    /// This period and the one before: [`Account::comparison`].
    Comparison,
    /// A chart of each metric: [`Account::series`], with the forecast if there is one.
    Charts,
    /// Every bucket of each metric that holds something: [`Series::rows`].
    Rows,
    /// What was used by each resource: [`Account::resources`].
    Resources,
    /// How usage goes on: [`Account::forecasts`].
    Forecasts,
    /// What was unusual: [`Account::anomalies`].
    Anomalies,
    /// What billing periods cost: [`Account::statements`].
    Costs,
}

/// What a type of report shows, in this order.
pub fn sections(report_type: ReportType) -> &'static [Section] {
    use Section::{Anomalies, Charts, Comparison, Costs, Forecasts, Quotas, Resources, Rows, Usage};
    match report_type {
        ReportType::Summary => &[Quotas, Usage, Comparison, Costs, Charts],
        ReportType::Detailed => &[Quotas, Usage, Comparison, Costs, Charts, Rows, Resources],
        ReportType::Forecast => &[Quotas, Forecasts, Usage, Charts],
        ReportType::Anomaly => &[Anomalies, Usage, Charts],
    }
}

/// The period in whole buckets: from the start of the first that it touches to the end of the last.
///
/// None if it is empty, or near the ends of the calendar.
pub fn covered(period: Period, granularity: Granularity, zone: Tz) -> Option<Period> {
    if period.start >= period.end {
        return None;
    }
    let last = period.end.checked_sub_signed(chrono::TimeDelta::nanoseconds(1))?;
    Some(Period {
        start: bucket_at(granularity, zone, period.start)?.start,
        end: bucket_at(granularity, zone, last)?.end,
    })
}

/// The buckets of a covered period, oldest first; ends after [`ROWS_MAX`] + 1.
pub fn buckets(covered: Period, granularity: Granularity, zone: Tz) -> impl Iterator<Item = Period> {
    let first = bucket_at(granularity, zone, covered.start);
    std::iter::successors(first, move |bucket| next_bucket(granularity, zone, bucket))
        .take_while(move |bucket| bucket.start < covered.end)
        .take(ROWS_MAX + 1)
}

/// How many rows a report would have: users × metrics × buckets.
pub fn row_count(period: Period, granularity: Granularity, zone: Tz, users: usize, metrics: usize) -> usize {
    let count = covered(period, granularity, zone).map_or(0, |covered| buckets(covered, granularity, zone).count());
    count.saturating_mul(users).saturating_mul(metrics)
}

/// What makes a report too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// The period is too long.
    #[error(
        "the period is {0} days long; at most {PERIOD_DAYS_MAX} are reported at once: ask for several shorter periods"
    )]
    Period(i64),
    /// There would be too many rows.
    #[error(
        "the report would have {0} rows; at most {ROWS_MAX} are reported at once: ask for fewer metrics or users, for \
         a shorter period, or for days instead of hours"
    )]
    Rows(usize),
}

/// Whether a report would be too large, before anything is read.
///
/// # Errors
/// What is too large and what to do about it; the text is for callers.
pub fn too_large(
    period: Period,
    granularity: Granularity,
    zone: Tz,
    users: usize,
    metrics: usize,
) -> Result<(), TooLarge> {
    let seconds = (period.end - period.start).num_seconds();
    // A day of 25 hours does not make a year too long.
    if seconds > PERIOD_DAYS_MAX * 86_400 + 3_600 {
        return Err(TooLarge::Period(
            seconds.div_euclid(86_400) + i64::from(seconds % 86_400 > 0),
        ));
    }
    match row_count(period, granularity, zone, users, metrics) {
        rows if rows > ROWS_MAX => Err(TooLarge::Rows(rows)),
        _ => Ok(()),
    }
}

/// A report, ready to be rendered.
#[derive(Clone, Debug)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// What it is about.
    pub report_type: ReportType,
    /// What was asked for.
    pub period: Period,
    /// What the figures are of: the period in whole buckets.
    pub covered: Period,
    /// How long buckets are.
    pub granularity: Granularity,
    /// On whose calendar.
    pub zone: Tz,
    /// When it was made.
    pub generated_at: DateTime<Utc>,
    /// Names and values of what was asked for besides.
    pub filters: Vec<(String, String)>,
    /// What it shows, in this order; [`Section::Comparison`] only if asked for.
    pub sections: Vec<Section>,
    /// One block per user; one in all unless an administrator asked.
    pub accounts: Vec<Account>,
    /// All users together; None of a report on one user.
    pub overall: Option<Overall>,
    /// What readers should know of the whole.
    pub notes: Vec<String>,
}

/// What a report says of one user.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user, as they are shown.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// The plan's name; None without one.
    pub plan: Option<String>,
    /// ISO 4217 code of all money.
    pub currency: String,
    /// Where each metric stands.
    pub quotas: Vec<QuotaLine>,
    /// What closing the running periods now would cost: the sum of [`QuotaLine::cost`], exact.
    pub overage_cost: Decimal,
    /// What was used in the period.
    pub usage: Vec<UsageLine>,
    /// This period and the one before.
    pub comparison: Vec<ComparisonLine>,
    /// Each metric over time, of the same metrics as `usage`.
    pub series: Vec<Series>,
    /// What was used by each resource, by metric, the most first.
    pub resources: Vec<ResourceLine>,
    /// How usage goes on.
    pub forecasts: Vec<ForecastLine>,
    /// What was unusual, newest first.
    pub anomalies: Vec<AnomalyLine>,
    /// What billing periods cost, oldest first.
    pub statements: Vec<StatementBlock>,
    /// The sum of [`StatementBlock::total_cost`].
    pub total_cost: Decimal,
    /// What readers should know of this user.
    pub notes: Vec<String>,
}

/// Where a metric stands against its quota, now.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaLine {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// How it counts.
    pub kind: Kind,
    /// The billing period.
    pub period: Period,
    /// Usage of the period, level, or live leases.
    pub used: Decimal,
    /// None: unlimited; then there is no percentage either.
    pub limit: Option<Decimal>,
    /// `used ÷ limit × 100`, 2 places.
    pub percentage: Option<Decimal>,
    /// How far usage is above the limit, charged or not.
    pub overage: Decimal,
    /// What closing now would cost, exact.
    pub cost: Decimal,
    /// What is expected at the period's end, where a forecast says so.
    pub expected: Option<ExpectedEnd>,
}

/// Where a metric will stand at the end of its billing period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedEnd {
    /// Usage, or the highest level.
    pub used: Decimal,
    /// How far above the limit.
    pub overage: Decimal,
    /// What that costs.
    pub cost: Decimal,
}

/// What a resource used; without a name the events that name none, or all the others together.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceLine {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// Which resource.
    pub resource: ResourceName,
    /// Events.
    pub event_count: u64,
    /// The sum of their values.
    pub total: Decimal,
}

/// Whose usage a [`ResourceLine`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceName {
    /// That of the resource with this id.
    Id(String),
    /// That of events that name none.
    Unnamed,
    /// That of so many resources together.
    Others(usize),
}

/// How usage of a metric goes on.
#[derive(Clone, Debug)]
pub struct ForecastLine {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// How it counts.
    pub kind: Kind,
    /// What is expected.
    pub made: UsageForecast,
    /// Over all billing periods that the forecast touches.
    pub expected_overage: Decimal,
    /// What that costs.
    pub expected_cost: Decimal,
}

/// Something unusual.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyLine {
    /// Its id.
    pub id: String,
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// What was found.
    pub finding: Finding,
    /// How far its review has come.
    pub status: AnomalyStatus,
    /// When it was found.
    pub detected_at: DateTime<Utc>,
    /// What a reviewer wrote.
    pub note: Option<String>,
}

/// What a billing period cost, or would cost if it ended now.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementBlock {
    /// The statement's id; None of a running period.
    pub id: Option<String>,
    /// Which period.
    pub period: Period,
    /// The plan's name; None without one.
    pub plan: Option<String>,
    /// Each metric, rounded to cents.
    pub lines: Vec<Line>,
    /// The sum of the lines.
    pub total_cost: Decimal,
}

/// A number of statistics as a decimal, to 9 places; None of what is no number.
pub fn statistic(value: f64) -> Option<Decimal> {
    let value = Decimal::try_from(value).ok()?;
    Some(value.round_dp(STATISTIC_PLACES).normalize())
}
