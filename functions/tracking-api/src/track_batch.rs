//! `POST /usage/track/batch`: up to 1,000 events, each with its own result; safe to resend whole.

use std::sync::Arc;

use axum::{Json, extract::State};
use metering_edge::{
    App,
    access::Scope,
    auth::Call,
    fields::{Fault, Fields},
    idempotency::header_key,
    problem::{FieldCode, Problem},
    read,
    report::{Report, Rules, Sent},
    request::JsonBody,
    verdict::refusal,
};
use metering_store::{
    event::{Draft, Source},
    metric::Catalogue,
    track::Tracked,
    track_batch::Outcome,
};
use serde_json::{Value, json};

/// The most events of one request.
pub const EVENTS_MAX: usize = 1_000;

/// An item's fate before the store has seen it.
type Prepared = Result<Draft, Problem>;

/// The endpoint.
pub async fn track_batch(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Write)?;
    let key = header_key(&call)?;
    let mut fields = Fields::body(body.0)?;
    let events = fields.required("events", events);
    let enforce = fields.optional("enforce", read::boolean).unwrap_or(true);
    let events = fields.finish(events)?;
    let named = events.iter().filter_map(|event| event["metric_type"].as_str());
    let metrics = app.store.metrics(named, call.info.now).await?;
    let batch = Batch {
        app: &app,
        call: &call,
        metrics: &metrics,
        key: key.as_deref(),
        enforce,
    };
    let prepare = |(index, event)| batch.draft(index, event);
    let prepared: Vec<Prepared> = events.into_iter().enumerate().map(prepare).collect();
    let drafts: Vec<Draft> = prepared.iter().flatten().cloned().collect();
    let mut outcomes = app.store.track_batch(&drafts).await.into_iter();
    let mut results = Vec::with_capacity(prepared.len());
    for (index, item) in prepared.into_iter().enumerate() {
        results.push(match item {
            Err(problem) => refused(index, &problem),
            Ok(draft) => match outcomes.next() {
                Some(outcome) => result(&app, index, &draft, outcome).await?,
                None => return Err(Problem::internal("an item has no outcome")),
            },
        });
    }
    Ok(Json(summary(results)))
}

fn events(value: &Value) -> Result<Vec<Value>, Fault> {
    match value.as_array() {
        None => Err(Fault::new(FieldCode::WrongType, "must be a list of events")),
        Some(events) if events.is_empty() => Err(Fault::new(FieldCode::TooFewItems, "must hold at least one event")),
        Some(events) if events.len() > EVENTS_MAX => {
            let detail = format!("must hold at most {EVENTS_MAX} events");
            Err(Fault::new(FieldCode::TooManyItems, detail))
        }
        Some(events) => Ok(events.clone()),
    }
}

/// What all items share.
struct Batch<'a> {
    app: &'a App,
    call: &'a Call,
    metrics: &'a Catalogue,
    key: Option<&'a str>,
    enforce: bool,
}

impl Batch<'_> {
    fn draft(&self, index: usize, event: Value) -> Prepared {
        let now = self.call.info.now;
        let rules = Rules {
            metrics: self.metrics,
            now,
            names_user: self.call.caller.must_name_user(),
            says_enforce: false,
        };
        let fields = Fields::element(event, &format!("/events/{index}"))?;
        let mut report = Report::read(fields, rules)?;
        let user = report.permitted(&self.call.caller, self.enforce, now)?;
        report.require_trackable()?;
        if report.details.idempotency_key.is_none() {
            report.details.idempotency_key = self.key.map(|key| format!("{key}/{index}"));
        }
        let sent = Sent {
            namespace: self.call.caller.namespace(),
            origin: "",
            source: Source::Batch,
            received_at: now,
            now,
        };
        Ok(report.draft(&self.app.context, user, self.enforce, sent))
    }
}

async fn result(app: &App, index: usize, draft: &Draft, outcome: Outcome) -> Result<Value, Problem> {
    let tracked = match outcome {
        Ok(tracked) => tracked,
        // What one of many did not get done may be sent again, whatever it was.
        Err(error) => return Ok(refused(index, &Problem::unavailable(error))),
    };
    let pointer = format!("/events/{index}/metric_value");
    if let Some(problem) = refusal(app, draft, &tracked, &pointer).await? {
        return Ok(refused(index, &problem));
    }
    let (Tracked::Recorded(event, _) | Tracked::Duplicate(event, _)) = &tracked else {
        return Err(Problem::internal("an item is neither recorded nor refused"));
    };
    let duplicate = matches!(tracked, Tracked::Duplicate(..));
    Ok(json!({
        "index": index, "status": if duplicate { 200 } else { 201 }, "usage_id": event.id, "duplicate": duplicate,
        "late": event.late, "over_limit": event.over_limit, "error": null,
    }))
}

fn refused(index: usize, problem: &Problem) -> Value {
    if let Some(error) = problem.source() {
        tracing::error!(error, index, "an item of a batch failed");
    }
    json!({
        "index": index, "status": problem.status().as_u16(), "usage_id": null, "duplicate": false,
        "late": false, "over_limit": false, "error": problem.item(),
    })
}

fn summary(results: Vec<Value>) -> Value {
    let having = |status: u16| results.iter().filter(|result| result["status"] == status).count();
    let (accepted, duplicates, denied) = (having(201), having(200), having(429));
    let failed = results.len() - accepted - duplicates - denied;
    json!({"accepted": accepted, "duplicates": duplicates, "denied": denied, "failed": failed, "results": results})
}
