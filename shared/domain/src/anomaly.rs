//! Finds what is unusual in a series of usage, and says how bad it is and why.
//!
//! Three methods look at complete hours and days, each judged by what came before it: [`statistical`] at how far a
//! value lies from the mean, [`velocity`] at growth over the hour before, [`pattern`] at habits, at regularity,
//! at places and at what a [`Detector`] says of the stream. What they say of one stretch of time is one
//! [`Finding`] each, and where several agree each weighs more (`risk.rs`).
//!
//! Must not know where series come from, who is told, or how anomalies are stored.

mod daily;
mod pattern;
mod place;
mod risk;
mod statistical;
mod stream;
mod tail;
mod velocity;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use crate::{alert::Severity, named::named, period::Period};

pub use place::Sighting;
pub use stream::{Detector, Score, View};

/// Less history makes no rule: hours and days before the one that is judged.
pub const HISTORY_MIN: usize = 10;
/// From this risk on administrators are told.
pub const ALERT_RISK_MIN: u8 = 50;
/// Above this risk somebody has to look, and fraud is suspected.
pub const REVIEW_RISK_ABOVE: u8 = 75;

named! {
    /// What is unusual.
    AnomalyType {
        /// More than usual.
        Spike = "spike",
        /// Less than usual.
        Drop = "drop",
        /// Grown much faster than usual.
        VelocitySpike = "velocity_spike",
        /// Not as this user behaves.
        UnusualPattern = "unusual_pattern",
    }
}

named! {
    /// How it was found.
    Method {
        /// By the distance from the mean.
        Statistical = "statistical",
        /// By growth over the hour before.
        Velocity = "velocity",
        /// By habits, regularity and places.
        Pattern = "pattern",
    }
}

named! {
    /// How far its review has come.
    AnomalyStatus {
        /// Nobody has looked yet.
        Detected = "detected",
        /// Somebody is looking.
        Investigating = "investigating",
        /// It was dealt with. Final.
        Resolved = "resolved",
        /// It was none. Final.
        FalsePositive = "false_positive",
    }
}

impl AnomalyStatus {
    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Resolved | Self::FalsePositive)
    }

    /// Whether a review may go from here to there; staying is no step and always allowed.
    pub fn may_become(self, next: AnomalyStatus) -> bool {
        self == next || (!self.is_final() && next != Self::Detected)
    }
}

/// Usage of an hour or a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// From when to when.
    pub period: Period,
    /// Its total, or of a gauge the level at its end.
    pub value: Decimal,
    /// Whether it is over. One that is not is judged upward only, and is nobody's history.
    pub is_over: bool,
}

/// What is known of a user's usage of one metric.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Hours without gaps, oldest first, from the first usage on.
    pub hours: Vec<Bucket>,
    /// Days of the zone, likewise.
    pub days: Vec<Bucket>,
    /// The user's zone.
    pub zone: Tz,
    /// Where and when the user was last seen, oldest first.
    pub sightings: Vec<Sighting>,
}

/// Why something is unusual.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// A name for machines.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
    /// What it adds to the risk; those of an anomaly add up to its risk.
    pub points: u8,
}

/// Something unusual.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What.
    pub anomaly_type: AnomalyType,
    /// How it was found.
    pub method: Method,
    /// From when to when: hours or days that follow each other.
    pub window: Period,
    /// Whether it is about days.
    pub is_daily: bool,
    /// The value that is furthest from what was expected.
    pub observed: Decimal,
    /// What was expected there.
    pub expected: Decimal,
    /// From where
    pub expected_lower: Decimal,
    /// to where values are usual.
    pub expected_upper: Decimal,
    /// How sure it is, 0 to 1.
    pub confidence: Decimal,
    /// How bad it is, 0 to 100.
    pub risk: u8,
    /// Why, heaviest first.
    pub reasons: Vec<Reason>,
}

impl Finding {
    /// How bad it is, in words.
    pub fn severity(&self) -> Severity {
        severity(self.risk)
    }
}

/// A risk in words: ≤ 25 low, ≤ 50 medium, ≤ 75 high, else critical.
pub fn severity(risk: u8) -> Severity {
    match risk {
        0..=25 => Severity::Low,
        26..=50 => Severity::Medium,
        51..=75 => Severity::High,
        _ => Severity::Critical,
    }
}

/// What was found, and which methods had too little to go by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detected {
    /// Oldest first.
    pub findings: Vec<Finding>,
    /// Methods without enough history.
    pub skipped: Vec<Method>,
}

/// Hours, or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grain {
    Hour,
    Day,
}

/// What one method has against one hour or day.
#[derive(Clone, Debug)]
struct Evidence {
    anomaly_type: AnomalyType,
    method: Method,
    grain: Grain,
    /// Which of the series.
    index: usize,
    code: &'static str,
    detail: String,
    /// 0 to 100.
    points: f64,
    /// 0 to 1.
    confidence: f64,
    expected: f64,
    lower: f64,
    upper: f64,
}

/// Looks at everything that is known; the same usage gives the same findings, in the same order.
pub fn detect(usage: &Usage) -> Detected {
    let mut evidence = statistical::look(&usage.hours, Grain::Hour);
    evidence.extend(statistical::look(&usage.days, Grain::Day));
    evidence.extend(velocity::look(&usage.hours));
    evidence.extend(pattern::look(usage));
    let judgeable = |buckets: &[Bucket]| buckets.len() > HISTORY_MIN && buckets[HISTORY_MIN - 1].is_over;
    let has_hours = judgeable(&usage.hours);
    let skipped = Method::ALL.iter().filter(|method| match method {
        Method::Statistical => !has_hours && !judgeable(&usage.days),
        Method::Velocity => !has_hours,
        Method::Pattern => !has_hours && usage.sightings.len() <= HISTORY_MIN,
    });
    Detected {
        findings: risk::findings(usage, evidence),
        skipped: skipped.copied().collect(),
    }
}

/// When an hour or day begins on the user's clock.
fn local(at: DateTime<Utc>, zone: Tz) -> chrono::NaiveDateTime {
    at.with_timezone(&zone).naive_local()
}

/// A quantity as a statistic takes it: the nearest binary number.
fn float(value: Decimal) -> f64 {
    // Every decimal has one.
    f64::try_from(value).unwrap_or(0.0)
}
