//! What was counted: a list, newest first, and single events.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use chrono::TimeDelta;
use metering_edge::{
    App,
    access::Scope,
    answer,
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    problem::{FieldCode, Problem},
    read,
    subject::Named,
};
use metering_store::event_list::EventQuery;
use serde_json::Value;

/// How far a list reaches back when nothing is said.
const DAYS_DEFAULT: i64 = 30;

/// `GET /usage/events`.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = Named::read(&call, &mut fields);
    // Without a name all metrics are meant, those defined a moment ago included.
    let metrics = match fields.text_of("metric_type") {
        Some(name) => app.store.metrics([name], now).await?,
        None => app.store.metrics_all(now).await?,
    };
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let resource_id = fields.optional("resource_id", read::text(256));
    // What happened up to five minutes ahead is accepted, so it is listed, too.
    let to = fields
        .optional("to", read::instant)
        .unwrap_or(now + TimeDelta::minutes(6));
    let from = fields
        .optional("from", read::instant)
        .unwrap_or(to.min(now) - TimeDelta::days(DAYS_DEFAULT));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    if to <= from {
        fields.fail("to", FieldCode::OutOfRange, "must be after from");
    }
    let named = fields.finish(Some(named))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let target = named.target(&app, &call).await?;
    let metrics = metric.map_or_else(
        || metrics.all().iter().map(|metric| metric.metric_type.clone()).collect(),
        |metric| vec![metric.metric_type],
    );
    let query = EventQuery {
        owners: vec![target.owner.clone()],
        metrics,
        from,
        to,
        resource_id,
        before,
        limit,
    };
    let (events, next) = app.store.event_list(&query, now).await?;
    Ok(Json(answer::page(
        "events",
        events.iter().map(answer::event).collect(),
        cursors.after(next)?,
    )))
}

/// `GET /usage/events/{id}`. Somebody else's event does not exist.
pub async fn get(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = fields.optional("user_id", read::user_id);
    let named = fields.finish(Some(named))?;
    // The path names the event: an administrator and a service need not say whose it is.
    let user = if named.is_none() && call.caller.is_admin() {
        None
    } else {
        call.caller.subject(named)?
    };
    let unknown = || Problem::not_found("event");
    if metering_domain::ids::event_id_bits(&id).is_none() {
        return Err(unknown());
    }
    let event = app.store.event_get(&id, call.info.now).await?.ok_or_else(unknown)?;
    if user.is_some_and(|user| user != event.user_id) {
        return Err(unknown());
    }
    Ok(Json(answer::event(&event)))
}
