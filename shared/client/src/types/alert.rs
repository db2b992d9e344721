//! Alerts, what raises them and where they go.

use serde::{Deserialize, Serialize};

use super::{
    ActionTaken, AlertStatus, AlertType, Channel, DeliveryStatus, Instant, Quantity, Severity, ThresholdScope,
    ThresholdType,
};

/// Alert
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// What was reached.
    pub alert_type: AlertType,
    /// How serious.
    pub severity: Severity,
    /// Only forward.
    pub status: AlertStatus,
    /// Of a custom threshold.
    pub threshold_id: Option<String>,
    /// Per cent; of a custom threshold what it says.
    pub threshold_value: Option<Quantity>,
    /// Usage in per cent of the limit.
    pub quota_percentage: Option<Quantity>,
    /// The limit; none: unlimited.
    pub quota_limit: Option<Quantity>,
    /// What was used in this period; gauges and leases: the level now.
    pub current_usage: Quantity,
    /// What follows from it.
    pub action_taken: Option<ActionTaken>,
    /// One line.
    pub title: String,
    /// A sentence.
    pub message: String,
    /// When the period starts.
    pub period_start: Instant,
    /// When it ends, exclusive.
    pub period_end: Instant,
    /// The anomaly that it is about.
    pub anomaly_id: Option<String>,
    /// When it was made.
    pub created_at: Instant,
    /// When the first channel accepted it.
    pub sent_at: Option<Instant>,
    /// When it was acknowledged.
    pub acknowledged_at: Option<Instant>,
    /// Whose credentials.
    pub acknowledged_by: Option<String>,
    /// When it was resolved.
    pub resolved_at: Option<Instant>,
    /// Every attempt to deliver it.
    pub deliveries: Vec<Delivery>,
}

/// An attempt to deliver an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivery {
    /// By which channel.
    pub channel: Channel,
    /// A mail address, a phone number or a URL.
    pub target: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Its state.
    pub status: DeliveryStatus,
    /// When.
    pub at: Instant,
    /// Why not.
    pub error: Option<String>,
}

/// What an alert is raised at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Threshold {
    /// Its id.
    pub id: String,
    /// Whom it watches.
    pub scope: ThresholdScope,
    /// null: everybody.
    pub user_id: Option<String>,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: Option<String>,
    /// The metric.
    pub metric_type: String,
    /// What it measures.
    pub threshold_type: ThresholdType,
    /// Per cent of the limit, units, or units within one hour.
    pub threshold_value: Quantity,
    /// Where it is told, each once.
    pub notification_channels: Vec<Channel>,
    /// How long after a delivery further ones are suppressed.
    pub cooldown_minutes: u64,
    /// How serious.
    pub severity: Severity,
    /// Whether it is in force.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Instant,
}

/// Where a user is told of alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NotificationSettings {
    /// Whose it is.
    pub user_id: String,
    /// A mail address.
    pub email: Option<String>,
    /// A phone number, E.164.
    pub phone: Option<String>,
    /// Where it is told, each once.
    pub notification_channels: Vec<Channel>,
}

/// Where webhooks of a user go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WebhookEndpoint {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Where webhooks go.
    pub url: String,
    /// Shown when it is made, never again.
    pub secret: Option<String>,
    /// false after the endpoint answered 410.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Instant,
}
