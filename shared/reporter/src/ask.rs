//! What a report is asked to be.

use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, previous_bucket},
    alert::Severity,
    anomaly::AnomalyStatus,
    metric::Metric,
    period::Period,
    report::{ReportFormat, ReportType, buckets, covered},
};
use serde_json::{Map, Value, json};

/// What a report is asked to be.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What it is about.
    pub report_type: ReportType,
    /// What file it becomes.
    pub report_format: ReportFormat,
    /// Of which time; not empty.
    pub period: Period,
    /// On whose calendar.
    pub zone: Tz,
    /// Of which metrics; None: of all that are limited or used.
    pub metrics: Option<Vec<Metric>>,
    /// By what it is narrowed down.
    pub filters: Filters,
    /// The period that it is compared to; None: it is not.
    pub compared_to: Option<Period>,
}

/// By what a report is narrowed down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Anomalies of this severity only.
    pub severity: Option<Severity>,
    /// Anomalies with this status only.
    pub status: Option<AnomalyStatus>,
    /// Usage of this endpoint only.
    pub endpoint: Option<String>,
    /// How long buckets are: days, or hours; None: days.
    pub granularity: Option<Granularity>,
}

impl Filters {
    /// How long buckets are.
    pub fn granularity(&self) -> Granularity {
        self.granularity.unwrap_or(Granularity::Daily)
    }

    /// Names and values of those that are set.
    pub fn named(&self) -> Vec<(String, String)> {
        let all = [
            ("severity", self.severity.map(|one| one.as_str().to_owned())),
            ("status", self.status.map(|one| one.as_str().to_owned())),
            ("endpoint", self.endpoint.clone()),
            ("granularity", self.granularity.map(|one| one.as_str().to_owned())),
        ];
        let set = all.into_iter();
        set.filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// The object of answers.
    pub fn body(&self) -> Value {
        let fields = self.named().into_iter().map(|(name, value)| (name, json!(value)));
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

impl Ask {
    /// As many buckets before the period. None near the beginning of the calendar.
    pub fn period_before(&self) -> Option<Period> {
        let granularity = self.filters.granularity();
        let covered = covered(self.period, granularity, self.zone)?;
        let count = buckets(covered, granularity, self.zone).count();
        let first = buckets(covered, granularity, self.zone).next()?;
        let before = |bucket: &Period| previous_bucket(granularity, self.zone, bucket);
        let earliest = std::iter::successors(Some(first), before).nth(count)?;
        Some(Period {
            start: earliest.start,
            end: covered.start,
        })
    }
}
