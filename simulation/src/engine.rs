//! The embedded DynamoDB, called in this thread: no socket, no other thread, nothing that could
//! come in another order.

use std::sync::Arc;

use dynoxide::{
    Database, DynoxideError,
    actions::{
        describe_table::DescribeTableRequest,
        get_records::GetRecordsRequest,
        get_shard_iterator::GetShardIteratorRequest,
        update_time_to_live::{TimeToLiveSpecification, UpdateTimeToLiveRequest},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use usage_local::template::Table;

use crate::time::Time;

/// The engine of one run.
#[derive(Clone)]
pub struct Engine(Database);

/// An answer of the engine: its HTTP status and its body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 200, or what went wrong.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// An error as DynamoDB has it.
    pub fn error(status: u16, name: &str) -> Self {
        let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "simulated"});
        Self { status, body }
    }
}

/// Where a reader of a table's stream is.
#[derive(Debug, Clone)]
pub struct Position(String);

/// Something of the engine that a run cannot go on without failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine itself.
    #[error("the engine failed: {0}")]
    Engine(#[from] DynoxideError),
    /// A request that this crate wrote.
    #[error("a request is not one")]
    Request(#[from] serde_json::Error),
    /// A table without a stream.
    #[error("the table {0} has no stream")]
    NoStream(String),
}

impl Engine {
    /// An empty engine with these tables.
    pub fn new(tables: &[Table], time: Arc<Time>) -> Result<Self, EngineError> {
        let database = Database::memory_with_clock(time)?;
        for table in tables {
            database.create_table(serde_json::from_value(table.create_request())?)?;
            if let Some(attribute) = &table.expiry {
                database.update_time_to_live(UpdateTimeToLiveRequest {
                    table_name: table.name.clone(),
                    time_to_live_specification: TimeToLiveSpecification {
                        attribute_name: attribute.clone(),
                        enabled: true,
                    },
                })?;
            }
        }
        Ok(Self(database))
    }

    /// One operation, by its name and its body.
    pub fn call(&self, operation: &str, body: &Value) -> Answer {
        let database = &self.0;
        match operation {
            "GetItem" => answer(body, |request| database.get_item(request)),
            "PutItem" => answer(body, |request| database.put_item(request)),
            "UpdateItem" => answer(body, |request| database.update_item(request)),
            "DeleteItem" => answer(body, |request| database.delete_item(request)),
            "Query" => answer(body, |request| database.query(request)),
            "Scan" => answer(body, |request| database.scan(request)),
            "BatchGetItem" => answer(body, |request| database.batch_get_item(request)),
            "TransactWriteItems" => answer(body, |request| database.transact_write_items(request)),
            _ => Answer::error(400, "UnknownOperationException"),
        }
    }

    /// All items of a table, by their keys.
    pub fn items(&self, table: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut start = Value::Null;
        loop {
            let mut request = json!({"TableName": table, "ConsistentRead": true});
            if !start.is_null() {
                request["ExclusiveStartKey"] = start;
            }
            let page = self.call("Scan", &request).body;
            items.extend(page["Items"].as_array().cloned().unwrap_or_default());
            start = page["LastEvaluatedKey"].clone();
            if start.is_null() {
                break;
            }
        }
        let key = |item: &Value| [text(item, "pk").to_owned(), text(item, "sk").to_owned()];
        items.sort_by_key(key);
        items
    }

    /// Where a table's stream begins.
    pub fn stream(&self, table: &str) -> Result<Position, EngineError> {
        let described = self.0.describe_table(DescribeTableRequest {
            table_name: table.to_owned(),
        })?;
        let described = serde_json::to_value(described.table)?;
        let arn = described["LatestStreamArn"].as_str();
        let arn = arn.ok_or_else(|| EngineError::NoStream(table.to_owned()))?;
        let iterator = self.0.get_shard_iterator(GetShardIteratorRequest {
            stream_arn: arn.to_owned(),
            shard_id: dynoxide::streams::shard_id(table),
            shard_iterator_type: "TRIM_HORIZON".to_owned(),
            sequence_number: None,
        })?;
        let iterator = iterator.shard_iterator;
        iterator
            .map(Position)
            .ok_or_else(|| EngineError::NoStream(table.to_owned()))
    }

    /// What a stream has from a position on, as Lambda hands it over.
    pub fn records(&self, table: &str, position: &mut Position) -> Result<Vec<Value>, EngineError> {
        let read = self.0.get_records(GetRecordsRequest {
            shard_iterator: position.0.clone(),
            limit: Some(200),
        })?;
        if let Some(next) = read.next_shard_iterator {
            position.0 = next;
        }
        let arn = dynoxide::streams::stream_arn(table, "simulated");
        let records = read.records.iter().map(|record| {
            let mut record = serde_json::to_value(record)?;
            record["eventSourceARN"] = json!(arn);
            Ok(record)
        });
        records.collect()
    }

    /// Deletes what is past its time, as the service does some time or other.
    pub fn sweep(&self) -> Result<usize, EngineError> {
        Ok(self.0.sweep_ttl()?)
    }
}

fn answer<Request: DeserializeOwned, Response: Serialize>(
    body: &Value,
    run: impl FnOnce(Request) -> dynoxide::Result<Response>,
) -> Answer {
    // Through its text, since the engine reads some of it by hand.
    let done = serde_json::from_str(&body.to_string())
        .map_err(|error| DynoxideError::SerializationException(error.to_string()))
        .and_then(run);
    match done.map(|response| serde_json::to_value(response)) {
        Ok(Ok(body)) => Answer { status: 200, body },
        Ok(Err(_)) => Answer::error(500, "InternalServerError"),
        Err(error) => Answer {
            status: error.status_code(),
            body: serde_json::from_str(&error.to_json()).unwrap_or(Value::Null),
        },
    }
}

/// A text attribute of an item in DynamoDB's JSON.
pub fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item[name]["S"].as_str().unwrap_or_default()
}

/// A number attribute of an item in DynamoDB's JSON; 0 where there is none.
pub fn number(item: &Value, name: &str) -> rust_decimal::Decimal {
    let digits = item[name]["N"].as_str();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}
