//! The objects of answers, and the headers that tell a caller where they stand.

use chrono::{DateTime, SubsecRound as _, Utc};
use http::{HeaderMap, HeaderValue, header};
use metering_domain::{
    anomaly::{REVIEW_RISK_ABOVE, Reason},
    metric::Kind,
    number::plain,
    period::{Period, instant_text},
    quota::{Standing, Usage, standing},
    statement::Line,
    trend::change_percentage,
};
use metering_store::{
    adjustment::Adjustment, anomaly::Anomaly, counter::Counter, event::Event, statement::Statement,
    subscription::Subscription,
};
use rust_decimal::Decimal;
use serde_json::{Map, Number, Value, json};

use crate::problem::Problem;

/// A quantity or an amount of money as a JSON number, to the digit.
pub fn number(value: Decimal) -> Value {
    // `plain` writes nothing that is not a JSON number.
    plain(value).parse::<Number>().map_or(Value::Null, Value::Number)
}

/// An instant.
pub fn instant(at: DateTime<Utc>) -> Value {
    Value::String(instant_text(at))
}

/// An instant, or null.
pub fn instant_opt(at: Option<DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, instant)
}

/// A counter as callers see it, in its present period.
#[derive(Debug, Clone)]
pub struct Quota {
    counter: Counter,
    period: Period,
    standing: Standing,
    peak: Option<Decimal>,
}

impl Quota {
    /// The quota of a counter; `present` is the period shown where the counter has none of its own.
    pub fn of(counter: &Counter, present: Period, now: DateTime<Utc>) -> Self {
        let kind = counter.kind;
        let period = if kind == Kind::Sum { counter.period } else { present };
        let held = counter.held(now);
        let (used, held) = if kind == Kind::Lease {
            (held, Decimal::ZERO)
        } else {
            (counter.used, held)
        };
        // The level carried into a period counts as reached in it.
        let peak = (kind != Kind::Sum).then(|| counter.peak_in(&period).unwrap_or(used).max(used));
        let standing = standing(kind, &counter.terms, &Usage { used, held, peak });
        Self {
            counter: counter.clone(),
            period,
            standing,
            peak,
        }
    }

    /// What it says.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The period that it is of.
    pub fn period(&self) -> Period {
        self.period
    }

    /// The highest level of the period, of gauges and leases.
    pub fn peak(&self) -> Option<Decimal> {
        self.peak
    }

    /// The currency of its prices.
    pub fn currency(&self) -> &str {
        &self.counter.terms.currency
    }

    /// The object of answers.
    pub fn body(&self) -> Result<Value, Problem> {
        let counter = &self.counter;
        let mut body = Map::from_iter([
            ("metric_type".to_owned(), json!(counter.key.metric_type)),
            ("kind".to_owned(), json!(counter.kind.as_str())),
            ("unit".to_owned(), json!(counter.unit)),
        ]);
        if let Value::Object(standing) = serde_json::to_value(&self.standing).map_err(Problem::internal)? {
            body.extend(standing);
        }
        let resets = counter.kind == Kind::Sum;
        body.extend([
            ("currency".to_owned(), json!(counter.terms.currency)),
            ("denied_count".to_owned(), json!(counter.denied)),
            ("peak".to_owned(), self.peak.map_or(Value::Null, number)),
            ("overridden".to_owned(), json!(counter.terms.overridden)),
            ("period_start".to_owned(), instant(self.period.start)),
            ("period_end".to_owned(), instant(self.period.end)),
            ("next_reset".to_owned(), instant_opt(resets.then_some(self.period.end))),
        ]);
        Ok(Value::Object(body))
    }

    /// `RateLimit-*` in whole units and seconds; nothing where nothing is limited.
    pub fn rate_limit(&self, now: DateTime<Utc>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let (Some(limit), Some(available)) = (self.standing.quota_limit, self.standing.available) else {
            return headers;
        };
        put(&mut headers, "ratelimit-limit", plain(limit.floor()));
        put(&mut headers, "ratelimit-remaining", plain(available.floor()));
        if self.counter.kind == Kind::Sum {
            put(
                &mut headers,
                "ratelimit-reset",
                seconds_until(self.period.end, now).to_string(),
            );
        }
        headers
    }

    /// `Retry-After`: to the reset; leases to the next expiry; a gauge falls when somebody lowers it.
    pub fn retry_after(&self, now: DateTime<Utc>) -> HeaderMap {
        let until = match self.counter.kind {
            Kind::Sum => Some(self.period.end),
            Kind::Lease => self.counter.next_expiry(now),
            Kind::Gauge => None,
        };
        until.map(|until| retry_after(until, now)).unwrap_or_default()
    }
}

/// `Retry-After` in seconds, to an instant.
pub fn retry_after(until: DateTime<Utc>, now: DateTime<Utc>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put(
        &mut headers,
        header::RETRY_AFTER.as_str(),
        seconds_until(until, now).to_string(),
    );
    headers
}

/// Whole seconds until an instant, at least one.
fn seconds_until(until: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    let whole = (until - now).num_seconds();
    let started = i64::from((until - now) != (until.trunc_subsecs(0) - now.trunc_subsecs(0)));
    (whole + started).max(1)
}

fn put(headers: &mut HeaderMap, name: &'static str, value: String) {
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(name, value);
    }
}

