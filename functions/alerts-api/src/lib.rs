//! The endpoints of alerts: what was raised, what is watched, who is told and where. Raising and
//! delivering are jobs of other functions.

mod alert;
mod notification;
mod object;
mod threshold;
mod webhook_endpoint;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, patch, post},
};
use metering_edge::App;

/// The function's routes.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/api/v1/usage/alerts", get(alert::list))
        .route("/api/v1/usage/alerts/{id}/acknowledge", patch(alert::acknowledge))
        .route("/api/v1/usage/alerts/{id}/resolve", patch(alert::resolve))
        .route("/api/v1/usage/thresholds", post(threshold::create).get(threshold::list))
        .route(
            "/api/v1/usage/thresholds/{id}",
            get(threshold::get).put(threshold::put).delete(threshold::delete),
        )
        .route(
            "/api/v1/usage/notification-settings",
            get(notification::get).put(notification::put),
        )
        .route(
            "/api/v1/usage/webhook-endpoints",
            post(webhook_endpoint::create).get(webhook_endpoint::list),
        )
        .route("/api/v1/usage/webhook-endpoints/{id}", delete(webhook_endpoint::delete))
        .route(
            "/api/v1/usage/webhook-endpoints/{id}/rotate-secret",
            post(webhook_endpoint::rotate_secret),
        );
    metering_edge::request::router(app, routes)
}
