//! Tries to break the rules of `metering-domain` from outside, one module per module of the crate.

mod address;
mod aggregate;
mod anomaly;
mod anomaly_stream;
mod bucket;
mod charge;
mod chart;
mod division;
mod forecast;
mod forecast_scores;
mod ids;
mod instant;
mod number;
mod period;
mod period_walk;
mod plan;
mod quota;
mod quota_sequence;
mod report;
mod report_schedule;
mod sketch;
mod statement;
mod timeline;
mod trend;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

/// A decimal from its text.
fn dec(text: &str) -> Decimal {
    Decimal::from_str_exact(text).expect("the test names a decimal")
}

/// An instant from RFC 3339, read by chrono rather than by the code under test.
fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text)
        .expect("the test names an instant")
        .to_utc()
}
