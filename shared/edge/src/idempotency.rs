//! Mutations with an `Idempotency-Key`: the same key, path and body get the same answer for a day.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode};
use metering_store::mutation::{MutationRecord, RequestName};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    App,
    auth::Call,
    problem::{Code, FieldCode, FieldError, Problem},
    read,
};

/// The name of a request that carries a key; its query belongs to its content.
pub fn request_name(call: &Call, body: &Value) -> Result<Option<RequestName>, Problem> {
    let Some(key) = header_key(call)? else { return Ok(None) };
    let info = &call.info;
    let hash = digest(&[&call.caller.principal(), info.method.as_str(), &info.path, &key]);
    let fingerprint = digest(&[&body.to_string(), info.query.as_deref().unwrap_or_default()]);
    Ok(Some(RequestName { hash, fingerprint }))
}

/// The checked header.
pub fn header_key(call: &Call) -> Result<Option<String>, Problem> {
    let Some(value) = &call.idempotency_key else {
        return Ok(None);
    };
    read::idempotency_key(value).map(Some).map_err(|fault| {
        Problem::fields(vec![FieldError {
            pointer: "/idempotency_key".to_owned(),
            code: fault.0,
            detail: format!("the header Idempotency-Key {}", fault.1),
        }])
    })
}

/// The key of a request that may give it in the header, the body, or both alike.
pub fn one_key(header: Option<String>, body: Option<String>) -> Result<Option<String>, Problem> {
    match (header, body) {
        (Some(header), Some(body)) if header != body => Err(Problem::fields(vec![FieldError {
            pointer: "/idempotency_key".to_owned(),
            code: FieldCode::IdempotencyConflict,
            detail: "differs from the header Idempotency-Key".to_owned(),
        }])),
        (header, body) => Ok(header.or(body)),
    }
}

/// The answer that the request got before, if it did.
pub async fn replayed(app: &App, call: &Call, name: Option<&RequestName>) -> Result<Option<Response>, Problem> {
    let Some(name) = name else { return Ok(None) };
    let Some(record) = app.store.mutation_find(name, call.info.now).await? else {
        return Ok(None);
    };
    if record.name.fingerprint != name.fingerprint {
        return Err(Problem::new(
            Code::IdempotencyConflict,
            "The Idempotency-Key was used with another body.",
        ));
    }
    let status = StatusCode::from_u16(record.status).map_err(Problem::internal)?;
    Ok(Some(said_before(status, record.body)))
}

/// An answer that was given before to the same request.
pub fn said_before(status: StatusCode, body: Value) -> Response {
    let mut response = answer(status, body);
    response
        .headers_mut()
        .insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

/// The answer to a request whose record turned out to be there.
pub async fn replayed_now(app: &App, call: &Call, name: Option<&RequestName>) -> Result<Response, Problem> {
    replayed(app, call, name)
        .await?
        .ok_or_else(|| Problem::internal("a record is there and is not"))
}

/// A record of an answer, for a request that has a name.
pub fn record(name: Option<&RequestName>, status: StatusCode, body: &Value) -> Option<MutationRecord> {
    name.map(|name| MutationRecord {
        name: name.clone(),
        status: status.as_u16(),
        body: body.clone(),
    })
}

/// An answer with a body; without one where there is nothing to say.
pub fn answer(status: StatusCode, body: Value) -> Response {
    if status == StatusCode::NO_CONTENT {
        status.into_response()
    } else {
        (status, Json(body)).into_response()
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
