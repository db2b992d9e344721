//! How usage developed and goes on: aggregates of any granularity and zone, trends, forecasts, anomalies. Reads what
//! the jobs computed; must not compute hours or days itself.

mod aggregation;
mod anomaly;
mod forecast;
mod series;
mod trend;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, patch, post},
};
use metering_edge::App;

/// The function's routes.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/api/v1/usage/aggregations/{metric_type}", get(aggregation::list))
        .route("/api/v1/usage/trends/{metric_type}", get(trend::get))
        .route("/api/v1/usage/forecast", post(forecast::create))
        .route("/api/v1/usage/forecasts", get(forecast::list))
        .route("/api/v1/usage/anomalies/detect", post(anomaly::detect))
        .route("/api/v1/usage/anomalies", get(anomaly::list))
        .route("/api/v1/usage/anomalies/{id}", patch(anomaly::review));
    metering_edge::request::router(app, routes)
}
