//! Administrators' changes: each is one transaction with its audit entry and, where the caller
//! sent an idempotency key, with the record that answers the same request again.
//!
//! A record is found by a keyed hash, since the request it answers may name a user who is erased.
//!
//! Sent twice: the record's condition refuses the second, whoever finds that reads the record.
//! Dies half-way: nothing happened. The answer is lost: the record has it.

use aws_sdk_dynamodb::{
    operation::transact_write_items::TransactWriteItemsError,
    types::{Put, ReturnConsumedCapacity, TransactWriteItem, Update},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    error::failed,
    item::{Item, Reader, int, s},
    keys,
};

/// How long an answer can be had again.
pub const RECORD_LIFE: TimeDelta = TimeDelta::hours(24);
/// How often a transaction that met another one on the same item is sent again.
const TRANSACT_TURNS_MAX: u32 = 12;
/// What the keyed hashes of records are for.
const RECORD: &str = "record";
/// The sort key of a record that has its partition for itself.
pub(crate) const ONLY: &str = "-";

/// The name of a request that may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestName {
    /// A hash of caller, path and idempotency key.
    pub hash: String,
    /// A hash of the body.
    pub fingerprint: String,
}

/// The answer to a request with an idempotency key.
#[derive(Debug, Clone)]
pub struct MutationRecord {
    /// Which request.
    pub name: RequestName,
    /// The status of its answer.
    pub status: u16,
    /// The body of its answer, without secrets.
    pub body: Value,
}

/// How a transaction ended, if it was understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Transacted {
    /// All of it was written.
    Done,
    /// Nothing was: the conditions of these items were not met.
    Unmet(Vec<usize>),
}

/// How a mutation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Committed {
    /// It was written.
    Done,
    /// It had been written before, under the same idempotency key.
    Before,
    /// Nothing was written: the conditions of these items were not met.
    Unmet(Vec<usize>),
}

impl Store {
    /// The answer given to an earlier request with this name, if it is not too long ago; its
    /// fingerprint is empty if the body was another.
    pub async fn mutation_find(
        &self,
        name: &RequestName,
        now: DateTime<Utc>,
    ) -> Result<Option<MutationRecord>, StoreError> {
        let key = keys::mutation(&self.keyed(RECORD, &name.hash).await?);
        let Some(item) = self.state_get("mutation_find", &key, ONLY).await? else {
            return Ok(None);
        };
        let read = Reader::new(&item, "idempotency record");
        if read.integer::<i64>("expires_at")? <= now.timestamp() {
            return Ok(None);
        }
        let same = read.text("fp")? == self.keyed(RECORD, &name.fingerprint).await?;
        Ok(Some(MutationRecord {
            name: RequestName {
                hash: name.hash.clone(),
                fingerprint: if same { name.fingerprint.clone() } else { String::new() },
            },
            status: read.integer("status")?,
            body: serde_json::from_str(&read.text("body")?).map_err(|_| read.corrupt("body"))?,
        }))
    }

    /// Writes `items`, the audit entry and the record in one transaction.
    pub async fn mutation_commit(
        &self,
        mut items: Vec<TransactWriteItem>,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let own = items.len();
        items.push(self.put_new(audit.to_item())?);
        if let Some(record) = record {
            items.push(self.put_record(record, audit.at).await?);
        }
        Ok(match self.transact("mutation_commit", items).await? {
            Transacted::Done => Committed::Done,
            Transacted::Unmet(unmet) if unmet.contains(&(own + 1)) => Committed::Before,
            Transacted::Unmet(unmet) => Committed::Unmet(unmet),
        })
    }

    /// Writes the record alone of an answer that says of nothing new, or of what has its audit entries;
    /// false if one is there.
    pub async fn record_put(&self, record: &MutationRecord, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let items = vec![self.put_record(record, now).await?];
        Ok(self.transact("record_put", items).await? == Transacted::Done)
    }

    /// A part of a transaction: the record of an answer, unless one is there.
    pub(crate) async fn put_record(
        &self,
        record: &MutationRecord,
        now: DateTime<Utc>,
    ) -> Result<TransactWriteItem, StoreError> {
        let item = Item::from([
            (
                "pk".into(),
                s(keys::mutation(&self.keyed(RECORD, &record.name.hash).await?)),
            ),
            ("sk".into(), s(ONLY)),
            ("fp".into(), s(self.keyed(RECORD, &record.name.fingerprint).await?)),
            ("status".into(), int(record.status)),
            ("body".into(), s(record.body.to_string())),
            ("expires_at".into(), int((now + RECORD_LIFE).timestamp())),
        ]);
        let put = Put::builder()
            .table_name(&self.tables.state)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR expires_at <= :now")
            .expression_attribute_values(":now", int(now.timestamp()));
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    /// A part of a transaction: puts an item of the State table that must not be there yet.
    pub(crate) fn put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.tables.state)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)");
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    /// Sends a transaction; one that met another on the same item is sent again. The SDK names
    /// each with a token, so that its own retries do not write twice.
    pub(crate) async fn transact(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<Transacted, StoreError> {
        for turn in 0..TRANSACT_TURNS_MAX {
            let sent = self
                .dynamodb
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await;
            let error = match sent {
                Ok(_) => return Ok(Transacted::Done),
                Err(error) => error,
            };
            let codes: Vec<&str> = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
                    .cancellation_reasons()
                    .iter()
                    .map(|reason| reason.code().unwrap_or("None"))
                    .collect(),
                _ => return Err(failed(operation, error)),
            };
            let unmet = |code: &&str| *code == "ConditionalCheckFailed";
            if codes.iter().any(unmet) {
                let indices = codes
                    .iter()
                    .enumerate()
                    .filter(|(_, code)| unmet(code))
                    .map(|(index, _)| index);
                return Ok(Transacted::Unmet(indices.collect()));
            }
            let passing = [
                "TransactionConflict",
                "ThrottlingError",
                "ProvisionedThroughputExceeded",
            ];
            if !codes.iter().any(|code| passing.contains(code)) {
                return Err(StoreError::Refused {
                    operation,
                    source: Box::new(error),
                });
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy(operation))
    }
}

/// A part of a transaction from an update.
pub(crate) fn update(
    update: aws_sdk_dynamodb::types::builders::UpdateBuilder,
) -> Result<TransactWriteItem, StoreError> {
    let update: Update = built(update.build())?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// The SDK's builders fail only where a required field was left out: a fault of ours.
pub(crate) fn built<T>(result: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Refused {
        operation: "build",
        source: Box::new(error),
    })
}
