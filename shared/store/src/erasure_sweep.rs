//! What one pass of an erasure does with the items of the tables: what belongs to the user is deleted,
//! what stays (audit entries, statements) loses the name, what others have of them loses it, too.
//!
//! An item is the user's by the attribute `user_id` or by the place of an id in its key, never because
//! a text happens to look like the id: a user may be called `1`, or `api_calls`. It knows nothing of
//! when a pass begins or ends: [`crate::erasure`].
//!
//! Done twice, or by two at once: what is deleted is not there, and a pseudonym is always the same.
//! Dies half-way: the page is read again.

use aws_sdk_dynamodb::types::{Delete, DeleteRequest, Put, ReturnConsumedCapacity, TransactWriteItem, WriteRequest};
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    erasure::{Erasure, Stage},
    error::failed,
    item::{Item, at, s},
    keys::{self, Remains},
    mutation::{Transacted, built},
    resolve::is_unmet,
    traces::Traces,
};

/// Items that one `BatchWriteItem` takes (Amazon DynamoDB API Reference).
const BATCH_MAX: usize = 25;
/// Writes that are under way at once.
const WIDTH: usize = 8;
/// How often writes that were left over are sent again.
const BATCH_TURNS_MAX: u32 = 12;

/// What becomes of an item.
enum Fate {
    /// It is deleted.
    Delete,
    /// It stays, without the name.
    Rewrite(Box<Item>),
    /// This attribute of somebody else's item loses the name.
    Rename(&'static str),
    /// It names the user for a while yet: somebody else's erasure stands there.
    Wait,
}

/// What a page held.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// Items that were read.
    pub read: u64,
    /// Read units that took.
    pub read_units: f64,
    /// Items that were deleted, or lost the name.
    pub found: u64,
    /// Whether it was the last page of its table.
    pub is_last: bool,
}

impl Store {
    /// Reads the next page of the stage's table and does away with what it finds of the user; where
    /// to go on is noted on `erasure`.
    pub async fn erasure_page(&self, erasure: &mut Erasure, now: DateTime<Utc>) -> Result<Swept, StoreError> {
        let is_events = erasure.stage == Stage::Events;
        let table = if is_events {
            &self.tables.events
        } else {
            &self.tables.state
        };
        let page = self
            .dynamodb
            .scan()
            .table_name(table)
            .consistent_read(true)
            .set_exclusive_start_key(erasure.position.clone())
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("erasure_page", error))?;
        let read_units = page.consumed_capacity().and_then(|used| used.capacity_units());
        let position = page.last_evaluated_key.filter(|key| !key.is_empty());
        let items = page.items.unwrap_or_default();
        let read = items.len();
        let secret = self.deployment_secret().await?;
        let before = erasure.subscriptions.len();
        // A subscription that its user's account does not list is found by its own item. It must be
        // noted before that item is gone, and what was read before it must be read again.
        let own = items.iter().filter_map(|item| own_subscription(item, &erasure.user_id));
        erasure.subscriptions.extend(own.collect::<Vec<_>>());
        if erasure.subscriptions.len() > before {
            erasure.found += 1;
            return Ok(Swept::default());
        }
        let traces = erasure.traces(secret);
        let found = self.sweep(table, is_events, items, &traces, now).await?;
        erasure.found += found;
        erasure.position = position;
        Ok(Swept {
            read: u64::try_from(read).unwrap_or(u64::MAX),
            read_units: read_units.unwrap_or_default(),
            found,
            is_last: erasure.position.is_none(),
        })
    }

    /// Does with items what must be done; of how many.
    async fn sweep(
        &self,
        table: &str,
        is_events: bool,
        items: Vec<Item>,
        traces: &Traces<'_>,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let (mut deletes, mut others, mut found) = (Vec::new(), Vec::new(), 0);
        for item in items {
            let Some(fate) = fate(&item, traces, now)? else {
                continue;
            };
            found += 1;
            match fate {
                Fate::Delete => deletes.push(key_of(&item, is_events)),
                Fate::Wait => {}
                fate => others.push((item, fate)),
            }
        }
        let batches: Vec<Vec<Item>> = deletes.chunks(BATCH_MAX).map(<[Item]>::to_vec).collect();
        stream::iter(batches)
            .map(|batch| self.batch_delete(table, batch))
            .buffer_unordered(WIDTH)
            .try_collect::<()>()
            .await?;
        let pseudonym = traces.pseudonym_of_user()?;
        for (item, fate) in others {
            match fate {
                Fate::Rewrite(after) => self.rewrite(&item, *after).await?,
                Fate::Rename(path) => self.rename(&item, path, traces.user(), &pseudonym).await?,
                Fate::Delete | Fate::Wait => {}
            }
        }
        Ok(found)
    }

    async fn batch_delete(&self, table: &str, keys: Vec<Item>) -> Result<(), StoreError> {
        let delete = |key: Item| {
            let request = built(DeleteRequest::builder().set_key(Some(key)).build())?;
            Ok(WriteRequest::builder().delete_request(request).build())
        };
        let mut requests: Vec<WriteRequest> = keys.into_iter().map(delete).collect::<Result<_, StoreError>>()?;
        for turn in 0..BATCH_TURNS_MAX {
            let sent = self
                .dynamodb
                .batch_write_item()
                .request_items(table, requests)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed("batch_delete", error))?;
            requests = sent
                .unprocessed_items
                .unwrap_or_default()
                .remove(table)
                .unwrap_or_default();
            if requests.is_empty() {
                return Ok(());
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy("batch_delete"))
    }

    /// Puts an item in the place of another, of which it is what stays.
    async fn rewrite(&self, before: &Item, after: Item) -> Result<(), StoreError> {
        let (old, new) = (key_of(before, false), key_of(&after, false));
        let put = Put::builder().table_name(&self.tables.state).set_item(Some(after));
        let mut items = vec![TransactWriteItem::builder().put(built(put.build())?).build()];
        if old != new {
            let delete = Delete::builder().table_name(&self.tables.state).set_key(Some(old));
            items.push(TransactWriteItem::builder().delete(built(delete.build())?).build());
        }
        // There are no conditions that could be unmet.
        let (Transacted::Done | Transacted::Unmet(_)) = self.transact("erasure_rewrite", items).await?;
        Ok(())
    }

    /// Takes the user's name out of one attribute of an item, which may change meanwhile.
    async fn rename(&self, item: &Item, path: &str, user: &str, pseudonym: &str) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .set_key(Some(key_of(item, false)))
            .update_expression(format!("SET {path} = :pseudonym"))
            .condition_expression(format!("{path} = :user"))
            .expression_attribute_values(":pseudonym", s(pseudonym))
            .expression_attribute_values(":user", s(user))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("erasure_rename", error)),
        }
    }
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name)
        .and_then(|value| value.as_s().ok())
        .map_or("", String::as_str)
}

