//! Of events: the hours to be computed again, each with the events that must be seen.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use metering_edge::{
    message::{HourChanged, NamedEvent},
    send::Outgoing,
};
use metering_store::event::Event;

use crate::{Fault, Relay};

/// Events that one message names, so that it stays below 256 KiB.
const NAMED_MAX: usize = 1_000;

/// The hours that a batch changed, and the records that say so.
#[derive(Default)]
pub(crate) struct Hours(BTreeMap<HourKey, (HourChanged, Vec<usize>)>);

/// An owner's partition, a metric and an hour.
type HourKey = (String, String, DateTime<Utc>);

impl Hours {
    pub fn add(&mut self, index: usize, event: &Event) {
        // An hour that chrono cannot express does not occur: instants end with the year 9000.
        let hour = event
            .timestamp
            .duration_trunc(TimeDelta::hours(1))
            .unwrap_or(event.timestamp);
        let owner = event.owner().pk();
        let key = (owner.clone(), event.metric_type.clone(), hour);
        let (changed, records) = self.0.entry(key).or_insert_with(|| {
            let changed = HourChanged {
                owner,
                user_id: event.user_id.clone(),
                metric_type: event.metric_type.clone(),
                gauge: event.mode.is_some(),
                hour,
                events: Vec::new(),
            };
            (changed, Vec::new())
        });
        changed.events.push(NamedEvent {
            id: event.id.clone(),
            at: event.timestamp,
            rev: if event.voided { 2 } else { 1 },
            received_at: event.received_at,
        });
        records.push(index);
    }
}

impl Relay {
    pub(crate) async fn pass_hours(&self, hours: &Hours) -> Option<Fault> {
        let records: Vec<usize> = hours.0.values().flat_map(|(_, records)| records.clone()).collect();
        let messages = hours.0.values().flat_map(|(changed, _)| {
            changed.events.chunks(NAMED_MAX).map(|events| {
                let part = HourChanged {
                    events: events.to_vec(),
                    ..changed.clone()
                };
                Outgoing::new(&part, 0)
            })
        });
        let sent = match messages.collect::<Result<Vec<_>, _>>() {
            Ok(messages) => self.hours.send(messages).await,
            Err(error) => Err(error),
        };
        sent.err().map(|error| Fault { records, error })
    }
}
