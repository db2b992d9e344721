//! Forecasts, asked for by a caller or by a schedule: gathered, computed, told.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, bucket_at, next_bucket},
    forecast::{
        LEVEL, Model,
        usage::{DAYS_MIN, Expected, PeriodForecast, Question, TooFewDays, UsageForecast, forecast_usage},
    },
    metric::Metric,
};
use metering_store::{forecast::StoredForecast, subscription::Target};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    App,
    answer::{instant, instant_opt, number},
    problem::{Code, Problem},
};

/// How many days are forecast when nothing is said.
pub const HORIZON_DAYS_DEFAULT: u32 = 30;
/// The most days that are forecast.
pub const HORIZON_DAYS_MAX: u32 = 365;
/// What stands for no model in particular.
pub const AUTO: &str = "auto";
/// Decimals of errors and shares.
const PLACES: u32 = 9;

/// What is to be forecast.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The id that it gets.
    pub id: String,
    /// Of which metric.
    pub metric: Metric,
    /// How many days.
    pub horizon_days: u32,
    /// By which model; none: the one that tests best.
    pub model: Option<Model>,
}

/// Makes a forecast of an owner's usage. 422 `insufficient_data` if there is too little of it; 404 if the subscription
/// is gone.
pub async fn make(app: &App, target: &Target, ask: &Ask, now: DateTime<Utc>) -> Result<StoredForecast, Problem> {
    let made = foresee(app, target, &ask.metric, ask.horizon_days, ask.model, now).await?;
    let made = made.map_err(|few| too_few(&ask.metric, few))?;
    Ok(StoredForecast {
        id: ask.id.clone(),
        user_id: target.user_id.clone(),
        subscription_id: target.subscription_id.clone(),
        metric_type: ask.metric.metric_type.clone(),
        created_at: now,
        body: body(target, ask, &made, now),
    })
}

/// What is expected of an owner's usage, if enough is known of it. 404 if the subscription is gone.
pub async fn foresee(
    app: &App,
    target: &Target,
    metric: &Metric,
    horizon_days: u32,
    model: Option<Model>,
    now: DateTime<Utc>,
) -> Result<Result<UsageForecast, TooFewDays>, Problem> {
    let end = end_of(target.timeline.zone(), horizon_days, now)
        .ok_or_else(|| Problem::internal("a horizon lies beyond the calendar"))?;
    let outlook = app.store.outlook(target, metric, end, now).await?;
    let outlook = outlook.ok_or_else(|| Problem::not_found("subscription"))?;
    let question = Question {
        kind: metric.kind,
        days: &outlook.days,
        zone: target.timeline.zone(),
        now,
        used: outlook.used,
        peak: outlook.peak,
        periods: &outlook.periods,
        horizon: horizon_days as usize,
        model,
    };
    forecast_usage(&question).ok_or_else(|| Problem::internal("a forecast lies beyond the calendar"))
}

/// The end of the last day of a horizon; none near the end of the calendar.
fn end_of(zone: Tz, days: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // Days are 23 to 25 hours long, and some are skipped.
    let last = bucket_at(Granularity::Daily, zone, now + TimeDelta::days(i64::from(days) + 1))?;
    next_bucket(Granularity::Daily, zone, &last).map(|next| next.end)
}

fn too_few(metric: &Metric, TooFewDays(days): TooFewDays) -> Problem {
    let detail = match days {
        0 => format!(
            "There is no usage of {}: 0 days; a forecast needs {DAYS_MIN}.",
            metric.metric_type
        ),
        1 => format!(
            "Usage of {} is known of 1 day; a forecast needs {DAYS_MIN}.",
            metric.metric_type
        ),
        days => format!(
            "From the first usage of {} to the last one there are {days} days; a forecast needs {DAYS_MIN}.",
            metric.metric_type
        ),
    };
    Problem::new(Code::InsufficientData, detail)
}

fn body(target: &Target, ask: &Ask, made: &UsageForecast, now: DateTime<Utc>) -> Value {
    let tested = &made.forecast.backtest;
    let sum = |of: fn(&PeriodForecast) -> Decimal| number(made.periods.iter().map(of).sum());
    let requested = ask.model.map_or(AUTO, Model::as_str);
    json!({
        "id": ask.id, "user_id": target.user_id, "subscription_id": target.subscription_id,
        "metric_type": ask.metric.metric_type, "unit": ask.metric.unit,
        "forecast_date": instant(made.until),
        "predicted_value": number(made.predicted.mean),
        "confidence_lower": number(made.predicted.lower), "confidence_upper": number(made.predicted.upper),
        "confidence_level": statistic(Some(LEVEL)),
        "model_type": made.forecast.model.as_str(), "requested_model_type": requested,
        "model_reason": made.forecast.reason, "model_accuracy": statistic(Some(made.forecast.accuracy)),
        "data_points": made.data_points,
        "backtest": {"mase": statistic(tested.mase), "smape": statistic(tested.smape), "folds": tested.folds},
        "will_exceed_quota": made.periods.iter().any(|period| period.will_exceed),
        "expected_overage": sum(|period| period.overage), "estimated_overage_cost": sum(|period| period.cost),
        "path": made.path.iter().map(|(date, step)| day(&date.to_string(), step)).collect::<Vec<_>>(),
        "periods": made.periods.iter().map(period).collect::<Vec<_>>(),
        "exhausted_at": instant_opt(made.exhausted_at),
        "exhausted_at_lower": instant_opt(made.exhausted_between.0),
        "exhausted_at_upper": instant_opt(made.exhausted_between.1),
        "created_at": instant(now),
    })
}

fn day(date: &str, step: &Expected) -> Value {
    json!({"date": date, "mean": number(step.mean), "lower": number(step.lower), "upper": number(step.upper)})
}

fn period(of: &PeriodForecast) -> Value {
    json!({
        "period_start": instant(of.period.start), "period_end": instant(of.period.end),
        "predicted_usage": number(of.predicted), "quota_limit": of.quota_limit.map_or(Value::Null, number),
        "will_exceed": of.will_exceed, "expected_overage": number(of.overage),
        "estimated_overage_cost": number(of.cost),
    })
}

/// A number of statistics; null where there is none.
fn statistic(value: Option<f64>) -> Value {
    let value = value.and_then(|value| Decimal::try_from(value).ok());
    value.map_or(Value::Null, |value| number(value.round_dp(PLACES)))
}
