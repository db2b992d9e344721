//! Reports and their schedules.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Frequency, Instant, ReportFormat, ReportStatus, ReportType};

/// A report that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; none: the default one.
    pub subscription_id: Option<String>,
    /// What it is about.
    pub report_type: ReportType,
    /// What file it is.
    pub report_format: ReportFormat,
    /// From when on.
    pub period_start: Instant,
    /// Until when.
    pub period_end: Instant,
    /// Of which metrics; none: all.
    pub metric_types: Option<Vec<String>>,
    /// By what it was narrowed down.
    pub filters: Map<String, Value>,
    /// Where it is fetched; none where it could not be made.
    pub file_url: Option<String>,
    /// How large it is.
    pub file_size_bytes: Option<u64>,
    /// How far it is.
    pub status: ReportStatus,
    /// Why it could not be made.
    pub error: Option<String>,
    /// When it was made.
    pub generated_at: Instant,
    /// Until when it can be fetched.
    pub expires_at: Instant,
    /// How many links were given.
    pub download_count: u64,
    /// The key or the user that asked for it.
    pub generated_by: String,
    /// By which schedule.
    pub schedule_id: Option<String>,
}

/// A link to a report's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportLink {
    /// Good for 5 minutes at most, without credentials.
    pub url: String,
}

/// A schedule by which reports are made and mailed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportSchedule {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; none: the default one.
    pub subscription_id: Option<String>,
    /// What its reports are about.
    pub report_type: ReportType,
    /// What files they are.
    pub report_format: ReportFormat,
    /// How often they are made.
    pub frequency: Frequency,
    /// The local time, `08:00`.
    pub time: String,
    /// Of weekly ones: 1 is Monday.
    pub weekday: u32,
    /// Of monthly ones.
    pub day_of_month: u32,
    /// An IANA time zone.
    pub timezone: String,
    /// Who is mailed.
    pub recipients: Vec<String>,
    /// Of which metrics; none: all.
    pub metric_types: Option<Vec<String>>,
    /// Whether the period before is shown, too.
    pub compare_to_previous: bool,
    /// Whom they are about, if not of the user alone.
    pub user_ids: Vec<String>,
    /// The next one.
    pub next_run_at: Instant,
    /// When the last one was made.
    pub last_run_at: Option<Instant>,
    /// The last one.
    pub last_report_id: Option<String>,
    /// When it was made.
    pub created_at: Instant,
}
