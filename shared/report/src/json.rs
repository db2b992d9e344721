//! The report as an object, for machines; `schema/report.schema.json` describes it.
//!
//! Names and shapes are those that the API answers with: numbers to the last digit, instants in UTC, null where there is
//! nothing.

use chrono::{DateTime, NaiveDate, Utc};
use metering_domain::{
    aggregate::{Totals, local_text},
    anomaly::{REVIEW_RISK_ABOVE, Reason},
    forecast::{
        LEVEL,
        usage::{Expected, PeriodForecast},
    },
    number::plain,
    period::instant_text,
    report::{
        Account, AnomalyLine, ComparisonLine, ForecastLine, Money, Overall, OverallLine, QuotaLine, Report,
        ResourceLine, ResourceName, Section, Series, StatementBlock, UsageLine, UserLine, statistic,
    },
    statement::Line,
    trend::change_percentage,
};
use rust_decimal::Decimal;
use serde_json::{Number, Value, json};

use crate::RenderError;

/// The object, on several lines.
pub(crate) fn render(report: &Report) -> Result<Vec<u8>, RenderError> {
    let filters = report.filters.iter().map(|(name, value)| (name.clone(), json!(value)));
    let of = |account: &Account| body(report, account);
    let body = json!({
        "title": report.title, "report_type": report.report_type.as_str(),
        "period_start": instant(report.period.start), "period_end": instant(report.period.end),
        "covered_start": instant(report.covered.start), "covered_end": instant(report.covered.end),
        "granularity": report.granularity.as_str(), "timezone": report.zone.name(),
        "generated_at": instant(report.generated_at), "filters": Value::Object(filters.collect()),
        "sections": report.sections.iter().map(|section| name(*section)).collect::<Vec<_>>(), "notes": report.notes,
        "accounts": report.accounts.iter().map(of).collect::<Vec<_>>(),
        "overall": report.overall.as_ref().map(overall),
    });
    let mut bytes = serde_json::to_vec_pretty(&body)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The name of a section: the field of an account that holds it.
fn name(section: Section) -> &'static str {
    match section {
        Section::Quotas => "quotas",
        Section::Usage => "usage",
        Section::Comparison => "comparison",
        Section::Charts => "series",
        Section::Rows => "rows",
        Section::Resources => "resources",
        Section::Forecasts => "forecasts",
        Section::Anomalies => "anomalies",
        Section::Costs => "statements",
    }
}

fn number(value: Decimal) -> Value {
    // `plain` writes nothing that is not a JSON number.
    plain(value).parse::<Number>().map_or(Value::Null, Value::Number)
}

fn option(value: Option<Decimal>) -> Value {
    value.map_or(Value::Null, number)
}

fn instant(at: DateTime<Utc>) -> Value {
    Value::String(instant_text(at))
}

fn instant_option(at: Option<DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, instant)
}

fn list<T>(all: &[T], of: impl Fn(&T) -> Value) -> Value {
    Value::Array(all.iter().map(of).collect())
}

fn body(report: &Report, account: &Account) -> Value {
    json!({
        "user_id": account.user_id, "subscription_id": account.subscription_id, "plan": account.plan,
        "currency": account.currency, "notes": account.notes,
        "quotas": list(&account.quotas, quota), "overage_cost": number(account.overage_cost),
        "usage": list(&account.usage, usage), "comparison": list(&account.comparison, comparison),
        "series": list(&account.series, |of| series(report, of)),
        "resources": list(&account.resources, resource), "forecasts": list(&account.forecasts, forecast),
        "anomalies": list(&account.anomalies, anomaly), "statements": list(&account.statements, statement),
        "total_cost": number(account.total_cost),
    })
}

fn quota(line: &QuotaLine) -> Value {
    let end = line.expected;
    json!({
        "metric_type": line.metric_type, "kind": line.kind.as_str(), "unit": line.unit,
        "period_start": instant(line.period.start), "period_end": instant(line.period.end),
        "current_usage": number(line.used), "quota_limit": option(line.limit),
        "usage_percentage": option(line.percentage), "overage": number(line.overage),
        "overage_cost": number(line.cost),
        "expected_usage": option(end.map(|end| end.used)), "expected_overage": option(end.map(|end| end.overage)),
        "estimated_overage_cost": option(end.map(|end| end.cost)),
    })
}

/// The fields of the API's aggregations.
fn totals(totals: &Totals) -> Value {
    json!({
        "total_value": number(totals.total), "event_count": totals.count, "average_value": number(totals.average),
        "min_value": number(totals.min), "max_value": number(totals.max), "error_count": totals.errors,
        "response_time_ms": {"p50": totals.p50, "p95": totals.p95, "p99": totals.p99},
    })
}

/// One object with the fields of both.
fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn usage(line: &UsageLine) -> Value {
    let own = json!({
        "metric_type": line.metric_type, "kind": line.kind.as_str(), "unit": line.unit,
        "previous_period_value": option(line.previous), "change_percentage": option(line.change_percentage),
        "trend": line.trend.as_str(), "trend_test": line.trend_test, "p_value": option(line.p_value),
    });
    merged(own, totals(&line.totals))
}

fn comparison(line: &ComparisonLine) -> Value {
    json!({
        "metric_type": line.metric_type, "unit": line.unit, "current_value": number(line.current),
        "previous_value": number(line.previous), "difference": number(line.difference),
        "change_percentage": option(line.change_percentage),
    })
}

