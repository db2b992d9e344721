//! Of anomalies: the alert that tells administrators, and one message that has a new one published.

use metering_edge::{message::AlertTask, send::Outgoing};
use metering_store::{StoreError, anomaly::Anomaly};

use crate::{Fault, Relay};

/// An anomaly that a record tells of, and whether it is new.
pub(crate) struct Told {
    pub index: usize,
    pub anomaly: Anomaly,
    pub is_new: bool,
}

impl Relay {
    /// Passes on all of them; each that failed comes again.
    pub(crate) async fn tell(&self, anomalies: &[Told]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for told in anomalies {
            faults.extend(self.tell_one(told).await.err().map(|error| Fault {
                records: vec![told.index],
                error,
            }));
        }
        faults
    }

    async fn tell_one(&self, told: &Told) -> Result<(), StoreError> {
        if let Some(alert) = told.anomaly.alert(self.app.context.now()) {
            // Once for each anomaly, however often it rises or is told of.
            self.app.store.alert_raise(&alert).await?;
        }
        if !told.is_new {
            return Ok(());
        }
        let key = told.anomaly.key();
        let task = AlertTask::Publish {
            pk: metering_store::keys::anomalies(&key.user_id),
            sk: key.sk,
        };
        self.alerts.send(vec![Outgoing::new(&task, 0)?]).await
    }
}
