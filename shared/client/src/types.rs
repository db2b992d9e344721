//! What the service answers, field by field as its OpenAPI document names them.
//!
//! Services may learn new fields and new words: unknown fields are ignored, unknown words are kept
//! as they are ([`Severity::Other`] and its like).

mod alert;
mod analytics;
mod anomaly;
mod number;
mod quota;
mod report;
mod reservation;
mod usage;
mod vocabulary;

pub use alert::{Alert, Delivery, NotificationSettings, Threshold, WebhookEndpoint};
pub use analytics::{Aggregation, Forecast, ForecastBacktest, ForecastDay, ForecastPeriod, ResponseTimes, Trend};
pub use anomaly::{Anomaly, AnomalyDetection, AnomalyReason, SkippedMethod};
pub use number::Quantity;
pub use quota::{Quota, QuotaCheck, Summary};
pub use report::{Report, ReportLink, ReportSchedule};
pub use reservation::Reservation;
pub use usage::{Adjustment, BatchItemError, BatchItemResult, BatchResult, Event, FieldError, TrackResult, VoidResult};
pub use vocabulary::{
    ActionTaken, AdjustmentKind, AlertStatus, AlertType, AnomalyStatus, AnomalyType, Channel, DeliveryStatus,
    DetectionMethod, Direction, EventSource, ForecastModel, Frequency, Granularity, Kind, Mode, ReportFormat,
    ReportStatus, ReportType, ReservationStatus, Severity, ThresholdScope, ThresholdType, TrendTest,
};

/// An instant, in UTC.
pub type Instant = chrono::DateTime<chrono::Utc>;
/// What else is known of an event: an object of at most 50 keys and 512 bytes.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// A part of a list, newest first unless its call says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one starts; only none is the end.
    pub next_cursor: Option<String>,
}
