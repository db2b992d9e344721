//! The audit log: who changed what, from what to what, when, from where. Appended in the same
//! transaction as the change; never edited.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, at, put_some, s},
    keys,
};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `api_key`, `user` or `system`.
    pub kind: &'static str,
    /// The key's or the user's id, or the job's name.
    pub id: String,
}

/// One change.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Who made it.
    pub actor: Actor,
    /// What was done, `entity.verb`.
    pub action: &'static str,
    /// What it was done to.
    pub target: String,
    /// The state before it, null where there was none.
    pub before: Value,
    /// The state after it, null where there is none.
    pub after: Value,
    /// Why, if somebody said.
    pub reason: Option<String>,
    /// From which address.
    pub ip: Option<String>,
    /// In which request.
    pub request_id: String,
}

impl AuditEntry {
    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from([
            ("pk".into(), s(keys::audit_pk(self.at))),
            ("sk".into(), s(keys::by_instant(self.at, &self.id))),
            ("id".into(), s(&self.id)),
            ("at".into(), at(self.at)),
            ("actor_type".into(), s(self.actor.kind)),
            ("actor_id".into(), s(&self.actor.id)),
            ("action".into(), s(self.action)),
            ("target".into(), s(&self.target)),
            ("before".into(), s(self.before.to_string())),
            ("after".into(), s(self.after.to_string())),
            ("request_id".into(), s(&self.request_id)),
        ]);
        put_some(&mut item, "reason", self.reason.clone().map(s));
        put_some(&mut item, "ip", self.ip.clone().map(s));
        item
    }
}

/// An entry as read back.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// `api_key`, `user` or `system`.
    pub actor_type: String,
    /// Who made it.
    pub actor_id: String,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// The state before it.
    pub before: Value,
    /// The state after it.
    pub after: Value,
}

impl Store {
    /// The entries of one UTC day, oldest first.
    pub async fn audit_of_day(&self, day: DateTime<Utc>) -> Result<Vec<AuditRecord>, StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(keys::audit_pk(day)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .items()
            .send();
        let mut entries = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| failed("audit_of_day", error))?;
            entries.push(record(&Reader::new(&item, "audit entry"))?);
        }
        Ok(entries)
    }
}

fn record(read: &Reader<'_>) -> Result<AuditRecord, StoreError> {
    let json = |name: &str| serde_json::from_str(&read.text(name)?).map_err(|_| read.corrupt(name));
    Ok(AuditRecord {
        id: read.text("id")?,
        at: read.instant("at")?,
        actor_type: read.text("actor_type")?,
        actor_id: read.text("actor_id")?,
        action: read.text("action")?,
        target: read.text("target")?,
        before: json("before")?,
        after: json("after")?,
    })
}
