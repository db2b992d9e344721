//! Problems (RFC 9457): what a caller may see of a failure, and, apart from it, what the log gets.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use metering_store::StoreError;
use serde_json::{Map, Value, json};

/// The kinds of problems, by their code in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The body is no JSON.
    MalformedJson,
    /// A part of the request outside the body cannot be read.
    MalformedRequest,
    /// No credentials, or none that are good.
    Unauthenticated,
    /// Good credentials that do not allow this.
    Forbidden,
    /// There is no such thing, or it is somebody else's.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The same identity or key with another content.
    IdempotencyConflict,
    /// It contradicts what is there.
    Conflict,
    /// It is further than that already.
    InvalidTransition,
    /// The subscription has ended.
    SubscriptionInactive,
    /// The reservation was committed or released.
    ReservationClosed,
    /// The reservation was not committed in time.
    ReservationExpired,
    /// The period is closed: its statement is written.
    PeriodClosed,
    /// The user was erased, or is being erased.
    Gone,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is of a type that is not read here.
    UnsupportedMediaType,
    /// Fields are wrong.
    ValidationFailed,
    /// The metric does not count that way.
    MetricKindMismatch,
    /// A level below 0.
    BelowZero,
    /// What it is about is final.
    Sealed,
    /// Too little is known to say something.
    InsufficientData,
    /// A report would be too large.
    ReportTooLarge,
    /// Too little is left.
    QuotaExceeded,
    /// The counter has as many holds as it can.
    TooManyHolds,
    /// A fault of ours.
    Internal,
    /// Try again.
    Unavailable,
}

impl Code {
    /// Its name, status and title.
    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::MalformedJson => ("malformed_json", StatusCode::BAD_REQUEST, "Body is not JSON"),
            Self::MalformedRequest => ("malformed_request", StatusCode::BAD_REQUEST, "Request cannot be read"),
            Self::Unauthenticated => (
                "unauthenticated",
                StatusCode::UNAUTHORIZED,
                "Credentials are missing or not valid",
            ),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "Not allowed"),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method is not allowed here",
            ),
            Self::IdempotencyConflict => (
                "idempotency_conflict",
                StatusCode::CONFLICT,
                "Key was used for something else",
            ),
            Self::Conflict => ("conflict", StatusCode::CONFLICT, "Conflict with what is there"),
            Self::InvalidTransition => ("invalid_transition", StatusCode::CONFLICT, "Step is not possible"),
            Self::SubscriptionInactive => (
                "subscription_inactive",
                StatusCode::CONFLICT,
                "Subscription is not active",
            ),
            Self::PeriodClosed => ("period_closed", StatusCode::CONFLICT, "Period is closed"),
            Self::Gone => ("gone", StatusCode::GONE, "It was here and is no more"),
            Self::PayloadTooLarge => ("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE, "Body is too large"),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content type is not supported",
            ),
            Self::ValidationFailed => (
                "validation_failed",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Request is invalid",
            ),
            Self::MetricKindMismatch => (
                "metric_kind_mismatch",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Metric does not count that way",
            ),
            Self::BelowZero => (
                "below_zero",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Level would fall below 0",
            ),
            Self::Sealed => ("sealed", StatusCode::UNPROCESSABLE_ENTITY, "Hour is final"),
            Self::InsufficientData => (
                "insufficient_data",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Too little is known",
            ),
            Self::ReportTooLarge => (
                "report_too_large",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Report would be too large",
            ),
            Self::ReservationClosed => (
                "reservation_closed",
                StatusCode::CONFLICT,
                "Reservation is decided otherwise",
            ),
            Self::ReservationExpired => ("reservation_expired", StatusCode::CONFLICT, "Reservation expired"),
            Self::TooManyHolds => (
                "too_many_holds",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many reservations are held",
            ),
            Self::QuotaExceeded => ("quota_exceeded", StatusCode::TOO_MANY_REQUESTS, "Quota is exceeded"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Temporarily unavailable",
            ),
        }
    }

    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        self.parts().0
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldCode {
    /// It must be there.
    Required,
    /// There is no such field.
    UnknownField,
    /// It is of another JSON type.
    WrongType,
    /// It is not written as it must be.
    InvalidFormat,
    /// It is too small or too large.
    OutOfRange,
    /// It has more decimals than are counted.
    TooPrecise,
    /// It is too long.
    TooLong,
    /// It is none of the known values.
    UnknownValue,
    /// It holds too few elements.
    TooFewItems,
    /// It holds too many elements.
    TooManyItems,
    /// It may not be given here.
    NotAllowed,
    /// Nothing is sent to this URL.
    UrlNotAllowed,
    /// It contradicts the idempotency key given elsewhere.
    IdempotencyConflict,
}

