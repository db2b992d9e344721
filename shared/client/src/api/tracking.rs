//! Tracking usage, and looking at it.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Part, usage};
use crate::{
    client::Client,
    error::{Error, Problem},
    types::{BatchResult, Event, Instant, Page, Quantity, Quota, QuotaCheck, Summary, TrackResult, VoidResult},
    usage::Usage,
};

/// Whose data: a user and, unless it is the default one, a subscription. A user's token may leave
/// the user out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whose {
    /// The user.
    pub user_id: Option<String>,
    /// The subscription.
    pub subscription_id: Option<String>,
}

impl Whose {
    /// A user's, in the default subscription.
    pub fn user(id: impl Into<String>) -> Self {
        Self {
            user_id: Some(id.into()),
            subscription_id: None,
        }
    }

    /// The same in another subscription.
    pub fn subscription(mut self, id: impl Into<String>) -> Self {
        self.subscription_id = Some(id.into());
        self
    }

    pub(super) fn query(&self) -> [(&'static str, Option<&str>); 2] {
        [
            ("user_id", self.user_id.as_deref()),
            ("subscription_id", self.subscription_id.as_deref()),
        ]
    }
}

/// What became of enforced usage.
#[derive(Debug, Clone, PartialEq)]
pub enum Tracked {
    /// It is counted.
    Counted(Box<TrackResult>),
    /// The quota has no room: nothing is counted.
    Denied(Box<Problem>),
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of one metric.
    pub metric_type: Option<String>,
    /// From this instant on; 30 days back if none.
    pub from: Option<Instant>,
    /// Before this instant.
    pub to: Option<Instant>,
    /// About one resource.
    pub resource_id: Option<String>,
    /// Which part of the list.
    pub part: Part,
}

/// An event as a CloudEvent, for those who have them; `id` and `source` are its identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// Its id within its source.
    pub id: String,
    /// Where it comes from, a URI reference.
    pub source: String,
    /// `1.0`.
    pub specversion: String,
    /// The metric.
    #[serde(rename = "type")]
    pub kind: String,
    /// The user.
    pub subject: String,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Instant>,
    /// A JSON type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// A URI of what `data` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// `value` and what else an event says.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// That the service is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Of the service.
    pub version: String,
}

#[derive(Serialize)]
struct Unenforced<'a> {
    #[serde(flatten)]
    usage: &'a Usage,
    enforce: bool,
}

#[derive(Serialize)]
struct Batch<'a> {
    events: &'a [Usage],
    enforce: bool,
}

#[derive(Serialize)]
struct Void<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct Quotas {
    quotas: Vec<Quota>,
}

impl Client {
    /// Counts usage if the quota has room for it, whole or not at all.
    pub async fn track(&self, event: &Usage) -> Result<Tracked, Error> {
        event.check()?;
        let call = self.call(Method::POST, &usage(&["track"]))?.json(event)?;
        match self.read(call).await {
            Ok(counted) => Ok(Tracked::Counted(Box::new(counted))),
            Err(Error::Refused(problem)) if problem.code == "quota_exceeded" => Ok(Tracked::Denied(problem)),
            Err(error) => Err(error),
        }
    }

    /// Counts usage that has happened, over the quota too. Needs an API key.
    pub async fn track_unenforced(&self, event: &Usage) -> Result<TrackResult, Error> {
        event.check()?;
        let body = Unenforced {
            usage: event,
            enforce: false,
        };
        self.read(self.call(Method::POST, &usage(&["track"]))?.json(&body)?)
            .await
    }

    /// Counts up to 1,000 events in order, each by itself; safe to send again whole. `enforce` says
    /// whether quotas may refuse them.
    pub async fn track_batch(&self, events: &[Usage], enforce: bool) -> Result<BatchResult, Error> {
        let body = Batch { events, enforce };
        let call = self.call(Method::POST, &usage(&["track", "batch"]))?;
        self.read(call.json(&body)?).await
    }

    /// Counts up to 1,000 CloudEvents that have happened; safe to send again whole.
    pub async fn ingest_cloud_events(&self, events: &[CloudEvent]) -> Result<(), Error> {
        let call = self.call(Method::POST, &["api", "v1", "events"])?;
        self.send(call.body("application/cloudevents-batch+json", &events)?)
            .await?;
        Ok(())
    }

    /// Whether the service is up.
    pub async fn health(&self) -> Result<Health, Error> {
        self.read(self.get(&["health"])?).await
    }

    /// Where all quotas stand.
    pub async fn summary(&self, whose: &Whose) -> Result<Summary, Error> {
        self.read(self.get(&usage(&["summary"]))?.query(&whose.query())).await
    }

    /// The quotas, or that of one metric.
    pub async fn quotas(&self, whose: &Whose, metric_type: Option<&str>) -> Result<Vec<Quota>, Error> {
        let call = self.get(&usage(&["quotas"]))?.query(&whose.query());
        let listed: Quotas = self.read(call.query(&[("metric_type", metric_type)])).await?;
        Ok(listed.quotas)
    }

    /// Whether there is room for a quantity at this moment: a promise of nothing.
    pub async fn check_quota(
        &self,
        whose: &Whose,
        metric_type: &str,
        required: impl Into<Quantity>,
    ) -> Result<QuotaCheck, Error> {
        let required = required.into().to_string();
        let call = self.get(&usage(&["check-quota", metric_type]))?.query(&whose.query());
        self.read(call.query(&[("required_quantity", Some(&required))])).await
    }

    /// Events, newest first.
    pub async fn events(&self, whose: &Whose, filter: &EventFilter) -> Result<Page<Event>, Error> {
        let (from, to) = (text(filter.from), text(filter.to));
        let call = self.get(&usage(&["events"]))?.query(&whose.query()).query(&[
            ("metric_type", filter.metric_type.as_deref()),
            ("from", from.as_deref()),
            ("to", to.as_deref()),
            ("resource_id", filter.resource_id.as_deref()),
        ]);
        self.page(call, "events", &filter.part).await
    }

    /// One event; an API key may say whose, and then finds no other's.
    pub async fn event(&self, id: &str, user_id: Option<&str>) -> Result<Event, Error> {
        let call = self.get(&usage(&["events", id]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }

    /// Takes an event back, with a reason of 1 to 500 characters. Needs `usage:admin`.
    pub async fn void_event(&self, id: &str, reason: &str, user_id: Option<&str>) -> Result<VoidResult, Error> {
        let body = Void { reason, user_id };
        let call = self.mutation(Method::POST, &usage(&["events", id, "void"]))?;
        self.read(call.json(&body)?).await
    }
}

/// An instant as a parameter.
pub(super) fn text(instant: Option<Instant>) -> Option<String> {
    instant.map(|instant| instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}
