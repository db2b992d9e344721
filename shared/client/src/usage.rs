//! An event as it is handed in: what was used, by whom, and the identity under which it counts once.

use serde::{Deserialize, Serialize};

use crate::{
    clock,
    error::Error,
    types::{Instant, Metadata, Mode, Quantity},
};

/// The longest id of a user or a subscription, in bytes.
const ID_BYTES_MAX: usize = 128;
/// The longest identity, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// The longest endpoint and resource, in characters.
const TEXT_CHARACTERS_MAX: usize = 256;
/// The longest operation, in characters.
const OPERATION_CHARACTERS_MAX: usize = 128;
/// The largest metadata, in bytes as compact JSON.
const METADATA_BYTES_MAX: usize = 512;

/// What one user used of one metric. It is made with an identity, which every retry repeats, and
/// with the present instant; so whatever sends it, however often, it counts once (within 90 days).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Whose.
    pub user_id: String,
    /// Of which subscription; none: the user's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Of which metric: `document_processing`, `api_calls`.
    pub metric_type: String,
    /// How much, in the metric's unit.
    pub metric_value: Quantity,
    /// Gauges: whether the value is the level or is added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// When it happened: at most 35 days ago (unless `backfill`) and 5 minutes ahead.
    pub timestamp: Instant,
    /// What it was about, at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// The route, at most 256 characters: `/documents/{id}`, never a path with ids in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What was done, at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// How long it took, in milliseconds, at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time_ms: Option<u64>,
    /// Whether it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub error_occurred: bool,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Its identity, 1 to 255 printable ASCII characters.
    pub idempotency_key: String,
    /// History: kept and listed, charged to no period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
}

impl Usage {
    /// Usage that happened now, with a new identity.
    pub fn new(user_id: impl Into<String>, metric_type: impl Into<String>, value: impl Into<Quantity>) -> Self {
        Self {
            user_id: user_id.into(),
            subscription_id: None,
            metric_type: metric_type.into(),
            metric_value: value.into(),
            mode: None,
            timestamp: clock::now(),
            resource_id: None,
            endpoint: None,
            operation: None,
            response_time_ms: None,
            error_occurred: false,
            metadata: Metadata::new(),
            idempotency_key: clock::new_id().to_string(),
            backfill: false,
        }
    }

    /// With an identity of the caller's own: the id of a document, of a job. The same identity with
    /// another metric, value, mode or subscription is refused.
    pub fn keyed(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = key.into();
        self
    }

    /// Of this subscription.
    pub fn subscription(mut self, id: impl Into<String>) -> Self {
        self.subscription_id = Some(id.into());
        self
    }

    /// The gauge's level is now the value.
    pub fn level(mut self) -> Self {
        self.mode = Some(Mode::Level);
        self
    }

    /// The gauge's level changes by the value.
    pub fn delta(mut self) -> Self {
        self.mode = Some(Mode::Delta);
        self
    }

    /// About this.
    pub fn resource(mut self, id: impl Into<String>) -> Self {
        self.resource_id = Some(id.into());
        self
    }

    /// At another instant.
    pub fn at(mut self, timestamp: Instant) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// With something else that is known: `pages`, `country`.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Whether its texts are as short as the service takes them; so an event is never larger than
    /// some 3 KB, and a number of events bounds their memory. The service judges the rest.
    pub fn check(&self) -> Result<(), Error> {
        id("user_id", &self.user_id)?;
        self.subscription_id
            .as_deref()
            .map_or(Ok(()), |text| id("subscription_id", text))?;
        id("metric_type", &self.metric_type)?;
        let key = self.idempotency_key.as_bytes();
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(Error::invalid(
                "idempotency_key",
                "must be 1 to 255 printable ASCII characters",
            ));
        }
        short("resource_id", self.resource_id.as_deref(), TEXT_CHARACTERS_MAX)?;
        short("endpoint", self.endpoint.as_deref(), TEXT_CHARACTERS_MAX)?;
        short("operation", self.operation.as_deref(), OPERATION_CHARACTERS_MAX)?;
        if !self.metadata.is_empty() {
            let bytes = serde_json::to_vec(&self.metadata).map_or(usize::MAX, |json| json.len());
            if bytes > METADATA_BYTES_MAX {
                let reason = format!("must be at most {METADATA_BYTES_MAX} bytes as compact JSON");
                return Err(Error::invalid("metadata", reason));
            }
        }
        Ok(())
    }
}

fn id(field: &'static str, text: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@|-".contains(&byte);
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(Error::invalid(field, "must be 1 to 128 of A-Z a-z 0-9 . _ : @ | -"));
    }
    Ok(())
}

fn short(field: &'static str, text: Option<&str>, characters_max: usize) -> Result<(), Error> {
    match text {
        // A character is at least a byte: the usual text is not walked through.
        Some(text) if text.len() > characters_max && text.chars().count() > characters_max => Err(Error::invalid(
            field,
            format!("must be at most {characters_max} characters"),
        )),
        _ => Ok(()),
    }
}
