//! Subscriptions: created, read, listed, moved to another plan.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use metering_domain::ids::subscription_id_of;
use metering_edge::{
    App,
    access::Scope,
    answer,
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, Problem},
    read,
    request::JsonBody,
    subscription::{Periods, Wanted, known_plan, moved_to, plans_for},
};
use metering_store::{
    configuration::Configuration,
    limit::{Limited, Planned},
    mutation::{Committed, RequestName},
    plan::Version,
    subscription::{Subscription, Target},
};
use serde_json::{Value, json};

/// The subscription that a body describes.
pub(crate) fn wanted(mut fields: Fields, plans: &[Version]) -> Result<Wanted, Problem> {
    let id = fields.optional("id", read::new_subscription_id);
    let user_id = fields.required("user_id", read::user_id);
    let plan = fields.required("plan", known_plan(plans));
    let periods = Periods::read(&mut fields);
    let starts_at = fields.optional("starts_at", read::instant);
    let (user_id, plan) = fields.finish(user_id.zip(plan))?;
    Ok(Wanted {
        id,
        user_id,
        plan,
        periods,
        starts_at,
    })
}

/// With an id in any case: without one of its own, of what it says.
pub(crate) fn identified(wanted: Wanted) -> Wanted {
    let id = wanted.id.clone();
    let id = id.unwrap_or_else(|| subscription_id_of(&wanted.created_as()));
    Wanted { id: Some(id), ..wanted }
}

/// `POST /admin/subscriptions`: the same again is 200, another under the same id 409.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let fields = Fields::body(body.0)?;
    let plans = plans_for(&app, &fields).await?;
    let wanted = wanted(fields, &plans)?;
    let (status, created) = match create_one(&app, &call, &wanted, name.as_ref()).await? {
        Created::Now(created) => (StatusCode::CREATED, created),
        Created::Earlier(found) => (StatusCode::OK, found),
        Created::Replayed => return replayed_now(&app, &call, name.as_ref()).await,
    };
    Ok(idempotency::answer(
        status,
        answer::subscription(&created, call.info.now)?,
    ))
}

/// How a creation ended.
pub(crate) enum Created {
    /// It was created.
    Now(Subscription),
    /// It was there, created by the same request.
    Earlier(Subscription),
    /// Its answer is in the record.
    Replayed,
}

/// Creates a subscription, if it is not there.
pub(crate) async fn create_one(
    app: &App,
    call: &Call,
    wanted: &Wanted,
    name: Option<&RequestName>,
) -> Result<Created, Problem> {
    let now = call.info.now;
    let new = wanted.subscription(app, now);
    let body = answer::subscription(&new, now)?;
    let audit_id = app.context.id("aud");
    let target = new.id.clone();
    let audit = call.audit(audit_id, "subscription.create", target, Value::Null, body.clone());
    let record = record(name, StatusCode::CREATED, &body);
    match app.store.subscription_create(&new, &audit, record.as_ref()).await? {
        Committed::Done => Ok(Created::Now(new)),
        Committed::Before => Ok(Created::Replayed),
        Committed::Unmet(unmet) if unmet.contains(&0) => again(app, &new).await.map(Created::Earlier),
        Committed::Unmet(_) => Err(Problem::new(
            Code::Conflict,
            "The user has as many subscriptions as one may have.",
        )),
    }
}

async fn again(app: &App, new: &Subscription) -> Result<Subscription, Problem> {
    let found = app.store.subscription_get(&new.id).await?;
    let found = found.ok_or_else(|| Problem::internal("a subscription is there and is not"))?;
    if found.created_as == new.created_as {
        return Ok(found);
    }
    Err(Problem::new(
        Code::Conflict,
        "There is another subscription with this id.",
    ))
}

/// `GET /admin/subscriptions/{id}`.
pub async fn get(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    Fields::query(call.info.query.as_deref()).finish(Some(()))?;
    let found = app
        .store
        .subscription_get(&id)
        .await?
        .ok_or_else(|| Problem::not_found("subscription"))?;
    Ok(Json(answer::subscription(&found, call.info.now)?))
}

/// `GET /admin/subscriptions`: a user's, or all.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let user_id = fields.optional("user_id", read::user_id);
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let (found, next) = match user_id {
        Some(user_id) => {
            app.store
                .subscription_list_of(&user_id, before.as_deref(), limit)
                .await?
        }
        None => app.store.subscription_list(before.as_deref(), limit).await?,
    };
    let bodies = found
        .iter()
        .map(|one| answer::subscription(one, call.info.now))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Json(answer::page("subscriptions", bodies, cursors.after(next)?)))
}

/// It has ended.
pub(crate) fn cancelled() -> Problem {
    Problem::new(Code::SubscriptionInactive, "The subscription is cancelled.")
}

/// `PATCH /admin/subscriptions/{id}`: another plan, for the very next event.
pub async fn change_plan(
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
    let plans = plans_for(&app, &fields).await?;
    let plan = fields.required("plan", known_plan(&plans));
    let plan = fields.finish(plan)?;
    let now = call.info.now;
    let unknown = || Problem::not_found("subscription");
    let found = app.store.subscription_get(&id).await?.ok_or_else(unknown)?;
    let audit_id = app.context.id("aud");
    let planned = |limited: &Limited| -> Result<Planned, Problem> {
        if !limited.target.active {
            return Err(cancelled());
        }
        let before = &limited.configuration.limits;
        let limits = moved_to(before, &plan, now);
        let changed = Subscription {
            configuration: Configuration {
                limits: limits.clone(),
                ..limited.configuration.clone()
            },
            ..found.clone()
        };
        let body = answer::subscription(&changed, now)?;
        let audit = call.audit(
            audit_id.clone(),
            "subscription.plan",
            id.0.clone(),
            json!({"plan": before.plan}),
            json!({"plan": plan.plan.id}),
        );
        Ok(Planned {
            limits,
            seen_at: None,
            audit,
            record: record(name.as_ref(), StatusCode::OK, &body),
        })
    };
    match app
        .store
        .limits_change(&Target::of(&found, now), now, planned)
        .await?
        .ok_or_else(unknown)?
    {
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Done | Committed::Unmet(_) => {
            let changed = app.store.subscription_get(&id).await?.ok_or_else(unknown)?;
            Ok(idempotency::answer(
                StatusCode::OK,
                answer::subscription(&changed, now)?,
            ))
        }
    }
}
