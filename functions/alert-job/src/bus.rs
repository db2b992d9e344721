//! The event bus: what others may act upon, under a name that stays the same.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use metering_edge::answer;
use metering_store::{StoreError, alert::Alert, anomaly::AnomalyKey, statement::StatementKey};
use serde_json::{Value, json};

use crate::{
    Failure, Job,
    webhook::{TYPE, data},
};

/// Who says what this system puts on the bus.
const SOURCE: &str = "usage-metering";
/// The type of the event that says that an anomaly was found.
const ANOMALY_DETECTED: &str = "usage.anomaly_detected";
/// The type of the event that says that a period is closed.
const PERIOD_CLOSED: &str = "usage.period_closed";

impl Job {
    /// Puts an alert on the bus.
    pub(crate) async fn put_on_bus(&self, alert: &Alert) -> Result<(), Failure> {
        let mut detail = data(alert);
        detail["event_id"] = json!(alert.id);
        self.put(TYPE, &detail).await
    }

    /// Puts a statement on the bus.
    pub(crate) async fn publish(&self, key: &StatementKey) -> Result<(), Failure> {
        let found = self.app.store.statement_get(key).await?;
        let statement = found.ok_or(StoreError::Corrupt {
            what: "task",
            attribute: "sk".into(),
        })?;
        let detail = json!({"event_id": statement.id, "statement": answer::statement(&statement)});
        self.put(PERIOD_CLOSED, &detail).await
    }

    /// Puts an anomaly on the bus.
    pub(crate) async fn publish_anomaly(&self, key: &AnomalyKey) -> Result<(), Failure> {
        // Erased since.
        let Some(anomaly) = self.app.store.anomaly_get(key).await? else {
            return Ok(());
        };
        let detail = json!({"event_id": anomaly.id, "anomaly": answer::anomaly(&anomaly)});
        self.put(ANOMALY_DETECTED, &detail).await
    }

    async fn put(&self, detail_type: &str, detail: &Value) -> Result<(), Failure> {
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus_name)
            .source(SOURCE)
            .detail_type(detail_type)
            .detail(detail.to_string())
            .build();
        let put = self.app.bus.put_events().entries(entry).send().await?;
        match put.entries().iter().find_map(|entry| entry.error_code()) {
            None => Ok(()),
            Some(code) => Err(format!("the bus refused an event: {code}").into()),
        }
    }
}
