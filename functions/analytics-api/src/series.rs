//! What a path's metric means: a series whose usage is aggregated, or a problem.

use chrono::{DateTime, Utc};
use metering_domain::metric::{Kind, Metric};
use metering_edge::{
    App,
    problem::{Code, Problem},
};
use metering_store::{hour::Series, keys::Owner};

/// The metric that a path names; 404 if there is none.
pub async fn metric(app: &App, name: &str, now: DateTime<Utc>) -> Result<Metric, Problem> {
    let metrics = app.store.metrics([name], now).await?;
    metrics.find(name).cloned().ok_or_else(|| Problem::not_found("metric"))
}

/// Whether a metric's events change a level; 422 for leases, which are held and not reported.
pub fn is_gauge(metric: &Metric) -> Result<bool, Problem> {
    match metric.kind {
        Kind::Sum => Ok(false),
        Kind::Gauge => Ok(true),
        Kind::Lease => {
            let detail = format!("{} is held, not reported; it has no aggregates.", metric.metric_type);
            Err(Problem::new(Code::MetricKindMismatch, detail))
        }
    }
}

/// An owner's usage of a metric.
pub fn of(owner: &Owner, metric: &Metric, gauge: bool) -> Series {
    Series {
        owner: owner.clone(),
        metric_type: metric.metric_type.clone(),
        gauge,
    }
}
