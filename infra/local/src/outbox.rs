//! What has left the stack, for whoever wants to look: mails, text messages, webhooks and what
//! functions put on the bus. Nothing of it but webhooks goes anywhere else.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metering_store::context::Source as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::{Clock, write_instant};

/// Of each kind so many are kept: the last ones.
const KEPT_MAX: usize = 1_000;

/// The outbox; clones are the same one.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    kept: Mutex<Kept>,
}

/// As `/_local/outbox` answers it.
#[derive(Debug, Default, Serialize)]
struct Kept {
    emails: VecDeque<Value>,
    sms: VecDeque<Value>,
    webhooks: VecDeque<Value>,
    bus: VecDeque<Value>,
}

/// A mail to one recipient.
#[derive(Debug, Serialize)]
pub struct Email {
    /// The recipient's address.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its body as plain text, if it has one.
    pub text: Option<String>,
    /// Its body as HTML, if it has one.
    pub html: Option<String>,
}

/// A text message.
#[derive(Debug, Serialize)]
pub struct Sms {
    /// The recipient's number.
    pub to: String,
    /// What it says.
    pub text: String,
}

/// A webhook that was called, or could not be.
#[derive(Debug, Serialize)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// With which headers; their names are in lower case.
    pub headers: BTreeMap<String, String>,
    /// With which body.
    pub body: String,
    /// The status of the answer; none if there was none.
    pub status: Option<u16>,
}

/// An event that a function put on the bus.
#[derive(Debug, Serialize)]
pub struct Said {
    /// Who says it.
    pub source: String,
    /// What kind of thing happened.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// What happened.
    pub detail: Value,
}

impl Outbox {
    /// An empty outbox that reads the stack's clock.
    pub fn new(clock: &Clock) -> Self {
        Self(Arc::new(Inner {
            clock: clock.clone(),
            kept: Mutex::default(),
        }))
    }

    /// Notes a mail.
    pub fn email(&self, email: &Email) {
        self.keep(|kept| &mut kept.emails, json!(email));
    }

    /// Notes a text message.
    pub fn sms(&self, sms: &Sms) {
        self.keep(|kept| &mut kept.sms, json!(sms));
    }

    /// Notes a webhook.
    pub fn webhook(&self, webhook: &Webhook) {
        self.keep(|kept| &mut kept.webhooks, json!(webhook));
    }

    /// Notes an event.
    pub fn event(&self, event: &Said) {
        self.keep(|kept| &mut kept.bus, json!(event));
    }

    /// All that is kept, by kind, the oldest first.
    pub fn shown(&self) -> Value {
        json!(*self.kept())
    }

    /// Forgets all.
    pub fn clear(&self) {
        *self.kept() = Kept::default();
    }

    fn keep(&self, kind: fn(&mut Kept) -> &mut VecDeque<Value>, mut what: Value) {
        what["at"] = json!(write_instant(self.0.clock.now()));
        let mut kept = self.kept();
        let kept = kind(&mut kept);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(what);
    }

    /// A poisoned lock is usable: each change of the lists is whole.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_are_kept_at_the_stacks_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        let start = "2031-02-03T04:05:06Z".parse().expect("an instant");
        clock.set(Some(start)).expect("set");
        let outbox = Outbox::new(&clock);
        for number in 0..=KEPT_MAX {
            let text = number.to_string();
            outbox.sms(&Sms {
                to: "+15555550100".to_owned(),
                text,
            });
        }
        let shown = outbox.shown();
        let sms = shown["sms"].as_array().expect("a list");
        assert_eq!(sms.len(), KEPT_MAX);
        assert_eq!(sms[0]["text"], json!("1"), "the first is forgotten");
        let at = sms[0]["at"].as_str().expect("an instant");
        assert!(at.starts_with("2031-02-03T04:05:"), "{at}");
        outbox.clear();
        let empty = json!({"emails": [], "sms": [], "webhooks": [], "bus": []});
        assert_eq!(outbox.shown(), empty);
    }
}
