//! The event bus: what others may act upon, under a name that stays the same.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use metering_store::alert::Alert;
use serde_json::json;

use crate::{
    Failure, Job,
    webhook::{TYPE, data},
};

/// Who says what this system puts on the bus.
const SOURCE: &str = "usage-metering";

impl Job {
    /// Puts an alert on the bus.
    pub(crate) async fn put_on_bus(&self, alert: &Alert) -> Result<(), Failure> {
        let mut detail = data(alert);
        detail["event_id"] = json!(alert.id);
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(self.app.config.event_bus_name()?)
            .source(SOURCE)
            .detail_type(TYPE)
            .detail(detail.to_string())
            .build();
        let put = self.app.bus.put_events().entries(entry).send().await?;
        match put.entries().iter().find_map(|entry| entry.error_code()) {
            None => Ok(()),
            Some(code) => Err(format!("the bus refused an event: {code}").into()),
        }
    }
}
