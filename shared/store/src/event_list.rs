//! Listing events: keys from the index by time, then the events themselves, strongly.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Store, StoreError,
    error::failed,
    event::{Event, Stored},
    item::{Item, Reader, s},
    keys::{self, Owner, event_id_of_ix_sk},
};

/// Which events to list: newest first.
#[derive(Debug, Clone)]
pub struct EventQuery {
    /// Whose.
    pub owners: Vec<Owner>,
    /// Of which metrics.
    pub metrics: Vec<String>,
    /// From when on, inclusive.
    pub from: DateTime<Utc>,
    /// Until when, exclusive.
    pub to: DateTime<Utc>,
    /// Only of this resource.
    pub resource_id: Option<String>,
    /// Only what lies before this sort key of the index.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// How many pages of keys are read at once.
const WIDTH: usize = 32;
/// How many pages of keys one listing reads while a filter leaves it unfilled.
const LIST_PAGES_MAX: usize = 5;

impl Store {
    /// Events of some owners, newest first, and the sort key to go on from if there may be more.
    /// Read from the index, so an event may be missing for some milliseconds after its insertion.
    pub async fn event_list(
        &self,
        query: &EventQuery,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Event>, Option<String>), StoreError> {
        let mut before = query.before.clone();
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let (keys, more) = self.event_keys(query, before.as_deref()).await?;
            let mut events = self.events_by_key(&keys, now).await?;
            for sk in keys {
                let matching = event_id_of_ix_sk(&sk)
                    .and_then(|id| events.remove(id))
                    .filter(|event| query.resource_id.is_none() || event.details.resource_id == query.resource_id);
                found.extend(matching);
                before = Some(sk);
                if found.len() == query.limit {
                    return Ok((found, before));
                }
            }
            if !more {
                return Ok((found, None));
            }
        }
        Ok((found, before))
    }

    /// The next sort keys over all metrics, newest first, and whether there may be more.
    async fn event_keys(&self, query: &EventQuery, before: Option<&str>) -> Result<(Vec<String>, bool), StoreError> {
        let mut partitions = Vec::new();
        for owner in &query.owners {
            partitions.extend(query.metrics.iter().map(|metric| owner.events_ix_pk(metric)));
        }
        let pages = stream::iter(partitions)
            .map(|partition| self.event_keys_of(query, partition, before))
            .buffer_unordered(WIDTH);
        let pages: Vec<Vec<String>> = pages.try_collect().await?;
        let mut keys: Vec<String> = pages.into_iter().flatten().collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let more = keys.len() >= query.limit;
        keys.truncate(query.limit);
        Ok((keys, more))
    }

    async fn event_keys_of(
        &self,
        query: &EventQuery,
        partition: String,
        before: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let until = keys::event_ix_bound(query.to);
        // Both ends of BETWEEN are inclusive, but no key equals the bare bound of an instant; the
        // cursor's own key is filtered.
        let end = before.map_or(until.as_str(), |before| before.min(until.as_str()));
        let from = keys::event_ix_bound(query.from);
        if end <= from.as_str() {
            return Ok(Vec::new());
        }
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.events)
            .index_name("by_time")
            .key_condition_expression("ix_pk = :pk AND ix_sk BETWEEN :from AND :end")
            .expression_attribute_values(":pk", s(partition))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":end", s(end))
            .projection_expression("ix_sk")
            .scan_index_forward(false)
            .limit(i32::try_from(query.limit + 1).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("event_list", error))?;
        let keys = page.items().iter().map(|item| Reader::new(item, "event").text("ix_sk"));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        Ok(keys
            .into_iter()
            .filter(|key| before.is_none_or(|before| *key != *before))
            .collect())
    }

    async fn events_by_key(
        &self,
        sort_keys: &[String],
        now: DateTime<Utc>,
    ) -> Result<HashMap<String, Event>, StoreError> {
        let ids = sort_keys.iter().filter_map(|key| event_id_of_ix_sk(key));
        let wanted: Vec<Item> = ids.map(|id| Item::from([("pk".into(), s(keys::event(id)))])).collect();
        let mut events = HashMap::new();
        for item in self.batch_get(&self.tables.events, &wanted).await? {
            if let Some(Stored::Event(event)) = Stored::read(&item, now)? {
                events.insert(event.id.clone(), *event);
            }
        }
        Ok(events)
    }

    /// When the newest event of an owner and metric happened. From the index, and only its newest key.
    pub(crate) async fn last_event_at(&self, owner: &Owner, metric: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.events)
            .index_name("by_time")
            .key_condition_expression("ix_pk = :pk")
            .expression_attribute_values(":pk", s(owner.events_ix_pk(metric)))
            .projection_expression("ix_sk")
            .scan_index_forward(false)
            .limit(1)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("last_event_at", error))?;
        let newest = page
            .items()
            .first()
            .map(|item| Reader::new(item, "event").text("ix_sk"));
        Ok(newest.transpose()?.as_deref().and_then(keys::event_ix_instant))
    }
}
