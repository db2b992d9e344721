//! Metric types: the built-in ones listed, further ones defined and described.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use metering_domain::metric::Metric;
use metering_edge::{
    App,
    access::Scope,
    answer,
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, Problem},
    read,
    request::JsonBody,
};
use metering_store::mutation::Committed;
use serde_json::{Value, json};

/// The longest unit, in characters.
const UNIT_CHARS_MAX: usize = 64;
/// The longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;

fn body_of(metric: &Metric) -> Value {
    json!({
        "metric_type": metric.metric_type, "kind": metric.kind.as_str(), "unit": metric.unit,
        "description": metric.description, "built_in": metric.built_in,
    })
}

/// A metric as a body describes it; `path` is the name that the path gives.
fn wanted(body: Value, path: Option<&str>) -> Result<Metric, Problem> {
    let mut fields = Fields::body(body)?;
    let metric_type = fields.required("metric_type", read::new_metric_type);
    let kind = fields.required("kind", read::kind);
    let unit = fields.required("unit", read::text(UNIT_CHARS_MAX));
    let description = fields.optional("description", read::text(DESCRIPTION_CHARS_MAX));
    if let (Some(path), Some(name)) = (path, &metric_type)
        && path != name
    {
        fields.fail("metric_type", FieldCode::NotAllowed, "must be the one of the path");
    }
    let ((metric_type, kind), unit) = fields.finish(metric_type.zip(kind).zip(unit))?;
    Ok(Metric {
        metric_type,
        kind,
        unit,
        description,
        built_in: false,
    })
}

/// `GET /admin/metric-types`: those defined last first, the built-in ones at the end.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let cursors = Cursors::of(&app, &call).await?;
    let after = cursors.read(cursor)?;
    let catalogue = app.store.metrics_all(call.info.now).await?;
    let all = catalogue.all();
    let (page, next) = answer::slice(&all, limit, after.as_deref(), |metric| &metric.metric_type);
    let bodies = page.iter().map(|metric| body_of(metric)).collect();
    Ok(Json(answer::page("metric_types", bodies, cursors.after(next)?)))
}

/// `POST /admin/metric-types`: a name that is new.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let metric = wanted(body.0, None)?;
    let exists = || {
        Problem::new(
            Code::Conflict,
            format!("There is a metric {} already.", metric.metric_type),
        )
    };
    let catalogue = app.store.metrics([metric.metric_type.as_str()], call.info.now).await?;
    if catalogue.find(&metric.metric_type).is_some() {
        return Err(exists());
    }
    let body = body_of(&metric);
    let target = metric.metric_type.clone();
    let audit = call.audit(
        app.context.id("aud"),
        "metric_type.create",
        target,
        Value::Null,
        body.clone(),
    );
    let record = record(name.as_ref(), StatusCode::CREATED, &body);
    match app.store.metric_create(&metric, &audit, record.as_ref()).await? {
        Committed::Done => Ok(idempotency::answer(StatusCode::CREATED, body)),
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Unmet(_) => match app.store.metrics_all(call.info.now).await?.find(&metric.metric_type) {
            Some(_) => Err(exists()),
            None => Err(Problem::new(
                Code::Conflict,
                "There are as many defined metrics as there may be.",
            )),
        },
    }
}

/// `PUT /admin/metric-types/{metric_type}`: another unit or description; the kind stays.
pub async fn put(
    State(app): State<Arc<App>>,
    call: Call,
    path: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let metric = wanted(body.0, Some(&path))?;
    let catalogue = app.store.metrics_all(call.info.now).await?;
    let found = catalogue.find(&path).ok_or_else(|| Problem::not_found("metric"))?;
    if found.built_in {
        return Err(Problem::new(Code::Conflict, "A built-in metric stays as it is."));
    }
    let kind_stays = || {
        let detail = format!("{} is a {}, and stays one.", found.metric_type, found.kind.as_str());
        Problem::new(Code::Conflict, detail)
    };
    if found.kind != metric.kind {
        return Err(kind_stays());
    }
    let (before, after) = (body_of(found), body_of(&metric));
    let target = metric.metric_type.clone();
    let audit = call.audit(
        app.context.id("aud"),
        "metric_type.change",
        target,
        before,
        after.clone(),
    );
    let record = record(name.as_ref(), StatusCode::OK, &after);
    match app.store.metric_change(&metric, &audit, record.as_ref()).await? {
        Committed::Done => Ok(idempotency::answer(StatusCode::OK, after)),
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Unmet(_) => Err(kind_stays()),
    }
}
