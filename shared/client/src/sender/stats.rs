//! What a sender has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a sender has done since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Events that the service has counted.
    pub counted: u64,
    /// Events that it had counted before: they were told twice, and counted once.
    pub duplicates: u64,
    /// Holds that were committed.
    pub committed: u64,
    /// Holds that were given back.
    pub released: u64,
    /// What the service will never count; see [`super::Dead`].
    pub dead: u64,
    /// What was not taken, for lack of room: nobody will ever count it.
    pub refused: u64,
    /// Handed over and not told yet; what an earlier process left in the spool is in it once read.
    pub pending: u64,
    /// Attempts to tell the service that failed and were, or will be, repeated.
    pub retries: u64,
}

/// The same while they change.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counted: AtomicU64,
    duplicates: AtomicU64,
    committed: AtomicU64,
    released: AtomicU64,
    dead: AtomicU64,
    refused: AtomicU64,
    retries: AtomicU64,
    handed: AtomicU64,
    settled: AtomicU64,
}

macro_rules! add {
    ($($name:ident),+) => {$(
        pub(crate) fn $name(&self, number: u64) {
            self.$name.fetch_add(number, Ordering::Relaxed);
        }
    )+};
}

impl Counters {
    add!(
        counted, duplicates, committed, released, dead, refused, retries, handed, settled
    );

    /// It was not handed over after all.
    pub(crate) fn taken_back(&self, number: u64) {
        self.handed.fetch_sub(number, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // First what is settled: what is handed over meanwhile is pending, not the reverse.
        let settled = read(&self.settled);
        Stats {
            counted: read(&self.counted),
            duplicates: read(&self.duplicates),
            committed: read(&self.committed),
            released: read(&self.released),
            dead: read(&self.dead),
            refused: read(&self.refused),
            retries: read(&self.retries),
            pending: read(&self.handed).saturating_sub(settled),
        }
    }
}
