//! Chance, from one seed: everything that is drawn comes from here, so that a seed is a whole run.

use std::sync::{Arc, Mutex, PoisonError};

/// A generator that its holders share.
#[derive(Debug, Clone)]
pub struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    /// The dice of a seed.
    pub fn of(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Dice of their own: what is drawn there changes nothing here.
    pub fn fork(&self) -> Self {
        Self::of(self.bits())
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        self.with(|rng| rng.u64(..))
    }

    /// 128 random bits.
    pub fn wide(&self) -> u128 {
        self.with(|rng| rng.u128(..))
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&self, end: u64) -> u64 {
        self.with(|rng| rng.u64(..end))
    }

    /// A number of `from..=to`.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Whether something happens that does so `per_mille` times in a thousand.
    pub fn happens(&self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of these.
    pub fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        &all[index]
    }

    fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
