//! A queue's messages as Lambda hands them to a function, and its answer: which of them must come
//! again. It knows nothing of what is in them.

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::{DateTime, Utc};

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same at every delivery.
    pub id: String,
    /// What was sent.
    pub body: String,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// What names this delivery to the queue.
    pub receipt_handle: String,
    /// The how manieth delivery it is, from 1.
    pub receive_count: u32,
}

/// Why an event is no batch of messages.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It is no event of a queue.
    #[error("the event is no batch of messages")]
    Unreadable(#[source] serde_json::Error),
    /// A message lacks what every message has.
    #[error("a message lacks its {0}")]
    Lacking(&'static str),
}

/// The messages of an event. All fail together if one cannot even be named.
pub fn messages(event: &str) -> Result<Vec<Message>, QueueError> {
    let event: SqsEvent = serde_json::from_str(event).map_err(QueueError::Unreadable)?;
    event.records.into_iter().map(message).collect()
}

fn message(record: SqsMessage) -> Result<Message, QueueError> {
    let sent = record.attributes.get("SentTimestamp");
    let count = record.attributes.get("ApproximateReceiveCount");
    let sent_at = sent.and_then(|millis| DateTime::from_timestamp_millis(millis.parse().ok()?));
    Ok(Message {
        id: record
            .message_id
            .filter(|id| !id.is_empty())
            .ok_or(QueueError::Lacking("id"))?,
        body: record.body.unwrap_or_default(),
        sent_at: sent_at.ok_or(QueueError::Lacking("time"))?,
        receipt_handle: record.receipt_handle.unwrap_or_default(),
        receive_count: count.and_then(|count| count.parse().ok()).unwrap_or(1),
    })
}

/// Lets a message come again after a while that doubles from delivery to delivery, instead of after
/// the whole time for which it is hidden. If that fails it comes later, which is no harm.
pub async fn back_off(client: &aws_sdk_sqs::Client, url: &str, message: &Message, first_s: i32, most_s: i32) {
    let doublings = message.receive_count.saturating_sub(1).min(16);
    let wait = first_s.saturating_mul(1 << doublings).min(most_s);
    let changed = client
        .change_message_visibility()
        .queue_url(url)
        .receipt_handle(&message.receipt_handle)
        .visibility_timeout(wait)
        .send()
        .await;
    if let Err(error) = changed {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(
            error,
            message_id = message.id,
            "a message comes again later than it should"
        );
    }
}

/// The answer that lets these messages come again and all others go.
pub fn answer(failed: impl IntoIterator<Item = String>) -> Result<String, serde_json::Error> {
    let failure = |id| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        failure
    };
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed.into_iter().map(failure).collect();
    serde_json::to_string(&response)
}
