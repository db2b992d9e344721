//! The event host: does what Lambda's event source mappings do, and says when all is done.
//!
//! It hands the functions what is on the queues they are mapped to. It knows how events look and
//! what an answer means for the messages, and nothing of what the functions do.

mod queue;
mod verdict;

use std::{sync::Arc, time::Duration};

use metering_store::context::Source as _;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use crate::{
    clock::Clock,
    functions::Functions,
    queues::{Queues, Refusal},
    template::QueueMapping,
};

/// How long batches under way may still take when the host stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The running host; dropping it asks it to stop.
#[derive(Debug)]
pub struct Host {
    pollers: Vec<JoinHandle<()>>,
    orders: Arc<watch::Sender<Orders>>,
}

/// What every poller is told.
#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    /// Take nothing new.
    stop: bool,
    /// How many wait for all to be done: no batch is waited for to become full.
    drains: usize,
}

/// Waits for all to be done, on behalf of whoever asks.
#[derive(Debug, Clone)]
pub struct Drain {
    queues: Queues,
    mapped: Vec<String>,
    clock: Clock,
    orders: Arc<watch::Sender<Orders>>,
}

/// What a poller works with.
#[derive(Clone)]
struct Work {
    queues: Queues,
    functions: Functions,
    clock: Clock,
    orders: watch::Receiver<Orders>,
}

impl Host {
    /// Starts to hand `functions` what `mappings` say.
    pub fn start(
        mappings: &[QueueMapping],
        queues: &Queues,
        functions: &Functions,
        clock: &Clock,
        runtime: &Handle,
    ) -> Result<Self, Refusal> {
        let orders = Arc::new(watch::Sender::new(Orders::default()));
        let work = Work {
            queues: queues.clone(),
            functions: functions.clone(),
            clock: clock.clone(),
            orders: orders.subscribe(),
        };
        let mut pollers = Vec::new();
        for mapping in mappings {
            let poller = queue::Poller::new(mapping.clone(), work.clone())?;
            pollers.push(runtime.spawn(poller.run()));
        }
        Ok(Self { pollers, orders })
    }

    /// Stops, giving what is under way a moment to end.
    pub async fn stop(&mut self) {
        self.orders.send_modify(|orders| orders.stop = true);
        for poller in self.pollers.drain(..) {
            if tokio::time::timeout(STOP_MAX, poller).await.is_err() {
                tracing::warn!("the event host stopped with batches under way");
            }
        }
    }

    /// A handle by which to wait for all to be done.
    pub fn drain(&self, mappings: &[QueueMapping], queues: &Queues, clock: &Clock) -> Drain {
        Drain {
            queues: queues.clone(),
            mapped: mappings.iter().map(|mapping| mapping.queue.clone()).collect(),
            clock: clock.clone(),
            orders: Arc::clone(&self.orders),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.stop = true);
    }
}

impl Drain {
    /// Waits until every mapped queue is empty, counting waits and delays as over; false if that
    /// takes longer than `most`.
    pub async fn wait(&self, most: Duration) -> Result<bool, Refusal> {
        let _draining = Draining::begin(&self.orders);
        let mut ends = self.clock.sleep(most);
        let mut changes = self.queues.changes();
        loop {
            changes.borrow_and_update();
            if self.all_done()? {
                return Ok(true);
            }
            tokio::select! {
                () = &mut ends => return Ok(false),
                _ = changes.changed() => {}
            }
        }
    }

    fn all_done(&self) -> Result<bool, Refusal> {
        let mut done = true;
        for name in &self.mapped {
            let queue = self.queues.find(name)?;
            self.queues.hurry(queue)?;
            let counts = self.queues.counts(queue)?;
            done &= counts.visible + counts.in_flight + counts.delayed == 0;
        }
        Ok(done)
    }
}

/// One who waits; it is told to the pollers as long as this lives.
struct Draining<'a>(&'a watch::Sender<Orders>);

impl<'a> Draining<'a> {
    fn begin(orders: &'a watch::Sender<Orders>) -> Self {
        orders.send_modify(|orders| orders.drains += 1);
        Self(orders)
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|orders| orders.drains -= 1);
    }
}

#[cfg(test)]
mod tests;
