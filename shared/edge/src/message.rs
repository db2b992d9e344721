//! What functions tell each other through queues.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// An hour of usage that changed: to be computed again from its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourChanged {
    /// The partition of the owner.
    pub owner: String,
    /// Whose usage it is.
    pub user_id: String,
    /// The metric.
    pub metric_type: String,
    /// Whether its events say levels.
    pub gauge: bool,
    /// The start of the hour, in UTC.
    pub hour: DateTime<Utc>,
    /// What must be seen; empty where everything that is there will do.
    pub events: Vec<NamedEvent>,
}

/// An event that must be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedEvent {
    /// Its id.
    pub id: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// 1, or 2 once it is voided.
    pub rev: u64,
    /// When it was received, which says until when it is there.
    pub received_at: DateTime<Utc>,
}

/// A series that is to be looked at for anomalies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesChanged {
    /// The partition of the owner.
    pub owner: String,
    /// Whose usage it is.
    pub user_id: String,
    /// The metric.
    pub metric_type: String,
    /// Whether its events say levels.
    pub gauge: bool,
}

/// What the function that tells people is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertTask {
    /// To deliver an alert by one way.
    Deliver {
        /// Whose.
        user_id: String,
        /// Where the alert is.
        sk: String,
        /// How.
        way: Way,
    },
    /// To put a statement or an anomaly on the event bus.
    Publish {
        /// Its partition key.
        pk: String,
        /// Its sort key.
        sk: String,
    },
    /// To judge a counter again: an open attempt may have decided by now.
    Judge {
        /// Whose.
        user_id: String,
        /// The counter's partition key.
        pk: String,
        /// The counter's sort key.
        sk: String,
    },
}

/// A way of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the user's address.
    Email,
    /// To the user's number.
    Sms,
    /// To a webhook endpoint, by its id.
    Webhook(String),
    /// To the event bus.
    Bus,
    /// To the address of the administrators.
    Administrators,
}
