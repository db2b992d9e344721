//! The AWS JSON 1.1 protocol of EventBridge, of which `PutEvents` is offered.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Bus, DEFAULT_BUS, Event};
use crate::template::MESSAGE_BYTES_MAX;

const ENTRIES_MAX: usize = 10;
/// Entries of the largest size, every byte of them escaped.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    event_bus_name: Option<String>,
    /// Seconds, with a fraction.
    time: Option<serde_json::Number>,
    #[serde(default)]
    resources: Vec<String>,
}

/// Serves the protocol.
pub fn router(bus: Bus) -> Router {
    Router::new()
        .fallback(serve)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(bus)
}

async fn serve(State(bus): State<Bus>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let answered = match target {
        Some("AWSEvents.PutEvents") => match serde_json::from_slice(&body) {
            Ok(request) => put(&bus, request),
            Err(error) => Err((StatusCode::BAD_REQUEST, "SerializationException", error.to_string())),
        },
        _ => {
            let problem = "only PutEvents is offered: rules come from template.yaml".to_owned();
            Err((StatusCode::BAD_REQUEST, "UnknownOperationException", problem))
        }
    };
    let (status, body) = match answered {
        Ok(answer) => (StatusCode::OK, answer),
        Err((status, kind, message)) => (status, json!({"__type": kind, "message": message})),
    };
    let mut response = (status, body.to_string()).into_response();
    let kind = HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn put(bus: &Bus, request: PutEvents) -> Result<Value, (StatusCode, &'static str, String)> {
    let count = request.entries.len();
    if !(1..=ENTRIES_MAX).contains(&count) {
        let problem = format!("1 validation error detected: {count} entries, there must be 1 to {ENTRIES_MAX}");
        return Err((StatusCode::BAD_REQUEST, "ValidationException", problem));
    }
    let bytes: usize = request.entries.iter().map(Entry::bytes).sum();
    if bytes > MESSAGE_BYTES_MAX {
        let problem = "Total size of the entries in the request is over the limit.".to_owned();
        return Err((StatusCode::BAD_REQUEST, "ValidationException", problem));
    }
    let mut entries = Vec::new();
    let mut failed = 0;
    for entry in request.entries {
        entries.push(match entry.read() {
            Ok(event) => {
                let id = bus.take(&event).map_err(|error| {
                    let status = StatusCode::INTERNAL_SERVER_ERROR;
                    (status, "InternalException", error.to_string())
                })?;
                bus.note(event);
                json!({"EventId": id})
            }
            Err((code, message)) => {
                failed += 1;
                json!({"ErrorCode": code, "ErrorMessage": message})
            }
        });
    }
    Ok(json!({"FailedEntryCount": failed, "Entries": entries}))
}

impl Entry {
    /// What counts towards the limit.
    fn bytes(&self) -> usize {
        let texts = [&self.source, &self.detail_type, &self.detail];
        let texts = texts.into_iter().flatten().chain(&self.resources);
        let time = if self.time.is_some() { 14 } else { 0 };
        texts.map(String::len).sum::<usize>() + time
    }

    fn read(self) -> Result<Event, (&'static str, String)> {
        let required = |name: &str, value: Option<String>| {
            value.filter(|value| !value.is_empty()).ok_or_else(|| {
                let problem = format!("Parameter {name} is not valid. Reason: {name} is a required argument.");
                ("InvalidArgument", problem)
            })
        };
        let detail = required("Detail", self.detail)?;
        let detail: Value = match serde_json::from_str(&detail) {
            Ok(detail @ Value::Object(_)) => detail,
            _ => return Err(("MalformedDetail", "Detail is malformed.".to_owned())),
        };
        let bus = self.event_bus_name.unwrap_or_else(|| DEFAULT_BUS.to_owned());
        // Whole seconds are all that an event shows.
        let seconds = self.time.map(|time| time.to_string());
        let seconds = seconds.and_then(|time| time.split(['.', 'e', 'E']).next()?.parse().ok());
        Ok(Event {
            bus: bus.rsplit('/').next().unwrap_or_default().to_owned(),
            id: None,
            source: required("Source", self.source)?,
            detail_type: required("DetailType", self.detail_type)?,
            detail,
            time: seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            resources: self.resources,
        })
    }
}
