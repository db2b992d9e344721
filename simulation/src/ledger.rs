//! What clients asked for, and what they were told: the plain account that the store is held
//! against.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rust_decimal::Decimal;

/// What a client knows of a request in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing: no answer said anything.
    Nothing,
    /// It was recorded.
    Recorded,
    /// There was too little.
    Denied,
    /// It was refused for another reason.
    Refused,
}

/// Usage that a client reported.
#[derive(Debug, Clone)]
pub struct Reported {
    /// Whose.
    pub user: String,
    /// Of which metric.
    pub metric: &'static str,
    /// How much; of a gauge what it was moved by.
    pub value: Decimal,
    /// Whether the cap may refuse it.
    pub enforced: bool,
    /// Whether it named itself, so that it may be sent again.
    pub named: bool,
    /// When it was first sent, in milliseconds of the run.
    pub from_ms: u128,
    /// When the last answer came.
    pub to_ms: u128,
    /// What the last answer said.
    pub told: Told,
    /// How many sendings nobody answered.
    pub unanswered: usize,
    /// The event's id, once told.
    pub usage_id: Option<String>,
    /// Whether an administrator took it back: asked, and told so.
    pub voided: (bool, bool),
}

/// A reservation that a client made.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    /// Whose.
    pub user: String,
    /// Of which metric.
    pub metric: &'static str,
    /// How much was held.
    pub quantity: Decimal,
    /// When it was first asked for.
    pub from_ms: u128,
    /// When it was decided, or the run ended.
    pub to_ms: u128,
    /// The quantities that commits were asked for.
    pub asked: Vec<Decimal>,
    /// The quantities that commits were told to be recorded: all the same.
    pub committed: Vec<Decimal>,
    /// Whether a release was told to be done.
    pub released: bool,
    /// Its id, once told.
    pub id: Option<String>,
}

/// The account of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    reported: Mutex<Vec<Reported>>,
    reserved: Mutex<Vec<Reserved>>,
    denials: Mutex<Vec<Denial>>,
}

/// A 429: what was asked for, and when.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Whose.
    pub user: String,
    /// Of which metric.
    pub metric: &'static str,
    /// How much.
    pub value: Decimal,
    /// When it was sent, and when it was answered.
    pub span_ms: (u128, u128),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Notes usage that is about to be reported; its number.
    pub fn report(&self, one: Reported) -> usize {
        let mut all = locked(&self.reported);
        all.push(one);
        all.len() - 1
    }

    /// Changes what is known of reported usage.
    pub fn told(&self, number: usize, change: impl FnOnce(&mut Reported)) {
        change(&mut locked(&self.reported)[number]);
    }

    /// All that was reported, by number.
    pub fn reported(&self) -> Vec<Reported> {
        locked(&self.reported).clone()
    }

    /// Notes a reservation that is about to be made; its number.
    pub fn reserve(&self, one: Reserved) -> usize {
        let mut all = locked(&self.reserved);
        all.push(one);
        all.len() - 1
    }

    /// Changes what is known of a reservation.
    pub fn decided(&self, number: usize, change: impl FnOnce(&mut Reserved)) {
        change(&mut locked(&self.reserved)[number]);
    }

    /// All reservations, by number.
    pub fn reserved(&self) -> Vec<Reserved> {
        locked(&self.reserved).clone()
    }

    /// Notes a denial.
    pub fn denied(&self, one: Denial) {
        locked(&self.denials).push(one);
    }

    /// All denials.
    pub fn denials(&self) -> Vec<Denial> {
        locked(&self.denials).clone()
    }
}
