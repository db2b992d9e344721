//! Reservations: hold a quantity before the work, commit what was used, or give it back.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use chrono::TimeDelta;
use http::StatusCode;
use metering_domain::{
    ids::fingerprint,
    metric::{Kind, Metric},
    number::plain,
};
use metering_edge::{
    App,
    access::Scope,
    answer::{self, instant, number},
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    idempotency::{self, record, replayed, replayed_now, request_name, said_before},
    problem::{Code, FieldCode, FieldError, Problem},
    read,
    report::read_serving,
    request::JsonBody,
    subject::{Named, is_there, owner_of_query},
    verdict::{denied, too_many_holds},
};
use metering_store::{
    decide::{Actual, Decided, Order, Renewed},
    event::{Details, Draft, Event, Source},
    reservation::{self, Reservation, ReservationQuery, State as Standing, TTL_MAX},
    reserve::{Booking, Reserved},
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// For how many seconds something is held when nothing is said.
const TTL_DEFAULT_S: u32 = 300;
const TTL_MAX_S: u32 = 86_400;
const _: () = assert!(TTL_MAX.num_seconds() == TTL_MAX_S as i64);

/// `POST /usage/reservations`.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let booking = booking(&app, &call, body).await?;
    match app.store.reserve(&booking).await? {
        Reserved::Held(held) => Ok(idempotency::answer(StatusCode::CREATED, body_of(&held, &call, None))),
        Reserved::Before(held) => Ok(said_before(StatusCode::CREATED, body_of(&held, &call, None))),
        Reserved::OtherRequest => Err(other_request()),
        Reserved::Denied(counter) => Err(denied(&app, &booking.draft, &counter).await?),
        Reserved::TooManyHolds(counter) => Err(too_many_holds(&app, &counter, call.info.now).await?),
        Reserved::UnknownSubscription => Err(Problem::not_found("subscription")),
        Reserved::Inactive => Err(Problem::new(
            Code::SubscriptionInactive,
            "The user has no active subscription to reserve from.",
        )),
        Reserved::NotBegun => Err(Problem::new(
            Code::SubscriptionInactive,
            "The subscription has not begun.",
        )),
    }
}

async fn booking(app: &App, call: &Call, body: JsonBody) -> Result<Booking, Problem> {
    let name = request_name(call, &body.0)?;
    let mut fields = Fields::body(body.0)?;
    let metrics = app.store.metrics(fields.text_of("metric_type"), call.info.now).await?;
    let named = Named::read(call, &mut fields);
    let metric = fields.required("metric_type", read::metric(&metrics));
    let quantity = fields.required("quantity", read::positive);
    let ttl = ttl(&mut fields);
    let details = Details {
        resource_id: fields.optional("resource_id", read::text(256)),
        metadata: fields.optional("metadata", read::metadata).unwrap_or_default(),
        ..Details::default()
    };
    let (metric, quantity) = fields.finish(metric.zip(quantity))?;
    let user_id = named.user(call)?;
    if call.caller.is_plain_user() && metric.kind == Kind::Gauge {
        return Err(Problem::forbidden("A user token may not change the level of a gauge."));
    }
    let id = match &name {
        Some(name) => format!("rsv_{}", &name.hash[..32]),
        None => app.context.id("rsv"),
    };
    Ok(Booking {
        draft: draft(call, user_id, named.subscription_id(), metric, quantity, details, &id),
        made_as: name.map(|name| name.fingerprint),
        by_user: call.caller.is_plain_user(),
        id,
        ttl,
    })
}

fn draft(
    call: &Call,
    user_id: String,
    subscription_id: Option<String>,
    metric: Metric,
    quantity: Decimal,
    details: Details,
    id: &str,
) -> Draft {
    let now = call.info.now;
    Draft {
        id: reservation::usage_id(&user_id, id),
        identified: true,
        fingerprint: fingerprint(&metric.metric_type, quantity, None, subscription_id.as_deref()),
        user_id,
        subscription_id,
        mode: reservation::mode_of(metric.kind),
        metric,
        value: quantity,
        timestamp: now,
        received_at: now,
        now,
        enforce: true,
        source: Source::Reservation,
        hold: None,
        details,
    }
}

fn ttl(fields: &mut Fields) -> TimeDelta {
    let seconds = fields.optional("ttl_seconds", read::json_integer(1, TTL_MAX_S));
    TimeDelta::seconds(i64::from(seconds.unwrap_or(TTL_DEFAULT_S)))
}

/// `POST /usage/reservations/{id}/commit`: records what was used, whatever the cap is now.
pub async fn commit(
    State(app): State<Arc<App>>,
    call: Call,
    id: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let order = order(&call, &id, &body.0)?;
    let mut fields = Fields::body(body.0)?;
    let quantity = fields.optional("quantity", read::quantity(Decimal::ZERO));
    let mut details = read_serving(&mut fields);
    details.metadata = fields.optional("metadata", read::metadata).unwrap_or_default();
    fields.finish(Some(()))?;
    let actual = Actual { quantity, details };
    decided(&call, app.store.reservation_commit(&order, &actual).await?)
}

/// `POST /usage/reservations/{id}/release`: gives it back unused.
pub async fn release(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    Fields::query(call.info.query.as_deref()).finish(Some(()))?;
    let order = order(&call, &id, &Value::Null)?;
    decided(&call, app.store.reservation_release(&order).await?)
}

