//! Of new statements: one message each, so that it is published however often that fails at first.

use metering_edge::{message::AlertTask, send::Outgoing};
use metering_store::StoreError;

use crate::{Fault, Relay};

/// The statements that a batch tells of.
#[derive(Default)]
pub(crate) struct Statements {
    records: Vec<usize>,
    tasks: Vec<AlertTask>,
}

impl Statements {
    pub fn add(&mut self, index: usize, pk: &str, sk: &str) {
        self.records.push(index);
        self.tasks.push(AlertTask::Publish {
            pk: pk.to_owned(),
            sk: sk.to_owned(),
        });
    }
}

impl Relay {
    /// Has all of them published; what failed in part comes again whole.
    pub(crate) async fn publish(&self, statements: &Statements) -> Option<Fault> {
        let error = self.publish_all(&statements.tasks).await.err()?;
        Some(Fault {
            records: statements.records.clone(),
            error,
        })
    }

    async fn publish_all(&self, tasks: &[AlertTask]) -> Result<(), StoreError> {
        let messages = tasks.iter().map(|task| Outgoing::new(task, 0));
        self.alerts.send(messages.collect::<Result<_, _>>()?).await
    }
}
