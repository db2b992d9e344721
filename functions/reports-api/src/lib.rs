//! Reports, made on demand, and the schedules by which they are made: the endpoints. Making them on schedule is
//! another function's job.

mod download;
mod object;
mod period;
mod report;
mod schedule;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use metering_edge::App;

/// The function's routes.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/api/v1/usage/reports/generate", post(report::generate))
        .route("/api/v1/usage/reports", get(report::list))
        .route("/api/v1/usage/reports/{id}", get(report::get).delete(report::delete))
        .route("/api/v1/usage/reports/download/{file}", get(download::download))
        .route(
            "/api/v1/usage/report-schedules",
            post(schedule::create).get(schedule::list),
        )
        .route(
            "/api/v1/usage/report-schedules/{id}",
            get(schedule::get).delete(schedule::delete),
        );
    metering_edge::request::router(app, routes)
}