fn series(report: &Report, series: &Series) -> Value {
    let points = series.points.iter().map(|point| {
        let own = json!({
            "period_start": instant(point.period.start), "period_end": instant(point.period.end),
            "local_start": local_text(report.zone, point.period.start), "value": number(point.value),
        });
        point
            .totals
            .as_ref()
            .map_or(own.clone(), |found| merged(own, totals(found)))
    });
    json!({
        "metric_type": series.metric_type, "kind": series.kind.as_str(), "unit": series.unit,
        "quota_limit": option(series.limit), "points": points.collect::<Vec<_>>(),
    })
}

fn resource(line: &ResourceLine) -> Value {
    let (id, others) = match &line.resource {
        ResourceName::Id(id) => (json!(id), Value::Null),
        ResourceName::Unnamed => (Value::Null, Value::Null),
        ResourceName::Others(count) => (Value::Null, json!(count)),
    };
    json!({
        "metric_type": line.metric_type, "unit": line.unit, "resource_id": id, "other_resources": others,
        "event_count": line.event_count, "total_value": number(line.total),
    })
}

fn forecast(line: &ForecastLine) -> Value {
    let made = &line.made;
    let tested = &made.forecast.backtest;
    let float = |value: Option<f64>| option(value.and_then(statistic));
    let day = |(date, step): &(NaiveDate, Expected)| json!({"date": date.to_string(), "mean": number(step.mean), "lower": number(step.lower), "upper": number(step.upper)});
    let period = |of: &PeriodForecast| {
        json!({
            "period_start": instant(of.period.start), "period_end": instant(of.period.end),
            "predicted_usage": number(of.predicted), "quota_limit": option(of.quota_limit),
            "will_exceed": of.will_exceed, "expected_overage": number(of.overage),
            "estimated_overage_cost": number(of.cost),
        })
    };
    json!({
        "metric_type": line.metric_type, "kind": line.kind.as_str(), "unit": line.unit,
        "forecast_date": instant(made.until), "predicted_value": number(made.predicted.mean),
        "confidence_lower": number(made.predicted.lower), "confidence_upper": number(made.predicted.upper),
        "confidence_level": float(Some(LEVEL)), "model_type": made.forecast.model.as_str(),
        "model_reason": made.forecast.reason, "model_accuracy": float(Some(made.forecast.accuracy)),
        "data_points": made.data_points,
        "backtest": {"mase": float(tested.mase), "smape": float(tested.smape), "folds": tested.folds},
        "expected_overage": number(line.expected_overage), "estimated_overage_cost": number(line.expected_cost),
        "path": list(&made.path, day), "periods": list(&made.periods, period),
        "exhausted_at": instant_option(made.exhausted_at),
        "exhausted_at_lower": instant_option(made.exhausted_between.0),
        "exhausted_at_upper": instant_option(made.exhausted_between.1),
    })
}

fn anomaly(line: &AnomalyLine) -> Value {
    let finding = &line.finding;
    let is_grave = finding.risk > REVIEW_RISK_ABOVE;
    let reason = |reason: &Reason| json!({"code": reason.code, "detail": reason.detail, "points": reason.points});
    json!({
        "id": line.id, "metric_type": line.metric_type, "unit": line.unit,
        "anomaly_type": finding.anomaly_type.as_str(), "detection_method": finding.method.as_str(),
        "severity": finding.severity().as_str(), "confidence_score": number(finding.confidence),
        "risk_score": finding.risk, "is_fraud_suspect": is_grave, "requires_review": is_grave,
        "status": line.status.as_str(), "detected_at": instant(line.detected_at),
        "window_start": instant(finding.window.start), "window_end": instant(finding.window.end),
        "observed_value": number(finding.observed), "expected_value": number(finding.expected),
        "expected_lower": number(finding.expected_lower), "expected_upper": number(finding.expected_upper),
        "deviation_percentage": option(change_percentage(finding.expected, finding.observed)),
        "reasons": list(&finding.reasons, reason), "note": line.note,
    })
}

fn statement(block: &StatementBlock) -> Value {
    let line = |line: &Line| {
        json!({
            "metric_type": line.metric_type, "kind": line.kind.as_str(), "unit": line.unit, "used": number(line.used),
            "peak": option(line.peak), "quota_limit": option(line.quota_limit), "overage": number(line.overage),
            "blocks": option(line.blocks), "overage_price": option(line.overage_price),
            "block_size": option(line.block_size), "cost": number(line.cost),
        })
    };
    json!({
        "id": block.id, "plan": block.plan, "period_start": instant(block.period.start),
        "period_end": instant(block.period.end), "lines": list(&block.lines, line),
        "total_cost": number(block.total_cost),
    })
}

fn overall(overall: &Overall) -> Value {
    let line = |line: &OverallLine| {
        json!({
            "metric_type": line.metric_type, "kind": line.kind.as_str(), "unit": line.unit, "users": line.users,
            "event_count": line.event_count, "total_value": number(line.total),
        })
    };
    let user = |user: &UserLine| {
        json!({
            "user_id": user.user_id, "subscription_id": user.subscription_id, "plan": user.plan,
            "highest_usage_percentage": option(user.highest_percentage), "anomalies": user.anomalies,
            "overage_cost": number(user.overage_cost), "total_cost": number(user.total_cost), "currency": user.currency,
        })
    };
    let money = |money: &Money| json!({"currency": money.currency, "amount": number(money.amount)});
    json!({
        "metrics": list(&overall.lines, line), "users": list(&overall.users, user),
        "overage_cost": list(&overall.overage_cost, money), "total_cost": list(&overall.total_cost, money),
    })
}
