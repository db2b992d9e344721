//! `POST /usage/track`: one event, counted exactly once.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use metering_edge::{
    App,
    access::Scope,
    answer::{Quota, number},
    auth::Call,
    fields::Fields,
    idempotency::{header_key, one_key},
    problem::Problem,
    report::{Report, Rules, Sent},
    request::JsonBody,
    verdict::{quota_of, refusal},
};
use metering_store::{
    counter::Counter,
    event::{Draft, Event, Source},
    track::Tracked,
};
use serde_json::json;

/// The endpoint.
pub async fn track(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let draft = draft(&app, &call, body).await?;
    let tracked = app.store.track(&draft).await?;
    if let Some(problem) = refusal(&app, &draft, &tracked, "/metric_value").await? {
        return Err(problem);
    }
    match tracked {
        Tracked::Recorded(event, counter) => recorded(&app, &call, &event, counter.as_deref(), false).await,
        Tracked::Duplicate(event, counter) => recorded(&app, &call, &event, counter.as_deref(), true).await,
        refused => Err(Problem::internal(format!("{refused:?} is no refusal"))),
    }
}

async fn draft(app: &App, call: &Call, body: JsonBody) -> Result<Draft, Problem> {
    let header = header_key(call)?;
    let fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let rules = Rules {
        metrics: &metrics,
        now: call.info.now,
        names_user: call.caller.must_name_user(),
        says_enforce: true,
    };
    let mut report = Report::read(fields, rules)?;
    report.details.idempotency_key = one_key(header, report.details.idempotency_key)?;
    let said = report.enforce;
    let user = report.permitted(&call.caller, said.unwrap_or(true), call.info.now)?;
    report.require_trackable()?;
    let sent = Sent {
        namespace: call.caller.namespace(),
        origin: "",
        source: Source::Api,
        received_at: call.info.now,
        now: call.info.now,
    };
    Ok(report.draft(&app.context, user, said.unwrap_or(true), sent))
}

async fn recorded(
    app: &App,
    call: &Call,
    event: &Event,
    counter: Option<&Counter>,
    duplicate: bool,
) -> Result<Response, Problem> {
    let now = call.info.now;
    let quota = match counter {
        Some(counter) => Some(quota_of(app, counter, now).await?),
        None => None,
    };
    let (status, message) = if duplicate {
        (StatusCode::OK, "Usage already tracked")
    } else {
        (StatusCode::CREATED, "Usage tracked successfully")
    };
    let body = json!({
        "message": message, "usage_id": event.id, "metric_type": event.metric_type, "metric_value": number(event.value),
        "unit": event.unit, "duplicate": duplicate, "late": event.late, "over_limit": event.over_limit,
        "quota": quota.as_ref().map(Quota::body).transpose()?,
    });
    let headers = quota.map(|quota| quota.rate_limit(now)).unwrap_or_default();
    Ok((status, headers, Json(body)).into_response())
}
