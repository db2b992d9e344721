//! Statements, read.

use std::sync::Arc;

use axum::{Json, extract::State};
use metering_domain::ids::NONE;
use metering_edge::{App, access::Scope, answer, auth::Call, cursor::Cursors, fields::Fields, problem::Problem, read};
use metering_store::statement::StatementQuery;
use serde_json::Value;

/// `GET /admin/statements`: of a subscription, a user or everybody, those of the newest periods first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let user_id = fields.optional("user_id", read::user_id);
    let subscription_id = fields.optional("subscription_id", read::subscription_id);
    let from = fields.optional("from", read::instant);
    let to = fields.optional("to", read::instant);
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    fields.finish(Some(()))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let query = StatementQuery {
        user_id: whose(&app, user_id, subscription_id.as_deref()).await?,
        subscription_id,
        from,
        to,
        before,
        limit,
    };
    let (found, next) = app.store.statement_list(&query).await?;
    let statements = found.iter().map(answer::statement).collect();
    Ok(Json(answer::page("statements", statements, cursors.after(next)?)))
}

/// Whose statements are asked for; a subscription says that, too.
async fn whose(app: &App, user_id: Option<String>, subscription_id: Option<&str>) -> Result<Option<String>, Problem> {
    // The implicit subscription is each user's own, and never billed.
    let Some(id) = subscription_id.filter(|id| *id != NONE) else {
        return Ok(user_id);
    };
    let found = app.store.subscription_get(id).await?;
    let own = found.map(|found| found.user_id);
    let own = own.filter(|own| user_id.as_ref().is_none_or(|named| named == own));
    own.map(Some).ok_or_else(|| Problem::not_found("subscription"))
}
