//! What all users used lately.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::TimeDelta;
use metering_domain::metric::Metric;
use metering_edge::{
    App,
    access::Scope,
    answer::{self, instant_opt, number},
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    problem::{FieldCode, Problem},
    read,
};
use metering_store::{
    event_list::EventQuery,
    user_list::{UsageKey, UsageQuery, UserUsage},
};
use serde_json::{Value, json};

use crate::user::reported;

/// How many days are meant when nothing is said,
const DAYS_DEFAULT: u32 = 7;
/// and at most: as long as events are kept.
const DAYS_MAX: u32 = 90;

/// What is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// Sums by user and metric.
    Totals,
    /// One user's events.
    Events,
}

impl View {
    const NAMES: [&str; 2] = ["totals", "events"];

    fn parse(name: &str) -> Option<Self> {
        match name {
            "totals" => Some(Self::Totals),
            "events" => Some(Self::Events),
            _ => None,
        }
    }
}

/// A query, read.
struct Asked {
    user_id: Option<String>,
    metrics: Vec<Metric>,
    days: u32,
    limit: usize,
    cursor: Option<String>,
}

/// `GET /admin/metrics`: by user and metric what was used in the last days, or a user's events.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Admin)?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let catalogue = match fields.text_of("metric_type") {
        Some(name) => app.store.metrics([name], call.info.now).await?,
        None => app.store.metrics_all(call.info.now).await?,
    };
    let user_id = fields.optional("user_id", read::user_id);
    let metric = fields.optional("metric_type", read::metric(&catalogue));
    let days = fields
        .optional("days", read::integer(1, DAYS_MAX))
        .unwrap_or(DAYS_DEFAULT);
    let view = fields.optional("view", read::one_of(&View::NAMES, View::parse));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    let of_events = view == Some(View::Events);
    if of_events && user_id.is_none() && !fields.is_faulty("user_id") {
        fields.fail("user_id", FieldCode::Required, "must be given to see events");
    }
    fields.finish(Some(()))?;
    let named = metric.as_ref().map(|metric| metric.metric_type.as_str());
    let is_meant = |one: &Metric| named.is_none_or(|named| named == one.metric_type);
    let asked = Asked {
        user_id: user_id.clone(),
        metrics: reported(&catalogue).into_iter().filter(is_meant).collect(),
        days,
        limit,
        cursor,
    };
    match user_id.filter(|_| of_events) {
        Some(user_id) => events(&app, &call, &user_id, asked).await,
        None => totals(&app, &call, asked).await,
    }
}

async fn totals(app: &App, call: &Call, asked: Asked) -> Result<Json<Value>, Problem> {
    let now = call.info.now;
    let cursors = Cursors::of(app, call).await?;
    let query = UsageQuery {
        user_id: asked.user_id,
        metrics: asked.metrics,
        from: now - TimeDelta::days(asked.days.into()),
        after: cursors.read(asked.cursor)?.as_deref().map(UsageKey::parse),
        limit: asked.limit,
    };
    let (usages, next) = app.store.usage_list(&query, now).await?;
    let bodies = usages.iter().map(body_of).collect();
    let next = cursors.after(next.map(|key| key.to_text()))?;
    Ok(Json(answer::page("metrics", bodies, next)))
}

fn body_of(usage: &UserUsage) -> Value {
    json!({
        "user_id": usage.user_id, "metric_type": usage.metric.metric_type, "unit": usage.metric.unit,
        "event_count": usage.event_count, "total_value": number(usage.total), "error_count": usage.error_count,
        "last_event_at": instant_opt(usage.last_event_at),
    })
}

/// The user's events over all subscriptions.
async fn events(app: &App, call: &Call, user_id: &str, asked: Asked) -> Result<Json<Value>, Problem> {
    let now = call.info.now;
    let cursors = Cursors::of(app, call).await?;
    let query = EventQuery {
        owners: app.store.account_get(user_id).await?.owners(user_id),
        metrics: asked.metrics.into_iter().map(|metric| metric.metric_type).collect(),
        from: now - TimeDelta::days(asked.days.into()),
        // What happened up to five minutes ahead is accepted, so it is listed, too.
        to: now + TimeDelta::minutes(6),
        resource_id: None,
        before: cursors.read(asked.cursor)?,
        limit: asked.limit,
    };
    let (events, next) = app.store.event_list(&query, now).await?;
    let bodies = events.iter().map(answer::event).collect();
    Ok(Json(answer::page("metrics", bodies, cursors.after(next)?)))
}
