//! Aggregations, trends, forecasts and anomalies.

use http::Method;
use serde::Serialize;

use super::{Part, Whose, tracking::text, usage};
use crate::{
    client::Client,
    error::Error,
    types::{
        Aggregation, Anomaly, AnomalyDetection, AnomalyStatus, DetectionMethod, Forecast, ForecastModel, Granularity,
        Instant, Page, Severity, Trend,
    },
};

/// Which buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AggregationFilter {
    /// How long they are; days if none.
    pub granularity: Option<Granularity>,
    /// From the bucket with this instant on; 30 days back if none.
    pub from: Option<Instant>,
    /// Up to the bucket before this instant.
    pub to: Option<Instant>,
    /// An IANA time zone; UTC if none.
    pub timezone: Option<String>,
    /// Which part of the list.
    pub part: Part,
}

/// What is to be forecast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewForecast {
    /// Whose; a user's token may leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Of which subscription; none: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Which metric.
    pub metric_type: String,
    /// For how many days, 1 to 365; 30 if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast_horizon_days: Option<u32>,
    /// By which model; whichever erred least if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_type: Option<ForecastModel>,
}

/// Which forecasts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForecastFilter {
    /// Of one metric.
    pub metric_type: Option<String>,
    /// Which part of the list.
    pub part: Part,
}

/// Where anomalies are to be looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detection {
    /// Which metric.
    pub metric_type: String,
    /// How; every way if none.
    pub detection_method: Option<DetectionMethod>,
    /// How far back; 30 if none.
    pub days: Option<u32>,
}

/// Which anomalies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnomalyFilter {
    /// Of one metric.
    pub metric_type: Option<String>,
    /// Of one severity.
    pub severity: Option<Severity>,
    /// In one state.
    pub status: Option<AnomalyStatus>,
    /// How far back; 30 if none.
    pub days: Option<u32>,
    /// Which part of the list.
    pub part: Part,
}

#[derive(Serialize)]
struct Review<'a> {
    status: &'a AnomalyStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

impl Client {
    /// What was used in each hour, day, week or month, oldest first; empty ones are left out.
    pub async fn aggregations(
        &self,
        whose: &Whose,
        metric_type: &str,
        filter: &AggregationFilter,
    ) -> Result<Page<Aggregation>, Error> {
        let (from, to) = (text(filter.from), text(filter.to));
        let call = self.get(&usage(&["aggregations", metric_type]))?;
        let call = call.query(&whose.query()).query(&[
            ("granularity", filter.granularity.as_ref().map(Granularity::as_str)),
            ("from", from.as_deref()),
            ("to", to.as_deref()),
            ("timezone", filter.timezone.as_deref()),
        ]);
        self.page(call, "aggregations", &filter.part).await
    }

    /// How usage went over the last days: 1 to 365, 30 if none.
    pub async fn trend(
        &self,
        whose: &Whose,
        metric_type: &str,
        days: Option<u32>,
        timezone: Option<&str>,
    ) -> Result<Trend, Error> {
        let days = days.map(|days| days.to_string());
        let call = self.get(&usage(&["trends", metric_type]))?.query(&whose.query());
        self.read(call.query(&[("days", days.as_deref()), ("timezone", timezone)]))
            .await
    }

    /// How usage goes on. Less than a week of usage: `insufficient_data`.
    pub async fn forecast(&self, wanted: &NewForecast) -> Result<Forecast, Error> {
        let call = self.mutation(Method::POST, &usage(&["forecast"]))?;
        self.read(call.json(wanted)?).await
    }

    /// Forecasts that were made, newest first.
    pub async fn forecasts(&self, whose: &Whose, filter: &ForecastFilter) -> Result<Page<Forecast>, Error> {
        let call = self.get(&usage(&["forecasts"]))?.query(&whose.query());
        let call = call.query(&[("metric_type", filter.metric_type.as_deref())]);
        self.page(call, "forecasts", &filter.part).await
    }

    /// Looks for anomalies now.
    pub async fn detect_anomalies(&self, whose: &Whose, wanted: &Detection) -> Result<AnomalyDetection, Error> {
        let days = wanted.days.map(|days| days.to_string());
        let call = self.mutation(Method::POST, &usage(&["anomalies", "detect"]))?;
        let call = call.query(&whose.query()).query(&[
            ("metric_type", Some(wanted.metric_type.as_str())),
            (
                "detection_method",
                wanted.detection_method.as_ref().map(DetectionMethod::as_str),
            ),
            ("days", days.as_deref()),
        ]);
        self.read(call).await
    }

    /// Anomalies, newest first.
    pub async fn anomalies(&self, whose: &Whose, filter: &AnomalyFilter) -> Result<Page<Anomaly>, Error> {
        let days = filter.days.map(|days| days.to_string());
        let call = self.get(&usage(&["anomalies"]))?.query(&whose.query()).query(&[
            ("metric_type", filter.metric_type.as_deref()),
            ("severity", filter.severity.as_ref().map(Severity::as_str)),
            ("status", filter.status.as_ref().map(AnomalyStatus::as_str)),
            ("days", days.as_deref()),
        ]);
        self.page(call, "anomalies", &filter.part).await
    }

    /// Reviews an anomaly. Needs `usage:admin`.
    pub async fn review_anomaly(
        &self,
        id: &str,
        user_id: Option<&str>,
        status: &AnomalyStatus,
        note: Option<&str>,
    ) -> Result<Anomaly, Error> {
        let call = self.mutation(Method::PATCH, &usage(&["anomalies", id]))?;
        let call = call.query(&[("user_id", user_id)]);
        self.read(call.json(&Review { status, note })?).await
    }
}
