//! What a route asks for.

use std::sync::Arc;

use crate::{enforce::Demand, metering::Caller, types::Quantity};

/// What one request of a route takes of a metric, and when that is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub(crate) when: When,
    pub(crate) metric: Arc<str>,
    pub(crate) quantity: Quantity,
    pub(crate) ttl_seconds: Option<u64>,
}

// In the order in which they are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum When {
    Check,
    Reserve,
    Consume,
    Count,
}

impl Rule {
    /// Reported after the handler has answered below 400, over the quota too.
    pub fn count(metric: impl Into<Arc<str>>, quantity: impl Into<Quantity>) -> Self {
        Self::new(When::Count, metric.into(), quantity.into())
    }

    /// The handler runs only if there is room at this moment. Nothing is counted: add
    /// [`Rule::count`].
    pub fn check(metric: impl Into<Arc<str>>, quantity: impl Into<Quantity>) -> Self {
        Self::new(When::Check, metric.into(), quantity.into())
    }

    /// Counted before the handler runs, which it does only if there was room; it stays counted
    /// whatever the handler does.
    pub fn consume(metric: impl Into<Arc<str>>, quantity: impl Into<Quantity>) -> Self {
        Self::new(When::Consume, metric.into(), quantity.into())
    }

    /// Held before the handler runs, which it does only if there was room; counted once it has
    /// answered below 400, with the quantity that it says ([`crate::Used`], in the request's
    /// extensions), else given back.
    pub fn reserve(metric: impl Into<Arc<str>>, quantity: impl Into<Quantity>) -> Self {
        Self::new(When::Reserve, metric.into(), quantity.into())
    }

    /// For how many seconds a hold lasts if this process dies: 300, at most 86,400. A handler that
    /// takes longer is counted all the same, over the quota too.
    pub fn ttl(mut self, seconds: u64) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }

    fn new(when: When, metric: Arc<str>, quantity: Quantity) -> Self {
        Self {
            when,
            metric,
            quantity,
            ttl_seconds: None,
        }
    }

    pub(crate) fn demand(&self, caller: &Caller) -> Demand {
        Demand {
            caller: caller.clone(),
            metric: Arc::clone(&self.metric),
            quantity: self.quantity,
            ttl_seconds: self.ttl_seconds,
        }
    }
}

/// All that a route asks for.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) is_skipped: bool,
    pub(crate) has_bandwidth: bool,
    /// In the order in which they are carried out.
    pub(crate) rules: Vec<Rule>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            is_skipped: false,
            has_bandwidth: true,
            rules: Vec::new(),
        }
    }
}

impl Rules {
    pub(crate) fn add(&mut self, rule: Rule) {
        let consumes = |rule: &Rule| rule.when == When::Consume;
        assert!(
            !(consumes(&rule) && self.rules.iter().any(consumes)),
            "a route can consume one metric: what is consumed cannot be given back if another is refused; reserve one of them"
        );
        self.rules.push(rule);
        self.rules.sort_by_key(|rule| rule.when);
    }

    /// Whether a rule counts a metric, so that the request as such does not.
    pub(crate) fn counts(&self, metric: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.when != When::Check && *rule.metric == *metric)
    }
}
