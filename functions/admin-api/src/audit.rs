//! The audit log, read.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::TimeDelta;
use metering_edge::{
    App,
    access::Scope,
    answer::{self, instant},
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    problem::{FieldCode, Problem},
    read,
};
use metering_store::audit::{AuditQuery, AuditRecord};
use serde_json::{Value, json};

/// How far a list reaches back when nothing is said.
const DAYS_DEFAULT: i64 = 30;
/// The longest text to look for, in characters: a target may be an id and a metric.
const TEXT_CHARS_MAX: usize = 256;

/// `GET /admin/audit-log`: newest first. A page may hold few, or nothing, while its cursor goes on:
/// one call looks through so many days and no more.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let mut text = |name| fields.optional(name, read::text(TEXT_CHARS_MAX));
    let (actor, action, target) = (text("actor"), text("action"), text("target"));
    // What is done at this moment belongs to it.
    let to = fields.optional("to", read::instant);
    let to = to.unwrap_or(call.info.now + TimeDelta::milliseconds(1));
    let from = fields.optional("from", read::instant);
    let from = from.unwrap_or(to - TimeDelta::days(DAYS_DEFAULT));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    if to <= from {
        fields.fail("to", FieldCode::OutOfRange, "must be after from");
    }
    fields.finish(Some(()))?;
    let cursors = Cursors::of(&app, &call).await?;
    let query = AuditQuery {
        actor,
        action,
        target,
        from,
        to,
        before: cursors.read(cursor)?,
        limit,
    };
    let (entries, next) = app.store.audit_list(&query).await?;
    let bodies = entries.iter().map(body_of).collect();
    Ok(Json(answer::page("entries", bodies, cursors.after(next)?)))
}

fn body_of(entry: &AuditRecord) -> Value {
    json!({
        "id": entry.id, "at": instant(entry.at), "actor": {"type": entry.actor_type, "id": entry.actor_id},
        "action": entry.action, "target": entry.target, "before": entry.before, "after": entry.after,
        "reason": entry.reason, "ip": entry.ip, "request_id": entry.request_id,
    })
}
