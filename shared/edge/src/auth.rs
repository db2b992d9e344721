//! Authentication: API keys of services and tokens of users. Both are known for a minute, which is
//! how long a revoked key lives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::extract::FromRequestParts;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use metering_store::{Store, api_key::ApiKey, audit::AuditEntry};
use serde_json::Value;

use crate::{
    App,
    access::{Caller, Scope},
    config::Jwt,
    jwks::{self, Jwks},
    problem::{Code, Problem},
    request::RequestInfo,
};

/// How long an instance goes by what it knew of a key.
pub const CACHE_LIFE: TimeDelta = TimeDelta::seconds(60);
/// How many keys an instance remembers.
const CACHED_MAX: usize = 10_000;
/// Longer texts are no credentials of ours.
const CREDENTIALS_BYTES_MAX: usize = 8 * 1024;

/// A key's record, and since when it is known.
type Known = (DateTime<Utc>, Arc<ApiKey>);

/// Knows callers by their credentials.
#[derive(Debug)]
pub struct Authenticator {
    keys: Mutex<HashMap<String, Known>>,
    jwks: Option<Jwks>,
}

/// An authenticated request.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who is calling.
    pub caller: Caller,
    /// The request.
    pub info: RequestInfo,
    /// Its header `Idempotency-Key`, as given.
    pub idempotency_key: Option<Value>,
}

impl Call {
    /// An audit entry about this call, of what is yet to be said.
    pub fn audit(&self, id: String, action: &'static str, target: String, before: Value, after: Value) -> AuditEntry {
        AuditEntry {
            id,
            at: self.info.now,
            actor: self.caller.actor(),
            action,
            target,
            before,
            after,
            reason: None,
            ip: self.info.ip.clone(),
            request_id: self.info.id.clone(),
        }
    }
}

impl Authenticator {
    /// An authenticator that trusts the tokens of one issuer, or of none.
    pub fn new(jwt: Option<Jwt>) -> Self {
        Self {
            keys: Mutex::default(),
            jwks: jwt.map(Jwks::new),
        }
    }

    async fn caller(&self, store: &Store, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Caller, Problem> {
        let given = headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| refused("There is no Authorization header."))?;
        let text = given.to_str().ok().filter(|text| text.len() <= CREDENTIALS_BYTES_MAX);
        let (scheme, credentials) = text
            .and_then(|text| text.split_once(' '))
            .ok_or_else(|| refused("The Authorization header is no Bearer token."))?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused("The Authorization header is no Bearer token."));
        }
        match credentials.trim() {
            key if key.starts_with("mk_") => self.service(store, key, now).await,
            token => self.user(store, token, now).await,
        }
    }

    async fn service(&self, store: &Store, text: &str, now: DateTime<Utc>) -> Result<Caller, Problem> {
        let key = match self.known(text, now) {
            Some(key) => key,
            None => self.look_up(store, text, now).await?,
        };
        if key.revoked_at.is_some_and(|at| at <= now) {
            return Err(refused("The API key is revoked."));
        }
        if key.valid_until.is_some_and(|until| until <= now) {
            return Err(refused("The API key has expired."));
        }
        let scopes = key.scopes.iter().filter_map(|name| Scope::parse(name)).collect();
        Ok(Caller::Service {
            key_id: key.id.clone(),
            scopes,
        })
    }

    fn known(&self, text: &str, now: DateTime<Utc>) -> Option<Arc<ApiKey>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, key) = keys.get(text)?;
        let age = now - *since;
        (age >= TimeDelta::zero() && age < CACHE_LIFE).then(|| key.clone())
    }

    async fn look_up(&self, store: &Store, text: &str, now: DateTime<Utc>) -> Result<Arc<ApiKey>, Problem> {
        let found = store.api_key_find(text).await?;
        let key = Arc::new(found.ok_or_else(|| refused("The API key is not known."))?);
        if let Err(error) = store.api_key_used(&key, now).await {
            // When a key was last used is worth no refusal.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the use of a key was not noted"
            );
        }
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_MAX {
            keys.clear();
        }
        keys.insert(text.to_owned(), (now, key.clone()));
        Ok(key)
    }

    async fn user(&self, store: &Store, token: &str, now: DateTime<Utc>) -> Result<Caller, Problem> {
        let Some(jwks) = &self.jwks else {
            return Err(refused("No user tokens are accepted here."));
        };
        match jwks.verify(token, now).await {
            Ok(claims) => {
                let admin = claims.has_scope(Scope::Admin.as_str());
                // Whatever an administrator changes is noted under their name.
                if admin && store.is_erased(&claims.sub).await? {
                    return Err(refused("The administrator was erased."));
                }
                Ok(Caller::User { admin, id: claims.sub })
            }
            Err(jwks::Refusal::Token(detail)) => Err(refused(detail)),
            Err(jwks::Refusal::Keys(source)) => Err(Problem::unavailable(source)),
        }
    }
}

/// The answer to credentials that are not good (RFC 6750, section 3).
fn refused(detail: &str) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

impl FromRequestParts<Arc<App>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let info = parts
            .extensions
            .get::<RequestInfo>()
            .cloned()
            .ok_or_else(|| Problem::internal("the request has no name"))?;
        let caller = app.auth.caller(&app.store, &parts.headers, info.now).await?;
        let key = parts
            .headers
            .get("idempotency-key")
            .map(|value| Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Ok(Self {
            caller,
            info,
            idempotency_key: key,
        })
    }
}
