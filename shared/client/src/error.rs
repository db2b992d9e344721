//! What can go wrong with a call, and whether trying again can help.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::types::{FieldError, Quota};

/// How much of an answer that is not the service's is kept.
const EXCERPT_BYTES_MAX: usize = 512;

/// Why a call has no answer of the expected kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service said no, and why.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Something answered that is not the service: a proxy, the gateway before it.
    #[error("an answer {status} that is not the service's: {excerpt}")]
    Unexpected {
        /// Its status.
        status: StatusCode,
        /// Its beginning.
        excerpt: String,
        /// When to come back, if it says so.
        retry_after: Option<Duration>,
    },
    /// No answer: no connection, or none in time. What was asked may have been done all the same;
    /// the same identity again does it once.
    #[error("the metering service cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// An answer that is not as documented.
    #[error("the metering service's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// What was to be sent is not acceptable; nothing was sent.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What would be right.
        reason: String,
    },
}

impl Error {
    /// Whether the same request may have another answer soon: it did not arrive, or the service was
    /// not able to do it. A quota that has no room is not that.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.code != "quota_exceeded" && temporary(problem.status),
            Self::Unexpected { status, .. } => temporary(status.as_u16()),
            Self::Unreachable(error) => !error.is_builder(),
            Self::Unreadable(_) | Self::Invalid { .. } => false,
        }
    }

    /// When to come back, if the answer says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            Self::Unexpected { retry_after, .. } => *retry_after,
            Self::Unreachable(_) | Self::Unreadable(_) | Self::Invalid { .. } => None,
        }
    }

    /// The service's refusal, if that is what it is.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }

    /// What an answer that is no success says.
    pub(crate) fn answered(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        if let Ok(mut problem) = serde_json::from_slice::<Problem>(body) {
            problem.retry_after = seconds(headers, "retry-after").map(Duration::from_secs);
            problem.rate_limit = RateLimit::of(headers);
            return Self::Refused(Box::new(problem));
        }
        let excerpt = &body[..body.len().min(EXCERPT_BYTES_MAX)];
        Self::Unexpected {
            status,
            excerpt: String::from_utf8_lossy(excerpt).into_owned(),
            retry_after: seconds(headers, "retry-after").map(Duration::from_secs),
        }
    }
}

fn temporary(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A refusal, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{status} {code}: {detail}")]
#[non_exhaustive]
pub struct Problem {
    /// A URN of the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This one in words.
    pub detail: String,
    /// The path that was called.
    pub instance: String,
    /// The kind as a stable word: `quota_exceeded`, `validation_failed`.
    pub code: String,
    /// By which the service's logs know the call.
    pub request_id: String,
    /// Which fields are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Where the quota stands that has no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_info: Option<Box<Quota>>,
    /// When to come back, of the header `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Of the headers `RateLimit-*`.
    #[serde(skip)]
    pub rate_limit: Option<RateLimit>,
}

/// The headers `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// The limit, in the metric's unit.
    pub limit: String,
    /// What is left of it.
    pub remaining: String,
    /// Seconds until usage starts from 0 again; none for gauges and leases.
    pub reset: Option<String>,
}

impl RateLimit {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        Some(Self {
            limit: text("ratelimit-limit")?,
            remaining: text("ratelimit-remaining")?,
            reset: text("ratelimit-reset"),
        })
    }
}
