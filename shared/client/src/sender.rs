//! Reports usage in the background: events are handed over in memory or to a spool on disk, sent in
//! batches, and sent again until the service has said what became of each.
//!
//! What is guaranteed when:
//!
//! | | without a spool | with a spool |
//! |---|---|---|
//! | [`Sender::try_send`] is `Ok` | it is in memory: told unless the process ends | it is in memory, and in the spool some milliseconds later |
//! | [`Sender::send`] is `Ok` | the same | it is in the spool: told once, whenever a process has the spool again |
//! | [`Sender::flush`] is `Ok` | what was handed over before is told | the same |
//!
//! "Told" is: counted once, or refused by the service for good, which is counted, logged, kept in the
//! spool's `dead.jsonl` and handed to [`SenderOptions::on_dead`].

mod collect;
mod ship;
#[cfg(feature = "sqs")]
mod sqs;
mod stats;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};

pub use ship::Dead;
#[cfg(feature = "sqs")]
pub use sqs::Queue;
pub use stats::Stats;

use crate::{
    client::Client,
    error::Error,
    outage::Allowance,
    record::Record,
    spool::{Spool, SpoolError, SpoolOptions},
    usage::Usage,
};
use stats::Counters;

/// What a request came to, made into records off the request's path.
pub(crate) trait Finished: Send {
    fn records(self: Box<Self>) -> Vec<Record>;
}

/// What is handed to the background.
pub(crate) enum Handed {
    One(Box<Record>),
    /// A hold that has ended keeps a quota from others until this is told.
    Urgent(Box<Record>),
    /// Someone waits until it is in the spool.
    Awaited(Box<Record>, oneshot::Sender<Result<(), SendError>>),
    Finished(Box<dyn Finished>),
    /// Someone waits until everything before is told.
    Flush(oneshot::Sender<()>),
}

/// A place in the queue that nobody else can take.
pub(crate) struct Permit {
    place: mpsc::OwnedPermit<Handed>,
    shared: Arc<Shared>,
}

/// Is told what the service will never count.
pub type OnDead = dyn Fn(&Dead) + Send + Sync;

/// How events are collected and sent.
#[derive(Clone)]
#[non_exhaustive]
pub struct SenderOptions {
    /// How many events and requests may wait in memory, each at most some 3 KB: 10,000.
    pub queue_max: usize,
    /// A batch is sent with so many events: 250, at most 1,000.
    pub batch_events_max: usize,
    /// A batch is sent with so many bytes: 200 KiB, at most 1 MiB (queues: their message's limit).
    pub batch_bytes_max: usize,
    /// A batch is sent when its first event has waited so long: 1 second.
    pub batch_age_max: Duration,
    /// How many batches are under way at once: 2.
    pub in_flight_max: usize,
    /// Keeps events on disk until they are told.
    pub spool: Option<SpoolOptions>,
    /// Events go to this queue instead of the HTTP API; what must be answered does not.
    #[cfg(feature = "sqs")]
    pub queue: Option<Queue>,
    /// Is told what the service will never count.
    pub on_dead: Option<Arc<OnDead>>,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            queue_max: 10_000,
            batch_events_max: 250,
            batch_bytes_max: 200 << 10,
            batch_age_max: Duration::from_secs(1),
            in_flight_max: 2,
            spool: None,
            #[cfg(feature = "sqs")]
            queue: None,
            on_dead: None,
        }
    }
}

/// Why something was not handed over: it will not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// As much waits as may wait. It is counted as refused.
    #[error("the sender's queue is full")]
    Full,
    /// The spool holds as much as it may. It is counted as refused.
    #[error("the spool is full")]
    SpoolFull,
    /// The spool cannot be written.
    #[error("the spool cannot be written")]
    Spool(#[source] Arc<io::Error>),
    /// The sender has ended, with its runtime.
    #[error("the sender has ended")]
    Ended,
    /// The service would never take it.
    #[error(transparent)]
    Invalid(Error),
}

/// Not everything was told in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{pending} events are not told yet")]
pub struct Unsent {
    /// How many; in a spool they wait for the next process.
    pub pending: u64,
}

/// Hands usage to the background. Clones share one queue; with the last one the background ends as
/// soon as everything is told. Before a process ends, and in Lambda before an invocation does, call
/// [`Sender::flush`]: it waits for what is still under way.
#[derive(Clone)]
pub struct Sender {
    queue: mpsc::Sender<Handed>,
    shared: Arc<Shared>,
}

/// What all parts of a sender share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) options: SenderOptions,
    pub(crate) counters: Counters,
    pub(crate) allowance: Arc<Allowance>,
    pub(crate) spool: Option<std::sync::Mutex<Spool>>,
    /// A batch is full, or someone waits.
    hurry: Notify,
    /// How much of what is in the queue someone waits for. For a moment it may be below 0: what is
    /// taken out is counted off, whether it was counted already or not.
    urgent: AtomicI64,
    /// The spool's writer has told its reader that there is more, or that it is urgent, and was not
    /// heard yet: it does not say it twice, however long that takes.
    news: AtomicBool,
    urgent_news: AtomicBool,
}

