//! The head of a message, after Standard Webhooks 1.0.

use chrono::{DateTime, Utc};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_TYPE, InvalidHeaderValue, USER_AGENT},
};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, WebhookError};

use super::secret::Secret;

/// Who sends.
const AGENT: &str = concat!("usage-metering/", env!("CARGO_PKG_VERSION"));

/// Why a message cannot be sent to anybody.
#[derive(Debug, thiserror::Error)]
pub enum MessageFault {
    /// Nothing signs it.
    #[error("it has no secret")]
    NoSecret,
    /// Its id is not of visible ASCII characters without a full stop, which ends the id in what is signed.
    #[error("its id is not of visible ASCII characters without a full stop")]
    Id,
    /// The signing library takes it not.
    #[error("it cannot be signed")]
    Signature(#[from] WebhookError),
    /// A header takes it not.
    #[error("it does not fit into a header")]
    Header(#[from] InvalidHeaderValue),
}

/// The headers of one try.
pub(super) fn headers(id: &str, at: DateTime<Utc>, body: &str, secrets: &[Secret]) -> Result<HeaderMap, MessageFault> {
    if secrets.is_empty() {
        return Err(MessageFault::NoSecret);
    }
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.') {
        return Err(MessageFault::Id);
    }
    let at_seconds = at.timestamp();
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| secret.sign(id, at_seconds, body))
        .collect::<Result<_, _>>()?;
    Ok(HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static(AGENT)),
        (HeaderName::from_static(HEADER_WEBHOOK_ID), HeaderValue::try_from(id)?),
        (
            HeaderName::from_static(HEADER_WEBHOOK_TIMESTAMP),
            HeaderValue::from(at_seconds),
        ),
        (
            HeaderName::from_static(HEADER_WEBHOOK_SIGNATURE),
            HeaderValue::try_from(signatures.join(" "))?,
        ),
    ]))
}

/// The same as texts.
pub(super) fn told(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}
