//! Sending many messages to a queue.

use aws_sdk_sqs::{Client, types::SendMessageBatchRequestEntry};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use metering_store::StoreError;
use serde::Serialize;

/// SQS takes ten messages in a batch (Amazon SQS API Reference, `SendMessageBatch`).
const BATCH_MAX: usize = 10;
/// And 256 KiB in all, which was the limit before 2025 and leaves room.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Batches that are under way at once.
const WIDTH: usize = 8;

/// A queue that is sent to.
#[derive(Debug, Clone)]
pub struct Outbox {
    client: Client,
    url: String,
}

/// A message on its way: what it says, and after how many seconds it may be seen.
#[derive(Debug, Clone)]
pub struct Outgoing {
    body: String,
    delay_seconds: i32,
}

impl Outgoing {
    /// A message that says this, and may be seen after so many seconds, 0 to 900.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn new(message: &impl Serialize, delay_seconds: i32) -> Result<Self, StoreError> {
        let body = serde_json::to_string(message).map_err(|error| StoreError::Refused {
            operation: "message",
            source: Box::new(error),
        })?;
        Ok(Self { body, delay_seconds })
    }
}

impl Outbox {
    /// The queue at `url`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends all of them, in any order. Who sends all of them again after a failure sends some twice.
    ///
    /// # Errors
    /// If one of them was not taken.
    pub async fn send(&self, messages: Vec<Outgoing>) -> Result<(), StoreError> {
        let mut batches: Vec<Vec<Outgoing>> = Vec::new();
        let mut bytes = 0;
        for message in messages {
            bytes += message.body.len();
            match batches.last_mut() {
                Some(batch) if batch.len() < BATCH_MAX && bytes <= BATCH_BYTES_MAX => batch.push(message),
                _ => {
                    bytes = message.body.len();
                    batches.push(vec![message]);
                }
            }
        }
        stream::iter(batches)
            .map(|batch| self.send_batch(batch))
            .buffer_unordered(WIDTH)
            .try_collect::<()>()
            .await
    }

    async fn send_batch(&self, batch: Vec<Outgoing>) -> Result<(), StoreError> {
        let entry = |(index, message): (usize, Outgoing)| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(message.body)
                .delay_seconds(message.delay_seconds)
                .build()
        };
        let entries = batch.into_iter().enumerate().map(entry);
        let entries = entries
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| StoreError::Refused {
                operation: "send",
                source: Box::new(error),
            })?;
        let sent = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await;
        let sent = sent.map_err(|error| StoreError::Unavailable {
            operation: "send",
            source: Some(Box::new(error)),
        })?;
        match sent.failed().first() {
            None => Ok(()),
            Some(failed) => Err(StoreError::Unavailable {
                operation: "send",
                source: Some(failed.message().unwrap_or(failed.code()).into()),
            }),
        }
    }
}
