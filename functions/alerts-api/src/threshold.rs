//! Custom thresholds: set for a user, one of their subscriptions, or everybody.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use futures::try_join;
use http::StatusCode;
use metering_domain::{
    alert::{Channel, Severity, ThresholdScope, ThresholdType},
    metric::Kind,
};
use metering_edge::{
    App,
    access::Scope,
    answer::{instant, number},
    auth::Call,
    fields::Fields,
    idempotency::{self, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, FieldError, Problem},
    read,
    request::JsonBody,
    subject::{Named, owner_of_query},
};
use metering_store::{
    keys,
    metric::Catalogue,
    notification::{CustomThreshold, Notification, THRESHOLDS_MAX},
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    notification::channels,
    object::{self, Edited, Mutation},
};

/// The longest silence after a delivery, in minutes: a week.
const COOLDOWN_MINUTES_MAX: u32 = 7 * 24 * 60;
/// The silence when nothing is said, in minutes.
const COOLDOWN_MINUTES_DEFAULT: u32 = 60;

fn unknown() -> Problem {
    Problem::not_found("threshold")
}

fn scope_of(user_id: Option<&str>, threshold: &CustomThreshold) -> ThresholdScope {
    match (user_id, &threshold.subscription_id) {
        (None, _) => ThresholdScope::Global,
        (Some(_), Some(_)) => ThresholdScope::Subscription,
        (Some(_), None) => ThresholdScope::User,
    }
}

fn body_of(user_id: Option<&str>, threshold: &CustomThreshold) -> Value {
    let channels: Vec<&str> = threshold.channels.iter().map(|channel| channel.as_str()).collect();
    json!({
        "id": threshold.id, "scope": scope_of(user_id, threshold).as_str(), "user_id": user_id,
        "subscription_id": threshold.subscription_id, "metric_type": threshold.metric_type,
        "threshold_type": threshold.threshold_type.as_str(), "threshold_value": number(threshold.value),
        "notification_channels": channels, "cooldown_minutes": threshold.cooldown_minutes,
        "severity": threshold.severity.as_str(), "enabled": threshold.enabled, "created_at": instant(threshold.created_at),
    })
}

/// What a threshold watches, and how its alerts go out, as a body says it.
struct Wanted {
    metric_type: String,
    threshold_type: ThresholdType,
    value: Decimal,
    channels: Vec<Channel>,
    cooldown_minutes: u32,
    severity: Severity,
    enabled: bool,
}

impl Wanted {
    fn read(fields: &mut Fields, metrics: &Catalogue) -> Option<Self> {
        let metric = fields.required("metric_type", read::metric(metrics));
        let threshold_type = fields.required(
            "threshold_type",
            read::one_of(ThresholdType::NAMES, ThresholdType::parse),
        );
        if threshold_type == Some(ThresholdType::Rate) && metric.as_ref().is_some_and(|metric| metric.kind != Kind::Sum)
        {
            let detail = "must not be rate: rates are judged on what a sum adds up to in an hour";
            fields.fail("threshold_type", FieldCode::NotAllowed, detail);
        }
        let value = fields.required("threshold_value", read::positive);
        let channels = channels(fields);
        let cooldown = fields.optional("cooldown_minutes", read::json_integer(0, COOLDOWN_MINUTES_MAX));
        let severity = fields.optional("severity", read::one_of(Severity::NAMES, Severity::parse));
        let enabled = fields.optional("enabled", read::boolean);
        Some(Self {
            metric_type: metric?.metric_type,
            threshold_type: threshold_type?,
            value: value?,
            channels: channels.unwrap_or_else(|| vec![Channel::Email]),
            cooldown_minutes: cooldown.unwrap_or(COOLDOWN_MINUTES_DEFAULT),
            severity: severity.unwrap_or(Severity::Medium),
            enabled: enabled.unwrap_or(true),
        })
    }

    fn threshold(&self, id: String, subscription_id: Option<String>, now: DateTime<Utc>) -> CustomThreshold {
        CustomThreshold {
            id,
            subscription_id,
            metric_type: self.metric_type.clone(),
            threshold_type: self.threshold_type,
            value: self.value,
            channels: self.channels.clone(),
            cooldown_minutes: self.cooldown_minutes,
            severity: self.severity,
            enabled: self.enabled,
            created_at: now,
            since: now,
            revision: 0,
        }
    }
}

