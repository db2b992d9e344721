//! What `/_local` answers to a request it cannot carry out: the same shape as the service's own
//! problems (RFC 9457), with all wrong fields at once.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};

/// A refused request.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Value>,
}

impl Problem {
    /// There is no such thing here.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The thing is there, for other methods.
    pub fn method_not_allowed() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "method_not_allowed", "this method is not for this path")
    }

    /// The body is not JSON.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
    }

    /// One field of the body is wrong.
    pub fn field(name: &str, code: &str, detail: &str) -> Self {
        Self::invalid(vec![field_error(name, code, detail)])
    }

    /// Fields of the body are wrong.
    pub fn invalid(errors: Vec<Value>) -> Self {
        let detail = match errors.len() {
            1 => "1 field is wrong".to_owned(),
            count => format!("{count} fields are wrong"),
        };
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self {
            errors,
            ..Self::new(status, "validation_failed", detail)
        }
    }

    /// What was waited for did not come.
    pub fn not_drained(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_drained", detail)
    }

    /// The stack itself failed.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }
}

/// What is wrong with the field `name` of a body; with the whole of it if there is no name.
pub fn field_error(name: &str, code: &str, detail: &str) -> Value {
    let pointer = match name {
        "" => String::new(),
        name => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
    };
    json!({"pointer": pointer, "code": code, "detail": detail})
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut problem = json!({
            "type": format!("urn:usage-metering:problem:{}", self.code),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if !self.errors.is_empty() {
            problem["errors"] = Value::Array(self.errors);
        }
        let mut response = (self.status, problem.to_string()).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
