//! Of counters and of events that were charged to them: thresholds to be judged.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use metering_edge::{message::AlertTask, send::Outgoing};
use metering_store::{
    StoreError,
    counter::Counter,
    event::Event,
    judge::{Change, Judged, LOOK_AGAIN, Standing},
    keys::CounterKey,
};

use crate::{Fault, Relay};

/// Counters that are judged at once.
const WIDTH: usize = 16;

/// The counters that a batch touches.
#[derive(Default)]
pub(crate) struct Counters(BTreeMap<CounterKey, Touched>);

/// What a batch says of a counter.
#[derive(Default)]
struct Touched {
    user_id: String,
    changes: Vec<Change>,
    records: Vec<usize>,
}

impl Counters {
    pub fn inserted(&mut self, index: usize, event: &Event) {
        if let Some(key) = event.counter_key() {
            self.touch(key, index, &event.user_id);
        }
    }

    pub fn changed(&mut self, index: usize, old: Option<&Counter>, new: &Counter) {
        let change = changed_at(old, new).map(|at| Change {
            at,
            // At its birth nothing is used.
            before: old.map_or_else(Standing::default, |old| old.standing(at)),
            after: new.standing(at),
        });
        self.touch(new.key.clone(), index, &new.user_id).changes.extend(change);
    }

    fn touch(&mut self, key: CounterKey, index: usize, user_id: &str) -> &mut Touched {
        let touched = self.0.entry(key).or_default();
        touched.user_id = user_id.to_owned();
        touched.records.push(index);
        touched
    }
}

/// When a change was made: of a count the time of its entry, of others what they noted.
fn changed_at(old: Option<&Counter>, new: &Counter) -> Option<DateTime<Utc>> {
    let is_new = |attempt: &String| old.is_none_or(|old| !old.pending.contains_key(attempt));
    let entries = new.pending.iter().filter(|(attempt, _)| is_new(attempt));
    let counted = entries.map(|(_, entry)| entry.at).max();
    counted.or(new
        .changed_at
        .filter(|at| old.and_then(|old| old.changed_at) != Some(*at)))
}

impl Relay {
    pub(crate) async fn judge(&self, counters: Counters) -> Vec<Fault> {
        let judged = counters
            .0
            .into_iter()
            .map(|(key, touched)| self.judge_or_fail(key, touched));
        let outcomes: Vec<Option<Fault>> = stream::iter(judged).buffer_unordered(WIDTH).collect().await;
        outcomes.into_iter().flatten().collect()
    }

    async fn judge_or_fail(&self, key: CounterKey, touched: Touched) -> Option<Fault> {
        let judged = self.judge_one(&key, &touched).await;
        judged.err().map(|error| Fault {
            records: touched.records,
            error,
        })
    }

    async fn judge_one(&self, key: &CounterKey, touched: &Touched) -> Result<(), StoreError> {
        let now = self.app.context.now();
        let store = &self.app.store;
        match store
            .thresholds_judge(key, &touched.user_id, &touched.changes, now)
            .await?
        {
            Judged::Done(_) => Ok(()),
            Judged::Undecided => {
                let task = AlertTask::Judge {
                    user_id: touched.user_id.clone(),
                    pk: key.pk(),
                    sk: key.sk(),
                };
                let delay = i32::try_from(LOOK_AGAIN.num_seconds()).unwrap_or(i32::MAX);
                let message = Outgoing::new(&task, delay)?;
                self.alerts.send(vec![message]).await
            }
        }
    }
}
