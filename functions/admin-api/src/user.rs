//! Users over all: where each stands; and one erased.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use http::StatusCode;
use metering_domain::{
    ids,
    metric::{Kind, Metric},
};
use metering_edge::{
    App,
    access::Scope,
    answer::{self, Quota, instant_opt, number},
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    idempotency,
    problem::{FieldCode, FieldError, Problem},
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

/// `DELETE /admin/users/{id}`: begins to erase all that is kept of a user. Of any id, since there may be
/// data of whoever has no account; again is the same. It has no record for its idempotency key: the
/// tombstone is one, and an answer that is kept would keep the name.
pub async fn erase(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    idempotency::header_key(&call)?;
    Fields::query(call.info.query.as_deref()).finish(Some(()))?;
    if !ids::is_subject_id(&id) {
        return Err(Problem::fields(vec![FieldError {
            pointer: "{id}".to_owned(),
            code: FieldCode::InvalidFormat,
            detail: "must match [A-Za-z0-9._:@|-]{1,128}".to_owned(),
        }]));
    }
    let pseudonym = app.store.user_pseudonym(&id).await?;
    let status = json!({"status": "erasing"});
    let audit = call.audit(app.context.id("aud"), "user.erase", pseudonym, Value::Null, status);
    app.store.user_erase(&id, &audit).await?;
    let body = json!({"user_id": id.0, "status": "erasing"});
    Ok(idempotency::answer(StatusCode::ACCEPTED, body))
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
