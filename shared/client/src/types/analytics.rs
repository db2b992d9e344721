//! Aggregations, trends and forecasts.

use chrono::{DateTime, FixedOffset, NaiveDate};
use serde::{Deserialize, Serialize};

use super::{Direction, ForecastModel, Granularity, Instant, Quantity, TrendTest};

/// What was used in an hour, a day, a week or a month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Aggregation {
    /// The metric.
    pub metric_type: String,
    /// How long the bucket is.
    pub aggregation_type: Granularity,
    /// When the bucket starts.
    pub aggregation_date: Instant,
    /// When it ends, exclusive.
    pub period_end: Instant,
    /// Its start on the clocks of the zone.
    pub local_start: DateTime<FixedOffset>,
    /// Its unit.
    pub unit: String,
    /// Gauges: the level at the end.
    pub total_value: Quantity,
    /// How many events.
    pub event_count: u64,
    /// Total by events, 9 places; gauges: weighted by time.
    pub average_value: Quantity,
    /// The least value.
    pub min_value: Quantity,
    /// The greatest value.
    pub max_value: Quantity,
    /// Events with `error_occurred`.
    pub error_count: u64,
    /// How long it took, in milliseconds, at most a day.
    pub response_time_ms: ResponseTimes,
    /// The total of the bucket before, 0 if that is empty; gauges: the level carried in.
    pub previous_period_value: Quantity,
    /// Against the bucket before, two decimals; null where that is 0.
    pub change_percentage: Option<Quantity>,
    /// Where it goes; in aggregates, beyond 5 %.
    pub trend: Direction,
}

/// Percentiles in milliseconds, within 1 %; null where nothing was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResponseTimes {
    /// The median.
    pub p50: Option<u64>,
    /// 95 % are below.
    pub p95: Option<u64>,
    /// 99 % are below.
    pub p99: Option<u64>,
}

/// How usage went, day by day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trend {
    /// The metric.
    pub metric_type: String,
    /// Its unit.
    pub unit: String,
    /// How many days were looked at.
    pub period_days: u32,
    /// Days with usage.
    pub data_points: u32,
    /// Gauges: the last level.
    pub total: Quantity,
    /// Of the daily totals.
    pub average: Quantity,
    /// Of the daily totals.
    pub median: Quantity,
    /// The least daily total.
    pub min: Quantity,
    /// The greatest daily total.
    pub max: Quantity,
    /// Of a sample (n - 1), 9 places.
    pub std_dev: Quantity,
    /// Where it goes; in aggregates, beyond 5 %.
    pub trend: Direction,
    /// By which test; none with less than two days.
    pub trend_test: TrendTest,
    /// How likely days without any trend look at least as much like one.
    pub p_value: Option<Quantity>,
    /// Against as many days before the window, two decimals; null where that is 0.
    pub change_percentage: Option<Quantity>,
    /// Days with usage, on the calendar of the zone, oldest first.
    pub dates: Vec<NaiveDate>,
    /// Their totals; gauges: the levels at their ends.
    pub values: Vec<Quantity>,
}

/// How usage is expected to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forecast {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// Its unit.
    pub unit: String,
    /// The start of the last day.
    pub forecast_date: Instant,
    /// Sums: the total; gauges: the level at the end; leases: the peak.
    pub predicted_value: Quantity,
    /// The lower bound.
    pub confidence_lower: Quantity,
    /// The upper bound.
    pub confidence_upper: Quantity,
    /// How likely the value lies between the bounds.
    pub confidence_level: Quantity,
    /// The one used.
    pub model_type: ForecastModel,
    /// The one asked for.
    pub requested_model_type: ForecastModel,
    /// What it is made of, and why it was used.
    pub model_reason: String,
    /// R² of one-step predictions.
    pub model_accuracy: Quantity,
    /// Days that it was made from.
    pub data_points: u32,
    /// How it did on the past.
    pub backtest: ForecastBacktest,
    /// In some period.
    pub will_exceed_quota: bool,
    /// Over all periods.
    pub expected_overage: Quantity,
    /// Over all periods.
    pub estimated_overage_cost: Quantity,
    /// The days after the running one.
    pub path: Vec<ForecastDay>,
    /// Billing periods, the running one first.
    pub periods: Vec<ForecastPeriod>,
    /// When the quota is expected to run out; null: not within these days.
    pub exhausted_at: Option<Instant>,
    /// The earliest instant of the 95 % interval.
    pub exhausted_at_lower: Option<Instant>,
    /// The latest one; null: not within these days.
    pub exhausted_at_upper: Option<Instant>,
    /// When it was made.
    pub created_at: Instant,
}

/// How a forecast did on the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForecastBacktest {
    /// Error over that of seasonal naive within the series; null: that is never wrong.
    pub mase: Option<Quantity>,
    /// Per cent.
    pub smape: Option<Quantity>,
    /// Earlier days that it was tested from.
    pub folds: u32,
}

/// One day of a forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForecastDay {
    /// The day.
    pub date: NaiveDate,
    /// What is expected.
    pub mean: Quantity,
    /// The lower bound.
    pub lower: Quantity,
    /// The upper bound.
    pub upper: Quantity,
}

/// One billing period of a forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ForecastPeriod {
    /// When the period starts.
    pub period_start: Instant,
    /// When it ends, exclusive.
    pub period_end: Instant,
    /// Used so far and predicted; gauges and leases: the highest level.
    pub predicted_usage: Quantity,
    /// The limit; none: unlimited.
    pub quota_limit: Option<Quantity>,
    /// Whether it is expected to pass the limit.
    pub will_exceed: bool,
    /// Above the limit.
    pub expected_overage: Quantity,
    /// By the plan's prices, exact.
    pub estimated_overage_cost: Quantity,
}
