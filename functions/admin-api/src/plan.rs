//! Plans: listed, read, edited. An edit is a new version.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use metering_domain::{
    ids,
    plan::{Plan, QuotaTerms},
};
use metering_edge::{
    App,
    access::Scope,
    answer,
    auth::Call,
    cursor::Cursors,
    fields::{Fault, Fields},
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, FieldError, Problem},
    read,
    request::JsonBody,
};
use metering_store::{
    metric::Catalogue,
    mutation::Committed,
    plan::{PLANS_MAX, Version},
};
use rust_decimal::Decimal;
use serde_json::Value;

/// The longest name of a plan, in characters.
const NAME_CHARS_MAX: usize = 128;
/// How often an edit that met another one looks again.
const TURNS_MAX: usize = 8;

fn body_of(plan: &Plan) -> Result<Value, Problem> {
    serde_json::to_value(plan).map_err(Problem::internal)
}

/// A currency's code (ISO 4217).
fn currency(value: &Value) -> Result<String, Fault> {
    let code = read::text(3)(value)?;
    if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(code)
    } else {
        let detail = "must be three capital letters like EUR";
        Err(Fault::new(FieldCode::InvalidFormat, detail))
    }
}

/// A name as a part of a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The terms of one metric; `within` is where they stand.
fn terms(value: Value, within: &str, errors: &mut Vec<FieldError>) -> QuotaTerms {
    let mut fields = match Fields::object(value, within) {
        Ok(fields) => fields,
        Err(error) => {
            errors.push(error);
            return QuotaTerms::default();
        }
    };
    let amount = || read::quantity(Decimal::ZERO);
    let quota_limit = fields.nullable("quota_limit", amount());
    if quota_limit.is_none() && !fields.is_faulty("quota_limit") {
        fields.fail("quota_limit", FieldCode::Required, "must be given; null is unlimited");
    }
    let allow_overage = fields.required("allow_overage", read::boolean);
    let terms = QuotaTerms {
        quota_limit: quota_limit.flatten(),
        allow_overage: allow_overage.unwrap_or_default(),
        overage_price: fields.optional("overage_price", amount()),
        block_size: fields.optional("block_size", read::positive),
        overage_limit: fields.optional("overage_limit", amount()),
    };
    errors.extend(fields.faults());
    terms
}

/// The plan that a body describes, as the version after `before`.
fn wanted(mut fields: Fields, id: &str, catalogue: &Catalogue) -> Result<Plan, Problem> {
    // What a GET answered may be sent back: the path names the plan, and versions count themselves.
    let named = fields.optional("id", read::text(ids::SUBJECT_ID_CHARS_MAX));
    if named.is_some_and(|named| named != id) {
        fields.fail("id", FieldCode::NotAllowed, "must be the one of the path");
    }
    fields.optional("version", read::json_integer(1, u32::MAX));
    let name = fields.required("name", read::text(NAME_CHARS_MAX));
    let currency = fields.required("currency", currency);
    let given = fields.required("quotas", |value| match value.as_object() {
        Some(quotas) => Ok(quotas.clone()),
        None => Err(Fault::new(FieldCode::WrongType, "must be an object")),
    });
    let (mut quotas, mut errors) = (BTreeMap::new(), Vec::new());
    for (metric, value) in given.iter().flatten() {
        match read::metric(catalogue)(&Value::String(metric.clone())) {
            Ok(_) => {
                let within = format!("/quotas/{metric}");
                quotas.insert(metric.clone(), terms(value.clone(), &within, &mut errors));
            }
            Err(Fault(code, detail)) => errors.push(FieldError {
                pointer: format!("/quotas/{}", escaped(metric)),
                code,
                detail,
            }),
        }
    }
    fields.note(errors);
    let ((name, currency), _) = fields.finish(name.zip(currency).zip(given))?;
    Ok(Plan {
        id: id.to_owned(),
        name,
        currency,
        version: 1,
        quotas,
    })
}

/// `GET /admin/plans`: each in its newest version, the one edited last first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let cursors = Cursors::of(&app, &call).await?;
    let after = cursors.read(cursor)?;
    let all = app.store.plan_list().await?;
    let (page, next) = answer::slice(&all, limit, after.as_deref(), |known| &known.plan.id);
    let bodies = page.iter().map(|known| body_of(&known.plan));
    let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
    Ok(Json(answer::page("plans", bodies, cursors.after(next)?)))
}

/// `GET /admin/plans/{id}`: the newest version.
pub async fn get(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    Fields::query(call.info.query.as_deref()).finish(Some(()))?;
    let found = app.store.plan_get(&id).await?;
    let found = found.ok_or_else(|| Problem::not_found("plan"))?;
    Ok(Json(body_of(&found.plan)?))
}

/// `PUT /admin/plans/{id}`: the next version, or the first; what says the same makes none.
pub async fn put(
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
    if !ids::is_subscription_id(&id) {
        return Err(Problem::fields(vec![FieldError {
            pointer: "{id}".to_owned(),
            code: FieldCode::InvalidFormat,
            detail: "must match [A-Za-z0-9._:@|-]{1,128} and not be none".to_owned(),
        }]));
    }
    let fields = Fields::body(body.0)?;
    let catalogue = app.store.metrics(fields.names_in("quotas"), call.info.now).await?;
    let wanted = wanted(fields, &id, &catalogue)?;
    for _ in 0..TURNS_MAX {
        let before = app.store.plan_get(&id).await?;
        if before.is_none() && app.store.plan_list().await?.len() >= PLANS_MAX {
            let detail = "There are as many plans as there may be.";
            return Err(Problem::new(Code::Conflict, detail));
        }
        let (next, body) = next_version(&wanted, before.as_ref())?;
        let shown = before.as_ref().map(|before| body_of(&before.plan)).transpose()?;
        let audit_id = app.context.id("aud");
        let audit = call.audit(audit_id, "plan.put", id.0.clone(), shown.into(), body.clone());
        let record = record(name.as_ref(), StatusCode::OK, &body);
        let committed = match (next, record) {
            (Some(plan), record) => {
                let sent = app.store.plan_put(&plan, before.as_ref(), &audit, record.as_ref());
                sent.await?
            }
            (None, Some(record)) if !app.store.record_put(&record, call.info.now).await? => Committed::Before,
            (None, _) => Committed::Done,
        };
        match committed {
            Committed::Done => return Ok(idempotency::answer(StatusCode::OK, body)),
            Committed::Before => return replayed_now(&app, &call, name.as_ref()).await,
            Committed::Unmet(_) => {}
        }
    }
    Err(Problem::unavailable("a plan is edited by many at once"))
}

/// The version to be made, if the plan does not say the same already, and the answer.
fn next_version(wanted: &Plan, before: Option<&Version>) -> Result<(Option<Plan>, Value), Problem> {
    let Some(before) = before.map(|before| &before.plan) else {
        return Ok((Some(wanted.clone()), body_of(wanted)?));
    };
    let as_before = Plan {
        version: before.version,
        ..wanted.clone()
    };
    if as_before == *before {
        return Ok((None, body_of(before)?));
    }
    let next = Plan {
        version: before.version + 1,
        ..wanted.clone()
    };
    let body = body_of(&next)?;
    Ok((Some(next), body))
}
