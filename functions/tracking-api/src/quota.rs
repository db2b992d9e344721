//! Where a user stands: one quota before an operation, all of them, and the summary.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use futures::try_join;
use metering_domain::{metric::Metric, number::plain, quota::admits};
use metering_edge::{
    App,
    access::Scope,
    answer::{Quota, instant, number},
    auth::Call,
    fields::Fields,
    problem::Problem,
    read,
    subject::Named,
};
use metering_store::{counter::Counter, quota::Quotas, subscription::Target};
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// `GET /usage/check-quota/{metric_type}`: promises nothing; to be sure, track or reserve.
pub async fn check(State(app): State<Arc<App>>, call: Call, metric_type: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Read)?;
    let metrics = app.store.metrics([metric_type.as_str()], call.info.now).await?;
    let metric = metrics.find(&metric_type).ok_or_else(|| Problem::not_found("metric"))?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = Named::read(&call, &mut fields);
    let required = fields
        .optional("required_quantity", read::quantity(Decimal::ZERO))
        .unwrap_or(Decimal::ONE);
    let named = fields.finish(Some(named))?;
    let (target, counter) = quota(&app, &call, &named, metric).await?;
    let quota = Quota::of(&counter, target.period_at(call.info.now)?, call.info.now);
    let error_message = refusal(&target, metric, &counter, &quota, required);
    let body =
        json!({"is_available": error_message.is_none(), "error_message": error_message, "quota_info": quota.body()?});
    Ok((quota.rate_limit(call.info.now), Json(body)).into_response())
}

/// Why so much could not be used now, in a sentence.
fn refusal(target: &Target, metric: &Metric, counter: &Counter, quota: &Quota, required: Decimal) -> Option<String> {
    if !target.active {
        return Some("The subscription is not active.".to_owned());
    }
    let standing = quota.standing();
    if admits(&counter.terms, standing.current_usage, standing.held, required) {
        return None;
    }
    let left = counter.terms.cap().map_or(Decimal::ZERO, |cap| {
        (cap - standing.current_usage - standing.held).max(Decimal::ZERO)
    });
    Some(format!(
        "{} {} required, {} left.",
        plain(required),
        metric.unit,
        plain(left)
    ))
}

/// `GET /usage/quotas`.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let named = fields.finish(Some(named))?;
    let quotas = quotas(&app, &call, &named).await?;
    let wanted = |counter: &&Counter| match &metric {
        Some(metric) => counter.key.metric_type == metric.metric_type,
        None => counter.is_notable(),
    };
    let bodies = quotas
        .counters
        .iter()
        .filter(wanted)
        .map(|counter| Quota::of(counter, quotas.period, call.info.now).body());
    Ok(Json(json!({"quotas": bodies.collect::<Result<Vec<_>, _>>()?})))
}

/// `GET /usage/summary`.
pub async fn summary(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = Named::read(&call, &mut fields);
    let named = fields.finish(Some(named))?;
    let target = named.target(&app, &call).await?;
    let open = async |target: &Target| app.store.alerts_open(&target.owner).await.map_err(Problem::from);
    let (found, alerts) = try_join!(quotas_of(&app, &call, &named, &target), open(&target))?;
    let alerts = if found.target.owner == target.owner {
        alerts
    } else {
        open(&found.target).await?
    };
    let target = &found.target;
    let notable = found.counters.iter().filter(|counter| counter.is_notable());
    let quotas: Vec<Quota> = notable
        .map(|counter| Quota::of(counter, found.period, call.info.now))
        .collect();
    let total: Decimal = quotas.iter().map(|quota| quota.standing().overage_cost).sum();
    let currency = quotas.first().map_or(metering_domain::plan::CURRENCY, Quota::currency);
    Ok(Json(json!({
        "user_id": target.user_id, "subscription_id": target.subscription_id, "plan": found.configuration.limits.plan,
        "period_start": instant(found.period.start), "period_end": instant(found.period.end),
        "quotas": quotas.iter().map(Quota::body).collect::<Result<Vec<_>, _>>()?,
        "total_overage_cost": number(total), "currency": currency,
        "alerts_count": alerts,
    })))
}

async fn quotas(app: &App, call: &Call, named: &Named) -> Result<Quotas, Problem> {
    quotas_of(app, call, named, &*named.target(app, call).await?).await
}

/// The quotas of a target, or of the one that took its place.
async fn quotas_of(app: &App, call: &Call, named: &Named, target: &Target) -> Result<Quotas, Problem> {
    let unknown = || Problem::not_found("subscription");
    let found = app.store.quota_list(target, call.info.now).await?.ok_or_else(unknown)?;
    if !ended_meanwhile(target, &found.target) {
        return Ok(found);
    }
    let target = named.target_now(app, call).await?;
    app.store.quota_list(&target, call.info.now).await?.ok_or_else(unknown)
}

async fn quota(app: &App, call: &Call, named: &Named, metric: &Metric) -> Result<(Target, Counter), Problem> {
    let unknown = || Problem::not_found("subscription");
    let now = call.info.now;
    let target = named.target(app, call).await?;
    let found = app.store.quota_get(&target, metric, now).await?.ok_or_else(unknown)?;
    if !ended_meanwhile(&target, &found.0) {
        return Ok(found);
    }
    let target = named.target_now(app, call).await?;
    app.store.quota_get(&target, metric, now).await?.ok_or_else(unknown)
}

/// Whether the subscription ended since this instance looked: then the default is another one.
fn ended_meanwhile(known: &Target, found: &Target) -> bool {
    known.active && !found.active
}
