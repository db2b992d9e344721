//! What can go wrong, how often it does, and how often it did.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::dice::Dice;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Before the store: it refuses, having too much to do.
    Throttled,
    /// Before the store: it fails.
    ServerError,
    /// Before the store: the connection breaks.
    Reset,
    /// Before the store: no answer ever comes, and nothing happened.
    Timeout,
    /// After the commit: the answer is lost.
    AnswerLost,
    /// After the commit: the answer comes when nobody waits for it any more.
    AnswerDelayed,
    /// The network carries the request twice.
    Doubled,
    /// The request arrives when its sender has given it up.
    LandsLate,
    /// The sender dies while the request is on its way; it arrives minutes later.
    Orphaned,
    /// A transaction on the same item is under way.
    TransactionConflict,
    /// A transaction met another one on one item, beside an unmet condition on another.
    ConflictBesideCondition,
    /// The same transaction is under way, though its answer was lost.
    TransactionInProgress,
    /// A batch is answered in part.
    PartialBatch,
    /// An index shows nothing new for up to ten minutes.
    IndexLag,
    /// A message is delivered twice.
    MessageDoubled,
    /// Messages are delivered in another order.
    MessagesReordered,
    /// A message is delivered minutes late.
    MessageDelayed,
    /// A batch of stream records is cut elsewhere when it is delivered again.
    BatchCutAnew,
    /// A message is visible again while a function still works on it.
    VisibilityOver,
    /// A message that nobody can read.
    Poison,
    /// Stream records are delivered again after they were done.
    RecordsRepeated,
    /// A function is stopped wherever it waits, for good.
    Killed,
    /// A process's clock is off.
    ClockSkew,
    /// All clocks jump.
    ClockJump,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Throttled,
        Self::ServerError,
        Self::Reset,
        Self::Timeout,
        Self::AnswerLost,
        Self::AnswerDelayed,
        Self::Doubled,
        Self::LandsLate,
        Self::Orphaned,
        Self::TransactionConflict,
        Self::ConflictBesideCondition,
        Self::TransactionInProgress,
        Self::PartialBatch,
        Self::IndexLag,
        Self::MessageDoubled,
        Self::MessagesReordered,
        Self::MessageDelayed,
        Self::BatchCutAnew,
        Self::VisibilityOver,
        Self::Poison,
        Self::RecordsRepeated,
        Self::Killed,
        Self::ClockSkew,
        Self::ClockJump,
    ];

    /// How often it happens, in a thousand chances.
    fn per_mille(self) -> u64 {
        match self {
            Self::Throttled | Self::ServerError | Self::Reset => 6,
            Self::Timeout | Self::AnswerDelayed | Self::LandsLate => 3,
            Self::Orphaned => 6,
            Self::AnswerLost | Self::Doubled => 8,
            Self::TransactionConflict => 25,
            Self::ConflictBesideCondition => 500,
            Self::TransactionInProgress => 20,
            Self::PartialBatch => 60,
            Self::IndexLag => 30,
            Self::MessageDoubled | Self::MessagesReordered => 60,
            Self::MessageDelayed => 30,
            Self::BatchCutAnew => 500,
            Self::VisibilityOver => 60,
            Self::Poison => 1_000,
            Self::RecordsRepeated => 50,
            Self::Killed => 30,
            Self::ClockSkew => 700,
            Self::ClockJump => 1_000,
        }
    }
}

/// Faults that a run does without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Without(u32);

impl Without {
    /// These, and another one.
    pub fn and(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    /// Whether it is one of them.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }
}

/// How often each fault happened.
pub type Fired = BTreeMap<Fault, u64>;

/// The faults of a run.
#[derive(Debug)]
pub struct Faults {
    dice: Dice,
    without: Without,
    on: AtomicBool,
    fired: Mutex<Fired>,
}

impl Faults {
    /// Faults that are drawn with these dice, but for some; off at first.
    pub fn new(dice: Dice, without: Without) -> Self {
        Self {
            dice,
            without,
            on: AtomicBool::new(false),
            fired: Mutex::default(),
        }
    }

    /// Lets them happen, or not.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Whether a fault happens at this chance; counted if it does. What a run does without is drawn all
    /// the same, so that nothing else changes until it would have happened.
    pub fn happens(&self, fault: Fault) -> bool {
        let drawn = self.on.load(Ordering::Relaxed) && self.dice.happens(fault.per_mille());
        let happens = drawn && !self.without.has(fault);
        if happens {
            self.count(fault);
        }
        happens
    }

    /// The first of these that happens.
    pub fn first(&self, chances: &[Fault]) -> Option<Fault> {
        chances.iter().copied().find(|fault| self.happens(*fault))
    }

    /// The dice by which it is drawn how long things take.
    pub fn dice(&self) -> &Dice {
        &self.dice
    }

    /// Counts a fault.
    pub fn count(&self, fault: Fault) {
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        *fired.entry(fault).or_default() += 1;
    }

    /// How often each happened.
    pub fn fired(&self) -> Fired {
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
