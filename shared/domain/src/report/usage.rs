//! What was used of a metric in the period, and how that compares to the period before.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{MetricInput, Series};
use crate::{
    aggregate::Totals,
    metric::Kind,
    trend::{Direction, change_percentage, trend},
};

/// What was used of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageLine {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// How it counts.
    pub kind: Kind,
    /// The figures of the covered period. Leases: the total is the highest number held, the average the mean of
    /// what was highest in each bucket with any, and there are no counts.
    pub totals: Totals,
    /// The total of as long a period before; None: not known.
    pub previous: Option<Decimal>,
    /// By how much it changed, to 2 places; None where that was 0 or is not known.
    pub change_percentage: Option<Decimal>,
    /// Where it goes, by complete local days with usage.
    pub trend: Direction,
    /// The test that says so.
    pub trend_test: &'static str,
    /// How likely days without any trend look like this; None where there is no test.
    pub p_value: Option<Decimal>,
}

/// This period and the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparisonLine {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// The total of this period.
    pub current: Decimal,
    /// Of the one before.
    pub previous: Decimal,
    /// `current − previous`.
    pub difference: Decimal,
    /// In percent of the one before, 2 places; None where that is 0.
    pub change_percentage: Option<Decimal>,
}

/// What was used of a metric whose series this is.
pub(super) fn usage(metric: &MetricInput, series: &Series, totals: Totals, now: DateTime<Utc>) -> UsageLine {
    let mut days = series.days();
    // The running day is in the totals, not in the trend.
    if series.points.last().is_some_and(|point| point.period.end > now) {
        days.pop();
    }
    let values: Vec<Decimal> = days
        .into_iter()
        .filter(|(_, _, used)| *used)
        .map(|(_, value, _)| value)
        .collect();
    let tested = trend(&values);
    UsageLine {
        metric_type: metric.metric_type.clone(),
        unit: metric.unit.clone(),
        kind: metric.kind,
        change_percentage: metric
            .previous
            .and_then(|before| change_percentage(before, totals.total)),
        totals,
        previous: metric.previous,
        trend: tested.direction,
        trend_test: tested.test,
        p_value: tested.p_value.and_then(super::statistic),
    }
}

impl UsageLine {
    /// Beside the period before, where that is known.
    pub(super) fn comparison(&self) -> Option<ComparisonLine> {
        let previous = self.previous?;
        Some(ComparisonLine {
            metric_type: self.metric_type.clone(),
            unit: self.unit.clone(),
            current: self.totals.total,
            previous,
            difference: self.totals.total.saturating_sub(previous).normalize(),
            change_percentage: self.change_percentage,
        })
    }
}
