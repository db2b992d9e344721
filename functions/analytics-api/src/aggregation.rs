//! Usage by hour, day, week or month of any zone.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, local_text},
    metric::Metric,
    trend::{change_percentage, direction_of_change},
};
use metering_edge::{
    App,
    access::Scope,
    answer::{self, instant, number},
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    problem::{FieldCode, Problem},
    read,
    subject::Named,
};
use metering_store::{
    aggregation::{Bucket, BucketQuery},
    keys,
};
use serde_json::{Value, json};

use crate::series;

/// How far a list reaches back when nothing is said.
const DAYS_DEFAULT: i64 = 30;
/// The longest range: ten years with their leap days.
const RANGE_DAYS_MAX: i64 = 3_653;
const GRANULARITIES: [&str; 4] = ["hourly", "daily", "weekly", "monthly"];

/// From when to when a query reaches.
struct Range {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

/// Reads `from` and `to`: without them the last 30 days until `to`, or until now.
fn range(fields: &mut Fields, now: DateTime<Utc>) -> Range {
    let to = fields.optional("to", read::instant).unwrap_or(now);
    let from = fields
        .optional("from", read::instant)
        .unwrap_or(to - TimeDelta::days(DAYS_DEFAULT));
    // An instant that could not be read is no reason to blame the other one.
    if !fields.is_faulty("to") && !fields.is_faulty("from") {
        if from >= to {
            fields.fail("from", FieldCode::OutOfRange, "must be before to");
        } else if to - from > TimeDelta::days(RANGE_DAYS_MAX) {
            let detail = format!("must be at most {RANGE_DAYS_MAX} days before to");
            fields.fail("from", FieldCode::OutOfRange, detail);
        }
    }
    Range { from, to }
}

/// `GET /usage/aggregations/{metric_type}`: oldest first.
pub async fn list(State(app): State<Arc<App>>, call: Call, metric_type: Path<String>) -> Result<Json<Value>, Problem> {
    call.caller.require(Scope::Read)?;
    let now = call.info.now;
    let metric = series::metric(&app, &metric_type, now).await?;
    let mut fields = Fields::query(call.info.query.as_deref());
    let named = Named::read(&call, &mut fields);
    let granularity = fields
        .optional("granularity", read::one_of(&GRANULARITIES, Granularity::parse))
        .unwrap_or(Granularity::Daily);
    let zone = fields.optional("timezone", read::timezone).unwrap_or(Tz::UTC);
    let range = range(&mut fields, now);
    let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
    let cursor = fields.optional("cursor", read::cursor);
    let named = fields.finish(Some(named))?;
    let gauge = series::is_gauge(&metric)?;
    let cursors = Cursors::of(&app, &call).await?;
    let after = cursors.read(cursor)?.map(|key| last_start(&key)).transpose()?;
    let target = named.target(&app, &call).await?;
    let query = BucketQuery {
        series: series::of(&target.owner, &metric, gauge),
        granularity,
        zone,
        from: range.from,
        to: range.to,
        after,
        limit,
    };
    let (buckets, next) = app.store.bucket_list(&query, now).await?;
    Ok(Json(answer::page(
        "aggregations",
        buckets.iter().map(|bucket| body(&metric, &query, bucket)).collect(),
        cursors.after(next.map(keys::instant))?,
    )))
}

/// The start of the last bucket of the page before.
fn last_start(key: &str) -> Result<DateTime<Utc>, Problem> {
    keys::parse_instant(key).ok_or_else(|| Problem::internal("a cursor of ours holds no instant"))
}

fn body(metric: &Metric, query: &BucketQuery, bucket: &Bucket) -> Value {
    let (period, totals) = (bucket.period, &bucket.totals);
    let change = change_percentage(bucket.previous, totals.total);
    json!({
        "metric_type": metric.metric_type, "aggregation_type": query.granularity.as_str(),
        "aggregation_date": instant(period.start), "period_end": instant(period.end),
        "local_start": local_text(query.zone, period.start), "unit": metric.unit,
        "total_value": number(totals.total), "event_count": totals.count, "average_value": number(totals.average),
        "min_value": number(totals.min), "max_value": number(totals.max), "error_count": totals.errors,
        "response_time_ms": {"p50": totals.p50, "p95": totals.p95, "p99": totals.p99},
        "previous_period_value": number(bucket.previous),
        "change_percentage": change.map_or(Value::Null, number),
        "trend": direction_of_change(bucket.previous, totals.total).as_str(),
    })
}
