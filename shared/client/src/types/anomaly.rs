//! Anomalies.

use serde::{Deserialize, Serialize};

use super::{AnomalyStatus, AnomalyType, DetectionMethod, Instant, Quantity, Severity};

/// Anomaly
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Anomaly {
    /// Made of what it is about: the same anomaly has the same id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// What kind.
    pub anomaly_type: AnomalyType,
    /// How it was found.
    pub detection_method: DetectionMethod,
    /// Of the risk: up to 25, 50, 75, and above.
    pub severity: Severity,
    /// How sure it is, 0 to 1.
    pub confidence_score: Quantity,
    /// From 50 on administrators are told.
    pub risk_score: u32,
    /// A risk above 75.
    pub is_fraud_suspect: bool,
    /// A risk above 75.
    pub requires_review: bool,
    /// Its state.
    pub status: AnomalyStatus,
    /// When it was found first.
    pub detected_at: Instant,
    /// When the hours that it is about start.
    pub window_start: Instant,
    /// When they end, exclusive.
    pub window_end: Instant,
    /// What was seen.
    pub observed_value: Quantity,
    /// What was expected.
    pub expected_value: Quantity,
    /// The least that would have been usual.
    pub expected_lower: Quantity,
    /// The most that would have been usual.
    pub expected_upper: Quantity,
    /// Null where 0 was expected.
    pub deviation_percentage: Option<Quantity>,
    /// Heaviest first; their points add up to the risk.
    pub reasons: Vec<AnomalyReason>,
    /// A reviewer's note.
    pub note: Option<String>,
}

/// A part of a risk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnomalyReason {
    /// A stable word for it.
    pub code: String,
    /// A sentence.
    pub detail: String,
    /// How much of the risk.
    pub points: u32,
}

/// What a search for anomalies found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnomalyDetection {
    /// A sentence.
    pub message: String,
    /// How many were found.
    pub anomalies_detected: u32,
    /// What was found.
    pub anomalies: Vec<Anomaly>,
    /// Which methods had too little data.
    pub skipped: Vec<SkippedMethod>,
}

/// A method that had too little data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SkippedMethod {
    /// How it was found.
    pub detection_method: DetectionMethod,
    /// A stable word for it.
    pub code: String,
}