/// The threshold that takes another one's place. What changes what it watches arms it anew.
fn replaced(before: &CustomThreshold, new: CustomThreshold, now: DateTime<Utc>) -> CustomThreshold {
    let watches = |one: &CustomThreshold| {
        let subscription = one.subscription_id.clone();
        (one.metric_type.clone(), one.threshold_type, one.value, subscription)
    };
    let anew = watches(before) != watches(&new) || (new.enabled && !before.enabled);
    CustomThreshold {
        created_at: before.created_at,
        since: if anew { now } else { before.since },
        revision: before.revision + u64::from(anew),
        ..new
    }
}

/// Reads a scope and what goes with it; none for a global threshold.
fn named(call: &Call, fields: &mut Fields) -> Result<Option<Named>, Problem> {
    let scope = fields.optional("scope", read::one_of(ThresholdScope::NAMES, ThresholdScope::parse));
    if scope == Some(ThresholdScope::Global) {
        call.caller.require(Scope::Admin)?;
        for name in ["user_id", "subscription_id"] {
            if fields.optional(name, |_| Ok(())).is_some() {
                fields.fail(
                    name,
                    FieldCode::NotAllowed,
                    "must be left out: a global threshold is for everybody",
                );
            }
        }
        return Ok(None);
    }
    let named = Named::read(call, fields);
    match (scope, named.subscription_id()) {
        (Some(ThresholdScope::User), Some(_)) => {
            let detail = "must be left out: the scope is user";
            fields.fail("subscription_id", FieldCode::NotAllowed, detail);
        }
        (Some(ThresholdScope::Subscription), None) if !fields.is_faulty("subscription_id") => {
            let detail = "must be given: the scope is subscription";
            fields.fail("subscription_id", FieldCode::Required, detail);
        }
        _ => {}
    }
    Ok(Some(named))
}

/// `POST /usage/thresholds`: it does not fire for what is reached already.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let named = named(&call, &mut fields)?;
    let wanted = Wanted::read(&mut fields, &metrics);
    let wanted = fields.finish(wanted)?;
    let user = named.as_ref().map(|named| named.user(&call)).transpose()?;
    let subscription_id = named.as_ref().and_then(Named::subscription_id);
    if let Some(named) = named.filter(|_| subscription_id.is_some()) {
        named.target(&app, &call).await?;
    }
    let threshold = wanted.threshold(app.context.id("thr"), subscription_id, call.info.now);
    let user = user.as_deref();
    let mutation = Mutation {
        name: name.as_ref(),
        action: "threshold.create",
        target: threshold.id.clone(),
        status: StatusCode::CREATED,
    };
    let edit = |settings: &mut Notification| {
        if settings.thresholds.len() >= THRESHOLDS_MAX {
            let detail = format!("There are {THRESHOLDS_MAX} such thresholds, which is all there may be.");
            return Err(Problem::new(Code::Conflict, detail));
        }
        settings.thresholds.insert(threshold.id.clone(), threshold.clone());
        let body = body_of(user, &threshold);
        Ok(Edited {
            before: Value::Null,
            after: body.clone(),
            answer: body,
        })
    };
    match object::change(&app, &call, &mutation, user, edit).await? {
        Some(_) => Ok(idempotency::answer(StatusCode::CREATED, body_of(user, &threshold))),
        None => replayed_now(&app, &call, name.as_ref()).await,
    }
}

/// `GET /usage/thresholds`, newest first: a user's, and for an administrator the global ones, too.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = Named::read(&call, &mut fields);
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    let named = fields.finish(Some(named))?;
    let user = named.user(&call)?;
    let subscription_id = named.subscription_id();
    if subscription_id.is_some() {
        named.target(&app, &call).await?;
    }
    let holders = if call.caller.is_admin() {
        let store = &app.store;
        let (own, global) = try_join!(store.notification_get(Some(&user)), store.notification_get(None))?;
        vec![own, global]
    } else {
        vec![app.store.notification_get(Some(&user)).await?]
    };
    let mut bodies = BTreeMap::new();
    for holder in &holders {
        let wanted = |one: &&CustomThreshold| subscription_id.is_none() || one.subscription_id == subscription_id;
        for threshold in holder.thresholds.values().filter(wanted) {
            let sort_key = keys::by_instant(threshold.created_at, &threshold.id);
            bodies.insert(sort_key, body_of(holder.user_id.as_deref(), threshold));
        }
    }
    Ok(Json(
        object::page(&app, &call, "thresholds", limit, cursor, bodies).await?,
    ))
}

