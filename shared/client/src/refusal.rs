//! Why work was not begun, and how that is said to whoever asked for it.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::{
    error::{Error, Problem},
    types::QuotaCheck,
};

/// A client that was refused for an outage comes back after so many seconds.
const OUTAGE_RETRY_SECONDS: u64 = 5;

/// Why work was not begun.
#[derive(Debug, thiserror::Error)]
pub struct Refusal(Why);

#[derive(Debug)]
enum Why {
    /// The quota has no room.
    Denied(Box<Problem>),
    /// The service gave no verdict, and the metric's policy does not do without.
    Unavailable,
    /// The service refuses the question: a wrong key, an unknown metric.
    Wrong(Box<Error>),
}

impl Refusal {
    pub(crate) fn denied(problem: Box<Problem>) -> Self {
        Self(Why::Denied(problem))
    }

    pub(crate) fn unavailable() -> Self {
        Self(Why::Unavailable)
    }

    pub(crate) fn wrong(error: Error) -> Self {
        match error {
            // These are about the user, not about this service.
            Error::Refused(problem) if matches!(&*problem.code, "subscription_inactive" | "gone") => {
                Self(Why::Denied(problem))
            }
            error => {
                tracing::error!(%error, "the metering service refuses the question; work is not begun");
                Self(Why::Wrong(Box::new(error)))
            }
        }
    }

    /// 429 if the quota has no room, 403 if the user has no active subscription, 503 if there is no
    /// verdict, 500 if this service asks wrongly.
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            Why::Denied(problem) if problem.status == 429 => StatusCode::TOO_MANY_REQUESTS,
            Why::Denied(_) => StatusCode::FORBIDDEN,
            Why::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Why::Wrong(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The service's own words, if the quota has no room.
    pub fn problem(&self) -> Option<&Problem> {
        match &self.0 {
            Why::Denied(problem) => Some(problem),
            Why::Unavailable | Why::Wrong(_) => None,
        }
    }

    /// The refusal as `application/problem+json`, with `Retry-After` and the headers `RateLimit-*`
    /// as the service gave them.
    pub fn response(&self) -> Response<Bytes> {
        let status = self.status();
        let body = match &self.0 {
            Why::Denied(problem) => json!({
                "type": problem.kind, "title": problem.title, "status": status.as_u16(), "detail": problem.detail,
                "code": problem.code, "quota_info": problem.quota_info,
            }),
            Why::Unavailable => json!({
                "type": "urn:usage-metering:problem:unavailable", "title": "Usage cannot be checked", "status": 503,
                "detail": "Whether the quota has room cannot be found out now. Try again.", "code": "unavailable",
            }),
            Why::Wrong(_) => json!({
                "type": "urn:usage-metering:problem:internal", "title": "Usage cannot be checked", "status": 500,
                "detail": "Whether the quota has room cannot be found out.", "code": "internal",
            }),
        };
        let mut response = Response::new(body.to_string().into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        self.tell_when(headers);
        response
    }

    fn tell_when(&self, headers: &mut HeaderMap) {
        let mut put = |name: &'static str, value: Option<&str>| {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        };
        match &self.0 {
            Why::Denied(problem) => {
                let seconds = problem.retry_after.map(|after| after.as_secs().to_string());
                put("retry-after", seconds.as_deref());
                if let Some(limit) = &problem.rate_limit {
                    put("ratelimit-limit", Some(&limit.limit));
                    put("ratelimit-remaining", Some(&limit.remaining));
                    put("ratelimit-reset", limit.reset.as_deref());
                }
            }
            Why::Unavailable => put("retry-after", Some(&OUTAGE_RETRY_SECONDS.to_string())),
            Why::Wrong(_) => {}
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Denied(problem) => write!(formatter, "{}", problem.detail),
            Why::Unavailable => write!(formatter, "the metering service gives no verdict"),
            Why::Wrong(error) => write!(formatter, "the metering service refuses the question: {error}"),
        }
    }
}

impl Problem {
    /// What a denied request would have been told, from a check that found no room.
    pub(crate) fn no_room(check: QuotaCheck) -> Self {
        let quota = check.quota_info;
        let now = crate::clock::now();
        let seconds = quota
            .next_reset
            .map(|reset| (reset - now).num_seconds().max(1).unsigned_abs());
        let limit = quota.quota_limit.map(|limit| crate::error::RateLimit {
            limit: limit.to_string(),
            remaining: quota.available.unwrap_or_default().to_string(),
            reset: seconds.map(|seconds| seconds.to_string()),
        });
        Self {
            kind: "urn:usage-metering:problem:quota_exceeded".to_owned(),
            title: "Quota is exceeded".to_owned(),
            status: 429,
            detail: check
                .error_message
                .unwrap_or_else(|| "The quota has no room.".to_owned()),
            instance: String::new(),
            code: "quota_exceeded".to_owned(),
            request_id: String::new(),
            errors: Vec::new(),
            quota_info: Some(Box::new(quota)),
            retry_after: seconds.map(std::time::Duration::from_secs),
            rate_limit: limit,
        }
    }
}
