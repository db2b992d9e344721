//! Events as the service keeps them, and what it says when it is told of one.

use serde::{Deserialize, Serialize};

use super::{AdjustmentKind, EventSource, Instant, Metadata, Mode, Quantity, Quota};

/// What was counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// How much.
    pub metric_value: Quantity,
    /// Its unit.
    pub unit: String,
    /// How a gauge's value is meant.
    pub mode: Option<Mode>,
    /// When it happened.
    pub timestamp: Instant,
    /// When the service received it.
    pub received_at: Instant,
    /// What it was about.
    pub resource_id: Option<String>,
    /// Which endpoint of your service.
    pub endpoint: Option<String>,
    /// Which operation of your service.
    pub operation: Option<String>,
    /// How long it took, in milliseconds, at most a day.
    pub response_time_ms: Option<u64>,
    /// Whether it failed.
    pub error_occurred: bool,
    /// At most 512 bytes as compact JSON.
    pub metadata: Metadata,
    /// Its identity.
    pub idempotency_key: Option<String>,
    /// By which way it came.
    pub source: EventSource,
    /// It happened in a period that had ended.
    pub late: bool,
    /// It was recorded above what is enforced.
    pub over_limit: bool,
    /// A gauge's level that a later one had replaced when it arrived.
    pub superseded: bool,
    /// It was taken back.
    pub voided: bool,
}

/// An event was counted, now or before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrackResult {
    /// A sentence.
    pub message: String,
    /// The id of the event.
    pub usage_id: String,
    /// The metric.
    pub metric_type: String,
    /// How much.
    pub metric_value: Quantity,
    /// Its unit.
    pub unit: String,
    /// Whether it was there before this request.
    pub duplicate: bool,
    /// Whether it happened in a period that had ended.
    pub late: bool,
    /// Whether it was recorded above what is enforced.
    pub over_limit: bool,
    /// After this event; null for history.
    pub quota: Option<Quota>,
}

/// What became of the events of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchResult {
    /// Status 201.
    pub accepted: u32,
    /// Status 200.
    pub duplicates: u32,
    /// Status 429.
    pub denied: u32,
    /// All others.
    pub failed: u32,
    /// One for each, in order.
    pub results: Vec<BatchItemResult>,
}

/// What became of one event of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchItemResult {
    /// Its place in the request, from 0.
    pub index: u32,
    /// As if it had been tracked alone. 503: send it again.
    pub status: u32,
    /// The id of the event.
    pub usage_id: Option<String>,
    /// Whether it was there before this request.
    pub duplicate: bool,
    /// Whether it happened in a period that had ended.
    pub late: bool,
    /// Whether it was recorded above what is enforced.
    pub over_limit: bool,
    /// Why not.
    pub error: Option<BatchItemError>,
}

/// Why an event of a batch was not counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchItemError {
    /// A stable word for it.
    pub code: String,
    /// A sentence.
    pub detail: String,
    /// Which fields are wrong.
    pub errors: Vec<FieldError>,
    /// Where the quota stands.
    pub quota_info: Option<Quota>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the body, `?name` in the query, `{name}` in the path.
    pub pointer: String,
    /// A stable word for it.
    pub code: String,
    /// What would be right.
    pub detail: String,
}

/// An event was taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VoidResult {
    /// The event.
    pub event: Event,
    /// The entry of the ledger.
    pub adjustment: Adjustment,
    /// An earlier call did it.
    pub already_voided: bool,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Adjustment {
    /// Its id.
    pub id: String,
    /// How values combine.
    pub kind: AdjustmentKind,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// When the period starts.
    pub period_start: Instant,
    /// What it added to usage, mostly below 0.
    pub amount: Quantity,
    /// The id of the event.
    pub usage_id: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Whose credentials.
    pub actor: String,
    /// When it was made.
    pub created_at: Instant,
}