/// `GET /usage/thresholds/{id}`.
pub async fn get(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let named = owner_of_query(&call)?;
    let holder = object::holder(&app, &call, named, &id).await?.ok_or_else(unknown)?;
    let threshold = holder.thresholds.get(id.as_str()).ok_or_else(unknown)?;
    Ok(Json(body_of(holder.user_id.as_deref(), threshold)))
}

/// `PUT /usage/thresholds/{id}`: replaces it; whose it is and its scope stay.
pub async fn put(
    State(app): State<Arc<App>>,
    call: Call,
    id: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let scope = fields.optional("scope", read::one_of(ThresholdScope::NAMES, ThresholdScope::parse));
    let named = fields.optional("user_id", read::user_id);
    let subscription_id = fields.optional("subscription_id", read::subscription_id);
    let wanted = Wanted::read(&mut fields, &metrics);
    let wanted = fields.finish(wanted)?;
    let holder = object::holder(&app, &call, named, &id).await?.ok_or_else(unknown)?;
    let user = holder.user_id.as_deref();
    let before = holder.thresholds.get(id.as_str()).ok_or_else(unknown)?;
    let subscription_id = watched(&app, &call, user, before, scope, subscription_id).await?;
    let new = wanted.threshold(before.id.clone(), subscription_id, call.info.now);
    let mutation = Mutation {
        name: name.as_ref(),
        action: "threshold.change",
        target: new.id.clone(),
        status: StatusCode::OK,
    };
    let edit = |settings: &mut Notification| {
        let threshold = settings.thresholds.get_mut(id.as_str()).ok_or_else(unknown)?;
        let before = body_of(user, threshold);
        *threshold = replaced(threshold, new.clone(), call.info.now);
        let after = body_of(user, threshold);
        Ok(Edited {
            before,
            after: after.clone(),
            answer: after,
        })
    };
    let Some(settings) = object::change(&app, &call, &mutation, user, edit).await? else {
        return replayed_now(&app, &call, name.as_ref()).await;
    };
    let threshold = settings.thresholds.get(id.as_str()).ok_or_else(unknown)?;
    Ok(idempotency::answer(StatusCode::OK, body_of(user, threshold)))
}

/// The subscription that a replaced threshold watches: the named one where its scope has one, else
/// the same as before.
async fn watched(
    app: &App,
    call: &Call,
    user: Option<&str>,
    before: &CustomThreshold,
    scope: Option<ThresholdScope>,
    named: Option<String>,
) -> Result<Option<String>, Problem> {
    let stays = scope_of(user, before);
    let refused = |name: &str| {
        Problem::fields(vec![FieldError {
            pointer: format!("/{name}"),
            code: FieldCode::NotAllowed,
            detail: format!("does not go with the scope {}, which stays", stays.as_str()),
        }])
    };
    if scope.is_some_and(|scope| scope != stays) {
        return Err(refused("scope"));
    }
    let (Some(user), Some(id)) = (user, &named) else {
        return if named.is_some() {
            Err(refused("subscription_id"))
        } else {
            Ok(before.subscription_id.clone())
        };
    };
    if stays != ThresholdScope::Subscription {
        return Err(refused("subscription_id"));
    }
    let store = &app.store;
    let found = store.subscription_resolve(user, Some(id), false, call.info.now).await?;
    found.map(|_| named).ok_or_else(|| Problem::not_found("subscription"))
}

/// `DELETE /usage/thresholds/{id}`.
pub async fn delete(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let take = |settings: &mut Notification, user: Option<&str>| {
        settings.thresholds.remove(id.as_str()).map(|one| body_of(user, &one))
    };
    object::delete(&app, &call, &id, "threshold.delete", unknown, take).await
}
