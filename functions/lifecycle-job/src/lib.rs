//! The life of subscriptions: on a schedule it closes the billing periods that are over, and of the
//! event bus it takes what others tell of subscriptions.
//!
//! Run twice, or by two at once: see [`metering_store::billing`]. One subscription that fails keeps no
//! other; the run fails at the end, so that Lambda runs it again and an alarm looks. What a run has no
//! time for is left to the next one.

mod bus;
mod close;

use std::sync::Arc;

use metering_edge::{App, config::ConfigError, lambda::Invoke};
use serde_json::Value;

/// What the bus may tell, by the types of its events.
pub const TOLD: [&str; 4] = [
    "subscription.created",
    "subscription.renewed",
    "subscription.plan_changed",
    "subscription.cancelled",
];

/// A step that failed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What it works with.
pub(crate) struct Job {
    app: Arc<App>,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job { app });
    Ok(Arc::new(move |event| {
        let job = Arc::clone(&job);
        Box::pin(async move { job.run(&event).await.map_err(|error| error.to_string()) })
    }))
}

impl Job {
    async fn run(&self, event: &str) -> Result<String, Failure> {
        let event: Value = serde_json::from_str(event)?;
        match event["detail-type"].as_str().and_then(bus::Told::parse) {
            Some(told) => self.take(told, &event["detail"]).await,
            None => self.close_all().await,
        }
    }
}
