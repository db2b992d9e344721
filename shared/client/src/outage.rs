//! What is done while the service gives no verdict: per metric, refuse, or allow so much on one's
//! own account.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rust_decimal::Decimal;

use crate::types::Quantity;

/// What happens to enforced usage of a metric while the service cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOutage {
    /// It is refused, 503.
    #[default]
    Refuse,
    /// It is allowed as long as what was allowed so, by this process, and is not told to the service
    /// yet stays within this quantity. It is told with `enforce` off as soon as the service answers,
    /// and so counted in full: the quota may be passed by as much.
    AllowUpTo(Quantity),
}

/// What was decided without the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OutageStats {
    /// How often it gave no verdict.
    pub outages: u64,
    /// How often usage was allowed all the same.
    pub allowed: u64,
    /// How often it was refused for that.
    pub refused: u64,
}

/// What may be allowed without the service, and what has been.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    unsettled: Mutex<HashMap<String, Decimal>>,
}

impl Allowance {
    /// Takes from the allowance, whole or not at all.
    fn take(&self, metric: &str, quantity: Quantity, most: Quantity) -> bool {
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = unsettled.entry(metric.to_owned()).or_default();
        let after = *taken + quantity.0;
        if after > most.0 {
            return false;
        }
        *taken = after;
        true
    }

    /// What was taken is told, or will not be.
    pub(crate) fn settled(&self, metric: &str, quantity: Quantity) {
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = unsettled.get_mut(metric) {
            // An earlier process may have taken what this one settles.
            *taken = (*taken - quantity.0).max(Decimal::ZERO);
        }
    }
}

/// Whether to ask, and what to do if nobody answers.
#[derive(Debug)]
pub(crate) struct Outages {
    policies: HashMap<String, OnOutage>,
    allowance: std::sync::Arc<Allowance>,
    /// How long nobody asks after nobody answered.
    pause: Duration,
    silent_until: Mutex<Option<Instant>>,
    outages: AtomicU64,
    allowed: AtomicU64,
    refused: AtomicU64,
}

impl Outages {
    pub(crate) fn new(
        policies: HashMap<String, OnOutage>,
        allowance: std::sync::Arc<Allowance>,
        pause: Duration,
    ) -> Self {
        Self {
            policies,
            allowance,
            pause,
            silent_until: Mutex::new(None),
            outages: AtomicU64::new(0),
            allowed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether the service is worth asking. While it is not, one request at a time finds out.
    pub(crate) fn may_ask(&self) -> bool {
        let mut silent_until = self.silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        match *silent_until {
            None => true,
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                *silent_until = Some(Instant::now() + self.pause);
                true
            }
        }
    }

    /// The service gave a verdict.
    pub(crate) fn answered(&self) {
        let mut silent_until = self.silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        if silent_until.take().is_some() {
            tracing::warn!("the metering service answers again");
        }
    }

    /// The service gave none.
    pub(crate) fn failed(&self, error: &crate::error::Error) {
        self.outages.fetch_add(1, Ordering::Relaxed);
        let mut silent_until = self.silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        if silent_until.replace(Instant::now() + self.pause).is_none() {
            tracing::error!(%error, policies = ?self.policies, "the metering service gives no verdict; each metric's policy decides (without one: refused)");
        }
    }

    /// Decides without the service.
    pub(crate) fn allows(&self, metric: &str, quantity: Quantity) -> bool {
        let allowed = match self.policies.get(metric) {
            None | Some(OnOutage::Refuse) => false,
            Some(OnOutage::AllowUpTo(most)) => self.allowance.take(metric, quantity, *most),
        };
        let counter = if allowed { &self.allowed } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(metric, %quantity, allowed, "decided without the metering service");
        allowed
    }

    /// What was allowed was not used.
    pub(crate) fn unused(&self, metric: &str, quantity: Quantity) {
        self.allowance.settled(metric, quantity);
    }

    pub(crate) fn stats(&self) -> OutageStats {
        OutageStats {
            outages: self.outages.load(Ordering::Relaxed),
            allowed: self.allowed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
