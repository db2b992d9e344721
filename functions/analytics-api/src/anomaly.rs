//! Anomalies: looked for on demand, listed, reviewed.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use chrono::TimeDelta;
use http::StatusCode;
use metering_domain::{
    alert::Severity,
    anomaly::{AnomalyStatus, Detected, HISTORY_MIN, Method},
    ids::NONE,
};
use metering_edge::{
    App,
    access::Scope,
    anomaly::{Subject, look, record as record_findings},
    answer,
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, Problem},
    read,
    request::JsonBody,
    subject::{Named, is_there, owner_of_query},
};
use metering_store::{
    anomaly::{Anomaly, Review, Reviewed},
    anomaly_list::{AnomalyQuery, LOOK_BACK_DAYS_MAX},
};
use serde_json::{Value, json};

use crate::series;

const DAYS_DEFAULT: u32 = 30;
/// How far back a list reaches.
const LIST_DAYS_MAX: u32 = 365;
const METHODS: [&str; 4] = ["all", "statistical", "velocity", "pattern"];
/// Where a review may go.
const STEPS: [&str; 3] = ["investigating", "resolved", "false_positive"];
const NOTE_CHARS_MAX: usize = 500;

/// `POST /usage/anomalies/detect`: looks at a metric now. What is found is recorded, once.
pub async fn detect(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let name = request_name(&call, &Value::Null)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = app.store.metrics(fields.text_of("metric_type"), now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.required("metric_type", read::metric(&metrics));
    let known = |text: &str| METHODS.contains(&text).then(|| Method::parse(text));
    let method = fields.optional("detection_method", read::one_of(&METHODS, known));
    let days = fields.optional("days", read::integer(1, LOOK_BACK_DAYS_MAX));
    let (named, metric) = fields.finish(metric.map(|metric| (named, metric)))?;
    let gauge = series::is_gauge(&metric)?;
    let target = named.target(&app, &call).await?;
    let subject = Subject {
        user_id: target.user_id.clone(),
        series: series::of(&target.owner, &metric, gauge),
        zone: target.timeline.zone(),
    };
    let mut detected = look(&app, &subject, days.unwrap_or(DAYS_DEFAULT), now).await?;
    if let Some(method) = method.flatten() {
        only(&mut detected, method)?;
    }
    detected.findings.reverse();
    let anomalies = record_findings(&app, &subject, detected.findings, now).await?;
    let skipped = |method: &Method| json!({"detection_method": method.as_str(), "code": "insufficient_data"});
    let body = json!({
        "message": "Anomaly detection completed", "anomalies_detected": anomalies.len(),
        "anomalies": anomalies.iter().map(answer::anomaly).collect::<Vec<_>>(),
        "skipped": detected.skipped.iter().map(skipped).collect::<Vec<_>>(),
    });
    let Some(record) = record(name.as_ref(), StatusCode::OK, &body) else {
        return Ok(idempotency::answer(StatusCode::OK, body));
    };
    if app.store.record_put(&record, now).await? {
        Ok(idempotency::answer(StatusCode::OK, body))
    } else {
        replayed_now(&app, &call, name.as_ref()).await
    }
}

/// Leaves what one method found; 422 if it had too little to go by.
fn only(detected: &mut Detected, method: Method) -> Result<(), Problem> {
    if detected.skipped.contains(&method) {
        let needed = match method {
            Method::Statistical => "hours or days",
            Method::Velocity => "hours",
            Method::Pattern => "hours, or events that say where they came from,",
        };
        let detail = format!(
            "The method {} needs at least {HISTORY_MIN} {needed} before the one that is judged.",
            method.as_str()
        );
        return Err(Problem::new(Code::InsufficientData, detail));
    }
    detected.findings.retain(|finding| finding.method == method);
    detected.skipped.clear();
    Ok(())
}

/// `GET /usage/anomalies`: of one user; an administrator who names none means everybody.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = app.store.metrics(fields.text_of("metric_type"), now).await?;
    let user_id = fields.optional("user_id", read::user_id);
    let of_all = user_id.is_none() && call.caller.is_admin();
    if user_id.is_none() && call.caller.must_name_user() && !of_all && !fields.is_faulty("user_id") {
        fields.fail("user_id", FieldCode::Required, "must be given with an API key");
    }
    let subscription_id = fields.optional("subscription_id", read::subscription_id);
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let severity = fields.optional("severity", read::one_of(Severity::NAMES, Severity::parse));
    let status = fields.optional("status", read::one_of(AnomalyStatus::NAMES, AnomalyStatus::parse));
    let days = fields.optional("days", read::integer(1, LIST_DAYS_MAX));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let user_id = if of_all { None } else { call.caller.subject(user_id)? };
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let query = AnomalyQuery {
        user_id: owner(&app, &call, user_id, subscription_id.as_deref()).await?,
        subscription_id,
        metric_type: metric.map(|metric| metric.metric_type),
        severity,
        status,
        since: now - TimeDelta::days(i64::from(days.unwrap_or(DAYS_DEFAULT))),
        before,
        limit,
    };
    let (anomalies, next) = app.store.anomaly_list(&query).await?;
    Ok(Json(answer::page(
        "anomalies",
        anomalies.iter().map(answer::anomaly).collect(),
        cursors.after(next)?,
    )))
}

/// Whose anomalies are meant: the named user's, or the subscription's; 404 if the two do not belong together.
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

/// `PATCH /usage/anomalies/{id}`: moves its review on.
pub async fn review(
    State(app): State<Arc<App>>,
    call: Call,
    id: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let step = |text: &str| AnomalyStatus::parse(text).filter(|status| *status != AnomalyStatus::Detected);
    let status = fields.required("status", read::one_of(&STEPS, step));
    let note = fields.optional("note", read::text(NOTE_CHARS_MAX));
    let review = fields.finish(status.map(|status| Review { status, note }))?;
    let named = owner_of_query(&call)?;
    let found = app.store.anomaly_find(&id).await?;
    let owner = found.as_ref().map(|key| key.user_id.as_str());
    let there = is_there(&call, named, owner)?;
    let unknown = || Problem::not_found("anomaly");
    let key = found.filter(|_| there).ok_or_else(unknown)?;
    let audit_id = app.context.id("aud");
    let shown = |anomaly: &Anomaly| json!({"status": anomaly.status.as_str(), "note": anomaly.note});
    let audit = |before: &Anomaly, after: &Anomaly| {
        call.audit(
            audit_id.clone(),
            "anomaly.review",
            before.id.clone(),
            shown(before),
            shown(after),
        )
    };
    let answered = |anomaly: &Anomaly| record(name.as_ref(), StatusCode::OK, &answer::anomaly(anomaly));
    let reviewed = app.store.anomaly_review(&key, &review, &audit, &answered).await?;
    match reviewed.ok_or_else(unknown)? {
        Reviewed::Done(anomaly) => Ok(idempotency::answer(StatusCode::OK, answer::anomaly(&anomaly))),
        Reviewed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Reviewed::Final(anomaly) => Err(Problem::new(
            Code::InvalidTransition,
            format!(
                "The anomaly is {}; its review goes from there to {}.",
                anomaly.status.as_str(),
                nexts(anomaly.status)
            ),
        )),
    }
}

/// Where a review may go from a status, in words.
fn nexts(status: AnomalyStatus) -> String {
    let next = AnomalyStatus::ALL
        .iter()
        .filter(|next| **next != status && status.may_become(**next));
    let next: Vec<&str> = next.map(|next| next.as_str()).collect();
    if next.is_empty() {
        "nowhere".to_owned()
    } else {
        next.join(", ")
    }
}
