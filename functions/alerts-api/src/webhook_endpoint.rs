//! Webhook endpoints: where a service wants a user's alerts posted. A secret is shown when it is
//! made, never again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use metering_edge::{
    App,
    access::Scope,
    answer::instant,
    auth::Call,
    fields::Fields,
    idempotency::{self, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, FieldError, Problem},
    read,
    request::JsonBody,
    subject::{NamedUser, owner_of_query},
};
use metering_store::{
    keys,
    notification::{ENDPOINTS_MAX, Notification, ROTATION, WebhookEndpoint},
};
use serde_json::{Value, json};

use crate::object::{self, Edited, Mutation};

/// The longest URL, in characters.
const URL_CHARS_MAX: usize = 2_048;

fn body_of(user_id: Option<&str>, endpoint: &WebhookEndpoint, secret: Option<&str>) -> Value {
    json!({
        "id": endpoint.id, "user_id": user_id, "url": endpoint.url, "secret": secret, "enabled": endpoint.enabled,
        "created_at": instant(endpoint.created_at),
    })
}

fn unknown() -> Problem {
    Problem::not_found("webhook endpoint")
}

/// Services and administrators only: what is posted may be about more than its user should send.
fn require(call: &Call, scope: Scope) -> Result<(), Problem> {
    call.caller.require(scope)?;
    if call.caller.is_plain_user() {
        return Err(Problem::forbidden("Webhook endpoints are set by services."));
    }
    Ok(())
}

/// A secret of Standard Webhooks: 32 random bytes.
fn secret(app: &App) -> String {
    let bytes = [app.context.random().to_be_bytes(), app.context.random().to_be_bytes()].concat();
    format!("whsec_{}", STANDARD.encode(bytes))
}

/// `POST /usage/webhook-endpoints`: with its secret.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    require(&call, Scope::Write)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let named = NamedUser::read(&call, &mut fields);
    let url = fields.required("url", read::text(URL_CHARS_MAX));
    let (named, url) = fields.finish(Some(named).zip(url))?;
    let user = named.user(&call)?;
    let url = checked(&app, &url).await?;
    let endpoint = WebhookEndpoint {
        id: app.context.id("whe"),
        url,
        secret: secret(&app),
        previous: None,
        enabled: true,
        created_at: call.info.now,
    };
    let mutation = Mutation {
        name: name.as_ref(),
        action: "webhook_endpoint.create",
        target: endpoint.id.clone(),
        status: StatusCode::CREATED,
    };
    let edit = |settings: &mut Notification| {
        if settings.endpoints.len() >= ENDPOINTS_MAX {
            let detail = format!("The user has {ENDPOINTS_MAX} webhook endpoints, which is all there may be.");
            return Err(Problem::new(Code::Conflict, detail));
        }
        settings.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        let shown = body_of(Some(&user), &endpoint, None);
        Ok(Edited {
            before: Value::Null,
            after: shown.clone(),
            answer: shown,
        })
    };
    match object::change(&app, &call, &mutation, Some(&user), edit).await? {
        Some(_) => {
            let body = body_of(Some(&user), &endpoint, Some(&endpoint.secret));
            Ok(idempotency::answer(StatusCode::CREATED, body))
        }
        None => replayed_now(&app, &call, name.as_ref()).await,
    }
}

/// The URL, if something may be posted there.
async fn checked(app: &App, url: &str) -> Result<String, Problem> {
    app.webhooks.check(url).await.map_err(|fault| {
        Problem::fields(vec![FieldError {
            pointer: "/url".to_owned(),
            code: FieldCode::UrlNotAllowed,
            detail: fault.to_string(),
        }])
    })
}

/// `GET /usage/webhook-endpoints`, newest first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    require(&call, Scope::Read)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = NamedUser::read(&call, &mut fields);
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    let named = fields.finish(Some(named))?;
    let user = named.user(&call)?;
    let settings = app.store.notification_get(Some(&user)).await?;
    let bodies = settings.endpoints.values().map(|endpoint| {
        let sort_key = keys::by_instant(endpoint.created_at, &endpoint.id);
        (sort_key, body_of(Some(&user), endpoint, None))
    });
    let page = object::page(&app, &call, "webhook_endpoints", limit, cursor, bodies.collect()).await?;
    Ok(Json(page))
}

/// `DELETE /usage/webhook-endpoints/{id}`.
pub async fn delete(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    require(&call, Scope::Write)?;
    let take = |settings: &mut Notification, user: Option<&str>| {
        settings
            .endpoints
            .remove(id.as_str())
            .map(|one| body_of(user, &one, None))
    };
    object::delete(&app, &call, &id, "webhook_endpoint.delete", unknown, take).await
}

/// `POST /usage/webhook-endpoints/{id}/rotate-secret`: the new secret; the old one signs for a day
/// more, so that the receiver can change over.
pub async fn rotate_secret(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    require(&call, Scope::Write)?;
    let name = request_name(&call, &Value::Null)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let named = owner_of_query(&call)?;
    let holder = object::holder(&app, &call, named, &id).await?.ok_or_else(unknown)?;
    let user = holder.user_id.as_deref();
    let new = secret(&app);
    let mutation = Mutation {
        name: name.as_ref(),
        action: "webhook_endpoint.rotate_secret",
        target: id.to_string(),
        status: StatusCode::OK,
    };
    let edit = |settings: &mut Notification| {
        let endpoint = settings.endpoints.get_mut(id.as_str()).ok_or_else(unknown)?;
        let before = body_of(user, endpoint, None);
        let old = std::mem::replace(&mut endpoint.secret, new.clone());
        endpoint.previous = Some((old, call.info.now + ROTATION));
        let after = body_of(user, endpoint, None);
        Ok(Edited {
            before,
            after: after.clone(),
            answer: after,
        })
    };
    let Some(settings) = object::change(&app, &call, &mutation, user, edit).await? else {
        return replayed_now(&app, &call, name.as_ref()).await;
    };
    let endpoint = settings.endpoints.get(id.as_str()).ok_or_else(unknown)?;
    Ok(idempotency::answer(StatusCode::OK, body_of(user, endpoint, Some(&new))))
}
