//! Periods that are over: found by what is due, and closed.

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use metering_store::{
    StoreError,
    billing::{Billed, SHARDS},
};
use serde_json::json;

use crate::{Failure, Job};

/// How long a run begins with further subscriptions: the last ones must end within its timeout.
const RUN_TIME: TimeDelta = TimeDelta::seconds(20);
/// How many subscriptions are worked on at once.
const WIDTH: usize = 8;

/// What a run did.
#[derive(Default)]
struct Done {
    closed: usize,
    failed: usize,
    more: bool,
}

impl Job {
    /// Closes what is due in all shards; an error if some subscription failed.
    pub(crate) async fn close_all(&self) -> Result<String, Failure> {
        let began = self.app.context.now();
        let mut done = Done::default();
        for shard in 0..SHARDS {
            self.close_shard(shard, began, &mut done).await?;
        }
        let said = json!({"closed": done.closed, "failed": done.failed, "more": done.more}).to_string();
        match done.failed {
            0 => Ok(said),
            _ => Err(format!("some periods could not be closed: {said}").into()),
        }
    }

    async fn close_shard(&self, shard: u8, began: DateTime<Utc>, done: &mut Done) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let (ids, next) = self.app.store.subscriptions_due(shard, began, after).await?;
            let visits = ids.into_iter().map(|id| self.close_one(id, began));
            let mut visits = stream::iter(visits).buffer_unordered(WIDTH);
            while let Some(visited) = visits.next().await {
                match visited {
                    Some(billed) => {
                        done.closed += billed.closed;
                        done.more |= billed.more;
                    }
                    None => done.failed += 1,
                }
            }
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Closes what is due of one subscription, unless the run has no time left; none if that failed.
    async fn close_one(&self, id: String, began: DateTime<Utc>) -> Option<Billed> {
        if self.app.context.now() - began > RUN_TIME {
            return Some(Billed { closed: 0, more: true });
        }
        let billed = self.app.store.subscription_bill(&id, began).await;
        let log = |error: &StoreError| {
            let error: &dyn std::error::Error = error;
            tracing::error!(error, subscription_id = id, "periods could not be closed");
        };
        billed.inspect_err(log).ok()
    }
}
