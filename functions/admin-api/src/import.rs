//! Subscriptions imported, one per line: the way in for what exists elsewhere.
//!
//! Each line is a request of its own and is written by itself; what is right is created, what is
//! wrong is told. Sent twice: a line that was created is found again, also one without an id, since
//! that derives from what the line says. Dies half-way: the lines not reached are created when the
//! file is sent again.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Path, State},
    response::Response,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use metering_edge::{
    App,
    access::Scope,
    auth::Call,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, FieldError, Problem},
    request::LinesBody,
};
use metering_store::{mutation::Committed, plan::Version};
use serde_json::{Value, json};

use crate::subscription::{self, Created};

/// The most lines of one import.
const LINES_MAX: usize = 1_000;
/// How many users' lines are worked on at once.
const USERS_AT_ONCE: usize = 16;
/// The longest answer that is kept for a request with an idempotency key: an item of DynamoDB has at
/// most 400 KB. A longer one (hundreds of wrong lines) is worked out anew.
const RECORD_BYTES_MAX: usize = 350 * 1024;

/// A line and its number, from 1.
type Line = (usize, String);

/// What became of a line.
struct Outcome {
    line: usize,
    result: Result<(StatusCode, String), Problem>,
}

/// `POST /admin/subscriptions/import`.
pub async fn import(
    State(app): State<Arc<App>>,
    call: Call,
    path: Path<String>,
    body: LinesBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    if *path != "import" {
        return Err(Problem::new(Code::MethodNotAllowed, "This path has other methods."));
    }
    let name = request_name(&call, &Value::String(body.0.clone()))?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    Fields::query(call.info.query.as_deref()).finish(Some(()))?;
    let lines = lines(&body.0)?;
    let plans = app.store.plan_list().await?;
    // The lines of one user in their order: the first becomes the default subscription.
    let mut users: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for (number, line) in lines {
        users.entry(user_of(&line)).or_default().push((number, line));
    }
    let each = users
        .into_values()
        .map(|lines| import_lines(&app, &call, &plans, lines));
    let done: Vec<Vec<Outcome>> = stream::iter(each).buffer_unordered(USERS_AT_ONCE).try_collect().await?;
    let mut outcomes: Vec<Outcome> = done.into_iter().flatten().collect();
    outcomes.sort_by_key(|outcome| outcome.line);
    let body = body_of(&outcomes);
    let record = record(name.as_ref(), StatusCode::OK, &body);
    let Some(record) = record.filter(|_| body.to_string().len() <= RECORD_BYTES_MAX) else {
        return Ok(idempotency::answer(StatusCode::OK, body));
    };
    let counts = json!({"created": body["created"], "existing": body["existing"], "failed": body["failed"]});
    let audit_id = app.context.id("aud");
    let audit = call.audit(
        audit_id,
        "subscription.import",
        "import".to_owned(),
        Value::Null,
        counts,
    );
    match app.store.mutation_commit(Vec::new(), &audit, Some(&record)).await? {
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Done | Committed::Unmet(_) => Ok(idempotency::answer(StatusCode::OK, body)),
    }
}

/// The lines that say something.
fn lines(body: &str) -> Result<Vec<Line>, Problem> {
    let lines = body.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let lines: Vec<Line> = lines.map(|(index, line)| (index + 1, line.to_owned())).collect();
    let (code, detail) = match lines.len() {
        0 => (FieldCode::TooFewItems, "must have at least one line".to_owned()),
        1..=LINES_MAX => return Ok(lines),
        _ => (FieldCode::TooManyItems, format!("must have at most {LINES_MAX} lines")),
    };
    Err(Problem::fields(vec![FieldError {
        pointer: String::new(),
        code,
        detail,
    }]))
}

/// Whose line it is, as far as it can be read: lines of one user must not overtake each other.
fn user_of(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    match &value["user_id"] {
        Value::String(user) => user.clone(),
        other => other.to_string(),
    }
}

async fn import_lines(app: &App, call: &Call, plans: &[Version], lines: Vec<Line>) -> Result<Vec<Outcome>, Problem> {
    let mut outcomes = Vec::with_capacity(lines.len());
    for (line, text) in lines {
        let result = import_line(app, call, plans, &text).await;
        // A fault of ours is no property of a line.
        let result = match result {
            Err(problem) if problem.status() == StatusCode::INTERNAL_SERVER_ERROR => return Err(problem),
            result => result,
        };
        outcomes.push(Outcome { line, result });
    }
    Ok(outcomes)
}

async fn import_line(app: &App, call: &Call, plans: &[Version], line: &str) -> Result<(StatusCode, String), Problem> {
    let value = serde_json::from_str(line).map_err(|error| {
        let detail = format!("The line is not JSON: column {}.", error.column());
        Problem::new(Code::MalformedJson, detail)
    })?;
    let wanted = subscription::identified(subscription::wanted(Fields::body(value)?, plans)?);
    match subscription::create_one(app, call, &wanted, None).await? {
        Created::Now(created) => Ok((StatusCode::CREATED, created.id)),
        Created::Earlier(found) => Ok((StatusCode::OK, found.id)),
        Created::Replayed => Err(Problem::internal("a line has no record")),
    }
}

fn body_of(outcomes: &[Outcome]) -> Value {
    let with = |status: StatusCode| {
        let created = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
        created.filter(|(own, _)| *own == status).count()
    };
    let result = |outcome: &Outcome| match &outcome.result {
        Ok((status, id)) => json!({"line": outcome.line, "status": status.as_u16(), "id": id, "error": null}),
        Err(problem) => {
            let error =
                json!({"code": problem.code().as_str(), "detail": problem.detail(), "errors": problem.errors_value()});
            json!({"line": outcome.line, "status": problem.status().as_u16(), "id": null, "error": error})
        }
    };
    let (created, existing) = (with(StatusCode::CREATED), with(StatusCode::OK));
    json!({
        "created": created, "existing": existing, "failed": outcomes.len() - created - existing,
        "results": outcomes.iter().map(result).collect::<Vec<_>>(),
    })
}
