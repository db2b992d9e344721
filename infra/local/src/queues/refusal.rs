//! What a queue answers to a request that it cannot carry out, in SQS's words, since the SDK
//! tells errors apart by them.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use serde_json::json;

/// How many entries a batch may have.
pub const BATCH_ENTRIES_MAX: usize = 10;

/// A refused request.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such queue.
    #[error("The specified queue does not exist.")]
    NoQueue,
    /// A parameter that must be there is not.
    #[error("The request must contain the parameter {0}.")]
    Missing(&'static str),
    /// A parameter is not as it must be.
    #[error("{0}")]
    Parameter(String),
    /// A character that no message may hold.
    #[error("Invalid binary character '#x{:x}' was found in the message body, the set of allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF", u32::from(*.0))]
    Contents(char),
    /// A name that no attribute has.
    #[error("Unknown Attribute {0}.")]
    AttributeName(String),
    /// Not a receipt handle at all.
    #[error("The input receipt handle is invalid.")]
    Handle,
    /// The message is there for everybody.
    #[error("Value {0} for parameter ReceiptHandle is invalid. Reason: Message is not in flight.")]
    NotInFlight(String),
    /// A batch of nothing.
    #[error("There should be at least one {0} in the request.")]
    EmptyBatch(&'static str),
    /// A batch of too many.
    #[error("Maximum number of entries per request are {BATCH_ENTRIES_MAX}. You have sent {0}.")]
    TooManyEntries(usize),
    /// A batch that is too large.
    #[error("Batch requests cannot be longer than {most} bytes. You have sent {sent} bytes.")]
    BatchTooLong {
        /// The limit.
        most: usize,
        /// What it came to.
        sent: usize,
    },
    /// A batch in which a name is there twice.
    #[error("Id {0} repeated.")]
    EntryIdRepeated(String),
    /// A name that no entry may have.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    EntryId,
    /// What the template decides here.
    #[error("{0} is not offered: the queues of a local stack come from template.yaml.")]
    Unsupported(String),
    /// Not JSON of the right shape.
    #[error("{0}")]
    Malformed(#[source] serde_json::Error),
    /// The file.
    #[error("the queues' file failed: {0}")]
    Storage(#[from] rusqlite::Error),
    /// What the file holds.
    #[error("the queues' file holds what cannot be read: {0}")]
    Stored(#[source] serde_json::Error),
}

impl Refusal {
    /// The name by which the SDK, or the result of a batch, knows it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoQueue => "AWS.SimpleQueueService.NonExistentQueue",
            Self::Missing(_) => "MissingParameter",
            Self::Parameter(_) => "InvalidParameterValue",
            Self::Contents(_) => "InvalidMessageContents",
            Self::AttributeName(_) => "InvalidAttributeName",
            Self::Handle => "ReceiptHandleIsInvalid",
            Self::NotInFlight(_) => "AWS.SimpleQueueService.MessageNotInflight",
            Self::EmptyBatch(_) => "AWS.SimpleQueueService.EmptyBatchRequest",
            Self::TooManyEntries(_) => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            Self::BatchTooLong { .. } => "AWS.SimpleQueueService.BatchRequestTooLong",
            Self::EntryIdRepeated(_) => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            Self::EntryId => "AWS.SimpleQueueService.InvalidBatchEntryId",
            Self::Unsupported(_) => "AWS.SimpleQueueService.UnsupportedOperation",
            Self::Malformed(_) => "SerializationException",
            Self::Storage(_) | Self::Stored(_) => "InternalFailure",
        }
    }

    /// The name that the JSON protocol has for it.
    fn shape(&self) -> &'static str {
        match self {
            Self::NoQueue => "com.amazonaws.sqs#QueueDoesNotExist",
            Self::Missing(_) => "com.amazon.coral.service#MissingRequiredParameterException",
            Self::Parameter(_) => "com.amazon.coral.service#InvalidParameterValueException",
            Self::Contents(_) => "com.amazonaws.sqs#InvalidMessageContents",
            Self::AttributeName(_) => "com.amazonaws.sqs#InvalidAttributeName",
            Self::Handle => "com.amazonaws.sqs#ReceiptHandleIsInvalid",
            Self::NotInFlight(_) => "com.amazonaws.sqs#MessageNotInflight",
            Self::EmptyBatch(_) => "com.amazonaws.sqs#EmptyBatchRequest",
            Self::TooManyEntries(_) => "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
            Self::BatchTooLong { .. } => "com.amazonaws.sqs#BatchRequestTooLong",
            Self::EntryIdRepeated(_) => "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
            Self::EntryId => "com.amazonaws.sqs#InvalidBatchEntryId",
            Self::Unsupported(_) => "com.amazonaws.sqs#UnsupportedOperation",
            Self::Malformed(_) => "com.amazon.coral.service#SerializationException",
            Self::Storage(_) | Self::Stored(_) => "com.amazon.coral.service#InternalFailure",
        }
    }

    /// Whether the caller is at fault.
    pub fn is_senders(&self) -> bool {
        !matches!(self, Self::Storage(_) | Self::Stored(_))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let (status, fault) = match self.is_senders() {
            true => (StatusCode::BAD_REQUEST, "Sender"),
            false => (StatusCode::INTERNAL_SERVER_ERROR, "Receiver"),
        };
        if !self.is_senders() {
            tracing::error!(error = %self, "a queue failed");
        }
        let body = json!({"__type": self.shape(), "message": self.to_string()}).to_string();
        let mut response = (status, body).into_response();
        let kind = HeaderValue::from_static("application/x-amz-json-1.0");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Ok(code) = HeaderValue::from_str(&format!("{};{fault}", self.code())) {
            response.headers_mut().insert("x-amzn-query-error", code);
        }
        response
    }
}