impl FieldCode {
    /// Its name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::UnknownField => "unknown_field",
            Self::WrongType => "wrong_type",
            Self::InvalidFormat => "invalid_format",
            Self::OutOfRange => "out_of_range",
            Self::TooPrecise => "too_precise",
            Self::TooLong => "too_long",
            Self::UnknownValue => "unknown_value",
            Self::TooFewItems => "too_few_items",
            Self::TooManyItems => "too_many_items",
            Self::NotAllowed => "not_allowed",
            Self::UrlNotAllowed => "url_not_allowed",
            Self::IdempotencyConflict => "idempotency_conflict",
        }
    }
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901), `?name` or `{name}`.
    pub pointer: String,
    /// What is wrong.
    pub code: FieldCode,
    /// What would be right.
    pub detail: String,
}

/// A failure on its way to the caller.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    quota_info: Option<Value>,
    headers: Box<HeaderMap>,
    /// For the log only.
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Problem {
    /// A problem with a sentence for the caller.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            quota_info: None,
            headers: Box::default(),
            source: None,
        }
    }

    /// Wrong fields.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.len() {
            1 => "1 field is wrong".to_owned(),
            count => format!("{count} fields are wrong"),
        };
        Self {
            errors,
            ..Self::new(Code::ValidationFailed, detail)
        }
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// The caller may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Code::Forbidden, detail)
    }

    /// The user was erased.
    pub fn erased() -> Self {
        Self::new(Code::Gone, "The user was erased; nothing is kept of them any more.")
    }

    /// A fault of ours.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(
                Code::Internal,
                "The request could not be completed. Nothing is known to be wrong with it.",
            )
        }
    }

    /// Something that passes.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let problem = Self {
            source: Some(source.into()),
            ..Self::new(
                Code::Unavailable,
                "Please send the request again; what was counted is not counted twice if it has an idempotency key.",
            )
        };
        problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// With one wrong field.
    pub fn with_error(mut self, error: FieldError) -> Self {
        self.errors.push(error);
        self
    }

    /// With the quota that refused.
    pub fn with_quota(self, quota_info: Value) -> Self {
        Self {
            quota_info: Some(quota_info),
            ..self
        }
    }

    /// With a header.
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With more headers.
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.code.parts().1
    }

    /// What the log gets to know besides.
    pub fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn std::error::Error + 'static))
    }

    /// The answer's body.
    pub fn body(&self, instance: &str, request_id: &str) -> Value {
        let (name, status, title) = self.code.parts();
        let mut body = Map::from_iter([
            ("type".to_owned(), json!(format!("urn:usage-metering:problem:{name}"))),
            ("title".to_owned(), json!(title)),
            ("status".to_owned(), json!(status.as_u16())),
            ("detail".to_owned(), json!(self.detail)),
            ("instance".to_owned(), json!(instance)),
            ("code".to_owned(), json!(name)),
            ("request_id".to_owned(), json!(request_id)),
        ]);
        if status == StatusCode::UNPROCESSABLE_ENTITY || !self.errors.is_empty() {
            body.insert("errors".to_owned(), self.errors_value());
        }
        if let Some(quota) = &self.quota_info {
            body.insert("quota_info".to_owned(), quota.clone());
        }
        Value::Object(body)
    }

    /// What is told of it as one of many: in the result of a batch's item.
    pub fn item(&self) -> Value {
        json!({
            "code": self.code.as_str(), "detail": self.detail, "errors": self.errors_value(), "quota_info": self.quota_info,
        })
    }

    /// The wrong fields as callers see them.
    pub fn errors_value(&self) -> Value {
        let error =
            |error: &FieldError| json!({"pointer": error.pointer, "code": error.code.as_str(), "detail": error.detail});
        self.errors.iter().map(error).collect()
    }

    /// The wrong fields.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Its kind.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The answer's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Erased => Self::erased(),
            error if error.retryable() => Self::unavailable(error),
            error => Self::internal(error),
        }
    }
}

/// A problem in a response: [`crate::request`] writes its body, since that names the request.
#[derive(Clone)]
pub(crate) struct Carried(pub(crate) std::sync::Arc<Problem>);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.headers_mut().extend((*self.headers).clone());
        response.extensions_mut().insert(Carried(std::sync::Arc::new(self)));
        response
    }
}

impl From<crate::anomaly::LookError> for Problem {
    fn from(error: crate::anomaly::LookError) -> Self {
        match error {
            crate::anomaly::LookError::Store(error) => error.into(),
            crate::anomaly::LookError::Geography(error) => Self::internal(error),
        }
    }
}
