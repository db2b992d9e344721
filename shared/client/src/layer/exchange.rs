//! One request and its answer, from the call of the handler to the end of the body. Dropping it, in
//! whatever way that comes about, is what counts it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use http::Method;
use uuid::Uuid;

use super::{
    Endpoint,
    rule::{Rules, When},
};
use crate::{
    clock,
    guarded::{Used, milliseconds},
    metering::Caller,
    record::Record,
    sender::{Finished, Handed, Permit, Sender},
    types::{Instant as Timestamp, Quantity},
    usage::Usage,
};

/// Until it is dropped.
pub(crate) struct Exchange {
    /// Taken by the drop.
    facts: Option<Box<Facts>>,
    sender: Sender,
    /// A place in the queue, if one was waited for.
    permit: Option<Permit>,
    started: Instant,
}

/// What is known of it.
pub(crate) struct Facts {
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) used: Option<Used>,
    /// Of the request's body, as far as it was read.
    pub(crate) bytes_in: Arc<AtomicU64>,
    pub(crate) bytes_out: u64,
    pub(crate) has_failed: bool,
    /// The handler answered below 400.
    pub(crate) has_succeeded: bool,
    id: Uuid,
    timestamp: Timestamp,
    response_time_ms: u64,
}

impl Facts {
    pub(crate) fn new(caller: Caller, method: Method, endpoint: Option<Endpoint>, rules: Arc<Rules>) -> Self {
        Self {
            caller,
            method,
            endpoint,
            rules,
            used: None,
            bytes_in: Arc::default(),
            bytes_out: 0,
            has_failed: false,
            has_succeeded: false,
            id: clock::new_id(),
            timestamp: clock::now(),
            response_time_ms: 0,
        }
    }
}

impl Exchange {
    pub(crate) fn begin(facts: Box<Facts>, sender: Sender, permit: Option<Permit>, started: Instant) -> Self {
        Self {
            facts: Some(facts),
            sender,
            permit,
            started,
        }
    }

    pub(crate) fn facts(&mut self) -> Option<&mut Facts> {
        self.facts.as_deref_mut()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(mut facts) = self.facts.take() else {
            return;
        };
        facts.response_time_ms = milliseconds(self.started);
        facts.has_failed |= std::thread::panicking();
        match self.permit.take() {
            Some(permit) => permit.hand(Handed::Finished(facts)),
            // Counted by the sender.
            None => drop(self.sender.try_hand(Handed::Finished(facts))),
        }
    }
}

impl Finished for Facts {
    fn records(self: Box<Self>) -> Vec<Record> {
        let mut records = Vec::with_capacity(2);
        if !self.rules.counts("api_calls") {
            records.push(self.event("", "api_calls", Quantity::ONE));
        }
        let bytes = self.bytes_in.load(Ordering::Acquire) + self.bytes_out;
        if self.rules.has_bandwidth && bytes > 0 && !self.rules.counts("bandwidth_usage") {
            records.push(self.event(".bytes", "bandwidth_usage", Quantity::gigabytes(bytes)));
        }
        let counted = self.rules.rules.iter().filter(|rule| rule.when == When::Count);
        for (index, rule) in counted.enumerate().filter(|_| self.has_succeeded) {
            let said = self.used.as_ref().and_then(|used| used.of(&rule.metric));
            records.push(self.event(&format!(".{index}"), &rule.metric, said.unwrap_or(rule.quantity)));
        }
        records
    }
}

impl Facts {
    /// An event of this request; `part` tells its identity from the others'.
    fn event(&self, part: &str, metric: &str, quantity: Quantity) -> Record {
        let mut usage = Usage::new(&*self.caller.user_id, metric, quantity)
            .keyed(format!("{}{part}", self.id))
            .at(self.timestamp);
        usage.subscription_id = self.caller.subscription_id.as_deref().map(str::to_owned);
        usage.endpoint = self.endpoint.as_ref().map(Endpoint::text);
        usage.operation = Some(self.method.to_string());
        usage.response_time_ms = Some(self.response_time_ms);
        usage.error_occurred = self.has_failed;
        Record::track(usage)
    }
}
