//! Alerts: listed, acknowledged, resolved.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use metering_domain::{
    alert::{AlertStatus, AlertType, Severity},
    ids::NONE,
};
use metering_edge::{
    App,
    access::Scope,
    answer::{self, instant, instant_opt, number},
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, Problem},
    read,
    subject::{is_there, owner_of_query},
};
use metering_store::{
    alert::{Alert, Delivery, Moved},
    alert_list::AlertQuery,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// An alert as callers see it.
fn body_of(alert: &Alert) -> Value {
    let number_opt = |value: Option<Decimal>| value.map_or(Value::Null, number);
    json!({
        "id": alert.id, "user_id": alert.user_id, "subscription_id": alert.subscription_id, "metric_type": alert.metric_type,
        "alert_type": alert.alert_type.as_str(), "severity": alert.severity.as_str(), "status": alert.status.as_str(),
        "threshold_id": alert.threshold_id, "threshold_value": number_opt(alert.threshold_value),
        "quota_percentage": number_opt(alert.quota_percentage), "quota_limit": number_opt(alert.quota_limit),
        "current_usage": number(alert.current_usage), "action_taken": alert.action_taken,
        "title": alert.title, "message": alert.message,
        "period_start": instant(alert.period_start), "period_end": instant(alert.period_end),
        "anomaly_id": alert.anomaly_id, "created_at": instant(alert.created_at), "sent_at": instant_opt(alert.sent_at),
        "acknowledged_at": instant_opt(alert.acknowledged_at), "acknowledged_by": alert.acknowledged_by,
        "resolved_at": instant_opt(alert.resolved_at),
        "deliveries": alert.deliveries.iter().map(delivery).collect::<Vec<_>>(),
    })
}

fn delivery(delivery: &Delivery) -> Value {
    json!({
        "channel": delivery.channel.as_str(), "target": delivery.target, "attempt": delivery.attempt,
        "status": delivery.outcome.as_str(), "at": instant(delivery.at), "error": delivery.error,
    })
}

/// `GET /usage/alerts`: of one user; an administrator who names none means everybody.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let user_id = fields.optional("user_id", read::user_id);
    let of_all = user_id.is_none() && call.caller.is_admin();
    if user_id.is_none() && call.caller.must_name_user() && !of_all && !fields.is_faulty("user_id") {
        fields.fail("user_id", FieldCode::Required, "must be given with an API key");
    }
    let subscription_id = fields.optional("subscription_id", read::subscription_id);
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let severity = fields.optional("severity", read::one_of(Severity::NAMES, Severity::parse));
    let status = fields.optional("status", read::one_of(AlertStatus::NAMES, AlertStatus::parse));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let user_id = if of_all { None } else { call.caller.subject(user_id)? };
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let user_id = owner(&app, &call, user_id, subscription_id.as_deref()).await?;
    let query = AlertQuery {
        user_id,
        subscription_id,
        metric_type: metric.map(|metric| metric.metric_type),
        severity,
        status,
        with_anomalies: call.caller.is_admin(),
        before,
        limit,
    };
    let (alerts, next) = app.store.alert_list(&query).await?;
    Ok(Json(answer::page(
        "alerts",
        alerts.iter().map(body_of).collect(),
        cursors.after(next)?,
    )))
}

/// Whose alerts are meant: the named user's, or the subscription's; 404 if the two do not belong
/// together.
async fn owner(
    app: &App,
    call: &Call,
    user_id: Option<String>,
    subscription_id: Option<&str>,
) -> Result<Option<String>, Problem> {
    let unknown = || Problem::not_found("subscription");
    match (user_id, subscription_id) {
        (user_id, None) => Ok(user_id),
        (Some(user), Some(_)) => {
            let found = app
                .store
                .subscription_resolve(&user, subscription_id, false, call.info.now)
                .await?;
            found.map(|_| Some(user)).ok_or_else(unknown)
        }
        // Every user has an implicit one.
        (None, Some(NONE)) => Ok(None),
        (None, Some(id)) => {
            let found = app.store.subscription_get(id).await?;
            found.map(|found| Some(found.user_id)).ok_or_else(unknown)
        }
    }
}

/// `PATCH /usage/alerts/{id}/acknowledge`: somebody has seen it.
pub async fn acknowledge(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    step(&app, &call, &id, AlertStatus::Acknowledged).await
}

/// `PATCH /usage/alerts/{id}/resolve`: it is over.
pub async fn resolve(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    step(&app, &call, &id, AlertStatus::Resolved).await
}

/// Moves an alert forward; who acknowledged it is noted on it.
async fn step(app: &App, call: &Call, id: &str, to: AlertStatus) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let name = request_name(call, &Value::Null)?;
    if let Some(before) = replayed(app, call, name.as_ref()).await? {
        return Ok(before);
    }
    let named = owner_of_query(call)?;
    let found = app.store.alert_find(id).await?;
    let owner = found.as_ref().map(|key| key.user_id.as_str());
    let there = is_there(call, named, owner)?;
    let unknown = || Problem::not_found("alert");
    let key = found.filter(|_| there).ok_or_else(unknown)?;
    if !call.caller.is_admin() {
        // What is for administrators is not there for others.
        let alert = app.store.alert_get(&key).await?;
        alert
            .filter(|alert| alert.alert_type != AlertType::UnusualPattern)
            .ok_or_else(unknown)?;
    }
    let actor = call.caller.actor().id;
    let answered = |alert: &Alert| record(name.as_ref(), StatusCode::OK, &body_of(alert));
    let moved = app.store.alert_move(&key, to, &actor, call.info.now, &answered).await?;
    match moved.ok_or_else(unknown)? {
        Moved::Done(alert) => Ok(idempotency::answer(StatusCode::OK, body_of(&alert))),
        Moved::Before => replayed_now(app, call, name.as_ref()).await,
        Moved::Backward(alert) => Err(Problem::new(
            Code::InvalidTransition,
            format!("The alert is {} already; it only goes forward.", alert.status.as_str()),
        )),
    }
}
