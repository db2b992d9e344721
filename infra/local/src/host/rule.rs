//! A function that is handed events of the bus, or lines of logs, one at a time, as Lambda calls a function that
//! nobody waits for: again after a failure, and in the end the event goes to the function's
//! dead-letter queue.

use std::{sync::Arc, time::Duration};

use metering_store::context::Source as _;
use serde_json::{from_value, json};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Work, queue::Batch};
use crate::{
    bus::inbox_name,
    queues::{Outgoing, Refusal, Wish},
    template::{Failure, Queue},
};

/// Calls at the same time.
const CONCURRENCY: usize = 5;
/// How long one receiver waits; the next one follows at once.
const WAIT: Duration = Duration::from_secs(20);
/// Between two attempts at a file that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What takes events out of a function's inbox.
pub struct Deliverer {
    function: String,
    failure: Failure,
    inbox: Queue,
    work: Work,
}

impl Deliverer {
    /// A deliverer of what is for `function`.
    pub fn new(function: &str, failure: Failure, work: Work) -> Result<Self, Refusal> {
        Ok(Self {
            function: function.to_owned(),
            failure,
            inbox: work.queues.find(&inbox_name(function))?.clone(),
            work,
        })
    }

    /// Delivers until told to stop, then waits for what is under way.
    pub async fn run(self) {
        let deliverer = Arc::new(self);
        let mut orders = deliverer.work.orders.clone();
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let mut running = JoinSet::new();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, deliverer.next().await)
            };
            let (slot, next) = tokio::select! {
                _ = orders.wait_for(|orders| orders.stop) => break,
                next = next => next,
            };
            match next {
                Ok(event) => {
                    let deliverer = Arc::clone(&deliverer);
                    running.spawn(async move {
                        let _slot = slot;
                        deliverer.deliver(event).await;
                    });
                }
                Err(error) => {
                    tracing::error!(inbox = deliverer.inbox.name, %error, "events cannot be read");
                    deliverer.work.clock.sleep(PAUSE).await;
                }
            }
            while running.try_join_next().is_some() {}
        }
        running.join_all().await;
    }

    async fn next(&self) -> Result<Batch, Refusal> {
        let wish = Wish {
            count: 1,
            bytes: usize::MAX,
            hidden: self.inbox.visibility,
            hold: true,
        };
        let queues = &self.work.queues;
        Ok(Batch {
            messages: queues.receive_within(&self.inbox, wish, WAIT).await?,
            queues: queues.clone(),
            queue: self.inbox.clone(),
        })
    }

    async fn deliver(&self, batch: Batch) {
        let function = self.function.as_str();
        let Some(event) = batch.messages.first() else {
            return;
        };
        let called = self.work.functions.invoke(function, event.body.clone()).await;
        let Err(error) = called else {
            return batch.delete_all_but(&[]);
        };
        tracing::error!(function, %error, "an event was not handled");
        let count = event.system.get("ApproximateReceiveCount");
        let calls: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(u64::MAX);
        if calls <= self.failure.retries_max {
            return;
        }
        match self.bury(&event.body, &error.to_string()) {
            Ok(()) => batch.delete_all_but(&[]),
            Err(error) => tracing::error!(function, %error, "an event cannot be dead-lettered"),
        }
    }

    /// Keeps the event in the dead-letter queue, with the attributes that Lambda adds.
    fn bury(&self, event: &str, error: &str) -> Result<(), Refusal> {
        let Some(queue) = &self.failure.queue else {
            return Ok(());
        };
        let text = |value: &str| json!({"DataType": "String", "StringValue": value});
        let request_id = format!("{:032x}", self.work.clock.random());
        let message: Outgoing = from_value(json!({
            "MessageBody": event,
            "MessageAttributes": {
                "RequestID": text(&request_id),
                "ErrorCode": {"DataType": "Number", "StringValue": "200"},
                "ErrorMessage": text(error),
            },
        }))
        .map_err(Refusal::Stored)?;
        let queues = &self.work.queues;
        queues.send(queues.find(queue)?, &[&message])?;
        Ok(())
    }
}
