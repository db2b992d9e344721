//! Downloads: a link to the file that is good for minutes, and counted.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use metering_edge::{
    App,
    access::Scope,
    auth::Call,
    fields::{Fault, Fields},
    file::SIGNED_SECONDS_MAX,
    problem::{Code, FieldCode, Problem},
    read,
    subject::is_there,
};
use metering_store::report::{ReportStatus, StoredReport};
use serde_json::{Value, json};

use crate::report::files;

/// `true` or `false` in a query.
fn flag(value: &Value) -> Result<bool, Fault> {
    match value.as_str() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(Fault::new(FieldCode::UnknownValue, "must be one of true, false")),
    }
}

/// `GET /usage/reports/download/{file}`: 302 to a signed link, or the link as an answer. Each link that is given
/// counts as a download.
pub async fn download(State(app): State<Arc<App>>, call: Call, file: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let redirect = fields.optional("redirect", flag).unwrap_or(true);
    let named = fields.optional("user_id", read::user_id);
    let named = fields.finish(Some(named))?;
    let report = match file.split_once('.') {
        Some((id, _)) => app.store.report_get(id).await?,
        None => None,
    };
    let report = report.filter(|report| report.file_name() == *file);
    let is_own = is_there(&call, named, report.as_ref().map(|report| report.user_id.as_str()))?;
    let is_visible = |report: &StoredReport| is_own && (!report.of_several || call.caller.is_admin());
    let report = report.filter(is_visible).ok_or_else(|| Problem::not_found("report"))?;
    let key = match (&report.file, report.status_at(call.info.now)) {
        (Some(file), ReportStatus::Completed) => &file.key,
        (None, _) => return Err(Problem::not_found("report")),
        (Some(_), _) => {
            return Err(Problem::new(
                Code::Gone,
                "The file was kept for 7 days. Have it made again.",
            ));
        }
    };
    let (now, name) = (call.info.now, report.file_name());
    // No longer than the file is there.
    let left = (report.expires_at() - now)
        .num_seconds()
        .clamp(1, i64::from(SIGNED_SECONDS_MAX));
    let left = u32::try_from(left).unwrap_or(SIGNED_SECONDS_MAX);
    let url = files(&app)?.signed_url(key, now, left, &name).await?;
    if !app.store.report_downloaded(&report).await? {
        return Err(Problem::not_found("report"));
    }
    if !redirect {
        return Ok(Json(json!({"url": url})).into_response());
    }
    let location = HeaderValue::from_str(&url).map_err(Problem::internal)?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}
