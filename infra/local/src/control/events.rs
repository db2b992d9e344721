//! `/_local` over what the event host works on: queues, streams, the bus and logs.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{Answer, Control, Shared};
use crate::{
    bus::Event,
    fields::Fields,
    problem::Problem,
    queues::{Outgoing, Refusal},
    template::{MESSAGE_BYTES_MAX, Queue},
};

/// How long a drain may take if the request does not say.
const DRAIN_SECONDS: i64 = 60;
const DRAIN_SECONDS_MAX: i64 = 600;
/// The largest message, with every byte of it escaped.
const BODY_BYTES_MAX: usize = 6 * MESSAGE_BYTES_MAX + 1_024;
/// The largest part of a log that is handed over at once; packed it is a message.
const LOG_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// Messages that are shown of a queue.
const MESSAGES_MAX: usize = 1_000;

type Accepted = Result<(StatusCode, Json<Value>), Problem>;

/// The endpoints.
pub fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/drain", post(drain))
        .route("/streams/replay", post(replay))
        .route("/bus", post(put).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
        .route("/logs", post(log).layer(DefaultBodyLimit::max(LOG_BYTES_MAX)))
        .route("/outbox", get(outbox).delete(empty_outbox))
        .route("/queues", get(queues))
        .route(
            "/queues/{name}",
            post(send).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
        )
        .route("/queues/{name}/messages", get(messages))
}

async fn drain(State(control): Shared, body: Bytes) -> Answer {
    let mut fields = Fields::read(&body)?;
    let seconds = fields.integer("timeout_seconds").unwrap_or(DRAIN_SECONDS);
    if !(0..=DRAIN_SECONDS_MAX).contains(&seconds) {
        let detail = format!("must be from 0 to {DRAIN_SECONDS_MAX}");
        fields.wrong("timeout_seconds", "out_of_range", &detail);
    }
    fields.finish()?;
    let most = Duration::from_secs(seconds.unsigned_abs());
    let drained = control.host.drain(most).await;
    match drained.map_err(|error| Problem::internal(error.to_string()))? {
        true => Ok(Json(json!({"drained": true}))),
        false => Err(Problem::not_drained(format!("not all was done after {seconds} s"))),
    }
}

async fn replay(State(control): Shared, body: Bytes) -> Accepted {
    Fields::read(&body)?.finish()?;
    let replayed = control.host.replay();
    replayed.map_err(|error| Problem::internal(error.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))))
}

/// Puts an event on the bus, as something else than a function would.
async fn put(State(control): Shared, body: Bytes) -> Accepted {
    let mut fields = Fields::read(&body)?;
    let bus = fields.optional_text("bus");
    let event = Event {
        bus: bus.unwrap_or_else(|| control.bus.main().to_owned()),
        id: fields.optional_text("id"),
        source: fields.text("source"),
        detail_type: fields.text("detail-type"),
        detail: fields.object("detail"),
        time: None,
        resources: Vec::new(),
    };
    if !control.bus.has(&event.bus) {
        fields.wrong("bus", "not_found", "there is no such bus");
    }
    fields.finish()?;
    let id = control.bus.take(&event).map_err(failed)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id}))))
}

/// Hands over lines of an access log, as CloudWatch Logs would, each line of the body being one.
async fn log(State(control): Shared, body: Bytes) -> Accepted {
    let text = std::str::from_utf8(&body).map_err(|error| Problem::malformed(error.to_string()))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(Problem::field("", "required", "must be lines of a log, as plain text"));
    }
    let taken = control.bus.take_lines(&lines);
    taken.map_err(|refusal| Problem::field("", "invalid_format", &refusal.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(json!({"lines": lines.len()}))))
}

/// What has left the stack.
async fn outbox(State(control): Shared) -> Json<Value> {
    Json(control.outbox.shown())
}

async fn empty_outbox(State(control): Shared) -> StatusCode {
    control.outbox.clear();
    StatusCode::NO_CONTENT
}

async fn queues(State(control): Shared) -> Answer {
    let described: Result<Vec<Value>, Refusal> = control.queues.all().map(|queue| describe(&control, queue)).collect();
    Ok(Json(json!({"queues": described.map_err(failed)?})))
}

fn describe(control: &Control, queue: &Queue) -> Result<Value, Refusal> {
    let counts = control.queues.counts(queue)?;
    Ok(json!({
        "name": queue.name,
        "visible": counts.visible,
        "in_flight": counts.in_flight,
        "delayed": counts.delayed,
        "dead_letters": control.queues.dead_letters(queue)?,
    }))
}

async fn messages(State(control): Shared, Path(name): Path<String>) -> Answer {
    let kept = control
        .queues
        .list(find(&control, &name)?, MESSAGES_MAX)
        .map_err(failed)?;
    let messages: Vec<Value> = kept
        .into_iter()
        .map(|message| {
            json!({
                "message_id": message.message_id,
                "body": message.body,
                "receive_count": message.receive_count,
            })
        })
        .collect();
    Ok(Json(json!({"messages": messages})))
}

async fn send(State(control): Shared, Path(name): Path<String>, body: Bytes) -> Accepted {
    let queue = find(&control, &name)?;
    let mut fields = Fields::read(&body)?;
    let message = Outgoing {
        message_body: fields.message("body"),
        ..Outgoing::default()
    };
    fields.finish()?;
    message
        .check(queue)
        .map_err(|refusal| Problem::field("body", "invalid_format", &refusal.to_string()))?;
    let ids = control.queues.send(queue, &[&message]).map_err(failed)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"message_id": ids.first()}))))
}

fn find<'a>(control: &'a Control, name: &str) -> Result<&'a Queue, Problem> {
    control.queues.find(name).map_err(|_| {
        let known: Vec<&str> = control.queues.all().map(|queue| queue.name.as_str()).collect();
        Problem::not_found(format!("there is no queue {name}; there are {}", known.join(", ")))
    })
}

fn failed(error: Refusal) -> Problem {
    Problem::internal(error.to_string())
}
