//! Where usage is heading: the figures of daily totals, and a test of their direction.
//!
//! Days without usage are left out, not filled with zeros. The running day is among the values but
//! says nothing about the direction, since it is not over.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, bucket_at, previous_bucket},
    period::Period,
    trend::{change_percentage, trend},
};
use metering_edge::{
    App, access::Scope, answer::number, auth::Call, fields::Fields, problem::Problem, read, subject::Named,
};
use metering_store::aggregation::{Bucket, BucketQuery};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::series;

const DAYS_DEFAULT: u32 = 30;
const DAYS_MAX: u32 = 365;
/// The window and as many days before it.
const DAYS_READ_MAX: usize = 2 * 365;
const _: () = assert!(DAYS_READ_MAX == 2 * DAYS_MAX as usize);
/// Decimals of a probability in answers.
const P_VALUE_PLACES: u32 = 9;

/// The last days of a zone.
struct Window {
    /// The start of as many days before.
    before: DateTime<Utc>,
    /// From the first of the days to the end of the running one.
    period: Period,
}

impl Window {
    /// None only near the ends of the calendar.
    fn of(zone: Tz, days: u32, now: DateTime<Utc>) -> Option<Self> {
        let back = |day: Period| previous_bucket(Granularity::Daily, zone, &day);
        let today = bucket_at(Granularity::Daily, zone, now)?;
        let first = (1..days).try_fold(today, |day, _| back(day))?;
        let before = (0..days).try_fold(first, |day, _| back(day))?;
        Some(Self {
            before: before.start,
            period: Period {
                start: first.start,
                end: today.end,
            },
        })
    }
}

/// `GET /usage/trends/{metric_type}`.
pub async fn get(State(app): State<Arc<App>>, call: Call, metric_type: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let metric = series::metric(&app, &metric_type, now).await?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = Named::read(&call, &mut fields);
    let days = fields
        .optional("days", read::integer(1, DAYS_MAX))
        .unwrap_or(DAYS_DEFAULT);
    let zone = fields.optional("timezone", read::timezone).unwrap_or(Tz::UTC);
    let named = fields.finish(Some(named))?;
    let gauge = series::is_gauge(&metric)?;
    let window = Window::of(zone, days, now).ok_or_else(|| Problem::internal("a window lies beyond the calendar"))?;
    let target = named.target(&app, &call).await?;
    let query = BucketQuery {
        series: series::of(&target.owner, &metric, gauge),
        granularity: Granularity::Daily,
        zone,
        // The level before the window comes with its first day.
        from: if gauge { window.period.start } else { window.before },
        to: window.period.end,
        after: None,
        limit: DAYS_READ_MAX,
    };
    let (buckets, _) = app.store.bucket_list(&query, now).await?;
    let (earlier, inside): (Vec<_>, Vec<_>) = buckets
        .iter()
        .partition(|bucket| bucket.period.start < window.period.start);
    let mut body = figures(gauge, &earlier, &inside, now);
    body.extend([
        ("metric_type".to_owned(), json!(metric.metric_type)),
        ("unit".to_owned(), json!(metric.unit)),
        ("period_days".to_owned(), json!(days)),
        (
            "dates".to_owned(),
            inside.iter().map(|day| json!(date(day, zone))).collect(),
        ),
    ]);
    Ok(Json(Value::Object(body)))
}

/// The local date of a day.
fn date(day: &Bucket, zone: Tz) -> String {
    day.period.start.with_timezone(&zone).date_naive().to_string()
}

/// What is compared: before the window, and in it.
fn compared(gauge: bool, earlier: &[&Bucket], inside: &[&Bucket]) -> (Decimal, Decimal) {
    let sum = |days: &[&Bucket]| {
        days.iter()
            .fold(Decimal::ZERO, |sum, day| sum.saturating_add(day.totals.total))
    };
    match (gauge, inside) {
        // Levels do not add up: the one at the end, against the one carried in.
        (true, [first, ..]) => (
            first.previous,
            inside.last().map_or(Decimal::ZERO, |last| last.totals.total),
        ),
        (true, []) => (Decimal::ZERO, Decimal::ZERO),
        (false, _) => (sum(earlier), sum(inside)),
    }
}

/// What can be said of the days inside the window, and of as many before it.
fn figures(gauge: bool, earlier: &[&Bucket], inside: &[&Bucket], now: DateTime<Utc>) -> Map<String, Value> {
    let values: Vec<Decimal> = inside.iter().map(|day| day.totals.total).collect();
    let over = inside.iter().filter(|day| day.period.end <= now);
    let over: Vec<Decimal> = over.map(|day| day.totals.total).collect();
    let (figures, tested) = (trend(&values), trend(&over));
    let (before, total) = compared(gauge, earlier, inside);
    let p_value = tested.p_value.and_then(|p_value| Decimal::try_from(p_value).ok());
    Map::from_iter(
        [
            ("data_points", json!(values.len())),
            ("total", number(total)),
            ("average", number(figures.average)),
            ("median", number(figures.median)),
            ("min", number(figures.min)),
            ("max", number(figures.max)),
            ("std_dev", number(figures.std_dev)),
            ("trend", json!(tested.direction.as_str())),
            ("trend_test", json!(tested.test)),
            (
                "p_value",
                number_opt(p_value.map(|p_value| p_value.round_dp(P_VALUE_PLACES))),
            ),
            ("change_percentage", number_opt(change_percentage(before, total))),
            ("values", values.iter().copied().map(number).collect()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

fn number_opt(value: Option<Decimal>) -> Value {
    value.map_or(Value::Null, number)
}
