//! The event bus: takes events from functions and from `/_local`, and keeps one for every rule
//! that it fits until the rule's function is done with it. Lines of logs are kept the same way.
//!
//! What is kept is kept by the queues, one for each function, so that an event that was
//! acknowledged outlives the process.

mod protocol;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use metering_edge::logs::{self, Batch, Line};
use metering_store::context::Source as _;
use serde_json::{Value, json};

use crate::{
    clock::Clock,
    outbox::{Outbox, Said},
    queues::{Outgoing, Queues, Refusal},
    template::{ACCOUNT, Function, MESSAGE_BYTES_MAX, Queue, REGION, Rule, Template, Triggers},
};

pub use protocol::router;

/// The bus that every account has.
pub const DEFAULT_BUS: &str = "default";
/// The log group that lines are said to be from.
const LOG_GROUP: &str = "access-log";
/// How long after a failed call the next one follows.
const AGAIN: Duration = Duration::from_secs(60);

/// The bus; clones are the same one.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    queues: Queues,
    clock: Clock,
    rules: Vec<Rule>,
    /// The functions that are handed lines of logs.
    logs: Vec<String>,
    /// The template's buses.
    buses: Vec<String>,
    outbox: Outbox,
}

/// An event on its way.
#[derive(Debug, Clone)]
pub struct Event {
    /// The bus that it is put on.
    pub bus: String,
    /// Its name, if it has one already.
    pub id: Option<String>,
    /// Who says it.
    pub source: String,
    /// What kind of thing happened.
    pub detail_type: String,
    /// What happened.
    pub detail: Value,
    /// When, if not now.
    pub time: Option<DateTime<Utc>>,
    /// What it is about.
    pub resources: Vec<String>,
}

/// The queue that keeps the events for a function. No address names it.
pub fn inbox_name(function: &str) -> String {
    format!("bus/{function}")
}

/// The functions that are called for events nobody waits for: of a bus, and of logs.
pub fn called_later(template: &Template) -> impl Iterator<Item = &Function> {
    let Triggers { rules, logs, .. } = &template.triggers;
    template
        .functions
        .iter()
        .filter(|function| rules.iter().any(|rule| rule.function == function.name) || logs.contains(&function.name))
}

/// The queues that keep the events for the functions of `template`.
pub fn inboxes(template: &Template) -> Vec<Queue> {
    let inbox = |function: &Function| Queue {
        name: inbox_name(&function.name),
        visibility: AGAIN,
        retention: function.failure.age_max,
        delay: Duration::ZERO,
        wait: Duration::ZERO,
        bytes_max: MESSAGE_BYTES_MAX,
        redrive: None,
    };
    called_later(template).map(inbox).collect()
}

impl Bus {
    /// The bus of `template`, which keeps events in the [`inboxes`] among `queues`.
    pub fn new(template: &Template, queues: &Queues, clock: &Clock, outbox: &Outbox) -> Self {
        Self(Arc::new(Inner {
            queues: queues.clone(),
            clock: clock.clone(),
            rules: template.triggers.rules.clone(),
            logs: template.triggers.logs.clone(),
            buses: template.buses.clone(),
            outbox: outbox.clone(),
        }))
    }

    /// The template's bus if it has exactly one, otherwise the one of the account.
    pub fn main(&self) -> &str {
        match self.0.buses.as_slice() {
            [only] => only,
            _ => DEFAULT_BUS,
        }
    }

    /// Whether there is such a bus.
    pub fn has(&self, name: &str) -> bool {
        name == DEFAULT_BUS || self.0.buses.iter().any(|bus| bus == name)
    }

    /// Takes an event: it is kept for every rule that it fits when this returns. Answers its name.
    pub fn take(&self, event: &Event) -> Result<String, Refusal> {
        let id = event
            .id
            .clone()
            .unwrap_or_else(|| format!("{:032x}", self.0.clock.random()));
        let time = event.time.unwrap_or_else(|| self.0.clock.now());
        let whole = json!({
            "version": "0",
            "id": id,
            "detail-type": event.detail_type,
            "source": event.source,
            "account": ACCOUNT,
            "time": time.to_rfc3339_opts(SecondsFormat::Secs, true),
            "region": REGION,
            "resources": event.resources,
            "detail": event.detail,
        });
        let message = Outgoing {
            message_body: whole.to_string(),
            ..Outgoing::default()
        };
        for rule in &self.0.rules {
            if rule.bus == event.bus && rule.pattern.fits(&whole) {
                let inbox = self.0.queues.find(&inbox_name(&rule.function))?;
                self.0.queues.send(inbox, &[&message])?;
            }
        }
        Ok(id)
    }

    /// Takes the lines of a log, packed as CloudWatch Logs packs them: they are kept for every function that
    /// is subscribed when this returns. The group has the name of this stack's only one.
    pub fn take_lines(&self, texts: &[&str]) -> Result<(), Refusal> {
        let line = |text: &&str| Line {
            id: format!("{:032x}", self.0.clock.random()),
            text: (*text).to_owned(),
        };
        let batch = Batch {
            group: LOG_GROUP.to_owned(),
            lines: texts.iter().map(line).collect(),
        };
        let now = self.0.clock.now().timestamp_millis();
        let event = logs::event(&batch, ACCOUNT, now).map_err(Refusal::Stored)?;
        let message = Outgoing {
            message_body: event,
            ..Outgoing::default()
        };
        for function in &self.0.logs {
            let inbox = self.0.queues.find(&inbox_name(function))?;
            message.check(inbox)?;
            self.0.queues.send(inbox, &[&message])?;
        }
        Ok(())
    }

    /// Notes what a function put on the bus.
    fn note(&self, event: Event) {
        self.0.outbox.event(&Said {
            source: event.source,
            detail_type: event.detail_type,
            detail: event.detail,
        });
    }
}
