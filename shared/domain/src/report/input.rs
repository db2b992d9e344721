//! What a report is made from.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use super::{AnomalyLine, BillingPeriod, ReportType, StatementBlock};
use crate::{
    aggregate::{Granularity, Partial},
    forecast::usage::{TooFewDays, UsageForecast},
    metric::Kind,
    period::Period,
    quota::Standing,
};

/// What was asked for and what was found.
#[derive(Clone, Debug)]
pub struct Input {
    /// What it is to be about.
    pub report_type: ReportType,
    /// Of which time; not empty.
    pub period: Period,
    /// How long buckets are: days, or hours.
    pub granularity: Granularity,
    /// On whose calendar.
    pub zone: Tz,
    /// The present.
    pub generated_at: DateTime<Utc>,
    /// Names and values of filters, shown as they are.
    pub filters: Vec<(String, String)>,
    /// Whether to show this period beside the one before.
    pub compare_to_previous: bool,
    /// Each user, in the order to show. More than one makes a report with totals of all.
    pub accounts: Vec<AccountInput>,
}

/// What was found of one user.
#[derive(Clone, Debug)]
pub struct AccountInput {
    /// The user, as they are to be shown.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// The plan's name; None without one.
    pub plan: Option<String>,
    /// ISO 4217 code of all money.
    pub currency: String,
    /// Each metric, in the order to show.
    pub metrics: Vec<MetricInput>,
    /// What was unusual in the period; any order.
    pub anomalies: Vec<AnomalyLine>,
    /// Statements of billing periods that touch the period, and a running one without id; any order. Their total is
    /// computed again.
    pub statements: Vec<StatementBlock>,
    /// What readers should know of this user besides.
    pub notes: Vec<String>,
}

/// What was measured of a metric: non-empty buckets inside the covered period, oldest first.
#[derive(Clone, Debug)]
pub enum Measured {
    /// Sums and gauges.
    Events {
        /// Gauges: the level at the start of the covered period. Sums: means nothing.
        carried_in: Decimal,
        /// What happened in each bucket, as a whole.
        buckets: Vec<(Period, Partial)>,
    },
    /// Leases: the highest number held in each bucket.
    Peaks(Vec<(Period, Decimal)>),
}

/// What was found of a metric.
#[derive(Clone, Debug)]
pub struct MetricInput {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// How it counts.
    pub kind: Kind,
    /// The running billing period and where the metric stands in it; None: has no counter.
    pub quota: Option<(Period, Standing)>,
    /// What was measured.
    pub measured: Measured,
    /// The total of as long a period before; of gauges the level at its end, of leases its peak. None: not known.
    pub previous: Option<Decimal>,
    /// The billing periods that touch the covered period and the forecast, oldest first, with their limits.
    pub billing: Vec<BillingPeriod>,
    /// Sums: what was used from the start of the first billing period to that of the covered period.
    pub used_before: Decimal,
    /// What is expected, or why nothing is; None: not asked for.
    pub forecast: Option<Result<UsageForecast, TooFewDays>>,
    /// What was used by resources, in any order, each once.
    pub resources: Vec<ResourceUse>,
}

/// What a resource used.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceUse {
    /// Which one; None: events that name none.
    pub resource_id: Option<String>,
    /// Events.
    pub event_count: u64,
    /// The sum of their values.
    pub total: Decimal,
}
