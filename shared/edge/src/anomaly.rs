//! Looks for anomalies of a series: reads what is known of it, has it judged, and records what was found. Shared by
//! who is asked to look and who looks by itself, so that both find the same.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::Granularity,
    anomaly::{self, Detected, Finding, Sighting},
};
use metering_store::{StoreError, anomaly::Anomaly, event::Event, event_list::EventQuery, hour::Series};
use serde_json::Value;

use crate::{
    App,
    geography::{GeographyError, Place},
};

/// How many of the newest events say where and how regularly a user works. They are most of what a look costs.
const EVENTS: usize = 100;
/// Events may lie so far ahead of the clock.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// Whose usage of what.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The user.
    pub user_id: String,
    /// The usage.
    pub series: Series,
    /// The user's zone.
    pub zone: Tz,
}

/// Why it was not looked.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// What is known could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nor where addresses are.
    #[error(transparent)]
    Geography(#[from] GeographyError),
}

/// What is unusual about the last days.
pub async fn look(app: &App, subject: &Subject, days: u32, now: DateTime<Utc>) -> Result<Detected, LookError> {
    let from = now - TimeDelta::days(i64::from(days));
    let filled = |granularity| {
        app.store
            .series_filled(&subject.series, granularity, subject.zone, from, now)
    };
    let (hours, days) = (filled(Granularity::Hourly).await?, filled(Granularity::Daily).await?);
    let query = EventQuery {
        owners: vec![subject.series.owner.clone()],
        metrics: vec![subject.series.metric_type.clone()],
        from,
        to: now + AHEAD,
        resource_id: None,
        before: None,
        limit: EVENTS,
    };
    let (events, _) = app.store.event_list(&query, now).await?;
    let seen = events.iter().rev().filter(|event| !event.voided);
    let sightings = seen.map(|event| sighting(app, event)).collect::<Result<_, _>>()?;
    Ok(anomaly::detect(&anomaly::Usage {
        hours,
        days,
        zone: subject.zone,
        sightings,
    }))
}

/// Where an event came from: as it says itself, or by its address.
fn sighting(app: &App, event: &Event) -> Result<Sighting, GeographyError> {
    let text = |name: &str| event.details.metadata.get(name).and_then(Value::as_str);
    let place = match text("ip") {
        Some(address) => app.geography.place(address)?,
        None => Place::default(),
    };
    let said = text("country").map(|country| country.trim().to_uppercase());
    Ok(Sighting {
        at: event.timestamp,
        country: said.filter(|country| !country.is_empty()).or(place.country),
        position: place.position,
    })
}

/// Records what was found; the records there are then, in the same order.
pub async fn record(
    app: &App,
    subject: &Subject,
    findings: Vec<Finding>,
    now: DateTime<Utc>,
) -> Result<Vec<Anomaly>, StoreError> {
    let mut recorded = Vec::with_capacity(findings.len());
    for finding in findings {
        let (owner, metric) = (&subject.series.owner, &subject.series.metric_type);
        let anomaly = Anomaly::new(&subject.user_id, owner, metric, finding, now);
        recorded.push(app.store.anomaly_record(&anomaly).await?);
    }
    Ok(recorded)
}
