//! Events taken back by an administrator, with a reason.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use metering_edge::{
    App,
    access::Scope,
    answer,
    auth::Call,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, Problem},
    read,
    request::JsonBody,
};
use metering_store::{
    adjustment::Adjustment,
    event::Event,
    renewal::Noted,
    void::{VoidOrder, Voided, Voiding},
};
use serde_json::{Value, json};

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// `POST /usage/events/{id}/void`: the event stays, flagged, and its counter is as if it were not.
pub async fn void(
    State(app): State<Arc<App>>,
    call: Call,
    id: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let reason = fields.required("reason", read::text(REASON_CHARS_MAX));
    let named = fields.optional("user_id", read::user_id);
    let reason = fields.finish(reason)?;
    let order = VoidOrder {
        id: id.0,
        reason,
        actor: call.caller.actor().id,
    };
    let unknown = || Problem::not_found("event");
    if metering_domain::ids::event_id_bits(&order.id).is_none() {
        return Err(unknown());
    }
    if let Some(user) = named {
        let found = app.store.event_get(&order.id, call.info.now).await?;
        found.filter(|event| event.user_id == user).ok_or_else(unknown)?;
    }
    let audit_id = app.context.id("aud");
    let note = |voiding: Voiding<'_>| -> Result<Option<Noted>, Problem> {
        let mut audit = call.audit(
            audit_id.clone(),
            "event.void",
            order.id.clone(),
            answer::event(voiding.before),
            answer::event(voiding.after),
        );
        audit.reason = Some(order.reason.clone());
        let body = body_of(voiding.after, voiding.adjustment, voiding.already);
        let record = record(name.as_ref(), StatusCode::OK, &body);
        Ok(Some(Noted { audit, record }))
    };
    match app.store.event_void_noted(&order, call.info.now, note).await? {
        Voided::Done {
            event,
            adjustment,
            already,
        } => Ok(idempotency::answer(
            StatusCode::OK,
            body_of(&event, &adjustment, already),
        )),
        Voided::Before => replayed_now(&app, &call, name.as_ref()).await,
        Voided::Unknown => Err(unknown()),
        Voided::PeriodClosed => Err(Problem::new(
            Code::PeriodClosed,
            "The event was charged to a period whose statement is written.",
        )),
        Voided::Gauge => Err(Problem::new(
            Code::MetricKindMismatch,
            "A gauge's event is not taken back; send a new level.",
        )),
        Voided::TooOld => Err(Problem::new(
            Code::Sealed,
            "The event was received more than 85 days ago, or its hour is final.",
        )),
    }
}

fn body_of(event: &Event, adjustment: &Adjustment, already: bool) -> Value {
    json!({"event": answer::event(event), "adjustment": answer::adjustment(adjustment), "already_voided": already})
}
