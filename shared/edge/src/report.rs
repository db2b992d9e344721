//! A reported event: read from a body, judged by who sent it, made a draft for the store. The same
//! for single events, batches, CloudEvents and the queue.

use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{
    ids::{Namespace, event_id, event_id_from_bits, fingerprint},
    metric::{Kind, Metric, Mode},
    number::{QUANTITY_MAX, plain},
    period::{AHEAD_MINUTES_MAX, BACK_DAYS_MAX, accepts, instant_text},
};
use metering_store::{
    Context,
    event::{Details, Draft, Source},
    metric::Catalogue,
};
use rust_decimal::Decimal;

use crate::{
    access::Caller,
    fields::Fields,
    problem::{Code, FieldCode, Problem},
    read,
};

/// The longest response time that is recorded: a day.
const RESPONSE_TIME_MS_MAX: u32 = 86_400_000;

/// An event as read, not yet judged by who sent it.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whose, if it says so.
    pub user_id: Option<String>,
    /// The subscription, if it names one.
    pub subscription_id: Option<String>,
    /// The metric.
    pub metric: Metric,
    /// How much.
    pub value: Decimal,
    /// How a gauge's value is meant.
    pub mode: Option<Mode>,
    /// When it happened, if it says so.
    pub timestamp: Option<DateTime<Utc>>,
    /// Whether the cap may refuse it, if it says so.
    pub enforce: Option<bool>,
    /// Whether it may lie far back.
    pub backfill: bool,
    /// What else it says.
    pub details: Details,
}

/// How the body of an event is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The metrics, which must know the event's if it exists.
    pub metrics: &'a Catalogue,
    /// When it was received.
    pub now: DateTime<Utc>,
    /// Whether it must name its user.
    pub names_user: bool,
    /// Whether it says by itself if it is enforced.
    pub says_enforce: bool,
}

/// By which way, and as whose, an event came.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// In whose names.
    pub namespace: Namespace,
    /// A CloudEvent's source; otherwise empty.
    pub origin: &'a str,
    /// By which way.
    pub source: Source,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The present instant: later than that for what waited in a queue.
    pub now: DateTime<Utc>,
}

impl Report {
    /// Reads the body of a track request, which every other way of tracking shares.
    pub fn read(mut fields: Fields, rules: Rules<'_>) -> Result<Self, Problem> {
        let user_id = fields.optional("user_id", read::user_id);
        if user_id.is_none() && rules.names_user && !fields.is_faulty("user_id") {
            fields.fail("user_id", FieldCode::Required, "must be given");
        }
        let subscription_id = fields.optional("subscription_id", read::subscription_id);
        let metric = fields.required("metric_type", read::metric(rules.metrics));
        let value = fields.required("metric_value", read::quantity(-QUANTITY_MAX));
        let mode = fields.optional("mode", read::one_of(&["level", "delta"], Mode::parse));
        let timestamp = fields.optional("timestamp", read::instant);
        let enforce = if rules.says_enforce {
            fields.optional("enforce", read::boolean)
        } else {
            None
        };
        let backfill = fields.optional("backfill", read::boolean).unwrap_or(false);
        let mut details = read_details(&mut fields);
        details.metadata = fields.optional("metadata", read::metadata).unwrap_or_default();
        details.idempotency_key = fields.optional("idempotency_key", read::idempotency_key);
        check_mode(&mut fields, ["metric_value", "mode"], metric.as_ref(), value, mode);
        check_time(&mut fields, "timestamp", timestamp, rules.now, backfill);
        if backfill && enforce == Some(true) {
            fields.fail("enforce", FieldCode::NotAllowed, "a backfill is never enforced");
        }
        let (metric, value) = fields.finish(metric.zip(value))?;
        Ok(Self {
            user_id,
            subscription_id,
            metric,
            value,
            mode,
            timestamp,
            enforce,
            backfill,
            details,
        })
    }

    /// Leases are held, not tracked.
    pub fn require_trackable(&self) -> Result<(), Problem> {
        if self.metric.kind != Kind::Lease {
            return Ok(());
        }
        let detail = format!("{} is held through reservations, not tracked.", self.metric.metric_type);
        Err(Problem::new(Code::MetricKindMismatch, detail))
    }

