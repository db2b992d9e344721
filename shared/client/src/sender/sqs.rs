//! Events by way of the service's queue, which takes them while the service itself does not answer.

use aws_sdk_sqs::{Client, error::DisplayErrorContext};

use crate::usage::Usage;

/// The service's queue (`UsageEventsQueue`).
#[derive(Debug, Clone)]
pub struct Queue {
    /// With credentials that may send to it.
    pub client: Client,
    /// Where it is.
    pub url: String,
}

impl Queue {
    /// Sends a batch as one message. What the service cannot count lies in the queue's dead letters,
    /// not in this process's.
    pub(super) async fn send(&self, usages: &[Usage]) -> Result<(), String> {
        let body = serde_json::to_string(usages).map_err(|error| error.to_string())?;
        let message = self.client.send_message().queue_url(&self.url).message_body(body);
        match message.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(DisplayErrorContext(error).to_string()),
        }
    }
}
