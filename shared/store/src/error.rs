//! What can go wrong between the store and its callers. Expected outcomes (duplicate, denied,
//! condition not met) are values of the operations, not errors.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// A source that is kept for the log and never shown to a caller.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// An operation of the store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store could not be reached, is throttling, or too many writers compete. Sending the
    /// whole request again is safe and may succeed.
    #[error("{operation}: the store is busy or out of reach")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why, if somebody said.
        #[source]
        source: Option<Source>,
    },
    /// The store refused the request: a fault of ours or of the deployment.
    #[error("{operation}: the store refused the request")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: Source,
    },
    /// The user was erased: nothing is kept of them any more.
    #[error("the user was erased")]
    Erased,
    /// An item is not what this version writes.
    #[error("stored {what} cannot be read: attribute {attribute}")]
    Corrupt {
        /// The kind of item.
        what: &'static str,
        /// The attribute in question.
        attribute: String,
    },
}

impl StoreError {
    /// Too many turns without a result.
    pub(crate) fn busy(operation: &'static str) -> Self {
        Self::Unavailable {
            operation,
            source: None,
        }
    }

    /// Whether sending again may help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } | Self::Erased | Self::Corrupt { .. } => false,
        }
    }
}

/// Codes under which DynamoDB says "not now", from its API reference ("Error messages and codes").
const TRANSIENT: [&str; 10] = [
    "InternalServerError",
    "InternalServerErrorException",
    "ItemCollectionSizeLimitExceededException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Sorts an SDK error: what never reached the store, timed out or was throttled is unavailable.
pub(crate) fn failed<E, R>(operation: &'static str, error: SdkError<E, R>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let transient = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => TRANSIENT.contains(&code),
            // An answer without a code is a proxy's, or a 500 cut short.
            None => true,
        },
        _ => false,
    };
    let source: Source = Box::new(error);
    if transient {
        StoreError::Unavailable {
            operation,
            source: Some(source),
        }
    } else {
        StoreError::Refused { operation, source }
    }
}