/// An event as callers see it.
pub fn event(event: &Event) -> Value {
    let details = &event.details;
    json!({
        "id": event.id, "user_id": event.user_id, "subscription_id": event.subscription_id,
        "metric_type": event.metric_type, "metric_value": number(event.value), "unit": event.unit,
        "mode": event.mode.map(|mode| mode.as_str()), "timestamp": instant(event.timestamp), "received_at": instant(event.received_at),
        "resource_id": details.resource_id, "endpoint": details.endpoint, "operation": details.operation,
        "response_time_ms": details.response_time_ms, "error_occurred": details.error_occurred, "metadata": details.metadata,
        "idempotency_key": details.idempotency_key, "source": event.source, "late": event.late, "over_limit": event.over_limit,
        "superseded": event.superseded, "voided": event.voided,
    })
}

/// A ledger entry as callers see it.
pub fn adjustment(entry: &Adjustment) -> Value {
    json!({
        "id": entry.id, "kind": entry.kind.as_str(), "user_id": entry.user_id, "subscription_id": entry.subscription_id,
        "metric_type": entry.metric_type, "period_start": instant(entry.period_start), "amount": number(entry.amount),
        "usage_id": entry.usage_id, "reason": entry.reason, "actor": entry.actor, "created_at": instant(entry.created_at),
    })
}

/// A subscription as callers see it.
pub fn subscription(subscription: &Subscription, now: DateTime<Utc>) -> Result<Value, Problem> {
    let period = subscription.current_period(now)?;
    let status = subscription.status_at(now);
    Ok(json!({
        "id": subscription.id, "user_id": subscription.user_id, "plan": subscription.plan(), "status": status.as_str(),
        "timezone": subscription.timeline.zone().name(), "billing_anchor": instant(subscription.timeline.anchor_instant()),
        "period_length": subscription.timeline.length().as_str(), "starts_at": instant(subscription.starts_at),
        "current_period_start": instant(period.start), "current_period_end": instant(period.end),
        "created_at": instant(subscription.created_at), "cancel_at": instant_opt(subscription.cancel_at),
        "cancelled_at": instant_opt(subscription.ended_at(now)),
    }))
}

/// A statement as callers see it, and the event bus.
pub fn statement(statement: &Statement) -> Value {
    let option = |value: Option<Decimal>| value.map_or(Value::Null, number);
    let line = |line: &Line| {
        json!({
            "metric_type": line.metric_type, "kind": line.kind.as_str(), "unit": line.unit, "used": number(line.used),
            "peak": option(line.peak), "quota_limit": option(line.quota_limit), "overage": number(line.overage),
            "blocks": option(line.blocks), "overage_price": option(line.overage_price),
            "block_size": option(line.block_size), "cost": number(line.cost),
        })
    };
    json!({
        "id": statement.id, "user_id": statement.user_id, "subscription_id": statement.subscription_id,
        "plan": statement.plan, "period_start": instant(statement.period.start),
        "period_end": instant(statement.period.end), "closed_at": instant(statement.closed_at),
        "currency": statement.currency, "lines": statement.lines.iter().map(line).collect::<Vec<_>>(),
        "total_cost": number(statement.total_cost),
    })
}

/// An anomaly as callers see it, and the event bus.
pub fn anomaly(anomaly: &Anomaly) -> Value {
    let finding = &anomaly.finding;
    let deviation = change_percentage(finding.expected, finding.observed);
    let is_grave = finding.risk > REVIEW_RISK_ABOVE;
    let reason = |reason: &Reason| json!({"code": reason.code, "detail": reason.detail, "points": reason.points});
    json!({
        "id": anomaly.id, "user_id": anomaly.user_id, "subscription_id": anomaly.subscription_id,
        "metric_type": anomaly.metric_type, "anomaly_type": finding.anomaly_type.as_str(),
        "detection_method": finding.method.as_str(), "severity": finding.severity().as_str(),
        "confidence_score": number(finding.confidence), "risk_score": finding.risk,
        "is_fraud_suspect": is_grave, "requires_review": is_grave, "status": anomaly.status.as_str(),
        "detected_at": instant(anomaly.detected_at), "window_start": instant(finding.window.start),
        "window_end": instant(finding.window.end), "observed_value": number(finding.observed),
        "expected_value": number(finding.expected), "expected_lower": number(finding.expected_lower),
        "expected_upper": number(finding.expected_upper), "deviation_percentage": deviation.map_or(Value::Null, number),
        "reasons": finding.reasons.iter().map(reason).collect::<Vec<_>>(), "note": anomaly.note,
    })
}

/// A page of a list that is known as a whole: what follows the element named `after`, and the name
/// to go on from.
pub fn slice<'a, T>(
    all: &'a [T],
    limit: usize,
    after: Option<&str>,
    name: impl Fn(&T) -> &str,
) -> (&'a [T], Option<String>) {
    let seen = after.and_then(|after| all.iter().position(|one| name(one) == after));
    let rest = &all[seen.map_or(0, |index| index + 1)..];
    let page = &rest[..limit.min(rest.len())];
    let last = page.last().filter(|_| page.len() < rest.len());
    (page, last.map(|last| name(last).to_owned()))
}

/// A page of a list.
pub fn page(name: &str, items: Vec<Value>, next_cursor: Option<String>) -> Value {
    Value::Object(Map::from_iter([
        (name.to_owned(), Value::Array(items)),
        ("next_cursor".to_owned(), json!(next_cursor)),
    ]))
}
