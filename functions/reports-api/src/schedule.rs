//! Schedules of reports: made, listed, deleted. What is due is made by another function.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use chrono::NaiveTime;
use chrono_tz::Tz;
use http::StatusCode;
use metering_domain::report::{
    ReportFormat, ReportType,
    schedule::{DAY_OF_MONTH_MAX, Frequency, Recurrence, WEEKDAY_MAX},
};
use metering_edge::{
    App,
    access::Scope,
    answer::{self, instant, instant_opt},
    auth::Call,
    fields::{Fault, Fields},
    idempotency::{self, record, replayed, replayed_now, request_name},
    problem::{Code, FieldCode, Problem},
    read,
    request::JsonBody,
    subject::Named,
};
use metering_store::{
    metric::Catalogue,
    mutation::Committed,
    report_schedule::{ReportSchedule, SCHEDULES_MAX, ScheduleQuery},
};
use serde_json::{Value, json};

use crate::object::{Part, catalogue, is_visible, metrics};

const TIME: &str = "%H:%M";
const TIME_DEFAULT: NaiveTime = NaiveTime::from_hms_opt(8, 0, 0).expect("a time of day");
/// Recipients of one schedule: as many as SES takes for one mail.
const RECIPIENTS_MAX: usize = 50;
/// Users of one schedule.
const USERS_MAX: usize = 50;

fn body_of(schedule: &ReportSchedule) -> Value {
    let recurrence = &schedule.recurrence;
    json!({
        "id": schedule.id, "user_id": schedule.user_id, "subscription_id": schedule.subscription_id,
        "report_type": schedule.report_type.as_str(), "report_format": schedule.report_format.as_str(),
        "frequency": recurrence.frequency.as_str(), "time": recurrence.time.format(TIME).to_string(),
        "weekday": recurrence.weekday, "day_of_month": recurrence.day_of_month, "timezone": recurrence.zone.name(),
        "recipients": schedule.recipients, "metric_types": schedule.metric_types,
        "compare_to_previous": schedule.compare_to_previous, "user_ids": schedule.user_ids,
        "next_run_at": instant(schedule.next_run_at), "last_run_at": instant_opt(schedule.last_run_at),
        "last_report_id": schedule.last_report_id, "created_at": instant(schedule.created_at),
    })
}

/// What the audit log keeps of a schedule: addresses are the users', who may be erased.
fn audited(schedule: &ReportSchedule) -> Value {
    let mut body = body_of(schedule);
    body["recipients"] = json!(schedule.recipients.len());
    body
}

fn unknown() -> Problem {
    Problem::not_found("report schedule")
}

fn time(value: &Value) -> Result<NaiveTime, Fault> {
    // Two digits each: chrono alone would read fewer.
    let text = value.as_str().filter(|text| text.len() == 5);
    text.and_then(|text| NaiveTime::parse_from_str(text, TIME).ok())
        .ok_or_else(|| Fault::new(FieldCode::InvalidFormat, "must be a time of day like 08:00"))
}

/// What a body says of a schedule.
struct Wanted {
    report_type: ReportType,
    report_format: ReportFormat,
    recurrence: Recurrence,
    recipients: Vec<String>,
    metric_types: Option<Vec<String>>,
    compare_to_previous: bool,
    user_ids: Vec<String>,
}

impl Wanted {
    fn read(call: &Call, fields: &mut Fields, catalogue: &Catalogue) -> Option<Self> {
        let report_type = fields.required("report_type", read::one_of(ReportType::NAMES, ReportType::parse));
        let report_format = fields.required("report_format", read::one_of(ReportFormat::NAMES, ReportFormat::parse));
        let frequency = fields.required("frequency", read::one_of(Frequency::NAMES, Frequency::parse));
        let time = fields.optional("time", time).unwrap_or(TIME_DEFAULT);
        let weekday = fields
            .optional("weekday", read::json_integer(1, WEEKDAY_MAX))
            .unwrap_or(1);
        let day_of_month = fields
            .optional("day_of_month", read::json_integer(1, DAY_OF_MONTH_MAX))
            .unwrap_or(1);
        let zone = fields.optional("timezone", read::timezone).unwrap_or(Tz::UTC);
        let recipients = fields.required_list("recipients", read::email).map(named_once);
        if recipients.as_ref().is_some_and(|all| all.len() > RECIPIENTS_MAX) {
            let detail = format!("must name at most {RECIPIENTS_MAX} addresses");
            fields.fail("recipients", FieldCode::TooManyItems, detail);
        }
        let metrics = metrics(fields, catalogue);
        let compare_to_previous = fields.optional("compare_to_previous", read::boolean).unwrap_or(false);
        let user_ids = fields
            .list("user_ids", read::user_id)
            .map(named_once)
            .unwrap_or_default();
        if !user_ids.is_empty() && !call.caller.is_admin() {
            fields.fail(
                "user_ids",
                FieldCode::NotAllowed,
                "must be left out: it is for administrators",
            );
        }
        if user_ids.len() > USERS_MAX {
            let detail = format!("must name at most {USERS_MAX} users");
            fields.fail("user_ids", FieldCode::TooManyItems, detail);
        }
        let recurrence = Recurrence {
            frequency: frequency?,
            time,
            weekday,
            day_of_month,
            zone,
        };
        Some(Self {
            report_type: report_type?,
            report_format: report_format?,
            recurrence,
            recipients: recipients?,
            metric_types: metrics.map(|metrics| metrics.into_iter().map(|one| one.metric_type).collect()),
            compare_to_previous,
            user_ids,
        })
    }
}