    /// Whose it is, if the caller may report it: a user token may only add to sums, enforced, at
    /// the present time.
    pub fn permitted(&self, caller: &Caller, enforced: bool, now: DateTime<Utc>) -> Result<String, Problem> {
        let user = caller
            .subject(self.user_id.clone())?
            .ok_or_else(|| Problem::internal("a user was not asked for"))?;
        if !caller.is_plain_user() {
            return Ok(user);
        }
        let near = TimeDelta::minutes(AHEAD_MINUTES_MAX);
        let present = self.timestamp.is_none_or(|at| (at - now).abs() <= near);
        let refusals = [
            (
                self.metric.kind != Kind::Sum,
                "A user token may only add to sum metrics.",
            ),
            (
                self.value <= Decimal::ZERO,
                "A user token may only add positive values.",
            ),
            (!enforced, "A user token's usage is always enforced."),
            (self.backfill, "A user token may not backfill."),
            (!present, "A user token may only report the present time."),
        ];
        match refusals.into_iter().find(|(refused, _)| *refused) {
            Some((_, detail)) => Err(Problem::forbidden(detail)),
            None => Ok(user),
        }
    }

    /// The draft for the store. Without a key each call is a new event.
    pub fn draft(self, context: &Context, user_id: String, enforce: bool, sent: Sent<'_>) -> Draft {
        let key = self.details.idempotency_key.as_deref();
        let id = match key {
            Some(key) => event_id(sent.namespace, &user_id, sent.origin, key),
            None => event_id_from_bits(context.random()),
        };
        Draft {
            id,
            identified: key.is_some(),
            fingerprint: fingerprint(
                &self.metric.metric_type,
                self.value,
                self.mode,
                self.subscription_id.as_deref(),
            ),
            user_id,
            subscription_id: self.subscription_id,
            metric: self.metric,
            value: self.value,
            mode: self.mode,
            timestamp: self.timestamp.unwrap_or(sent.received_at),
            received_at: sent.received_at,
            now: sent.now,
            enforce: enforce && !self.backfill,
            source: sent.source,
            hold: None,
            details: self.details,
        }
    }
}

/// What decides nothing, without metadata and key.
pub(crate) fn read_details(fields: &mut Fields) -> Details {
    Details {
        resource_id: fields.optional("resource_id", read::text(256)),
        ..read_serving(fields)
    }
}

/// How usage was served.
pub fn read_serving(fields: &mut Fields) -> Details {
    Details {
        endpoint: fields.optional("endpoint", read::text(256)),
        operation: fields.optional("operation", read::text(128)),
        response_time_ms: fields.optional("response_time_ms", read::json_integer(0, RESPONSE_TIME_MS_MAX)),
        error_occurred: fields.optional("error_occurred", read::boolean).unwrap_or(false),
        ..Details::default()
    }
}

/// Gauges say how the value is meant; only a difference may be below 0. The names are of the
/// fields that hold value and mode.
pub(crate) fn check_mode(
    fields: &mut Fields,
    [value_name, mode_name]: [&str; 2],
    metric: Option<&Metric>,
    value: Option<Decimal>,
    mode: Option<Mode>,
) {
    let kind = metric.map(|metric| metric.kind);
    match (kind, mode) {
        (Some(Kind::Gauge), None) if !fields.is_faulty(mode_name) => {
            fields.fail(mode_name, FieldCode::Required, "must be level or delta for a gauge");
        }
        (Some(Kind::Sum), Some(_)) => fields.fail(mode_name, FieldCode::NotAllowed, "only gauges have a mode"),
        _ => {}
    }
    let difference = kind == Some(Kind::Gauge) && mode == Some(Mode::Delta);
    if !difference && value.is_some_and(|value| value < Decimal::ZERO) {
        let detail = format!("must be between 0 and {}", plain(QUANTITY_MAX));
        fields.fail(value_name, FieldCode::OutOfRange, detail);
    }
}

/// Refuses a time too far from the present.
pub(crate) fn check_time(
    fields: &mut Fields,
    name: &str,
    timestamp: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    backfill: bool,
) {
    if timestamp.is_some_and(|timestamp| !accepts(timestamp, now, backfill)) {
        let detail = format!(
            "must be at most {BACK_DAYS_MAX} days before and {AHEAD_MINUTES_MAX} minutes after {}",
            instant_text(now)
        );
        fields.fail(name, FieldCode::OutOfRange, detail);
    }
}
