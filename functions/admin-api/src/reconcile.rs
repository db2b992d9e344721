//! Reconciliation of one user on demand; repairs are written each with its ledger and audit entry.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use chrono::TimeDelta;
use http::StatusCode;
use metering_edge::{
    App,
    access::Scope as Needed,
    answer::{instant, number},
    auth::Call,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, Problem},
    read,
    request::JsonBody,
    subject::Named,
};
use metering_store::{
    aggregate_drift::AggregateDrift,
    hour::FINAL_AFTER,
    keys::Owner,
    reconcile::{CounterDrift, Findings, Scope},
};
use serde_json::{Value, json};

/// How many events one request reads, second looks included: some seconds' worth.
const EVENTS_MAX: usize = 200_000;
/// How long one request looks; what it began with then is finished within the function's time.
const LOOKING_MAX: TimeDelta = TimeDelta::seconds(15);

/// What is asked for.
struct Asked {
    metric_type: Option<String>,
    repair: bool,
}

/// What was found of an owner.
struct Found {
    owner: Owner,
    findings: Findings,
}

/// `POST /admin/reconcile`: holds a user's counters, holds and aggregates against their records.
pub async fn reconcile(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Needed::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let repair = fields.optional("repair", read::boolean);
    let named = fields.finish(Some(named))?;
    let asked = Asked {
        metric_type: metric.map(|metric| metric.metric_type),
        repair: repair.unwrap_or(false),
    };
    let owners = owners(&app, &call, &named).await?;
    let found = look(&app, &call, owners, &asked).await?;
    let body = answer(&app, &call, &named.user(&call)?, &found, &asked).await?;
    let Some(record) = record(name.as_ref(), StatusCode::OK, &body) else {
        return Ok(idempotency::answer(StatusCode::OK, body));
    };
    if app.store.record_put(&record, call.info.now).await? {
        Ok(idempotency::answer(StatusCode::OK, body))
    } else {
        replayed_now(&app, &call, name.as_ref()).await
    }
}

/// The subscription named, or all that the user has, the implicit one first.
async fn owners(app: &App, call: &Call, named: &Named) -> Result<Vec<Owner>, Problem> {
    if named.subscription_id().is_some() {
        return Ok(vec![named.target_now(app, call).await?.owner.clone()]);
    }
    let user = named.user(call)?;
    Ok(app.store.owners_of(&user).await?)
}

async fn look(app: &App, call: &Call, owners: Vec<Owner>, asked: &Asked) -> Result<Vec<Found>, Problem> {
    let mut events_left = EVENTS_MAX;
    let mut all = Vec::new();
    for owner in owners {
        let scope = Scope {
            owner: owner.clone(),
            metric_type: asked.metric_type.clone(),
            hours_since: call.info.now - FINAL_AFTER,
            patient: true,
        };
        let findings = app.store.owner_reconcile(&scope, &mut events_left).await?;
        if findings.cut || app.context.now() - call.info.now > LOOKING_MAX {
            return Err(Problem::new(
                Code::Unavailable,
                "This user has more events than one request reads. ReconcileJob looks at them every night; \
                 a subscription_id or metric_type makes it less here.",
            ));
        }
        all.push(Found { owner, findings });
    }
    Ok(all)
}

async fn answer(app: &App, call: &Call, user: &str, found: &[Found], asked: &Asked) -> Result<Value, Problem> {
    let audit = call.audit(
        String::new(),
        "usage.reconcile",
        String::new(),
        Value::Null,
        Value::Null,
    );
    let (mut rows, mut checked, mut repaired) = (Vec::new(), 0, 0);
    for Found { owner, findings } in found {
        checked += findings.checked;
        for drift in &findings.counters {
            let done = match asked.repair {
                true => app.store.counter_repair(drift, &audit).await?,
                false => None,
            };
            repaired += u64::from(done.is_some());
            rows.push(counter_row(drift, done));
        }
        for drift in &findings.aggregates {
            let done = match asked.repair {
                true => app.store.aggregate_repair(drift, user, &audit).await?,
                false => None,
            };
            repaired += u64::from(done.is_some());
            rows.push(aggregate_row(owner, drift, done));
        }
    }
    Ok(json!({"checked": checked, "drifted": rows.len(), "repaired": repaired, "drift": rows}))
}

fn counter_row(drift: &CounterDrift, adjustment_id: Option<String>) -> Value {
    let counter = &drift.counter;
    json!({
        "subscription_id": counter.subscription_id, "metric_type": counter.key.metric_type,
        "period_start": instant(counter.period.start), "counter": number(counter.used),
        "events": number(drift.expected), "held": number(drift.held()), "live_holds": number(drift.live_holds),
        "adjustment_id": adjustment_id,
    })
}

/// An hour or a day: its total as stored, and as its events say.
fn aggregate_row(owner: &Owner, drift: &AggregateDrift, adjustment_id: Option<String>) -> Value {
    json!({
        "subscription_id": owner.subscription_id(), "metric_type": drift.series.metric_type,
        "period_start": instant(drift.start), "counter": number(drift.stored), "events": number(drift.truth),
        "held": 0, "live_holds": 0, "adjustment_id": adjustment_id,
    })
}
