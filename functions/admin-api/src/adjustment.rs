//! The ledger, read.

use std::sync::Arc;

use axum::{Json, extract::State};
use metering_edge::{
    App, access::Scope, answer, auth::Call, cursor::Cursors, fields::Fields, problem::Problem, read, subject::Named,
};
use metering_store::adjustment::AdjustmentKind;
use serde_json::Value;

/// `GET /admin/adjustments`: of one subscription, newest first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = Named::read(&call, &mut fields);
    let kind = fields.optional("kind", read::one_of(&AdjustmentKind::names(), AdjustmentKind::parse));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    let named = fields.finish(Some(named))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let target = named.target(&app, &call).await?;
    let (entries, next) = app
        .store
        .adjustment_list(&target.owner, kind, before.as_deref(), limit)
        .await?;
    Ok(Json(answer::page(
        "adjustments",
        entries.iter().map(answer::adjustment).collect(),
        cursors.after(next)?,
    )))
}
