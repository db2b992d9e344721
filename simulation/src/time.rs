//! The time of a run: the runtime's paused clock, which goes on only when nothing is left to do,
//! plus the jumps that the run makes; each process sees it with a skew of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use metering_store::context::{Sleep, Source};
use tokio::time::Instant;

use crate::dice::Dice;

/// The true time.
#[derive(Debug)]
pub struct Time {
    start: DateTime<Utc>,
    origin: Instant,
    jumped_ms: AtomicI64,
}

impl Time {
    /// Time that begins at `start`, within a paused runtime.
    pub fn from(start: DateTime<Utc>) -> Arc<Self> {
        Arc::new(Self {
            start,
            origin: Instant::now(),
            jumped_ms: AtomicI64::new(0),
        })
    }

    /// The present instant.
    pub fn now(&self) -> DateTime<Utc> {
        let passed = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.start + TimeDelta::milliseconds(passed + self.jumped_ms.load(Ordering::Relaxed))
    }

    /// Milliseconds since the run began, jumps left out: what passed for those who wait.
    pub fn passed_ms(&self) -> u128 {
        self.origin.elapsed().as_millis()
    }

    /// Moves every clock.
    pub fn jump(&self, by: TimeDelta) {
        self.jumped_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "time is paused here: no test waits for it")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits so many milliseconds.
pub async fn sleep_ms(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

/// Time, randomness and waiting as one process has them.
pub struct Place {
    /// The true time.
    pub time: Arc<Time>,
    /// How far its clock is ahead.
    pub skew: TimeDelta,
    /// Its random generator.
    pub dice: Dice,
}

impl Source for Place {
    fn now(&self) -> DateTime<Utc> {
        self.time.now() + self.skew
    }

    fn random(&self) -> u128 {
        self.dice.wide()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(sleep(duration))
    }
}

impl dynoxide::storage_backend::Clock for Time {
    fn now_unix_secs(&self) -> u64 {
        u64::try_from(self.now().timestamp()).unwrap_or(0)
    }

    fn now_unix_secs_f64(&self) -> f64 {
        Duration::from_millis(u64::try_from(self.now().timestamp_millis()).unwrap_or(0)).as_secs_f64()
    }
}
