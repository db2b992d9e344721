//! How often and how long a call is tried.

use std::time::Duration;

use crate::clock;

/// Retries of one call. Each attempt repeats the call's identity, so that it is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The longest pause after the first failure; it doubles with each further one, and chance picks
    /// a part of it.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// After so long the last failure is the answer. `Retry-After` beyond it ends the call at once.
    pub deadline: Duration,
    /// How long one attempt may take.
    pub attempt: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            deadline: Duration::from_secs(15),
            attempt: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// How long to wait after `failures` failures (at least one).
    pub(crate) fn pause(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        match retry_after {
            // All of them were told the same.
            Some(told) => told + clock::up_to(self.first_pause),
            None => {
                let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
                clock::up_to(doubled.min(self.longest_pause))
            }
        }
    }
}
