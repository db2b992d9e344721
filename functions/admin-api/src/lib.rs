//! The endpoints of administrators: subscriptions, overrides, resets, the ledger, reconciliation,
//! statements, plans, metric types, API keys, the audit log, all users and their usage, erasure. Each
//! change is written together with its audit entry.

mod adjustment;
mod api_key;
mod audit;
mod import;
mod metric_type;
mod plan;
mod quota;
mod reconcile;
mod renewal;
mod statement;
mod subscription;
mod usage;
mod user;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, post, put},
};
use metering_edge::App;

/// The function's routes.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route(
            "/api/v1/usage/admin/subscriptions",
            post(subscription::create).get(subscription::list),
        )
        .route(
            "/api/v1/usage/admin/subscriptions/{id}",
            // POST is for the one name `import`, which may be a subscription's, too.
            get(subscription::get)
                .patch(subscription::change_plan)
                .post(import::import),
        )
        .route("/api/v1/usage/admin/subscriptions/{id}/renew", post(renewal::renew))
        .route("/api/v1/usage/admin/subscriptions/{id}/cancel", post(renewal::cancel))
        .route("/api/v1/usage/admin/quotas", put(quota::put).delete(quota::delete))
        .route("/api/v1/usage/admin/quotas/reset", post(quota::reset))
        .route("/api/v1/usage/admin/adjustments", get(adjustment::list))
        .route("/api/v1/usage/admin/statements", get(statement::list))
        .route("/api/v1/usage/admin/audit-log", get(audit::list))
        .route("/api/v1/usage/admin/metrics", get(usage::list))
        .route("/api/v1/usage/admin/users", get(user::list))
        .route("/api/v1/usage/admin/users/{id}", delete(user::erase))
        .route("/api/v1/usage/admin/reconcile", post(reconcile::reconcile))
        .route("/api/v1/usage/admin/plans", get(plan::list))
        .route("/api/v1/usage/admin/plans/{id}", get(plan::get).put(plan::put))
        .route(
            "/api/v1/usage/admin/metric-types",
            post(metric_type::create).get(metric_type::list),
        )
        .route("/api/v1/usage/admin/metric-types/{metric_type}", put(metric_type::put))
        .route("/api/v1/usage/admin/api-keys", post(api_key::create).get(api_key::list))
        .route("/api/v1/usage/admin/api-keys/{id}", delete(api_key::revoke));
    metering_edge::request::router(app, routes)
}