/// `POST /usage/reservations/{id}/renew`: holds it for so long from now on.
pub async fn renew(
    State(app): State<Arc<App>>,
    call: Call,
    id: Path<String>,
    body: JsonBody,
) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let order = order(&call, &id, &body.0)?;
    let name = order.request.clone();
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let ttl = ttl(&mut fields);
    fields.finish(Some(()))?;
    let answered = |after: &Reservation| record(name.as_ref(), StatusCode::OK, &body_of(after, &call, None));
    match app.store.reservation_renew(&order, ttl, answered).await? {
        Renewed::Done(held) => Ok(idempotency::answer(StatusCode::OK, body_of(&held, &call, None))),
        Renewed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Renewed::Unknown => Err(unknown()),
        Renewed::Foreign => Err(foreign()),
        Renewed::Closed(found) => Err(closed(&found, &call)),
        Renewed::TooLong(left) => Err(Problem::fields(vec![FieldError {
            pointer: "/ttl_seconds".to_owned(),
            code: FieldCode::OutOfRange,
            detail: format!("must be at most {left}: a reservation is held for at most 24 hours in all"),
        }])),
    }
}

/// What is to be done to a reservation, and by whom.
fn order(call: &Call, id: &str, body: &Value) -> Result<Order, Problem> {
    let by_user = call.caller.is_plain_user().then(|| call.caller.actor().id);
    Ok(Order {
        id: id.to_owned(),
        by_user,
        request: request_name(call, body)?,
        now: call.info.now,
    })
}

fn decided(call: &Call, decided: Decided) -> Result<Response, Problem> {
    match decided {
        Decided::Done {
            reservation,
            event,
            again,
            replayed,
        } => {
            let mut body = body_of(&reservation, call, event.as_deref());
            body["duplicate"] = json!(again && !replayed && event.is_some());
            Ok(match replayed {
                true => said_before(StatusCode::OK, body),
                false => idempotency::answer(StatusCode::OK, body),
            })
        }
        Decided::Unknown => Err(unknown()),
        Decided::Foreign => Err(foreign()),
        Decided::Closed(found) | Decided::Expired(found) => Err(closed(&found, call)),
        Decided::OtherRequest => Err(other_request()),
        Decided::Lease => Err(Problem::new(
            Code::MetricKindMismatch,
            "A lease is held and released; it has nothing to commit.",
        )),
    }
}

/// `GET /usage/reservations`: of one user, newest first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let mut fields = Fields::query(call.info.query.as_deref());
    let metrics = app.store.metrics(fields.text_of("metric_type"), now).await?;
    let named = Named::read(&call, &mut fields);
    let metric = fields.optional("metric_type", read::metric(&metrics));
    let state = fields.optional("status", read::one_of(Standing::NAMES, Standing::parse));
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    let named = fields.finish(Some(named))?;
    let cursors = Cursors::of(&app, &call).await?;
    let before = cursors.read(cursor)?;
    let subscription_id = match named.subscription_id() {
        Some(_) => Some(named.target(&app, &call).await?.subscription_id.clone()),
        None => None,
    };
    let query = ReservationQuery {
        user_id: named.user(&call)?,
        subscription_id,
        metric_type: metric.map(|metric| metric.metric_type),
        state,
        before,
        limit,
    };
    let (found, next) = app.store.reservation_list(&query, now).await?;
    let events = app.store.reservation_events(&found, now).await?;
    let bodies = found.iter().map(|one| body_of(one, &call, events.get(&one.id)));
    Ok(Json(answer::page(
        "reservations",
        bodies.collect(),
        cursors.after(next)?,
    )))
}

/// `GET /usage/reservations/{id}`. Somebody else's does not exist.
pub async fn get(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let named = owner_of_query(&call)?;
    let found = app.store.reservation_get(&id).await?;
    let owner = found.as_ref().map(|found| found.user_id.as_str());
    let there = is_there(&call, named, owner)?;
    let found = found.filter(|_| there).ok_or_else(unknown)?;
    let event = match found.state {
        Standing::Committed => Some(app.store.commit_finish(&found, call.info.now).await?),
        Standing::Held | Standing::Released | Standing::Expired => None,
    };
    Ok(Json(body_of(&found, &call, event.as_ref())))
}

fn unknown() -> Problem {
    Problem::not_found("reservation")
}

fn foreign() -> Problem {
    Problem::forbidden("A user token touches only reservations that it made.")
}

fn other_request() -> Problem {
    Problem::new(
        Code::IdempotencyConflict,
        "The Idempotency-Key was used with another body.",
    )
}

fn closed(found: &Reservation, call: &Call) -> Problem {
    match (found.state_at(call.info.now), found.committed()) {
        (Standing::Expired, _) => Problem::new(
            Code::ReservationExpired,
            "The reservation expired; track the usage with enforce false if it has happened.",
        ),
        (_, Some(quantity)) => Problem::new(
            Code::ReservationClosed,
            format!("The reservation was committed with {} {}.", plain(quantity), found.unit),
        ),
        (_, None) => Problem::new(Code::ReservationClosed, "The reservation was released."),
    }
}

/// A reservation as callers see it.
fn body_of(one: &Reservation, call: &Call, event: Option<&Event>) -> Value {
    let committed = one.committed();
    json!({
        "id": one.id, "user_id": one.user_id, "subscription_id": one.subscription_id, "metric_type": one.metric_type,
        "quantity": number(one.quantity), "unit": one.unit, "status": one.state_at(call.info.now).as_str(),
        "created_at": instant(one.created_at), "expires_at": instant(one.held_until),
        "committed_quantity": committed.map_or(Value::Null, number), "usage_id": committed.map(|_| one.usage_id()),
        "over_limit": event.is_some_and(|event| event.over_limit), "duplicate": false,
        "resource_id": one.resource_id, "metadata": one.metadata,
    })
}
