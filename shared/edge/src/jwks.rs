//! User tokens: JWT (RFC 7519) of one issuer, its keys fetched by JWKS (RFC 7517) and kept a minute.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind, jwk::JwkSet};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::Jwt;

/// How long fetched keys are gone by.
const KEYS_LIFE: TimeDelta = TimeDelta::seconds(60);
/// How soon an unknown key makes them be fetched again.
const KEYS_AGE_MIN: TimeDelta = TimeDelta::seconds(5);
/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// What signs tokens: only asymmetric algorithms, so that nobody who can read the keys can sign.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// A clock that runs ahead by so much does not make a fresh token unusable.
const NOT_BEFORE_LEEWAY_SECONDS: i64 = 60;

/// What a token says.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub sub: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default, rename = "cognito:groups")]
    cognito_groups: Vec<String>,
}

impl Claims {
    /// Whether the token carries a scope, as a scope or as a group.
    pub(crate) fn has_scope(&self, name: &str) -> bool {
        let scopes = self.scope.as_deref().unwrap_or_default().split(' ');
        scopes
            .chain(self.groups.iter().map(String::as_str))
            .chain(self.cognito_groups.iter().map(String::as_str))
            .any(|own| own == name)
    }
}

/// Why a token is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not good.
    Token(&'static str),
    /// The keys to see that with are out of reach.
    Keys(reqwest::Error),
}

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Jwks {
    jwt: Jwt,
    keys: Mutex<Option<(DateTime<Utc>, Arc<JwkSet>)>>,
}

impl Jwks {
    pub(crate) fn new(jwt: Jwt) -> Self {
        Self {
            jwt,
            keys: Mutex::default(),
        }
    }

    /// The claims of a good token.
    pub(crate) async fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, Refusal> {
        let header =
            decode_header(token).map_err(|_| Refusal::Token("The credentials are neither an API key nor a token."))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Token(
                "The token is signed with an algorithm that is not accepted.",
            ));
        }
        let unknown = Refusal::Token("The token is signed with an unknown key.");
        let Some(kid) = header.kid.as_deref() else {
            return Err(unknown);
        };
        let mut keys = self.keys(now, KEYS_LIFE).await?;
        if keys.find(kid).is_none() {
            keys = self.keys(now, KEYS_AGE_MIN).await?;
        }
        let Some(key) = keys.find(kid).and_then(|jwk| DecodingKey::from_jwk(jwk).ok()) else {
            return Err(unknown);
        };
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.jwt.audience]);
        validation.set_issuer(&[&self.jwt.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Judged below, by the request's own time.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = decode::<Claims>(token, &key, &validation)
            .map_err(|error| Refusal::Token(reason(error.kind())))?
            .claims;
        if claims.exp <= now.timestamp() {
            return Err(Refusal::Token("The token has expired."));
        }
        if claims
            .nbf
            .is_some_and(|from| from > now.timestamp() + NOT_BEFORE_LEEWAY_SECONDS)
        {
            return Err(Refusal::Token("The token is not valid yet."));
        }
        if !metering_domain::ids::is_subject_id(&claims.sub) {
            return Err(Refusal::Token("The token's sub is no user id."));
        }
        Ok(claims)
    }

    /// The keys, not older than `age_max`. One fetch at a time.
    async fn keys(&self, now: DateTime<Utc>, age_max: TimeDelta) -> Result<Arc<JwkSet>, Refusal> {
        let mut kept = self.keys.lock().await;
        if let Some((since, keys)) = &*kept
            && now >= *since
            && now - *since < age_max
        {
            return Ok(keys.clone());
        }
        let keys = Arc::new(self.fetch().await.map_err(Refusal::Keys)?);
        *kept = Some((now, keys.clone()));
        Ok(keys)
    }

    async fn fetch(&self) -> Result<JwkSet, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).build()?;
        client
            .get(&self.jwt.jwks_url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidIssuer => "The token is another issuer's.",
        ErrorKind::InvalidAudience => "The token is for another audience.",
        ErrorKind::MissingRequiredClaim(_) => "The token lacks a claim: exp, iss, aud and sub are needed.",
        ErrorKind::InvalidSignature => "The token's signature is not valid.",
        _ => "The token is not valid.",
    }
}
