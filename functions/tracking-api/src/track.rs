//! `POST /usage/track`: one event, counted exactly once.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::StatusCode;
use metering_domain::{
    ids::{event_id, event_id_from_bits, fingerprint},
    metric::{Kind, Metric, Mode},
    number::{QUANTITY_MAX, plain},
    period::{AHEAD_MINUTES_MAX, BACK_DAYS_MAX, Period, accepts, instant_text},
};
use metering_edge::{
    App,
    access::Scope,
    answer::{Quota, number},
    auth::Call,
    fields::Fields,
    idempotency::{header_key, one_key},
    problem::{Code, FieldCode, FieldError, Problem},
    read,
    request::JsonBody,
    subject::Named,
};
use metering_store::{
    counter::Counter,
    event::{Details, Draft, Event, Source},
    track::Tracked,
};
use rust_decimal::Decimal;
use serde_json::json;

/// The longest response time that is recorded: a day.
const RESPONSE_TIME_MS_MAX: u32 = 86_400_000;

/// A body as read, not yet judged by who sent it.
struct Reported {
    named: Named,
    metric: Metric,
    value: Decimal,
    mode: Option<Mode>,
    timestamp: Option<DateTime<Utc>>,
    enforce: Option<bool>,
    backfill: bool,
    details: Details,
}

/// The endpoint.
pub async fn track(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let reported = reported(&app, &call, body).await?;
    permitted(&call, &reported)?;
    if reported.metric.kind == Kind::Lease {
        let detail = format!(
            "{} is held through reservations, not tracked.",
            reported.metric.metric_type
        );
        return Err(Problem::new(Code::MetricKindMismatch, detail));
    }
    let draft = draft(&app, &call, reported)?;
    let tracked = app.store.track(&draft).await?;
    answer(&app, &call, &draft, tracked).await
}

async fn reported(app: &App, call: &Call, body: JsonBody) -> Result<Reported, Problem> {
    let header = header_key(call)?;
    let mut fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let named = Named::read(call, &mut fields);
    let metric = fields.required("metric_type", read::metric(&metrics));
    let value = fields.required("metric_value", read::quantity(-QUANTITY_MAX));
    let mode = fields.optional("mode", read::one_of(&["level", "delta"], Mode::parse));
    let timestamp = fields.optional("timestamp", read::instant);
    let enforce = fields.optional("enforce", read::boolean);
    let backfill = fields.optional("backfill", read::boolean).unwrap_or(false);
    let details = Details {
        resource_id: fields.optional("resource_id", read::text(256)),
        endpoint: fields.optional("endpoint", read::text(256)),
        operation: fields.optional("operation", read::text(128)),
        response_time_ms: fields.optional("response_time_ms", read::json_integer(0, RESPONSE_TIME_MS_MAX)),
        error_occurred: fields.optional("error_occurred", read::boolean).unwrap_or(false),
        metadata: fields.optional("metadata", read::metadata).unwrap_or_default(),
        idempotency_key: fields.optional("idempotency_key", read::idempotency_key),
    };
    check_mode(&mut fields, metric.as_ref(), value, mode);
    check_time(&mut fields, timestamp, call.info.now, backfill);
    if backfill && enforce == Some(true) {
        fields.fail("enforce", FieldCode::NotAllowed, "a backfill is never enforced");
    }
    let (metric, value) = fields.finish(metric.zip(value))?;
    let details = Details {
        idempotency_key: one_key(header, details.idempotency_key)?,
        ..details
    };
    Ok(Reported {
        named,
        metric,
        value,
        mode,
        timestamp,
        enforce,
        backfill,
        details,
    })
}

/// Gauges say how the value is meant; only a difference may be below 0.
fn check_mode(fields: &mut Fields, metric: Option<&Metric>, value: Option<Decimal>, mode: Option<Mode>) {
    let kind = metric.map(|metric| metric.kind);
    match (kind, mode) {
        (Some(Kind::Gauge), None) if !fields.is_faulty("mode") => {
            fields.fail("mode", FieldCode::Required, "must be level or delta for a gauge");
        }
        (Some(Kind::Sum), Some(_)) => fields.fail("mode", FieldCode::NotAllowed, "only gauges have a mode"),
        _ => {}
    }
    let difference = kind == Some(Kind::Gauge) && mode == Some(Mode::Delta);
    if !difference && value.is_some_and(|value| value < Decimal::ZERO) {
        fields.fail(
            "metric_value",
            FieldCode::OutOfRange,
            format!("must be between 0 and {}", plain(QUANTITY_MAX)),
        );
    }
}

fn check_time(fields: &mut Fields, timestamp: Option<DateTime<Utc>>, now: DateTime<Utc>, backfill: bool) {
    if timestamp.is_some_and(|timestamp| !accepts(timestamp, now, backfill)) {
        let detail = format!(
            "must be at most {BACK_DAYS_MAX} days before and {AHEAD_MINUTES_MAX} minutes after {}",
            instant_text(now)
        );
        fields.fail("timestamp", FieldCode::OutOfRange, detail);
    }
}