fn key_of(item: &Item, is_event: bool) -> Item {
    let names: &[&str] = if is_event { &["pk"] } else { &["pk", "sk"] };
    let part = |name: &&str| Some(((*name).to_owned(), item.get(*name)?.clone()));
    names.iter().filter_map(part).collect()
}

/// The id of a subscription of this user, if the item is one.
fn own_subscription(item: &Item, user: &str) -> Option<String> {
    let is_own = text(item, "sk") == keys::OWNER && text(item, "user_id") == user;
    match keys::Owner::parse(text(item, "pk"))? {
        keys::Owner::Subscription(id) if is_own => Some(id),
        _ => None,
    }
}

/// What becomes of an item; nothing if it has nothing of the user.
fn fate(item: &Item, traces: &Traces<'_>, now: DateTime<Utc>) -> Result<Option<Fate>, StoreError> {
    Ok(match keys::remains(text(item, "pk")) {
        Remains::Audit => traces.audit_entry(item)?.map(|after| Fate::Rewrite(Box::new(after))),
        Remains::Statement if traces.owns(item) => {
            let mut after = traces.without(item)?;
            // It was published when it was put: not again.
            after.insert(keys::ANONYMISED.into(), at(now));
            Some(Fate::Rewrite(Box::new(after)))
        }
        Remains::Statement => None,
        Remains::Answer => traces.names_in_text(text(item, "body")).then_some(Fate::Delete),
        Remains::Tombstone => {
            let position = item.get("position").and_then(|position| position.as_m().ok());
            let is_others = text(item, "user_id") != traces.user();
            position.filter(|key| is_others && traces.owns(key)).map(|_| Fate::Wait)
        }
        Remains::Nothing if traces.owns(item) => Some(Fate::Delete),
        Remains::Nothing => named_by_others(item, traces).map(Fate::Rename),
    })
}

/// Where somebody else's item says that the user did something to it.
fn named_by_others(item: &Item, traces: &Traces<'_>) -> Option<&'static str> {
    let is_user = |name: &str| traces.is_actor(text(item, name));
    let last_reset = item.get("last_reset").and_then(|note| note.as_m().ok());
    let reset_by = last_reset.filter(|note| text(note, "actor_type") == "user");
    if is_user("actor") {
        Some("actor")
    } else if is_user("acknowledged_by") {
        Some("acknowledged_by")
    } else if reset_by.is_some_and(|note| traces.is_actor(text(note, "actor_id"))) {
        Some("last_reset.actor_id")
    } else {
        None
    }
}
