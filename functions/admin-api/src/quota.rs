//! Overrides and resets.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use metering_domain::{
    metric::{Kind, Metric},
    plan::Override,
};
use metering_edge::{
    App,
    access::Scope,
    answer::{Quota, number},
    auth::Call,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, Problem},
    read,
    request::JsonBody,
    subject::Named,
    subscription::read_override,
};
use metering_store::{
    counter::Counter,
    limit::{Limited, Planned},
    mutation::{Committed, RequestName},
    subscription::Target,
};
use serde_json::{Value, json};

/// `PUT /admin/quotas`: replaces a metric's override; what is left out is the plan's.
pub async fn put(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.required("metric_type", read::metric(&metrics));
    let own = read_override(&mut fields);
    let metric = fields.finish(metric)?;
    let target = named.target_now(&app, &call).await?;
    change_override(&app, &call, &target, &metric, Some(own), name.as_ref(), StatusCode::OK).await
}

/// `DELETE /admin/quotas`: the plan's limits again.
pub async fn delete(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &Value::Null)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.required("metric_type", read::metric(&metrics));
    let metric = fields.finish(metric)?;
    let target = named.target_now(&app, &call).await?;
    change_override(
        &app,
        &call,
        &target,
        &metric,
        None,
        name.as_ref(),
        StatusCode::NO_CONTENT,
    )
    .await
}

async fn change_override(
    app: &App,
    call: &Call,
    target: &Target,
    metric: &Metric,
    own: Option<Override>,
    name: Option<&RequestName>,
    status: StatusCode,
) -> Result<Response, Problem> {
    let now = call.info.now;
    let audit_id = app.context.id("aud");
    let action = if own.is_some() {
        "quota.override"
    } else {
        "quota.override_removed"
    };
    let audit_target = format!("{}/{}", target.subscription_id, metric.metric_type);
    let planned = |limited: &Limited| -> Result<Planned, Problem> {
        let mut limits = limited.configuration.limits.clone();
        match &own {
            Some(own) => limits.overrides.insert(metric.metric_type.clone(), own.clone()),
            None => limits.overrides.remove(&metric.metric_type),
        };
        let present = limited.target.period_at(now)?;
        let before = counter_of(metric, limited, call)?;
        let start = before.key.period_start.unwrap_or(present.start);
        let after = before.under(limits.terms(&limited.versions, &metric.metric_type, start, now)?);
        let body = |counter: &Counter| Quota::of(counter, present, now).body();
        let audit = call.audit(
            audit_id.clone(),
            action,
            audit_target.clone(),
            body(&before)?,
            body(&after)?,
        );
        let answer = if status == StatusCode::NO_CONTENT {
            Value::Null
        } else {
            body(&after)?
        };
        Ok(Planned {
            limits,
            seen_at: None,
            audit,
            record: record(name, status, &answer),
        })
    };
    let unknown = || Problem::not_found("subscription");
    match app
        .store
        .limits_change(target, now, planned)
        .await?
        .ok_or_else(unknown)?
    {
        Committed::Before => replayed_now(app, call, name).await,
        Committed::Done | Committed::Unmet(_) if status == StatusCode::NO_CONTENT => {
            Ok(idempotency::answer(status, Value::Null))
        }
        Committed::Done | Committed::Unmet(_) => {
            let found = app.store.quota_get(target, metric, now).await?;
            let (target, counter) = found.ok_or_else(unknown)?;
            Ok(idempotency::answer(
                status,
                Quota::of(&counter, target.period_at(now)?, now).body()?,
            ))
        }
    }
}

/// The metric's counter in the present period, stored or as it would be born.
fn counter_of(metric: &Metric, limited: &Limited, call: &Call) -> Result<Counter, Problem> {
    let period = limited.target.period_at(call.info.now)?;
    let key = limited.target.counter_key(metric, &period);
    match limited.counters.iter().find(|counter| counter.key == key) {
        Some(counter) => Ok(counter.clone()),
        None => Ok(limited.unborn(metric, period, call.info.now)?),
    }
}

/// `POST /admin/quotas/reset`: takes usage to 0; what it was is in the ledger.
pub async fn reset(State(app): State<Arc<App>>, call: Call) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &Value::Null)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = match fields.text_of("metric_type") {
        Some(name) => app.store.metrics([name], call.info.now).await?,
        None => app.store.metrics_all(call.info.now).await?,
    };
    let named = Named::read(&call, &mut fields);
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let named = fields.finish(Some(named))?;
    if let Some(metric) = metric.as_ref().filter(|metric| metric.kind != Kind::Sum) {
        let detail = format!(
            "{} is no sum; send a new level or release what is held.",
            metric.metric_type
        );
        return Err(Problem::new(Code::MetricKindMismatch, detail));
    }
    let target = named.target_now(&app, &call).await?;
    let metrics = metric.map_or_else(
        || {
            metrics
                .all()
                .into_iter()
                .filter(|metric| metric.kind == Kind::Sum)
                .cloned()
                .collect()
        },
        |metric| vec![metric],
    );
    let done = reset_all(&app, &call, &target, &metrics, name.as_ref()).await?;
    let body = json!({"message": "Quota reset", "user_id": target.user_id, "subscription_id": target.subscription_id, "reset": done});
    let audit = call.audit(
        app.context.id("aud"),
        "quota.reset_request",
        target.subscription_id.clone(),
        Value::Null,
        body.clone(),
    );
    let record = record(name.as_ref(), StatusCode::OK, &body);
    match app.store.mutation_commit(Vec::new(), &audit, record.as_ref()).await? {
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Done | Committed::Unmet(_) => Ok(idempotency::answer(StatusCode::OK, body)),
    }
}

async fn reset_all(
    app: &App,
    call: &Call,
    target: &Target,
    metrics: &[Metric],
    name: Option<&RequestName>,
) -> Result<Vec<Value>, Problem> {
    let period = target.period_at(call.info.now)?;
    let audit = call.audit(String::new(), "quota.reset", String::new(), Value::Null, Value::Null);
    let mut done = Vec::new();
    for metric in metrics {
        let key = target.counter_key(metric, &period);
        let note = app
            .store
            .quota_reset(&key, name.map(|name| name.hash.as_str()), &audit)
            .await?;
        if let Some(note) = note {
            done.push(json!({"metric_type": metric.metric_type, "previous_usage": number(note.previous_usage), "adjustment_id": note.adjustment_id}));
        }
    }
    Ok(done)
}