/// A user token may only add to sums, enforced, at the present time.
fn permitted(call: &Call, reported: &Reported) -> Result<(), Problem> {
    reported.named.user(call)?;
    if !call.caller.is_plain_user() {
        return Ok(());
    }
    let now = call.info.now;
    let present = reported
        .timestamp
        .is_none_or(|at| (at - now).abs() <= chrono::TimeDelta::minutes(AHEAD_MINUTES_MAX));
    let refusals = [
        (
            reported.metric.kind != Kind::Sum,
            "A user token may only add to sum metrics.",
        ),
        (
            reported.value <= Decimal::ZERO,
            "A user token may only add positive values.",
        ),
        (
            reported.enforce == Some(false),
            "A user token's usage is always enforced.",
        ),
        (reported.backfill, "A user token may not backfill."),
        (!present, "A user token may only report the present time."),
    ];
    match refusals.into_iter().find(|(refused, _)| *refused) {
        Some((_, detail)) => Err(Problem::forbidden(detail)),
        None => Ok(()),
    }
}

fn draft(app: &App, call: &Call, reported: Reported) -> Result<Draft, Problem> {
    let user_id = reported.named.user(call)?;
    let subscription_id = reported.named.subscription_id();
    let key = reported.details.idempotency_key.as_deref();
    let id = match key {
        Some(key) => event_id(call.caller.namespace(), &user_id, "", key),
        None => event_id_from_bits(app.context.random()),
    };
    Ok(Draft {
        id,
        identified: key.is_some(),
        fingerprint: fingerprint(
            &reported.metric.metric_type,
            reported.value,
            reported.mode,
            subscription_id.as_deref(),
        ),
        user_id,
        subscription_id,
        metric: reported.metric,
        value: reported.value,
        mode: reported.mode,
        timestamp: reported.timestamp.unwrap_or(call.info.now),
        received_at: call.info.now,
        enforce: reported.enforce.unwrap_or(!reported.backfill),
        source: Source::Api,
        details: reported.details,
    })
}

async fn answer(app: &App, call: &Call, draft: &Draft, tracked: Tracked) -> Result<Response, Problem> {
    match tracked {
        Tracked::Recorded(event, counter) => recorded(app, call, &event, counter.as_deref(), false).await,
        Tracked::Duplicate(event, counter) => recorded(app, call, &event, counter.as_deref(), true).await,
        Tracked::Denied(counter) => Err(denied(app, call, draft, &counter).await?),
        Tracked::OtherFingerprint(_) => Err(Problem::new(
            Code::IdempotencyConflict,
            "The idempotency key belongs to an event with another metric, value, mode or subscription.",
        )),
        Tracked::BelowZero(level) => {
            let detail = format!("The level would be {}.", plain(level));
            let error = FieldError {
                pointer: "/metric_value".to_owned(),
                code: FieldCode::OutOfRange,
                detail: "takes the level below 0".to_owned(),
            };
            Err(Problem::new(Code::BelowZero, detail).with_error(error))
        }
        Tracked::UnknownSubscription => Err(Problem::not_found("subscription")),
        Tracked::Inactive => Err(Problem::new(
            Code::SubscriptionInactive,
            "The user has no active subscription for enforced usage.",
        )),
    }
}

async fn recorded(
    app: &App,
    call: &Call,
    event: &Event,
    counter: Option<&Counter>,
    duplicate: bool,
) -> Result<Response, Problem> {
    let now = call.info.now;
    let quota = match counter {
        Some(counter) => Some(Quota::of(counter, present_period(app, counter, now).await?, now)),
        None => None,
    };
    let (status, message) = if duplicate {
        (StatusCode::OK, "Usage already tracked")
    } else {
        (StatusCode::CREATED, "Usage tracked successfully")
    };
    let body = json!({
        "message": message, "usage_id": event.id, "metric_type": event.metric_type, "metric_value": number(event.value),
        "unit": event.unit, "duplicate": duplicate, "late": event.late, "over_limit": event.over_limit,
        "quota": quota.as_ref().map(Quota::body).transpose()?,
    });
    let headers = quota.map(|quota| quota.rate_limit(now)).unwrap_or_default();
    Ok((status, headers, Json(body)).into_response())
}

async fn denied(app: &App, call: &Call, draft: &Draft, counter: &Counter) -> Result<Problem, Problem> {
    let now = call.info.now;
    let quota = Quota::of(counter, present_period(app, counter, now).await?, now);
    let left = (counter.cap - counter.used - counter.held(now)).max(Decimal::ZERO);
    let detail = format!(
        "{} {} asked, {} left of {}.",
        plain(draft.value),
        counter.unit,
        plain(left),
        plain(counter.cap)
    );
    Ok(Problem::new(Code::QuotaExceeded, detail)
        .with_quota(quota.body()?)
        .with_headers(quota.rate_limit(now))
        .with_headers(quota.retry_after(now)))
}

/// A sum's counter has its period; a standing one is shown in the present period.
async fn present_period(app: &App, counter: &Counter, now: DateTime<Utc>) -> Result<Period, Problem> {
    if counter.kind == Kind::Sum {
        return Ok(counter.period);
    }
    let target = app
        .store
        .subscription_resolve(&counter.user_id, Some(&counter.subscription_id), false, now)
        .await?;
    target.map_or(Ok(counter.period), |target| Ok(target.period_at(now)?))
}
