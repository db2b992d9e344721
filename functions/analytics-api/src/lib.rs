//! How usage developed: aggregates of any granularity and zone, and trends. Reads what the jobs
//! computed; must not compute hours or days itself.

mod aggregation;
mod series;
mod trend;

use std::sync::Arc;

use axum::{Router, routing::get};
use metering_edge::App;

/// The function's routes.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/api/v1/usage/aggregations/{metric_type}", get(aggregation::list))
        .route("/api/v1/usage/trends/{metric_type}", get(trend::get));
    metering_edge::request::router(app, routes)
}
