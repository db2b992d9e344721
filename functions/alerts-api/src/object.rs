//! What thresholds, settings and webhook endpoints have in common: they are parts of one item per
//! user, found by an id or listed, and changed together with an audit entry.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use metering_edge::{
    App, answer,
    auth::Call,
    cursor::Cursors,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::Problem,
    subject::{is_there, owner_of_query},
};
use metering_store::{
    mutation::RequestName,
    notification::{Notification, NotificationChange},
};
use serde_json::Value;

/// The settings that hold the threshold or endpoint of this id, if it is there for the caller.
pub(crate) async fn holder(
    app: &App,
    call: &Call,
    named: Option<String>,
    id: &str,
) -> Result<Option<Notification>, Problem> {
    let Some(owner) = app.store.notification_owner(id).await? else {
        // Naming somebody else is refused, whatever there is.
        is_there(call, named, None)?;
        return Ok(None);
    };
    if !is_there(call, named, owner.as_deref())? {
        return Ok(None);
    }
    Ok(Some(app.store.notification_get(owner.as_deref()).await?))
}

/// How a request is named in the audit log and in the records of answers.
pub(crate) struct Mutation<'a> {
    /// Its idempotency key, if it has one.
    pub name: Option<&'a RequestName>,
    /// What it does, `entity.verb`.
    pub action: &'static str,
    /// What it does it to.
    pub target: String,
    /// The status of its answer.
    pub status: StatusCode,
}

/// What a change made of a part of the settings.
pub(crate) struct Edited {
    /// The part before it, for the audit log; null where there was none.
    pub before: Value,
    /// The part after it; null where there is none.
    pub after: Value,
    /// The answer, without secrets.
    pub answer: Value,
}

/// Changes a user's settings, or those of all users. None: the same request did so before.
pub(crate) async fn change(
    app: &App,
    call: &Call,
    mutation: &Mutation<'_>,
    user_id: Option<&str>,
    edit: impl Fn(&mut Notification) -> Result<Edited, Problem> + Send + Sync,
) -> Result<Option<Notification>, Problem> {
    let audit_id = app.context.id("aud");
    let changed = |before: &Notification| -> Result<Option<NotificationChange>, Problem> {
        let mut after = before.clone();
        let edited = edit(&mut after)?;
        let audit = call.audit(
            audit_id.clone(),
            mutation.action,
            mutation.target.clone(),
            edited.before,
            edited.after,
        );
        let record = record(mutation.name, mutation.status, &edited.answer);
        Ok(Some(NotificationChange { after, audit, record }))
    };
    app.store.notification_change(user_id, changed).await
}

/// Takes an object away: its body before, for the audit log, is what `take` gives back; none: there is
/// no such object.
pub(crate) async fn delete(
    app: &App,
    call: &Call,
    id: &str,
    action: &'static str,
    unknown: fn() -> Problem,
    take: impl Fn(&mut Notification, Option<&str>) -> Option<Value> + Send + Sync,
) -> Result<Response, Problem> {
    let name = request_name(call, &Value::Null)?;
    if let Some(before) = replayed(app, call, name.as_ref()).await? {
        return Ok(before);
    }
    let named = owner_of_query(call)?;
    let holder = holder(app, call, named, id).await?.ok_or_else(unknown)?;
    let user = holder.user_id.as_deref();
    let mutation = Mutation {
        name: name.as_ref(),
        action,
        target: id.to_owned(),
        status: StatusCode::NO_CONTENT,
    };
    let edit = |settings: &mut Notification| {
        Ok(Edited {
            before: take(settings, user).ok_or_else(unknown)?,
            after: Value::Null,
            answer: Value::Null,
        })
    };
    match change(app, call, &mutation, user, edit).await? {
        Some(_) => Ok(idempotency::answer(StatusCode::NO_CONTENT, Value::Null)),
        None => replayed_now(app, call, name.as_ref()).await,
    }
}

/// A page of objects by their sort keys, newest first.
pub(crate) async fn page(
    app: &App,
    call: &Call,
    name: &str,
    limit: usize,
    cursor: Option<String>,
    objects: BTreeMap<String, Value>,
) -> Result<Value, Problem> {
    let cursors = Cursors::of(app, call).await?;
    let before = cursors.read(cursor)?;
    let rest = objects.into_iter().rev();
    let rest: Vec<(String, Value)> = rest
        .filter(|(sort_key, _)| before.as_ref().is_none_or(|before| sort_key < before))
        .collect();
    let (page, next) = answer::slice(&rest, limit, None, |(sort_key, _)| sort_key);
    let bodies = page.iter().map(|(_, body)| body.clone()).collect();
    Ok(answer::page(name, bodies, cursors.after(next)?))
}
