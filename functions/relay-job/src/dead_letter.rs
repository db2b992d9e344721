//! What can never be passed on, put aside with its images and the reason.

use aws_sdk_sqs::Client;
use metering_edge::stream::Record;
use metering_store::StoreError;
use serde_json::json;

/// Where records are put that can never be passed on.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    client: Client,
    url: String,
}

impl DeadLetters {
    /// The queue at `url`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Puts a record aside.
    pub async fn put(
        &self,
        record: &Record,
        error: &StoreError,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let source = std::error::Error::source(error).map(ToString::to_string);
        let letter = json!({
            "dead_letter": {"reason": error.to_string(), "source": source},
            "record": record.whole,
        });
        let send = self.client.send_message().queue_url(&self.url);
        send.message_body(letter.to_string()).send().await?;
        Ok(())
    }
}
