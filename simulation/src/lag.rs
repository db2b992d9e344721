//! An index that is behind: for a while it shows nothing new.

use std::collections::{BTreeMap, btree_map::Entry};

use serde_json::{Value, json};

use crate::{
    engine::{Answer, text},
    wire::{Key, Wire, locked, written},
};

/// An index that shows nothing new, and what it shows instead.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    pub until_ms: u128,
    pub before: BTreeMap<Key, Value>,
}

impl Wire {
    /// Whether indexes are behind.
    pub(crate) fn lags(&self) -> bool {
        self.time.passed_ms() < locked(&self.lag).until_ms
    }

    /// Notes what an index that is behind goes on showing.
    pub(crate) fn remember(&self, operation: &str, body: &Value) {
        for key in written(operation, body) {
            let mut lag = locked(&self.lag);
            if let Entry::Vacant(vacant) = lag.before.entry(key.clone()) {
                let (table, pk, sk) = key;
                vacant.insert(self.item(&table, &pk, &sk));
            }
        }
    }

    /// Takes back in an answer what an index does not show yet.
    pub(crate) fn behind(&self, body: &Value, answer: &mut Answer) {
        let table = body["TableName"].as_str().unwrap_or_default();
        let lag = locked(&self.lag);
        let Some(items) = answer.body["Items"].as_array_mut() else {
            return;
        };
        items.retain_mut(|item| {
            let key = (
                table.to_owned(),
                text(item, "pk").to_owned(),
                text(item, "sk").to_owned(),
            );
            let Some(before) = lag.before.get(&key) else {
                return true;
            };
            let Some(shown) = item.as_object_mut() else {
                return false;
            };
            for (name, value) in shown.iter_mut() {
                *value = before[name].clone();
            }
            shown.values().all(|value| !value.is_null())
        });
        let count = items.len();
        answer.body["Count"] = json!(count);
    }
}
