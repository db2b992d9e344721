//! `/_local`: what only a stack on one machine offers, to whoever can reach it.

mod events;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{Method, Uri},
    routing::{get, post},
};
use chrono::TimeDelta;
use metering_edge::aws::Endpoints;
use metering_store::context::Source as _;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::{
    buckets::Buckets,
    bus::Bus,
    clock::{Clock, ClockError, write_instant},
    expiry,
    fields::Fields,
    host::Desk,
    outbox::Outbox,
    problem::Problem,
    queues::Queues,
    template::Table,
    tokens::Issuer,
};

/// How long a token is valid if the request does not say.
const TOKEN_SECONDS: i64 = 86_400;
/// More than any request here needs.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The function that closes periods.
const LIFECYCLE: &str = "LifecycleJob";
/// How often it runs after a move, while it says that there is more to do.
const LIFECYCLE_RUNS_MAX: usize = 100;

/// What the endpoints work on.
pub struct Control {
    /// Where the API answers.
    pub api: String,
    /// Where every service answers, and as whom.
    pub endpoints: Endpoints,
    /// The template's tables.
    pub tables: Vec<Table>,
    /// The template's functions.
    pub functions: Vec<String>,
    /// The stack's clock.
    pub clock: Clock,
    /// Held while the clock is moved and what follows from it is done.
    pub moving: Mutex<()>,
    /// The template's queues.
    pub queues: Queues,
    /// The template's bus.
    pub bus: Bus,
    /// The template's buckets.
    pub buckets: Buckets,
    /// What has left the stack.
    pub outbox: Outbox,
    /// The event host.
    pub host: Desk,
    /// Signs tokens.
    pub issuer: Issuer,
    /// The stack's own connection to the engine.
    pub client: Client,
}

type Shared = State<Arc<Control>>;
type Answer = Result<Json<Value>, Problem>;

/// The endpoints.
pub fn router(control: Arc<Control>) -> Router {
    let endpoints = Router::new()
        .route("/", get(describe))
        .route("/jwks.json", get(keys))
        .route("/token", post(token))
        .route("/clock", post(clock))
        .route("/run/{function}", post(run))
        .merge(events::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control);
    Router::new().nest("/_local", endpoints)
}

async fn not_found(method: Method, uri: Uri) -> Problem {
    Problem::not_found(format!("there is no {method} /_local{}", uri.path()))
}

async fn describe(State(control): Shared) -> Json<Value> {
    let tables: Map<String, Value> = control
        .tables
        .iter()
        .map(|table| (table.name.clone(), Value::String(table.name.clone())))
        .collect();
    let queues: Map<String, Value> = control
        .queues
        .all()
        .map(|queue| (queue.name.clone(), Value::String(control.queues.url(queue))))
        .collect();
    let buckets: Map<String, Value> = control
        .buckets
        .all()
        .map(|bucket| (bucket.resource.clone(), Value::String(bucket.name.clone())))
        .collect();
    let Endpoints {
        dynamodb,
        sesv2,
        sns,
        events,
        s3,
        ..
    } = &control.endpoints;
    Json(json!({
        "api": control.api,
        "dynamodb": dynamodb.url,
        "sqs": control.queues.base(),
        "s3": s3.url,
        "sesv2": sesv2.url,
        "sns": sns.url,
        "events": events.url,
        "region": dynamodb.region,
        "access_key_id": dynamodb.access_key_id,
        "secret_access_key": dynamodb.secret_access_key,
        "tables": tables,
        "queues": queues,
        "buckets": buckets,
        "functions": control.functions,
        "now": write_instant(control.clock.now()),
    }))
}

async fn keys(State(control): Shared) -> Json<Value> {
    Json(control.issuer.keys().clone())
}

