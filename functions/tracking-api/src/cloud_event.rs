//! `POST /events`: CloudEvents 1.0 in the JSON format, one or many, as `OpenMeter`'s clients send
//! them. What is reported has happened, so nothing is enforced.

use std::sync::Arc;

use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode, header};
use metering_edge::{
    App,
    access::{Caller, Scope},
    auth::Call,
    cloud_event::CloudEvent,
    problem::{Code, FieldCode, FieldError, Problem},
    report::Sent,
    request::JsonBody,
    verdict::refusal,
};
use metering_store::{
    event::{Draft, Source},
    metric::Catalogue,
    track::Tracked,
};
use serde_json::Value;

use crate::track_batch::EVENTS_MAX;

/// The media types that are read, and whether each may hold one event and a list.
const MEDIA_TYPES: [(&str, bool, bool); 3] = [
    ("application/cloudevents+json", true, false),
    ("application/cloudevents-batch+json", false, true),
    ("application/json", true, true),
];

/// The endpoint: 204 when all is recorded. Wrong events record nothing; conflicts are named while
/// the others are recorded.
pub async fn ingest(State(app): State<Arc<App>>, call: Call, request: Request) -> Result<StatusCode, Problem> {
    call.caller.require(Scope::Write)?;
    if matches!(call.caller, Caller::User { admin: false, .. }) {
        return Err(Problem::forbidden("A user token's usage is always enforced; track it."));
    }
    let (one, many) = form(request.headers())?;
    let body = JsonBody::from_media_type(request).await?;
    let drafts = drafts(&app, &call, body.0, one, many).await?;
    let only: Vec<Draft> = drafts.iter().map(|(_, draft)| draft.clone()).collect();
    require_subscriptions(&app, &only).await?;
    let outcomes = app.store.track_batch(&only).await;
    let mut conflicts = Vec::new();
    for ((pointer, draft), outcome) in drafts.iter().zip(outcomes) {
        let tracked = outcome.map_err(Problem::unavailable)?;
        if let Tracked::OtherFingerprint(_) = tracked {
            conflicts.push(FieldError {
                pointer: format!("{pointer}/id"),
                code: FieldCode::IdempotencyConflict,
                detail: "belongs to an event with another type, value, mode or subscription".to_owned(),
            });
        } else if let Some(problem) = refusal(&app, draft, &tracked, &format!("{pointer}/data/value")).await? {
            return Err(problem);
        }
    }
    if conflicts.is_empty() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = format!(
        "{} of {} events conflict with earlier ones.",
        conflicts.len(),
        drafts.len()
    );
    let problem = Problem::new(Code::IdempotencyConflict, detail);
    Err(conflicts.into_iter().fold(problem, Problem::with_error))
}

/// Whether the body may be one event, and a list. Binary mode puts attributes into headers.
fn form(headers: &HeaderMap) -> Result<(bool, bool), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let known = MEDIA_TYPES
        .iter()
        .find(|(name, ..)| media_type.eq_ignore_ascii_case(name));
    let unsupported = |detail: &str| Err(Problem::new(Code::UnsupportedMediaType, detail));
    if headers.keys().any(|name| name.as_str().starts_with("ce-")) {
        return unsupported("Send the whole event in the body: binary mode is not read.");
    }
    match known {
        Some((_, one, many)) => Ok((*one, *many)),
        None => {
            unsupported("Send application/cloudevents+json, application/cloudevents-batch+json or application/json.")
        }
    }
}

/// All drafts with the pointer of each, or all that is wrong with any.
async fn drafts(app: &App, call: &Call, body: Value, one: bool, many: bool) -> Result<Vec<(String, Draft)>, Problem> {
    let wrong = |code, detail: &str| {
        let (pointer, detail) = (String::new(), detail.to_owned());
        Err(Problem::fields(vec![FieldError { pointer, code, detail }]))
    };
    let events: Vec<(String, Value)> = match body {
        Value::Array(_) if !many => return wrong(FieldCode::WrongType, "must be one event, not a list"),
        Value::Array(events) if events.len() > EVENTS_MAX => {
            return wrong(FieldCode::TooManyItems, "must hold at most 1000 events");
        }
        Value::Array(events) => events
            .into_iter()
            .enumerate()
            .map(|(index, event)| (format!("/{index}"), event))
            .collect(),
        _ if !one => return wrong(FieldCode::WrongType, "must be a list of events"),
        event => vec![(String::new(), event)],
    };
    let named = events.iter().filter_map(|(_, event)| event["type"].as_str());
    let metrics = app.store.metrics(named, call.info.now).await?;
    let (mut drafts, mut errors) = (Vec::new(), Vec::new());
    for (pointer, event) in events {
        match draft(app, call, &metrics, event, &pointer) {
            Ok(draft) => drafts.push((pointer, draft)),
            Err(problem) if problem.code() == Code::ValidationFailed => errors.extend_from_slice(problem.errors()),
            Err(problem) => return Err(problem),
        }
    }
    if errors.is_empty() {
        Ok(drafts)
    } else {
        Err(Problem::fields(errors))
    }
}

fn draft(app: &App, call: &Call, metrics: &Catalogue, event: Value, pointer: &str) -> Result<Draft, Problem> {
    let now = call.info.now;
    let CloudEvent { source, report } = CloudEvent::read(event, pointer, metrics, now)?;
    let user = report.permitted(&call.caller, false, now)?;
    let sent = Sent {
        namespace: call.caller.namespace(),
        origin: &source,
        source: Source::CloudEvents,
        received_at: now,
        now,
    };
    Ok(report.draft(&app.context, user, false, sent))
}

/// An unknown subscription refuses all, so that nothing is recorded of a request that is wrong.
async fn require_subscriptions(app: &App, drafts: &[Draft]) -> Result<(), Problem> {
    let mut asked = std::collections::HashSet::new();
    for draft in drafts.iter().filter(|draft| draft.subscription_id.is_some()) {
        if !asked.insert((&draft.user_id, &draft.subscription_id)) {
            continue;
        }
        let subscription = draft.subscription_id.as_deref();
        let found = app
            .store
            .subscription_resolve(&draft.user_id, subscription, false, draft.now)
            .await?;
        found.ok_or_else(|| Problem::not_found("subscription"))?;
    }
    Ok(())
}
