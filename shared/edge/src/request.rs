//! One request from its arrival to its answer: its name and time, its body, the problem if there
//! is one, one line in the log.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{FromRequest, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use crate::{
    App,
    fields::Fields,
    problem::{Carried, Code, Problem},
};

/// The most bytes of a body: 2 MiB.
pub const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What is known of a request before it is read. The clock is read once.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// Its name, in the answer and in the log.
    pub id: String,
    /// When it came.
    pub now: DateTime<Utc>,
    /// From which address.
    pub ip: Option<String>,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query string.
    pub query: Option<String>,
}

/// A function's router: its routes, and what every request goes through.
pub fn router(app: Arc<App>, routes: Router<Arc<App>>) -> Router {
    routes
        .fallback(|| async { Problem::not_found("path") })
        .method_not_allowed_fallback(|| async { Problem::new(Code::MethodNotAllowed, "This path has other methods.") })
        .layer(middleware::from_fn_with_state(app.clone(), accompany))
        .with_state(app)
}

async fn accompany(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let info = RequestInfo {
        id: app.context.id("req"),
        now: app.context.now(),
        ip: source_ip(&request),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
    };
    request.extensions_mut().insert(info.clone());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| Problem::internal("the handler panicked").into_response());
    finish(&app, &info, response)
}

/// Writes the problem's body and the headers that every answer has, and the line in the log.
fn finish(app: &App, info: &RequestInfo, mut response: Response) -> Response {
    let problem = response.extensions_mut().remove::<Carried>();
    if let Some(Carried(problem)) = &problem {
        let body = problem.body(&info.path, &info.id).to_string();
        let headers = std::mem::take(response.headers_mut());
        response = (response.status(), body).into_response();
        *response.headers_mut() = headers;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
    }
    if let Ok(id) = HeaderValue::from_str(&info.id) {
        response.headers_mut().insert("x-request-id", id);
    }
    log(
        app,
        info,
        response.status(),
        problem.as_ref().and_then(|carried| carried.0.source()),
    );
    response
}

fn log(app: &App, info: &RequestInfo, status: StatusCode, source: Option<&(dyn std::error::Error + 'static)>) {
    let duration_ms = (app.context.now() - info.now).num_milliseconds();
    let (method, path, status) = (info.method.as_str(), info.path.as_str(), status.as_u16());
    match source {
        Some(error) => tracing::error!(
            request_id = info.id,
            method,
            path,
            status,
            duration_ms,
            error,
            chain = chain(error),
            "request failed"
        ),
        None => tracing::info!(request_id = info.id, method, path, status, duration_ms, "request"),
    }
}

/// The causes of an error, outermost first.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn source_ip(request: &Request) -> Option<String> {
    match request.extensions().get::<lambda_http::request::RequestContext>()? {
        lambda_http::request::RequestContext::ApiGatewayV2(context) => context.http.source_ip.clone(),
        _ => None,
    }
}

/// A JSON body.
#[derive(Debug)]
pub struct JsonBody(pub Value);

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _app: &Arc<App>) -> Result<Self, Problem> {
        require_media_type(&request, "application/json")?;
        Self::from_media_type(request).await
    }
}

impl JsonBody {
    /// Reads a body whose media type the caller has judged.
    pub async fn from_media_type(request: Request) -> Result<Self, Problem> {
        // What has a body has no parameters.
        Fields::query(request.uri().query()).finish(Some(()))?;
        let bytes = read_body(request).await?;
        if bytes.is_empty() {
            return Err(Problem::new(
                Code::MalformedJson,
                "The body is empty; it must be a JSON object.",
            ));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let detail = format!(
                "The body is not JSON: line {}, column {}.",
                error.line(),
                error.column()
            );
            Problem::new(Code::MalformedJson, detail)
        })
    }
}

/// A body of lines, each a JSON text by itself (`application/x-ndjson`).
#[derive(Debug)]
pub struct LinesBody(pub String);

impl FromRequest<Arc<App>> for LinesBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _app: &Arc<App>) -> Result<Self, Problem> {
        require_media_type(&request, "application/x-ndjson")?;
        let malformed = |detail: &str| Problem::new(Code::MalformedJson, detail);
        let text = String::from_utf8(read_body(request).await?.to_vec());
        let text = text.map_err(|_| malformed("The body is not UTF-8."))?;
        if text.is_empty() {
            return Err(malformed("The body is empty; it must hold JSON objects, one per line."));
        }
        Ok(Self(text))
    }
}

/// Refuses a body that says it is something else.
fn require_media_type(request: &Request, wanted: &str) -> Result<(), Problem> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if media_type.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let detail = format!("Send the body with Content-Type: {wanted}.");
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

async fn read_body(request: Request) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::PayloadTooLarge, "The body may have at most 2 MiB.");
    axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX)
        .await
        .map_err(|_| too_large())
}
