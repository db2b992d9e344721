//! The endpoints that every service calls: track usage, reserve it, check a quota, see where one
//! stands; and the one by which an administrator takes an event back.

mod cloud_event;
mod document;
mod event;
mod page;
mod quota;
mod reservation;
mod track;
mod track_batch;
mod void;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use metering_edge::App;

/// The function's routes.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/", get(page::start))
        .route("/health", get(page::health))
        .route("/api/v1/openapi.json", get(document::json))
        .route("/api/v1/docs", get(document::page))
        .route("/api/v1/usage/track", post(track::track))
        .route("/api/v1/usage/track/batch", post(track_batch::track_batch))
        .route("/api/v1/events", post(cloud_event::ingest))
        .route("/api/v1/usage/summary", get(quota::summary))
        .route("/api/v1/usage/quotas", get(quota::list))
        .route("/api/v1/usage/check-quota/{metric_type}", get(quota::check))
        .route(
            "/api/v1/usage/reservations",
            post(reservation::create).get(reservation::list),
        )
        .route("/api/v1/usage/reservations/{id}", get(reservation::get))
        .route("/api/v1/usage/reservations/{id}/commit", post(reservation::commit))
        .route("/api/v1/usage/reservations/{id}/release", post(reservation::release))
        .route("/api/v1/usage/reservations/{id}/renew", post(reservation::renew))
        .route("/api/v1/usage/events", get(event::list))
        .route("/api/v1/usage/events/{id}", get(event::get))
        .route("/api/v1/usage/events/{id}/void", post(void::void));
    metering_edge::request::router(app, routes)
}
