//! API keys: created (shown once), listed, revoked.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use metering_edge::{
    App,
    access::Scope,
    answer::{instant, instant_opt, page},
    auth::Call,
    cursor::Cursors,
    fields::{Fault, Fields},
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{FieldCode, Problem},
    read,
    request::JsonBody,
};
use metering_store::{api_key::ApiKey, mutation::Committed};
use serde_json::{Value, json};

/// The longest name of a key.
const NAME_CHARS_MAX: usize = 128;

fn body_of(key: &ApiKey, text: Option<&str>) -> Value {
    json!({
        "id": key.id, "name": key.name, "scopes": key.scopes, "key": text, "created_at": instant(key.created_at),
        "expires_at": instant_opt(key.valid_until), "last_used_at": instant_opt(key.last_used_at), "revoked_at": instant_opt(key.revoked_at),
    })
}

fn scope(value: &Value) -> Result<Scope, Fault> {
    let known = value.as_str().and_then(Scope::parse);
    known.ok_or_else(|| {
        let detail = format!("must be one of {}", Scope::NAMES.join(", "));
        Fault::new(FieldCode::UnknownValue, detail)
    })
}

/// `POST /admin/api-keys`: the only answer that shows the key.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let now = call.info.now;
    let mut fields = Fields::body(body.0)?;
    let key_name = fields.required("name", read::text(NAME_CHARS_MAX));
    let scopes = fields.required_list("scopes", scope);
    let expires_at = fields.optional("expires_at", read::instant);
    if expires_at.is_some_and(|at| at <= now) {
        fields.fail("expires_at", FieldCode::OutOfRange, "must be in the future");
    }
    let (key_name, scopes) = fields.finish(key_name.zip(scopes))?;
    let scopes: BTreeSet<String> = scopes.into_iter().map(|scope| scope.as_str().to_owned()).collect();
    let text = format!("mk_{:032x}{:032x}", app.context.random(), app.context.random());
    let key = ApiKey::new(&text, &key_name, scopes.into_iter().collect(), now, expires_at);
    let shown = body_of(&key, None);
    let audit = call.audit(
        app.context.id("aud"),
        "api_key.create",
        key.id.clone(),
        Value::Null,
        shown.clone(),
    );
    let record = record(name.as_ref(), StatusCode::CREATED, &shown);
    match app.store.api_key_create(&key, &audit, record.as_ref()).await? {
        Committed::Done => Ok(idempotency::answer(StatusCode::CREATED, body_of(&key, Some(&text)))),
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Unmet(_) => Err(Problem::internal("256 random bits came twice")),
    }
}

/// `GET /admin/api-keys`.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let (keys, next) = app.store.api_key_list(before.as_deref(), limit).await?;
    Ok(Json(page(
        "api_keys",
        keys.iter().map(|key| body_of(key, None)).collect(),
        cursors.after(next)?,
    )))
}

/// `DELETE /admin/api-keys/{id}`: revoked; instances that know the key take it for a minute more.
pub async fn revoke(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &Value::Null)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    Fields::query(call.info.query.as_deref()).finish(Some(()))?;
    let mut key = app
        .store
        .api_key_get(&id)
        .await?
        .ok_or_else(|| Problem::not_found("API key"))?;
    let before = body_of(&key, None);
    key.revoked_at = Some(call.info.now);
    let audit = call.audit(
        app.context.id("aud"),
        "api_key.revoke",
        key.id.clone(),
        before,
        body_of(&key, None),
    );
    let record = record(name.as_ref(), StatusCode::NO_CONTENT, &Value::Null);
    match app.store.api_key_revoke(&key.id, &audit, record.as_ref()).await? {
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        // Unmet: it was revoked before, which is what was asked for.
        Committed::Done | Committed::Unmet(_) => Ok(idempotency::answer(StatusCode::NO_CONTENT, Value::Null)),
    }
}
