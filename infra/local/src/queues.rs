//! The queues: an SQS for one machine, which keeps its messages in a file and reads the stack's
//! clock.
//!
//! Standard queues, as the template declares them. A message is kept from the moment its sending
//! is acknowledged until it is deleted, is past its retention, or has moved to the dead-letter
//! queue; messages are received in the order in which they were sent. Deliberately absent:
//! queues made or changed by request, queues of type FIFO, and SQS's occasional second delivery.

mod message;
mod protocol;
mod refusal;
mod store;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use metering_store::context::Source as _;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    template::{ACCOUNT, Queue},
};

pub use message::{Attribute, Outgoing, Received, attributes_md5, body_md5};
pub use protocol::router;
pub use refusal::Refusal;
pub use store::{Counts, Kept, Wish};

use store::{Handle, Store, millis};

/// The queues; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Queues(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    queues: BTreeMap<String, Queue>,
    clock: Clock,
    base: String,
    /// Counts what may have made a message visible, or a queue empty.
    changes: watch::Sender<u64>,
}

impl Queues {
    /// Opens the queues kept in `file`; `base` is where they will be served.
    pub fn open(file: &Path, queues: &[Queue], clock: &Clock, base: &str) -> Result<Self, Refusal> {
        let queues: BTreeMap<_, _> = queues.iter().map(|queue| (queue.name.clone(), queue.clone())).collect();
        let store = Store::open(file, &queues, clock.now().timestamp_millis())?;
        Ok(Self(Arc::new(Inner {
            store: Mutex::new(store),
            queues,
            clock: clock.clone(),
            base: base.to_owned(),
            changes: watch::Sender::new(0),
        })))
    }

    /// Where they answer.
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// The queues by name, but for those that no address names.
    pub fn all(&self) -> impl Iterator<Item = &Queue> {
        self.0.queues.values().filter(|queue| !queue.name.contains('/'))
    }

    /// The queue of a name.
    pub fn find(&self, name: &str) -> Result<&Queue, Refusal> {
        self.0.queues.get(name).ok_or(Refusal::NoQueue)
    }

    /// The address of a queue.
    pub fn url(&self, queue: &Queue) -> String {
        queue_url(&self.0.base, &queue.name)
    }

    /// Changes with everything that may have made a message visible or a queue empty.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Sends checked messages, all or none; answers their names.
    pub fn send(&self, queue: &Queue, messages: &[&Outgoing]) -> Result<Vec<String>, Refusal> {
        let named: Vec<(String, &Outgoing)> = messages.iter().map(|message| (self.fresh_id(), *message)).collect();
        self.store().send(queue, &named, self.now_ms())?;
        self.changed();
        Ok(named.into_iter().map(|(id, _)| id).collect())
    }

    /// Receives what is there now.
    pub fn receive(&self, queue: &Queue, wish: Wish) -> Result<Vec<Received>, Refusal> {
        let nonce = format!("{:032x}", self.0.clock.random());
        let receipt = self.store().receive(queue, wish, self.now_ms(), &nonce)?;
        if receipt.removed {
            self.changed();
        }
        Ok(receipt.messages)
    }

    /// Receives what is there, or waits for it, for so long at most.
    pub async fn receive_within(&self, queue: &Queue, wish: Wish, wait: Duration) -> Result<Vec<Received>, Refusal> {
        let mut ends = self.0.clock.sleep(wait);
        let (mut changes, mut moves) = (self.changes(), self.0.clock.moves());
        loop {
            changes.borrow_and_update();
            moves.borrow_and_update();
            let received = self.receive(queue, wish)?;
            if !received.is_empty() || wait.is_zero() {
                return Ok(received);
            }
            let next = self.next_visible(queue)?;
            tokio::select! {
                () = &mut ends => return Ok(received),
                _ = changes.changed() => {}
                _ = moves.changed() => {}
                () = self.0.clock.reach(next) => {}
            }
        }
    }

    /// Deletes what a receipt handle names.
    pub fn delete(&self, queue: &Queue, handle: &str) -> Result<(), Refusal> {
        self.store().delete(queue, &Handle::read(handle)?)?;
        self.changed();
        Ok(())
    }

    /// Hides what a receipt handle names for so long from now.
    pub fn hide(&self, queue: &Queue, handle: &str, hidden: Duration) -> Result<(), Refusal> {
        let read = Handle::read(handle)?;
        match self.store().hide(queue, &read, millis(hidden), self.now_ms())? {
            Some(true) => self.changed(),
            Some(false) => return Err(Refusal::NotInFlight(handle.to_owned())),
            None => {
                return Err(Refusal::Parameter(format!(
                    "Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is \
                     not available for visibility timeout change."
                )));
            }
        }
        Ok(())
    }

    /// Lets go messages that were held while they were worked on.
    pub fn release(&self, messages: &[Received]) -> Result<(), Refusal> {
        let rows: Vec<i64> = messages.iter().map(|message| message.row).collect();
        self.store().release(&rows)?;
        self.changed();
        Ok(())
    }

    /// Ends every wait and delay of a queue, but for what is held.
    pub fn hurry(&self, queue: &Queue) -> Result<(), Refusal> {
        if self.store().hurry(queue, self.now_ms())? > 0 {
            self.changed();
        }
        Ok(())
    }

    /// Deletes all of a queue.
    pub fn purge(&self, queue: &Queue) -> Result<(), Refusal> {
        self.store().purge(queue)?;
        self.changed();
        Ok(())
    }

    /// Deletes what is past its retention.
    pub fn expire(&self) -> Result<usize, Refusal> {
        let (store, now_ms) = (self.store(), self.now_ms());
        self.0.queues.values().map(|queue| store.expire(queue, now_ms)).sum()
    }

    /// How a queue is filled.
    pub fn counts(&self, queue: &Queue) -> Result<Counts, Refusal> {
        self.store().counts(queue, self.now_ms())
    }

    /// How many messages of a queue lie in its dead-letter queue.
    pub fn dead_letters(&self, queue: &Queue) -> Result<u64, Refusal> {
        match &queue.redrive {
            Some(redrive) => {
                let target = self.find(&redrive.queue)?;
                self.store().dead_letters(queue, target, self.now_ms())
            }
            None => Ok(0),
        }
    }

    /// The first messages of a queue, in order; nothing is received.
    pub fn list(&self, queue: &Queue, most: usize) -> Result<Vec<Kept>, Refusal> {
        self.store().list(queue, most, self.now_ms())
    }

    /// When a queue was first there.
    fn created(&self, queue: &Queue) -> Result<i64, Refusal> {
        Ok(self.store().created_ms(queue)? / 1_000)
    }

    fn next_visible(&self, queue: &Queue) -> Result<Option<DateTime<Utc>>, Refusal> {
        let next = self.store().next_visible_ms(queue, self.now_ms())?;
        Ok(next.and_then(DateTime::from_timestamp_millis))
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now().timestamp_millis()
    }

    /// 128 random bits in the shape of a UUID, as SQS names its messages.
    fn fresh_id(&self) -> String {
        let hex = format!("{:032x}", self.0.clock.random());
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        parts.join("-")
    }

    /// A poisoned lock is usable: whatever panicked left its transaction behind, rolled back.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.changes.send_modify(|changes| *changes += 1);
    }
}

/// The address of a queue that is served at `base`.
pub fn queue_url(base: &str, queue: &str) -> String {
    format!("{base}/{ACCOUNT}/{queue}")
}

#[cfg(test)]
mod tests;
