//! The outbox: what the tables' streams tell of is passed on, so that a write needs no second step
//! that could fail.
//!
//! Of an event: the hour to be computed again, the counter to be judged, the pages of a document. Of
//! a counter: its thresholds. Of a new alert: one message for each way it goes. Of a new statement: one
//! that has it published. Of an anomaly: that, and the alert for administrators. All of it may be done twice; a batch that fails comes again whole. A record that can never be passed on is put aside
//! with its images, where an alarm looks.

mod alert;
mod anomaly;
mod counter;
mod dead_letter;
mod hour;
mod page;
mod statement;

use std::{collections::BTreeSet, sync::Arc};

use metering_edge::{
    App,
    config::ConfigError,
    lambda::Invoke,
    send::Outbox,
    stream::{self, Kind, Record},
};
use metering_store::{StoreError, alert::Alert, anomaly::Anomaly, counter::Counter, event::Event, keys};

use crate::{anomaly::Told, counter::Counters, dead_letter::DeadLetters, hour::Hours, statement::Statements};

/// A failure and the records that it keeps from being passed on.
pub(crate) struct Fault {
    records: Vec<usize>,
    error: StoreError,
}

/// Where things go.
struct Relay {
    app: Arc<App>,
    hours: Outbox,
    alerts: Outbox,
    letters: DeadLetters,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let relay = Arc::new(Relay {
        hours: Outbox::new(app.sqs.clone(), app.config.aggregation_queue_url()?),
        alerts: Outbox::new(app.sqs.clone(), app.config.alert_queue_url()?),
        letters: DeadLetters::new(app.sqs.clone(), app.config.relay_dead_letters_url()?),
        app,
    });
    Ok(Arc::new(move |event| {
        let relay = Arc::clone(&relay);
        Box::pin(async move { relay.run(&event).await.map_err(|error| error.to_string()) })
    }))
}

/// What a batch says, put together.
#[derive(Default)]
struct Gathered {
    hours: Hours,
    counters: Counters,
    documents: Vec<(usize, Event)>,
    alerts: Vec<(usize, Alert)>,
    anomalies: Vec<Told>,
    statements: Statements,
    faults: Vec<Fault>,
}

impl Relay {
    async fn run(&self, event: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let records = stream::records(event)?;
        // What streams keep of an erased user, or tell once more, must not bring anything back.
        let users = records.iter().filter_map(user_of).collect();
        let erased = self.app.store.erased_among(users).await?;
        let gathered = self.gather(&records, &erased);
        let mut faults = gathered.faults;
        faults.extend(self.pass_hours(&gathered.hours).await);
        faults.extend(self.judge(gathered.counters).await);
        faults.extend(self.derive_pages(gathered.documents).await);
        faults.extend(self.fan_out(&gathered.alerts).await);
        faults.extend(self.tell(&gathered.anomalies).await);
        faults.extend(self.publish(&gathered.statements).await);
        let mut again = None;
        for fault in faults {
            again = match self.settle(&records, fault).await {
                None => again,
                Some(first) => Some(again.map_or(first, |again: usize| again.min(first))),
            };
        }
        // All is done at once and in no order: what comes again, comes with all that followed.
        Ok(stream::answer(again.and_then(|_| records.first())))
    }

    fn gather(&self, records: &[Record], erased: &BTreeSet<String>) -> Gathered {
        let mut gathered = Gathered::default();
        for (index, record) in records.iter().enumerate() {
            if user_of(record).is_some_and(|user| erased.contains(&user)) {
                continue;
            }
            let taken = if record.table == self.app.config.tables.events {
                gathered.event(index, record)
            } else {
                gathered.state(index, record)
            };
            if let Err(error) = taken {
                gathered.faults.push(Fault {
                    records: vec![index],
                    error,
                });
            }
        }
        gathered
    }

    /// What becomes of a failure: the first record that must come again, or none if its records were
    /// put aside.
    async fn settle(&self, records: &[Record], fault: Fault) -> Option<usize> {
        // Erased since this was asked: a dead letter would keep the name.
        if matches!(fault.error, StoreError::Erased) {
            return None;
        }
        log(&fault.error, fault.records.len());
        let first = fault.records.iter().copied().min();
        if fault.error.retryable() {
            return first;
        }
        for index in &fault.records {
            if let Err(error) = self.letters.put(&records[*index], &fault.error).await {
                log(&*error, 1);
                return first;
            }
        }
        None
    }
}

/// Whose a record is.
fn user_of(record: &Record) -> Option<String> {
    record.new.get("user_id")?.as_s().ok().cloned()
}

fn log(error: &(dyn std::error::Error + 'static), records: usize) {
    tracing::error!(error, records, "records could not be passed on");
}

impl Gathered {
    fn event(&mut self, index: usize, record: &Record) -> Result<(), StoreError> {
        // A tombstone names no attempt.
        if record.kind == Kind::Remove || !record.new.contains_key("attempt") {
            return Ok(());
        }
        let event = Event::from_item(&record.new)?;
        self.hours.add(index, &event);
        if record.kind == Kind::Insert {
            self.counters.inserted(index, &event);
        }
        if page::is_document(&event) {
            self.documents.push((index, event));
        }
        Ok(())
    }

    fn state(&mut self, index: usize, record: &Record) -> Result<(), StoreError> {
        let text = |name: &str| record.new.get(name).and_then(|value| value.as_s().ok());
        let (Some(pk), Some(sk)) = (text("pk"), text("sk")) else {
            return Ok(());
        };
        if sk.starts_with("CTR#") {
            let old = match record.kind {
                Kind::Modify => Some(Counter::from_item(&record.old)?),
                Kind::Insert | Kind::Remove => None,
            };
            self.counters
                .changed(index, old.as_ref(), &Counter::from_item(&record.new)?);
        } else if record.kind == Kind::Insert && keys::alerts_of(pk).is_some() {
            self.alerts.push((index, Alert::from_item(&record.new)?));
        } else if keys::anomalies_of(pk).is_some() {
            self.anomalies.push(Told {
                index,
                anomaly: Anomaly::from_item(&record.new)?,
                is_new: record.kind == Kind::Insert,
            });
        } else if record.kind == Kind::Insert && keys::statements_of(pk).is_some() {
            // What is rewritten under a pseudonym was published before.
            if !record.new.contains_key(keys::ANONYMISED) {
                self.statements.add(index, pk, sk);
            }
        }
        Ok(())
    }
}
