//! What is measured: the kinds of metric and the eleven that are built in.
//!
//! Must not know limits, prices or counters, nor which further metrics administrators have defined.

use std::sync::LazyLock;

use serde::Serialize;

/// How the values of a metric combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Values add up over the billing period.
    Sum,
    /// A level that outlives the period.
    Gauge,
    /// How many are held at once, through reservations with renewal.
    Lease,
}

impl Kind {
    /// The name in requests, answers and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Sum => "sum",
            Kind::Gauge => "gauge",
            Kind::Lease => "lease",
        }
    }

    /// Reads what [`Kind::as_str`] writes, nothing else.
    pub fn parse(text: &str) -> Option<Kind> {
        [Kind::Sum, Kind::Gauge, Kind::Lease]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// What the value of a gauge event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The level is now the value.
    Level,
    /// The level changes by the value.
    Delta,
}

impl Mode {
    /// The name in requests, answers and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Level => "level",
            Mode::Delta => "delta",
        }
    }

    /// Reads what [`Mode::as_str`] writes, nothing else.
    pub fn parse(text: &str) -> Option<Mode> {
        [Mode::Level, Mode::Delta]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// A metric, built in or defined by an administrator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// The name, as [`crate::ids::is_metric_type`] allows it.
    pub metric_type: String,
    /// How its values combine; never changes.
    pub kind: Kind,
    /// What one is, in words: "documents", "GB" (10^9 bytes).
    pub unit: String,
    /// A sentence for people.
    pub description: Option<String>,
    /// Whether it is one of [`built_in`].
    pub built_in: bool,
}

/// The metrics that every installation has, in the order of the requirements.
static BUILT_IN: LazyLock<[Metric; 11]> = LazyLock::new(|| {
    [
        entry("document_processing", Kind::Sum, "documents", "Documents processed"),
        entry("document_pages", Kind::Sum, "pages", "Pages of processed documents"),
        entry("api_calls", Kind::Sum, "calls", "API calls"),
        entry(
            "storage_usage",
            Kind::Gauge,
            "GB",
            "Storage in use, in units of 10^9 bytes",
        ),
        entry(
            "user_sessions",
            Kind::Lease,
            "concurrent users",
            "Users signed in at once",
        ),
        entry("batch_operations", Kind::Sum, "jobs", "Batch processing jobs"),
        entry("export_operations", Kind::Sum, "exports", "Data exports"),
        entry("ocr_operations", Kind::Sum, "operations", "OCR processing"),
        entry("llm_operations", Kind::Sum, "operations", "LLM extraction"),
        entry("database_queries", Kind::Sum, "queries", "Database operations"),
        entry(
            "bandwidth_usage",
            Kind::Sum,
            "GB",
            "Network bandwidth, in units of 10^9 bytes",
        ),
    ]
});

fn entry(metric_type: &str, kind: Kind, unit: &str, description: &str) -> Metric {
    Metric {
        metric_type: metric_type.to_owned(),
        kind,
        unit: unit.to_owned(),
        description: Some(description.to_owned()),
        built_in: true,
    }
}

/// The metrics that every installation has.
pub fn built_in() -> &'static [Metric] {
    BUILT_IN.as_slice()
}

/// The built-in metric of that name.
pub fn find_built_in(name: &str) -> Option<&'static Metric> {
    built_in().iter().find(|metric| metric.metric_type == name)
}