fn named_once(all: Vec<String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

/// Whether a user's own token sends reports to the user's own address only.
async fn refuse_others(app: &App, call: &Call, user_id: &str, recipients: &[String]) -> Result<(), Problem> {
    if !call.caller.is_plain_user() {
        return Ok(());
    }
    let own = app.store.notification_get(Some(user_id)).await?.email;
    match recipients.iter().all(|one| Some(one) == own.as_ref()) {
        true => Ok(()),
        false => Err(Problem::new(
            Code::Forbidden,
            "Reports go to your own address only: that of your notification settings, which a service sets.",
        )),
    }
}

/// `POST /usage/report-schedules`.
pub async fn create(State(app): State<Arc<App>>, call: Call, body: JsonBody) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let now = call.info.now;
    let name = request_name(&call, &body.0)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let mut fields = Fields::body(body.0)?;
    let catalogue = catalogue(&app, &fields, &call).await?;
    let named = Named::read(&call, &mut fields);
    let wanted = Wanted::read(&call, &mut fields, &catalogue);
    let wanted = fields.finish(wanted)?;
    let target = named.target(&app, &call).await?;
    let user_id = target.user_id.clone();
    refuse_others(&app, &call, &user_id, &wanted.recipients).await?;
    let all = ScheduleQuery {
        user_id: user_id.clone(),
        subscription_id: None,
        of_several: true,
        before: None,
        limit: SCHEDULES_MAX,
    };
    if app.store.schedule_list(&all).await?.0.len() >= SCHEDULES_MAX {
        let detail = format!("There are {SCHEDULES_MAX} schedules, which is all that a user may have.");
        return Err(Problem::new(Code::Conflict, detail));
    }
    let next = wanted.recurrence.next(now);
    let schedule = ReportSchedule {
        id: app.context.id("sch"),
        user_id,
        subscription_id: named.subscription_id(),
        report_type: wanted.report_type,
        report_format: wanted.report_format,
        recurrence: wanted.recurrence,
        recipients: wanted.recipients,
        metric_types: wanted.metric_types,
        compare_to_previous: wanted.compare_to_previous,
        user_ids: wanted.user_ids,
        created_at: now,
        created_by: call.caller.actor().id,
        next_run_at: next.ok_or_else(|| Problem::internal("a schedule lies beyond the calendar"))?,
        last_run_at: None,
        last_report_id: None,
    };
    let body = body_of(&schedule);
    let id = schedule.id.clone();
    let audit = call.audit(
        app.context.id("aud"),
        "report_schedule.create",
        id,
        Value::Null,
        audited(&schedule),
    );
    let answered = record(name.as_ref(), StatusCode::CREATED, &body);
    match app.store.schedule_create(&schedule, &audit, answered.as_ref()).await? {
        Committed::Done => Ok(idempotency::answer(StatusCode::CREATED, body)),
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Unmet(_) => Err(Problem::internal("a new schedule has the id of another")),
    }
}

/// `GET /usage/report-schedules`: of one user, newest first.
pub async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let (part, ()) = Part::read(&app, &call, |_| ()).await?;
    let query = ScheduleQuery {
        user_id: part.user_id,
        subscription_id: part.subscription_id,
        of_several: call.caller.is_admin(),
        before: part.before,
        limit: part.limit,
    };
    let (found, next) = app.store.schedule_list(&query).await?;
    let bodies = found.iter().map(body_of).collect();
    Ok(Json(answer::page(
        "report_schedules",
        bodies,
        part.cursors.after(next)?,
    )))
}

async fn visible(app: &App, call: &Call, id: &str) -> Result<ReportSchedule, Problem> {
    let found = app.store.schedule_get(id).await?;
    let owner = found.as_ref().map(|schedule| schedule.user_id.as_str());
    let of_several = found.as_ref().is_some_and(|schedule| !schedule.user_ids.is_empty());
    let is_visible = is_visible(call, owner, of_several)?;
    found.filter(|_| is_visible).ok_or_else(unknown)
}

/// `GET /usage/report-schedules/{id}`.
pub async fn get(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    Ok(Json(body_of(&visible(&app, &call, &id).await?)))
}

/// `DELETE /usage/report-schedules/{id}`. A report that is being made is finished.
pub async fn delete(State(app): State<Arc<App>>, call: Call, id: Path<String>) -> Result<Response, Problem> {
    call.caller.require(Scope::Write)?;
    let name = request_name(&call, &Value::Null)?;
    if let Some(before) = replayed(&app, &call, name.as_ref()).await? {
        return Ok(before);
    }
    let schedule = visible(&app, &call, &id).await?;
    let (id, before) = (schedule.id.clone(), audited(&schedule));
    let audit = call.audit(app.context.id("aud"), "report_schedule.delete", id, before, Value::Null);
    let answered = record(name.as_ref(), StatusCode::NO_CONTENT, &Value::Null);
    match app.store.schedule_delete(&schedule, &audit, answered.as_ref()).await? {
        Committed::Done => Ok(idempotency::answer(StatusCode::NO_CONTENT, Value::Null)),
        Committed::Before => replayed_now(&app, &call, name.as_ref()).await,
        Committed::Unmet(_) => Err(unknown()),
    }
}
