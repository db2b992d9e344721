//! Logs: one JSON object a line, as CloudWatch reads them.

use tracing_subscriber::EnvFilter;

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
