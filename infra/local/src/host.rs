//! The event host: does what Lambda's event source mappings do, and says when all is done.
//!
//! It hands the functions what is on the queues and streams they are mapped to, events of
//! the bus that fit their rules, and runs their schedules. It knows how events look and
//! what an answer means for the messages, and nothing of what the functions do.

mod queue;
mod rule;
mod schedule;
mod stream;
mod verdict;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metering_store::context::Source as _;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use crate::{
    bus::{called_later, inbox_name},
    clock::Clock,
    functions::{Functions, InvokeError},
    queues::{Queues, Refusal},
    streams::{StreamError, Streams},
    template::{Failure, Template, Triggers},
};

/// How long batches under way may still take when the host stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The running host; dropping it asks it to stop.
pub struct Host {
    pollers: Vec<JoinHandle<()>>,
    orders: Arc<watch::Sender<Orders>>,
    desk: Desk,
}

/// What every poller is told.
#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    /// Take nothing new.
    stop: bool,
    /// How many wait for all to be done: no batch is waited for to become full.
    drains: usize,
}

/// Where others ask the host for something.
#[derive(Clone)]
pub struct Desk {
    work: Work,
    /// The queues that functions take from.
    emptied: Vec<String>,
    triggers: Triggers,
    streams: Streams,
    orders: Arc<watch::Sender<Orders>>,
}

/// What the host cannot read.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A queue.
    #[error("a queue failed")]
    Queues(#[from] Refusal),
    /// A stream.
    #[error(transparent)]
    Streams(#[from] StreamError),
}

/// What a poller works with.
#[derive(Clone)]
struct Work {
    queues: Queues,
    functions: Functions,
    clock: Clock,
    orders: watch::Receiver<Orders>,
    running: Arc<watch::Sender<usize>>,
}

/// A call of a function that is under way, counted as long as this lives.
struct Busy(Arc<watch::Sender<usize>>);

impl Host {
    /// Starts to call `functions` as the template says.
    pub fn start(
        template: &Template,
        queues: &Queues,
        streams: &Streams,
        functions: &Functions,
        clock: &Clock,
        runtime: &Handle,
    ) -> Result<Self, Refusal> {
        let triggers = &template.triggers;
        let orders = Arc::new(watch::Sender::new(Orders::default()));
        let work = Work {
            queues: queues.clone(),
            functions: functions.clone(),
            clock: clock.clone(),
            orders: orders.subscribe(),
            running: Arc::new(watch::Sender::new(0)),
        };
        let mut pollers = Vec::new();
        for mapping in &triggers.queues {
            let poller = queue::Poller::new(mapping.clone(), work.clone())?;
            pollers.push(runtime.spawn(poller.run()));
        }
        let inboxes = inboxes(template);
        for (function, failure) in &inboxes {
            let deliverer = rule::Deliverer::new(function, failure.clone(), work.clone())?;
            pollers.push(runtime.spawn(deliverer.run()));
        }
        for schedule in &triggers.schedules {
            pollers.push(runtime.spawn(schedule::run(schedule.clone(), work.clone())));
        }
        for mapping in &triggers.streams {
            let reader = stream::Reader::new(mapping.clone(), streams.clone(), work.clone());
            pollers.push(runtime.spawn(reader.run()));
        }
        if !triggers.streams.is_empty() {
            let (streams, mappings) = (streams.clone(), triggers.streams.clone());
            let watching = stream::watch_engine(streams, mappings, clock.clone(), orders.subscribe());
            pollers.push(runtime.spawn(watching));
        }
        let mapped = triggers.queues.iter().map(|mapping| mapping.queue.clone());
        let inboxes = inboxes.keys().map(|function| inbox_name(function));
        let desk = Desk {
            work,
            emptied: mapped.chain(inboxes).collect(),
            triggers: triggers.clone(),
            streams: streams.clone(),
            orders: Arc::clone(&orders),
        };
        Ok(Self { pollers, orders, desk })
    }

    /// Where others ask the host for something.
    pub fn desk(&self) -> Desk {
        self.desk.clone()
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
}

/// The functions that are called for events nobody waits for, and what becomes of those they fail to handle.
fn inboxes(template: &Template) -> BTreeMap<String, Failure> {
    called_later(template)
        .map(|function| (function.name.clone(), function.failure.clone()))
        .collect()
}

impl Drop for Host {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.stop = true);
    }
}

impl Desk {
    /// Waits until every mapped queue is empty, every stream is read and no function runs,
    /// counting waits and delays as over; false if that takes longer than `most`.
    pub async fn drain(&self, most: Duration) -> Result<bool, HostError> {
        let _draining = Draining::begin(&self.orders);
        let mut ends = self.work.clock.sleep(most);
        let mut changes = self.work.queues.changes();
        let mut running = self.work.running.subscribe();
        let mut read = self.streams.changes();
        loop {
            changes.borrow_and_update();
            read.borrow_and_update();
            // One after the other is looked at, while a batch of one may end with work for the
            // other. So all is done only if nothing ended meanwhile, the streams looked at again.
            let idle = *running.borrow_and_update() == 0;
            if self.streams_are_read()?
                && idle
                && self.queues_are_empty()?
                && self.streams_are_read()?
                && !changes.has_changed().unwrap_or(true)
                && !read.has_changed().unwrap_or(true)
            {
                return Ok(true);
            }
            tokio::select! {
                () = &mut ends => return Ok(false),
                _ = changes.changed() => {}
                _ = running.changed() => {}
                _ = read.changed() => {}
            }
        }
    }

    fn streams_are_read(&self) -> Result<bool, StreamError> {
        for mapping in &self.triggers.streams {
            if self.streams.is_behind(mapping)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has every kept record of every stream delivered again.
    pub fn replay(&self) -> Result<(), StreamError> {
        self.streams.replay()
    }

    fn queues_are_empty(&self) -> Result<bool, Refusal> {
        let queues = &self.work.queues;
        let mut empty = true;
        for name in &self.emptied {
            let queue = queues.find(name)?;
            queues.hurry(queue)?;
            let counts = queues.counts(queue)?;
            empty &= counts.visible + counts.in_flight + counts.delayed == 0;
        }
        Ok(empty)
    }

    /// Runs a function as its schedule would now; none if it has no schedule.
    pub async fn run(&self, function: &str) -> Option<Result<String, InvokeError>> {
        let schedule = self
            .triggers
            .schedules
            .iter()
            .find(|schedule| schedule.function == function)?;
        let clock = &self.work.clock;
        let event = schedule::event(schedule, clock.now(), clock);
        let _busy = Busy::begin(&self.work.running);
        Some(self.work.functions.invoke(function, event).await)
    }
}

impl Busy {
    fn begin(running: &Arc<watch::Sender<usize>>) -> Self {
        running.send_modify(|running| *running += 1);
        Self(Arc::clone(running))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
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
