//! Logs: one JSON object a line, as CloudWatch reads them; and measures, which it finds in them.

use std::io::Write as _;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;

/// The namespace of all measures.
pub const NAMESPACE: &str = "UsageMetering";

/// Starts logging; a filter that cannot be read logs at `info` and says so.
pub fn start(log_level: &str) {
    let (filter, fault) = match EnvFilter::try_new(log_level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_current_span(false)
        .init();
    if let Some(error) = fault {
        tracing::warn!(%error, "LOG_LEVEL cannot be read; logging at info");
    }
}

/// Counts for CloudWatch, told apart by stage: a line in its embedded metric format (Amazon CloudWatch
/// User Guide, "Embedded metric format specification").
pub fn measure(stage: &str, counts: &[(&str, u64)], now: DateTime<Utc>) {
    // A line that cannot be written is a log that nobody could read either.
    let _ = writeln!(std::io::stdout().lock(), "{}", measured(stage, counts, now));
}

fn measured(stage: &str, counts: &[(&str, u64)], now: DateTime<Utc>) -> Value {
    let metrics: Vec<Value> = counts
        .iter()
        .map(|(name, _)| json!({"Name": name, "Unit": "Count"}))
        .collect();
    let mut line = Map::from_iter([
        (
            "_aws".to_owned(),
            json!({
                "Timestamp": now.timestamp_millis(),
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["Stage"]], "Metrics": metrics}],
            }),
        ),
        ("Stage".to_owned(), json!(stage)),
    ]);
    line.extend(counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_names_its_counts_and_has_them() {
        let now = DateTime::from_timestamp_millis(1_777_000_000_123).expect("an instant");
        let line = measured("dev", &[("CounterDrift", 2), ("AggregateDrift", 0)], now);
        let told = json!({
            "_aws": {
                "Timestamp": 1_777_000_000_123_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "UsageMetering",
                    "Dimensions": [["Stage"]],
                    "Metrics": [{"Name": "CounterDrift", "Unit": "Count"}, {"Name": "AggregateDrift", "Unit": "Count"}],
                }],
            },
            "Stage": "dev", "CounterDrift": 2, "AggregateDrift": 0,
        });
        assert_eq!(line, told);
    }
}
