//! A table stream's records as Lambda hands them to a function, and its answer: from which of them
//! on they must come again. It knows nothing of what is in them.

use aws_lambda_events::dynamodb::{Event, EventRecord};
use metering_store::item::Item;
use serde_json::{Value, json};

/// What happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was put where there was none.
    Insert,
    /// It was changed.
    Modify,
    /// It was deleted, or expired.
    Remove,
}

/// A record.
#[derive(Debug, Clone)]
pub struct Record {
    /// What happened.
    pub kind: Kind,
    /// The table, by name.
    pub table: String,
    /// The record's name in answers.
    pub sequence_number: String,
    /// The item after it.
    pub new: Item,
    /// The item before it.
    pub old: Item,
    /// All of it as it came, for who puts it aside.
    pub whole: Value,
}

/// Why an event is no batch of records.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It is no event of a stream.
    #[error("the event is no batch of stream records")]
    Unreadable(#[source] serde_json::Error),
    /// A record lacks what every record has.
    #[error("a record lacks its {0}")]
    Lacking(&'static str),
}

/// The records of an event, in order. All fail together if one cannot even be named.
pub fn records(event: &str) -> Result<Vec<Record>, StreamError> {
    let whole: Value = serde_json::from_str(event).map_err(StreamError::Unreadable)?;
    let parsed: Event = serde_json::from_str(event).map_err(StreamError::Unreadable)?;
    let wholes = whole["Records"].as_array().cloned().unwrap_or_default();
    parsed
        .records
        .into_iter()
        .zip(wholes)
        .map(|(record, whole)| read(record, whole))
        .collect()
}

fn read(record: EventRecord, whole: Value) -> Result<Record, StreamError> {
    let arn = record.event_source_arn.unwrap_or_default();
    // arn:aws:dynamodb:region:account:table/NAME/stream/label
    let table = arn.split('/').nth(1).ok_or(StreamError::Lacking("table"))?.to_owned();
    let kind = match record.event_name.as_str() {
        "INSERT" => Kind::Insert,
        "MODIFY" => Kind::Modify,
        "REMOVE" => Kind::Remove,
        _ => return Err(StreamError::Lacking("name")),
    };
    Ok(Record {
        kind,
        table,
        sequence_number: record
            .change
            .sequence_number
            .filter(|number| !number.is_empty())
            .ok_or(StreamError::Lacking("sequence number"))?,
        new: record.change.new_image.into(),
        old: record.change.old_image.into(),
        whole,
    })
}

/// The answer that lets the records from this one on come again; none: all are done.
pub fn answer(from: Option<&Record>) -> String {
    let failures: Vec<Value> = from
        .map(|record| json!({"itemIdentifier": record.sequence_number}))
        .into_iter()
        .collect();
    json!({"batchItemFailures": failures}).to_string()
}