impl Sender {
    /// Starts the background, on the present tokio runtime. Opens the spool and tells what an
    /// earlier process left in it.
    pub fn start(client: &Client, options: SenderOptions) -> Result<Self, SpoolError> {
        Self::start_with(client, options, Arc::default())
    }

    pub(crate) fn start_with(
        client: &Client,
        options: SenderOptions,
        allowance: Arc<Allowance>,
    ) -> Result<Self, SpoolError> {
        let spool = options.spool.clone().map(Spool::open).transpose()?;
        let (queue, handed) = mpsc::channel(options.queue_max.max(1));
        let shared = Arc::new(Shared {
            client: client.clone(),
            options,
            counters: Counters::default(),
            allowance,
            spool: spool.map(std::sync::Mutex::new),
            hurry: Notify::new(),
            urgent: AtomicI64::new(0),
            news: AtomicBool::new(false),
            urgent_news: AtomicBool::new(false),
        });
        if shared.spool.is_some() {
            collect::spooled(handed, Arc::clone(&shared));
        } else {
            tokio::spawn(collect::in_memory(handed, Arc::clone(&shared)));
        }
        Ok(Self { queue, shared })
    }

    /// Hands an event over without waiting; if there is no room, it is refused and counted.
    pub fn try_send(&self, usage: Usage) -> Result<(), SendError> {
        usage.check().map_err(SendError::Invalid)?;
        self.try_hand(Handed::One(Box::new(Record::track(usage))))
    }

    /// Hands an event over, waiting for room; with a spool, until it is in there.
    pub async fn send(&self, usage: Usage) -> Result<(), SendError> {
        usage.check().map_err(SendError::Invalid)?;
        let permit = self.permit().await?;
        let record = Box::new(Record::track(usage));
        if self.shared.spool.is_none() {
            permit.hand(Handed::One(record));
            return Ok(());
        }
        let (said, written) = oneshot::channel();
        permit.hand(Handed::Awaited(record, said));
        self.shared.urge();
        written.await.unwrap_or(Err(SendError::Ended))
    }

    /// Waits until everything that was handed over before is told; at most so long.
    pub async fn flush(&self, timeout: Duration) -> Result<(), Unsent> {
        let (said, told) = oneshot::channel();
        let flushed = async {
            self.queue.send(Handed::Flush(said)).await.ok()?;
            self.shared.urge();
            told.await.ok()
        };
        match tokio::time::timeout(timeout, flushed).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(Unsent {
                pending: self.stats().pending,
            }),
        }
    }

    /// What the sender has done so far.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    /// Waits for a place in the queue.
    pub(crate) async fn permit(&self) -> Result<Permit, SendError> {
        let place = self.queue.clone().reserve_owned().await;
        self.kept(place.map_err(|_| SendError::Ended)?)
    }

    /// A place in the queue, if there is one.
    pub(crate) fn try_permit(&self) -> Result<Permit, SendError> {
        let place = self.queue.clone().try_reserve_owned();
        self.kept(place.map_err(|error| self.refused(&error))?)
    }

    fn kept(&self, place: mpsc::OwnedPermit<Handed>) -> Result<Permit, SendError> {
        Ok(Permit {
            place,
            shared: Arc::clone(&self.shared),
        })
    }

    pub(crate) fn try_hand(&self, handed: Handed) -> Result<(), SendError> {
        self.shared.counters.handed(1);
        match self.queue.try_send(handed) {
            Ok(()) => {
                if self.queue.max_capacity() - self.queue.capacity() >= self.shared.options.batch_events_max {
                    self.shared.hurry.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                self.shared.counters.taken_back(1);
                Err(self.refused(&error))
            }
        }
    }

    fn refused<T>(&self, error: &mpsc::error::TrySendError<T>) -> SendError {
        self.shared.counters.refused(1);
        match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Ended,
        }
    }
}

impl Shared {
    /// Someone waits for something that is in the queue.
    fn urge(&self) {
        self.urgent.fetch_add(1, Ordering::AcqRel);
        self.hurry.notify_one();
    }
}

impl Permit {
    /// Hands something over; this cannot fail.
    pub(crate) fn hand(self, handed: Handed) {
        self.shared.counters.handed(1);
        self.place.send(handed);
    }

    /// Hands over what others wait for: a hold that has ended keeps a quota from them.
    pub(crate) fn hand_at_once(self, record: Record) {
        let shared = Arc::clone(&self.shared);
        self.hand(Handed::Urgent(Box::new(record)));
        shared.urge();
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sender")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SenderOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SenderOptions")
            .field("queue_max", &self.queue_max)
            .field("batch_events_max", &self.batch_events_max)
            .field("batch_bytes_max", &self.batch_bytes_max)
            .field("batch_age_max", &self.batch_age_max)
            .field("in_flight_max", &self.in_flight_max)
            .field("spool", &self.spool)
            .finish_non_exhaustive()
    }
}
