//! How many attempts were denied, per counter: noted in memory, added with the instance's next
//! count, or a second later by a task of its own. Best effort: what an instance did not add when it
//! dies is lost.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    Store,
    item::{int, s},
    keys::CounterKey,
};

/// How long a denial may stay unknown.
pub const DELAY: Duration = Duration::from_secs(1);

/// Denials that no counter knows yet.
#[derive(Debug, Default)]
pub(crate) struct Denials(Mutex<HashMap<CounterKey, u64>>);

impl Denials {
    /// Adds to what is unknown; whether there was nothing before.
    pub(crate) fn add(&self, key: &CounterKey, count: u64) -> bool {
        if count == 0 {
            return false;
        }
        let mut unknown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = unknown.entry(key.clone()).or_default();
        *entry += count;
        *entry == count
    }

    /// Takes what is unknown.
    pub(crate) fn take(&self, key: &CounterKey) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key)
            .unwrap_or(0)
    }

    /// What is unknown.
    pub(crate) fn peek(&self, key: &CounterKey) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
            .unwrap_or(0)
    }
}

impl Store {
    /// Notes a denial.
    pub(crate) fn denied(&self, key: &CounterKey) {
        if self.denials.add(key, 1) {
            let (store, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                store.context.sleep(DELAY).await;
                store.denials_flush(&key).await;
            });
        }
    }

    async fn denials_flush(&self, key: &CounterKey) {
        let count = self.denials.take(key);
        if count == 0 {
            return;
        }
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(key.pk()))
            .key("sk", s(key.sk()))
            .update_expression("SET denied = denied + :count")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":count", int(count))
            .send()
            .await;
        if let Err(error) = sent {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                count,
                "denials were not added"
            );
        }
    }
}
