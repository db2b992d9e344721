//! Reports: made when asked for, and those that were made.
//!
//! Asked twice without an idempotency key there are two; with one, the second is told the first.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use http::StatusCode;
use metering_domain::{
    aggregate::Granularity,
    alert::Severity,
    anomaly::AnomalyStatus,
    report::{ReportFormat, ReportType},
};
use metering_edge::{
    App,
    access::Scope,
    answer::{self, instant},
    auth::Call,
    fields::{Fault, Fields},
    file::Files,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::Problem,
    read,
    request::JsonBody,
    subject::Named,
};
use metering_reporter::{Ask, Filters, discard, make};
use metering_store::{
    audit::AuditEntry,
    mutation::Committed,
    report::{ReportQuery, ReportStatus, StoredReport},
};
use serde_json::{Value, json};

use crate::{
    object::{Part, catalogue, is_visible, metrics},
    period::read_period,
};

const GRANULARITIES: [&str; 2] = ["daily", "hourly"];

/// A report as callers see it.
pub(crate) fn body_of(report: &StoredReport, now: DateTime<Utc>) -> Value {
    let url = format!("/api/v1/usage/reports/download/{}", report.file_name());
    let is_made = report.file.is_some();
    json!({
        "id": report.id, "user_id": report.user_id, "subscription_id": report.subscription_id,
        "report_type": report.report_type.as_str(), "report_format": report.report_format.as_str(),
        "period_start": instant(report.period.start), "period_end": instant(report.period.end),
        "metric_types": report.metric_types, "filters": report.filters,
        "file_url": is_made.then_some(url), "file_size_bytes": report.file.as_ref().map(|file| file.bytes),
        "status": report.status_at(now).as_str(), "error": report.error,
        "generated_at": instant(report.generated_at), "expires_at": instant(report.expires_at()),
        "download_count": report.download_count, "generated_by": report.generated_by,
        "schedule_id": report.schedule_id,
    })
}

fn unknown() -> Problem {
    Problem::not_found("report")
}

pub(crate) fn files(app: &App) -> Result<Files, Problem> {
    let bucket = app.config.reports_bucket().map_err(Problem::internal)?;
    Ok(Files::new(app.s3.clone(), bucket))
}

/// Reads `filters`.
fn filters(fields: &mut Fields) -> Option<Filters> {
    let object = fields.optional("filters", |value: &Value| Ok::<_, Fault>(value.clone()))?;
    let mut own = match Fields::object(object, "/filters") {
        Ok(own) => own,
        Err(error) => {
            fields.note(vec![error]);
            return None;
        }
    };
    let granularity = |name: &str| Granularity::parse(name).filter(|one| GRANULARITIES.contains(&one.as_str()));
    let filters = Filters {
        severity: own.optional("severity", read::one_of(Severity::NAMES, Severity::parse)),
        status: own.optional("status", read::one_of(AnomalyStatus::NAMES, AnomalyStatus::parse)),
        endpoint: own.optional("endpoint", read::text(256)),
        granularity: own.optional("granularity", read::one_of(&GRANULARITIES, granularity)),
    };
    fields.note(own.faults());
    Some(filters)
}

/// `POST /usage/reports/generate`.
pub async fn generate(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let now = call.info.now;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let catalogue = catalogue(&app, &fields, &call).await?;
    let named = Named::read(&call, &mut fields);
    let report_type = fields.optional("report_type", read::one_of(ReportType::NAMES, ReportType::parse));
    let report_format = fields.optional("report_format", read::one_of(ReportFormat::NAMES, ReportFormat::parse));
    let zone = fields.optional("timezone", read::timezone).unwrap_or(Tz::UTC);
    let period = read_period(&mut fields, zone, now);
    let metrics = metrics(&mut fields, &catalogue);
    let filters = filters(&mut fields).unwrap_or_default();
    let period = fields.finish(period)?;
    let target = named.target(&app, &call).await?;
    let ask = Ask {
        report_type: report_type.unwrap_or(ReportType::Summary),
        report_format: report_format.unwrap_or(ReportFormat::Pdf),
        period: period.meant,
        zone,
        metrics,
        filters,
        compared_to: None,
    };
    let names = ask
        .metrics
        .as_ref()
        .map(|metrics| metrics.iter().map(|one| one.metric_type.clone()).collect());
    let mut report = StoredReport {
        id: app.context.id("rpt"),
        user_id: target.user_id.clone(),
        subscription_id: named.subscription_id(),
        report_type: ask.report_type,
        report_format: ask.report_format,
        period: period.shown,
        metric_types: names,
        filters: ask.filters.body(),
        generated_at: now,
        generated_by: call.caller.actor().id,
        schedule_id: None,
        of_several: false,
        file: None,
        error: None,
        download_count: 0,
    };
    let files = files(&app)?;
    let file = make(&app, &files, &report, &[target], &ask, now).await?;
    report.file = Some(file.clone());
    let body = body_of(&report, now);
    let answered = record(name.as_ref(), StatusCode::CREATED, &body);
    match app.store.report_put(&report, answered.as_ref()).await? {
        true => Ok(idempotency::answer(StatusCode::CREATED, body)),
        false => {
            discard(&files, &file).await;
            replayed_now(&app, &call, name.as_ref()).await
        }
    }
}

/// `GET /usage/reports`: of one user, newest first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let own = |fields: &mut Fields| fields.optional("report_type", read::one_of(ReportType::NAMES, ReportType::parse));
    let (part, report_type) = Part::read(&app, &call, own).await?;
    let query = ReportQuery {
        user_id: part.user_id,
        subscription_id: part.subscription_id,
        report_type,
        of_several: call.caller.is_admin(),
        before: part.before,
        limit: part.limit,
    };
    let (found, next) = app.store.report_list(&query, now).await?;
    let bodies = found.iter().map(|report| body_of(report, now)).collect();
    Ok(Json(answer::page("reports", bodies, part.cursors.after(next)?)))
}

/// The report of this id, if it is there for the caller.
async fn visible(app: &App, call: &Call, id: &str) -> Result<StoredReport, Problem> {
    let found = app.store.report_get(id).await?;
    let owner = found.as_ref().map(|report| report.user_id.as_str());
    let of_several = found.as_ref().is_some_and(|report| report.of_several);
    let is_visible = is_visible(call, owner, of_several)?;
    found.filter(|_| is_visible).ok_or_else(unknown)
}

/// `GET /usage/reports/{id}`.
pub async fn get(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let report = visible(&app, &call, &id).await?;
    Ok(Json(body_of(&report, call.info.now)))
}

/// `DELETE /usage/reports/{id}`: its file first, so that no file is left without a record. Twice: the second finds
/// nothing.
pub async fn delete(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let name = request_name(&call, &Value::Null)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let report = visible(&app, &call, &id).await?;
    if let Some(file) = &report.file
        && report.status_at(call.info.now) == ReportStatus::Completed
    {
        files(&app)?.delete(&file.key).await?;
    }
    let before = body_of(&report, call.info.now);
    let audit: AuditEntry = call.audit(
        app.context.id("aud"),
        "report.delete",
        report.id.clone(),
        before,
        Value::Null,
    );
    let answered = record(name.as_ref(), StatusCode::NO_CONTENT, &Value::Null);
    match app.store.report_delete(&report, &audit, answered.as_ref()).await? {
        Committed::Done => Ok(idempotency::answer(StatusCode::NO_CONTENT, Value::Null)),
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Unmet(_) => Err(unknown()),
    }
}
