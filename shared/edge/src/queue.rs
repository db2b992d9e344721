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
    let sent_at = sent.and_then(|millis| DateTime::from_timestamp_millis(millis.parse().ok()?));
    Ok(Message {
        id: record
            .message_id
            .filter(|id| !id.is_empty())
            .ok_or(QueueError::Lacking("id"))?,
        body: record.body.unwrap_or_default(),
        sent_at: sent_at.ok_or(QueueError::Lacking("time"))?,
    })
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
