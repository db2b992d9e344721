//! API keys of services: only the SHA-256 of a key is stored; its id derives from that hash, so a
//! key names its own record and no prefix of the secret is ever shown.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnConsumedCapacity, TransactWriteItem, Update},
};
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    error::failed,
    item::{Item, Reader, at, put_some, s},
    keys::{self, hex},
    mutation::{Committed, MutationRecord, ONLY, update},
};

/// The kind under which keys are listed.
const KIND: &str = "api_key";
/// How exactly the last use of a key is known.
pub const LAST_USED_STEP: TimeDelta = TimeDelta::hours(1);

/// An API key as stored.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// `key_` and the first 24 digits of its hash.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Until when it is good; none: until revoked.
    pub valid_until: Option<DateTime<Utc>>,
    /// When it was last seen, to the hour.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    hash: String,
}

impl ApiKey {
    /// The record of the key `text`.
    pub fn new(
        text: &str,
        name: &str,
        scopes: Vec<String>,
        created_at: DateTime<Utc>,
        valid_until: Option<DateTime<Utc>>,
    ) -> Self {
        let hash = hash_of(text);
        Self {
            id: id_of(&hash),
            name: name.to_owned(),
            scopes,
            created_at,
            valid_until,
            last_used_at: None,
            revoked_at: None,
            hash,
        }
    }

    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from([
            ("pk".into(), s(keys::api_key(&self.id))),
            ("sk".into(), s(ONLY)),
            ("kind".into(), s(KIND)),
            ("kind_sort".into(), s(keys::by_instant(self.created_at, &self.id))),
            ("id".into(), s(&self.id)),
            ("name".into(), s(&self.name)),
            ("scopes".into(), AttributeValue::Ss(self.scopes.clone())),
            ("hash".into(), s(&self.hash)),
            ("created_at".into(), at(self.created_at)),
        ]);
        put_some(&mut item, "valid_until", self.valid_until.map(at));
        item
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "api key");
        Ok(Self {
            id: read.text("id")?,
            name: read.text("name")?,
            scopes: read.texts("scopes")?,
            created_at: read.instant("created_at")?,
            valid_until: read.instant_opt("valid_until")?,
            last_used_at: read.instant_opt("last_used_at")?,
            revoked_at: read.instant_opt("revoked_at")?,
            hash: read.text("hash")?,
        })
    }
}

fn hash_of(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn id_of(hash: &str) -> String {
    format!("key_{}", &hash[..24])
}

impl Store {
    /// The record of the key `text`, if there is one; whether it is still good is the caller's to see.
    pub async fn api_key_find(&self, text: &str) -> Result<Option<ApiKey>, StoreError> {
        let hash = hash_of(text);
        let found = self.api_key_get(&id_of(&hash)).await?;
        Ok(found.filter(|key| bool::from(key.hash.as_bytes().ct_eq(hash.as_bytes()))))
    }

    /// The key with this id.
    pub async fn api_key_get(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let item = self.state_get("api_key_get", &keys::api_key(id), ONLY).await?;
        item.as_ref().map(ApiKey::from_item).transpose()
    }

    /// Writes a new key.
    pub async fn api_key_create(
        &self,
        key: &ApiKey,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        self.mutation_commit(vec![self.put_new(key.to_item())?], audit, record)
            .await
    }

    /// Revokes a key that is not revoked yet.
    pub async fn api_key_revoke(
        &self,
        id: &str,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let revoke: TransactWriteItem = update(
            Update::builder()
                .table_name(&self.tables.state)
                .key("pk", s(keys::api_key(id)))
                .key("sk", s(ONLY))
                .update_expression("SET revoked_at = :at")
                .condition_expression("attribute_exists(pk) AND attribute_not_exists(revoked_at)")
                .expression_attribute_values(":at", at(audit.at)),
        )?;
        self.mutation_commit(vec![revoke], audit, record).await
    }

    /// Notes that a key was used; nothing if it was noted within the hour.
    pub async fn api_key_used(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<(), StoreError> {
        if key
            .last_used_at
            .is_some_and(|last| now - last < LAST_USED_STEP && now >= last)
        {
            return Ok(());
        }
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::api_key(&key.id)))
            .key("sk", s(ONLY))
            .update_expression("SET last_used_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", at(now))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(UpdateItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(failed("api_key_used", error)),
        }
    }

    /// Keys, newest first, before a sort key, and the one to go on from.
    pub async fn api_key_list(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ApiKey>, Option<String>), StoreError> {
        let (sort_keys, next) = self.kind_list(KIND, before, limit).await?;
        let ids = || sort_keys.iter().filter_map(|key| Some(key.split_once('#')?.1));
        let wanted: Vec<Item> = ids()
            .map(|id| Item::from([("pk".into(), s(keys::api_key(id))), ("sk".into(), s(ONLY))]))
            .collect();
        let mut found = HashMap::new();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            let key = ApiKey::from_item(&item)?;
            found.insert(key.id.clone(), key);
        }
        Ok((ids().filter_map(|id| found.remove(id)).collect(), next))
    }
}