async fn token(State(control): Shared, body: Bytes) -> Answer {
    let mut fields = Fields::read(&body)?;
    let user = fields.user_id("user_id");
    let admin = fields.flag("admin");
    let seconds = fields.integer("expires_in_seconds").unwrap_or(TOKEN_SECONDS);
    fields.finish()?;
    let now = control.clock.now();
    let expires = TimeDelta::try_seconds(seconds).and_then(|valid| now.checked_add_signed(valid));
    let Some(expires) = expires else {
        let detail = "is beyond what a clock can show";
        return Err(Problem::field("expires_in_seconds", "out_of_range", detail));
    };
    let token = control.issuer.sign(&user, admin, now, expires);
    let token = token.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(Json(json!({"token": token, "expires_at": write_instant(expires)})))
}

/// Moves the clock. Moved forward, what has expired is deleted and periods that are over are closed;
/// schedules in between do not run.
async fn clock(State(control): Shared, body: Bytes) -> Answer {
    let mut fields = Fields::read(&body)?;
    let (sets, advances) = (fields.has("now"), fields.has("advance_seconds"));
    let instant = fields.instant("now");
    let seconds = fields.integer("advance_seconds");
    match (sets, advances) {
        (false, false) => fields.wrong("now", "required", "now or advance_seconds is required"),
        (true, true) => fields.wrong("advance_seconds", "not_allowed", "not together with now"),
        _ => {}
    }
    fields.finish()?;
    let _moving = control.moving.lock().await;
    let before = control.clock.now();
    let moved = match seconds {
        Some(seconds) => TimeDelta::try_seconds(seconds)
            .ok_or(ClockError::OutOfRange)
            .and_then(|by| control.clock.advance(by)),
        None => control.clock.set(instant),
    };
    let pointer = if sets { "now" } else { "advance_seconds" };
    moved.map_err(|error| refused(pointer, &error))?;
    let now = control.clock.now();
    if now > before {
        let swept = expiry::sweep(&control.client, &control.tables, now).await;
        let deleted = swept.map_err(|error| Problem::internal(error.to_string()))?;
        let expired = control.queues.expire();
        let expired = expired.map_err(|error| Problem::internal(error.to_string()))?;
        let objects = control.buckets.expire();
        let objects = objects.map_err(|error| Problem::internal(error.to_string()))?;
        tracing::debug!(deleted, expired, objects, "expired items, messages and objects");
        lifecycle(&control.host).await;
    }
    Ok(Json(json!({"now": write_instant(now)})))
}

/// Does what a subscription's life asks for in the time that was left out: its periods are closed. What
/// fails is left to the schedule, as it is in AWS.
async fn lifecycle(host: &Desk) {
    for _ in 0..LIFECYCLE_RUNS_MAX {
        match host.run(LIFECYCLE).await {
            Some(Ok(answer)) if answer.contains("\"more\":true") => {}
            Some(Ok(_)) | None => return,
            Some(Err(error)) => {
                tracing::error!(%error, "periods could not be closed");
                return;
            }
        }
    }
}

fn refused(pointer: &str, error: &ClockError) -> Problem {
    match error {
        ClockError::OutOfRange => Problem::field(pointer, "out_of_range", &error.to_string()),
        ClockError::File { .. } => Problem::internal(error.to_string()),
    }
}

/// Runs a function that a schedule would start.
async fn run(State(control): Shared, Path(function): Path<String>, body: Bytes) -> Answer {
    Fields::read(&body)?.finish()?;
    match control.host.run(&function).await {
        Some(Ok(answer)) => {
            // What is not JSON is a text.
            let result = serde_json::from_str(&answer).unwrap_or(Value::String(answer));
            Ok(Json(json!({"result": result})))
        }
        Some(Err(error)) => Err(Problem::internal(format!("{function}: {error}"))),
        None => {
            let known = control.functions.join(", ");
            Err(Problem::not_found(match control.functions.contains(&function) {
                true => format!("{function} has no schedule"),
                false => format!("there is no function {function}; there are {known}"),
            }))
        }
    }
}
