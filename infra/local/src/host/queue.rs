//! One mapping of a queue to a function: collects batches in order, hands over several at the
//! same time, and deletes what succeeded.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metering_store::context::Source as _;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{Work, verdict::failures};
use crate::{
    queues::{Attribute, Queues, Received, Refusal, Wish, attributes_md5, body_md5},
    template::{Queue, QueueMapping, REGION, queue_arn},
};

/// Batches that are handled at the same time; Lambda begins with as many.
const CONCURRENCY: usize = 5;
/// Messages that are received at once.
const RECEIVE_MAX: usize = 10;
/// Bodies of a batch: an event is at most 6 MB, and escaping a body of JSON may double it.
const BATCH_BYTES_MAX: usize = 3_000_000;
/// How long one receiver waits; the next one follows at once.
const WAIT: Duration = Duration::from_secs(20);
/// Between two attempts at a file that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What polls.
pub struct Poller {
    mapping: QueueMapping,
    queue: Queue,
    work: Work,
}

/// Messages that nobody else receives as long as this lives, whatever the clock does.
pub struct Batch {
    /// Where they are.
    pub queues: Queues,
    /// On which queue.
    pub queue: Queue,
    /// What they are.
    pub messages: Vec<Received>,
}

impl Poller {
    /// A poller of `mapping`.
    pub fn new(mapping: QueueMapping, work: Work) -> Result<Self, Refusal> {
        Ok(Self {
            queue: work.queues.find(&mapping.queue)?.clone(),
            mapping,
            work,
        })
    }

    /// Polls until told to stop, then waits for what is under way.
    pub async fn run(self) {
        let poller = Arc::new(self);
        let concurrency = poller.mapping.concurrency.unwrap_or(CONCURRENCY).min(CONCURRENCY);
        let slots = Arc::new(Semaphore::new(concurrency));
        let mut running = JoinSet::new();
        while let Some(slot) = poller.slot(&slots).await {
            match poller.collect().await {
                Ok(Some(batch)) => {
                    running.spawn(Arc::clone(&poller).handle(batch, slot));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(queue = poller.queue.name, %error, "a queue cannot be read");
                    poller.work.clock.sleep(PAUSE).await;
                }
            }
            while running.try_join_next().is_some() {}
        }
        running.join_all().await;
    }

    /// Leave for one more batch; none when it is time to stop.
    async fn slot(&self, slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let mut orders = self.work.orders.clone();
        tokio::select! {
            biased;
            _ = orders.wait_for(|orders| orders.stop) => None,
            slot = Arc::clone(slots).acquire_owned() => slot.ok(),
        }
    }

    /// Waits for a message, then until the batch is full or its window over; none if none came.
    async fn collect(&self) -> Result<Option<Batch>, Refusal> {
        let mut batch = Batch {
            queues: self.work.queues.clone(),
            queue: self.queue.clone(),
            messages: Vec::new(),
        };
        let mut orders = self.work.orders.clone();
        tokio::select! {
            _ = orders.wait_for(|orders| orders.stop) => return Ok(None),
            received = self.receive(&batch, WAIT) => batch.messages = received?,
        }
        if batch.messages.is_empty() {
            return Ok(None);
        }
        let mut window = self.work.clock.sleep(self.mapping.window);
        while self.has_room(&batch) {
            // Nobody waits longer than the window: the wait given is only a bound.
            let received = tokio::select! {
                biased;
                received = self.receive(&batch, self.mapping.window) => received?,
                () = &mut window => break,
                _ = orders.wait_for(|orders| orders.stop || orders.drains > 0) => break,
            };
            if received.is_empty() {
                break;
            }
            batch.messages.extend(received);
        }
        Ok(Some(batch))
    }

    fn has_room(&self, batch: &Batch) -> bool {
        batch.messages.len() < self.mapping.batch_size && batch.bytes() < BATCH_BYTES_MAX
    }

    async fn receive(&self, batch: &Batch, wait: Duration) -> Result<Vec<Received>, Refusal> {
        let wish = Wish {
            count: (self.mapping.batch_size - batch.messages.len()).min(RECEIVE_MAX),
            bytes: BATCH_BYTES_MAX.saturating_sub(batch.bytes()),
            hidden: self.queue.visibility,
            hold: true,
        };
        self.work.queues.receive_within(&self.queue, wish, wait).await
    }

    async fn handle(self: Arc<Self>, batch: Batch, _slot: OwnedSemaphorePermit) {
        let function = self.mapping.function.as_str();
        let answer = self.work.functions.invoke(function, batch.event()).await;
        let ids: Vec<&str> = batch
            .messages
            .iter()
            .map(|message| message.message_id.as_str())
            .collect();
        let failed = match answer {
            Ok(answer) if self.mapping.reports_failures => failures(&answer, &ids),
            Ok(_) => Ok(Vec::new()),
            Err(error) => {
                tracing::error!(function, %error, messages = ids.len(), "a batch failed");
                return;
            }
        };
        match failed {
            Ok(failed) => batch.delete_all_but(&failed),
            Err(error) => tracing::error!(function, %error, "an answer says nothing: the whole batch failed"),
        }
    }
}

impl Batch {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.body.len()).sum()
    }

    /// Deletes what did not fail. A message that cannot be deleted is delivered again, as in SQS.
    pub fn delete_all_but(&self, failed: &[String]) {
        for message in &self.messages {
            if failed.contains(&message.message_id) {
                continue;
            }
            if let Err(error) = self.queues.delete(&self.queue, &message.receipt_handle) {
                tracing::error!(queue = self.queue.name, %error, "a message cannot be deleted");
            }
        }
    }

    /// The event that the function is handed.
    fn event(&self) -> String {
        let arn = queue_arn(&self.queue.name);
        let records: Vec<Value> = self.messages.iter().map(|message| record(message, &arn)).collect();
        json!({"Records": records}).to_string()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Err(error) = self.queues.release(&self.messages) {
            tracing::error!(queue = self.queue.name, %error, "messages cannot be let go");
        }
    }
}

fn record(message: &Received, arn: &str) -> Value {
    let attributes: BTreeMap<&String, Value> = message
        .attributes
        .iter()
        .map(|(name, attribute)| (name, attribute_value(attribute)))
        .collect();
    let mut record = json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": message.system,
        "messageAttributes": attributes,
        "md5OfBody": body_md5(&message.body),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    });
    if let Some(sum) = attributes_md5(&message.attributes) {
        record["md5OfMessageAttributes"] = json!(sum);
    }
    record
}

fn attribute_value(attribute: &Attribute) -> Value {
    let mut value = json!({
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute.data_type,
    });
    if let Some(text) = &attribute.string_value {
        value["stringValue"] = json!(text);
    }
    if let Some(bytes) = &attribute.binary_value {
        value["binaryValue"] = json!(bytes);
    }
    value
}
