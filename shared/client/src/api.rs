//! The calls, as the OpenAPI document names them.
//!
//! What a service's key may do with `usage:read` and `usage:write`, and the two of `usage:admin`
//! that correct and review; what else administrators do is not for services to do.

mod alerts;
mod analytics;
mod reports;
mod reservations;
mod tracking;

pub use alerts::{AlertFilter, NewThreshold, NewWebhookEndpoint, Settings};
pub use analytics::{AggregationFilter, AnomalyFilter, Detection, ForecastFilter, NewForecast};
pub use reports::{NewReport, NewReportSchedule, ReportFilters};
pub use reservations::{Commit, NewReservation, ReservationFilter, Reserved};
pub use tracking::{CloudEvent, EventFilter, Health, Tracked, Whose};

use serde::de::DeserializeOwned;

use crate::{
    client::{Call, Client},
    error::Error,
    types::Page,
};

/// Where all usage paths begin.
const USAGE: [&str; 3] = ["api", "v1", "usage"];

/// A path below the usage paths.
fn usage<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&USAGE[..], rest].concat()
}

/// Which part of a list: up to `limit` (1 to 200, 50 if none) from `cursor` on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// At most so many.
    pub limit: Option<u32>,
    /// A page's `next_cursor`.
    pub cursor: Option<String>,
}

impl Client {
    /// A page of a list whose entries are called `name`.
    async fn page<T: DeserializeOwned>(&self, call: Call, name: &'static str, part: &Part) -> Result<Page<T>, Error> {
        let limit = part.limit.map(|limit| limit.to_string());
        let call = call.query(&[("limit", limit.as_deref()), ("cursor", part.cursor.as_deref())]);
        let answer = self.send(call).await?;
        let unreadable = |error| Error::Unreadable(error);
        let mut page: std::collections::HashMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_slice(&answer.body).map_err(unreadable)?;
        let mut field = |name: &str| {
            page.remove(name)
                .map_or_else(|| "null".to_owned(), |raw| raw.get().to_owned())
        };
        Ok(Page {
            items: serde_json::from_str(&field(name)).map_err(unreadable)?,
            next_cursor: serde_json::from_str(&field("next_cursor")).map_err(unreadable)?,
        })
    }
}
