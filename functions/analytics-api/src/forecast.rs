//! Forecasts: made when asked for, and those that were made.
//!
//! Asked twice without an idempotency key there are two; with one, the second is told the first.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use metering_domain::forecast::Model;
use metering_edge::{
    App,
    access::Scope,
    answer,
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    forecast::{AUTO, Ask, HORIZON_DAYS_DEFAULT, HORIZON_DAYS_MAX, make},
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::Problem,
    read,
    request::JsonBody,
    subject::Named,
};
use metering_store::forecast::ForecastQuery;
use serde_json::Value;

/// The names that a request may give.
const MODELS: [&str; 5] = [
    AUTO,
    "linear_regression",
    "moving_average",
    "exponential_smoothing",
    "seasonal",
];

/// The model of a name; none for any.
fn model(name: &str) -> Option<Option<Model>> {
    match name {
        AUTO => Some(None),
        name => Model::parse(name).map(Some),
    }
}

/// `POST /usage/forecast`.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.required("metric_type", read::metric(&metrics));
    let horizon = fields.optional("forecast_horizon_days", read::json_integer(1, HORIZON_DAYS_MAX));
    let model = fields.optional("model_type", read::one_of(&MODELS, model));
    let metric = fields.finish(metric)?;
    let target = named.target(&app, &call).await?;
    let ask = Ask {
        id: app.context.id("fct"),
        metric,
        horizon_days: horizon.unwrap_or(HORIZON_DAYS_DEFAULT),
        model: model.flatten(),
    };
    let made = make(&app, &target, &ask, now).await?;
    let answered = record(name.as_ref(), StatusCode::OK, &made.body);
    match app.store.forecast_put(&made, answered.as_ref()).await? {
        true => Ok(idempotency::answer(StatusCode::OK, made.body)),
        false => replayed_now(&app, &call, name.as_ref()).await,
    }
}

/// `GET /usage/forecasts`: of one user, newest first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = app.store.metrics(fields.text_of("metric_type"), now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    let named = fields.finish(Some(named))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let subscription_id = match named.subscription_id() {
        Some(_) => Some(named.target(&app, &call).await?.subscription_id.clone()),
        None => None,
    };
    let query = ForecastQuery {
        user_id: named.user(&call)?,
        subscription_id,
        metric_type: metric.map(|metric| metric.metric_type),
        before,
        limit,
    };
    let (found, next) = app.store.forecast_list(&query, now).await?;
    Ok(Json(answer::page(
        "forecasts",
        found.into_iter().map(|one| one.body).collect(),
        cursors.after(next)?,
    )))
}
