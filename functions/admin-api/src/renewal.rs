//! Subscriptions renewed and cancelled: the running period ends.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use metering_domain::period::instant_text;
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
    mutation::RequestName,
    renewal::{EndOrder, Ended, Ending, Noted},
    subscription::Subscription,
};

use crate::subscription::cancelled;

/// `POST /admin/subscriptions/{id}/renew`: the next period begins now, anchored here.
pub async fn renew(
    State(app): State<Arc<App>>,
    call: Call,
    id: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return again(&app, &id, before).await;
    }
    Fields::body(body.0)?.finish(Some(()))?;
    end(&app, &call, &id, Ending::Renew, name.as_ref()).await
}

/// `POST /admin/subscriptions/{id}/cancel`: now, or when the running period ends.
pub async fn cancel(
    State(app): State<Arc<App>>,
    call: Call,
    id: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Admin)?;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return again(&app, &id, before).await;
    }
    let mut fields = Fields::body(body.0)?;
    let at_period_end = fields.optional("at_period_end", read::boolean);
    fields.finish(Some(()))?;
    let ending = match at_period_end {
        Some(true) => Ending::CancelAtPeriodEnd,
        Some(false) | None => Ending::CancelNow,
    };
    end(&app, &call, &id, ending, name.as_ref()).await
}

/// What was answered before may have died before all was sealed.
async fn again(app: &App, id: &str, before: Response) -> Result<Response, Problem> {
    if let Some(found) = app.store.subscription_get(id).await? {
        app.store.seals_finish(found, app.context.now()).await?;
    }
    Ok(before)
}

async fn end(
    app: &App,
    call: &Call,
    id: &str,
    ending: Ending,
    name: Option<&RequestName>,
) -> Result<Response, Problem> {
    let now = call.info.now;
    let audit_id = app.context.id("aud");
    let action = match ending {
        Ending::Renew => "subscription.renew",
        Ending::CancelNow | Ending::CancelAtPeriodEnd => "subscription.cancel",
    };
    // A renewal at the very start of a period takes place a moment after it.
    let shown = |one: &Subscription| {
        let last = one.timeline.last_renewal();
        answer::subscription(one, last.map_or(now, |last| last.max(now)))
    };
    let note = |before: &Subscription, after: &Subscription| -> Result<Noted, Problem> {
        let (before, after) = (shown(before)?, shown(after)?);
        Ok(Noted {
            record: record(name, StatusCode::OK, &after),
            audit: call.audit(audit_id.clone(), action, id.to_owned(), before, after),
        })
    };
    let order = EndOrder {
        id,
        ending,
        named: name.is_some(),
        seen_at: None,
        limits: None,
    };
    match app.store.subscription_end(order, now, note).await? {
        Ended::Done(after) => Ok(idempotency::answer(StatusCode::OK, shown(&after)?)),
        Ended::Outdated => Err(Problem::internal("a request is no event, and out of date")),
        Ended::Before => again(app, id, replayed_now(app, call, name).await?).await,
        Ended::Unknown => Err(Problem::not_found("subscription")),
        Ended::Inactive => Err(cancelled()),
        Ended::NotBegun => Err(Problem::new(
            Code::Conflict,
            "The subscription has not begun; there is no period to end.",
        )),
        Ended::Ahead(start) => {
            let detail = format!(
                "Usage of the next period is counted already; renew from {} on.",
                instant_text(start)
            );
            Err(Problem::new(Code::Conflict, detail))
        }
    }
}
