//! Users over all: where each stands.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use metering_domain::metric::{Kind, Metric};
use metering_edge::{
    App,
    access::Scope,
    answer::{self, Quota, instant_opt, number},
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    problem::Problem,
    read,
};
use metering_store::{metric::Catalogue, user_list::UserOverview};
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// `GET /admin/users`: those made last first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let now = call.info.now;
    let mut fields = Fields::query(call.info.query.as_deref());
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let metrics = reported(&*app.store.metrics_all(now).await?);
    let (users, next) = app.store.user_list(&metrics, before.as_deref(), limit, now).await?;
    let bodies = users.iter().map(|user| body_of(user, now)).collect();
    Ok(Json(answer::page("users", bodies, cursors.after(next)?)))
}

/// The metrics that have events: leases are held.
pub(crate) fn reported(catalogue: &Catalogue) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = catalogue
        .all()
        .into_iter()
        .filter(|metric| metric.kind != Kind::Lease)
        .cloned()
        .collect();
    metrics.sort_by(|a, b| a.metric_type.cmp(&b.metric_type));
    metrics
}

fn body_of(user: &UserOverview, now: DateTime<Utc>) -> Value {
    let subscription = |own: &metering_store::subscription::Subscription| json!({"id": own.id, "plan": own.plan(), "status": own.status_at(now).as_str()});
    json!({
        "user_id": user.user_id, "subscriptions": user.subscriptions.iter().map(subscription).collect::<Vec<_>>(),
        "last_event_at": instant_opt(user.last_event_at), "highest_usage_percentage": highest(user, now).map_or(Value::Null, number),
        "open_alerts": user.open_alerts,
    })
}

/// The highest percentage of a limit that is used in the present period.
fn highest(user: &UserOverview, now: DateTime<Utc>) -> Option<Decimal> {
    let counters = user.quotas.iter().flat_map(|quotas| {
        quotas
            .counters
            .iter()
            .map(|counter| Quota::of(counter, quotas.period, now))
    });
    counters.filter_map(|quota| quota.standing().usage_percentage).max()
}
