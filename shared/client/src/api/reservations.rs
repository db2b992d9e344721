//! Quantities that are held before the work, and committed or given back after it.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Part, usage};
use crate::{
    client::Client,
    error::{Error, Problem},
    types::{Metadata, Page, Quantity, Reservation, ReservationStatus},
};

/// What is to be held.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewReservation {
    /// Whose; a user's token may leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Of which subscription; none: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Of which metric.
    pub metric_type: String,
    /// How much, above 0.
    pub quantity: Quantity,
    /// For how many seconds, 1 to 86,400; 300 if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// For what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// What else is known.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

impl NewReservation {
    /// A quantity of a metric for a user.
    pub fn new(user_id: impl Into<String>, metric_type: impl Into<String>, quantity: impl Into<Quantity>) -> Self {
        Self {
            user_id: Some(user_id.into()),
            subscription_id: None,
            metric_type: metric_type.into(),
            quantity: quantity.into(),
            ttl_seconds: None,
            resource_id: None,
            metadata: Metadata::new(),
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reserved {
    /// It is held.
    Held(Box<Reservation>),
    /// The quota has no room for it, or too much is held at once.
    Denied(Box<Problem>),
}

/// What was used of a hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// How much; as reserved if none. More is counted in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
    /// By which route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// By which operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time_ms: Option<u64>,
    /// Whether it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub error_occurred: bool,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// Which reservations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReservationFilter {
    /// Whose; a user's token may leave it out.
    pub user_id: Option<String>,
    /// Of one subscription.
    pub subscription_id: Option<String>,
    /// Of one metric.
    pub metric_type: Option<String>,
    /// In one state.
    pub status: Option<ReservationStatus>,
    /// Which part of the list.
    pub part: Part,
}

#[derive(Serialize)]
struct Renewal {
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
}

impl Client {
    /// Holds a quantity until it is committed, released, or expires.
    pub async fn reserve(&self, wanted: &NewReservation) -> Result<Reserved, Error> {
        let call = self.mutation(Method::POST, &usage(&["reservations"]))?;
        match self.read(call.json(wanted)?).await {
            Ok(held) => Ok(Reserved::Held(Box::new(held))),
            Err(Error::Refused(problem)) if matches!(&*problem.code, "quota_exceeded" | "too_many_holds") => {
                Ok(Reserved::Denied(problem))
            }
            Err(error) => Err(error),
        }
    }

    /// Counts what was used of a hold; the same again is the same answer.
    pub async fn commit(&self, id: &str, used: &Commit) -> Result<Reservation, Error> {
        let call = self.mutation(Method::POST, &usage(&["reservations", id, "commit"]))?;
        self.read(call.json(used)?).await
    }

    /// Gives a hold back; again is the same answer.
    pub async fn release(&self, id: &str) -> Result<Reservation, Error> {
        self.read(self.mutation(Method::POST, &usage(&["reservations", id, "release"]))?)
            .await
    }

    /// Holds on for so many seconds from now, 300 if none.
    pub async fn renew(&self, id: &str, ttl_seconds: Option<u64>) -> Result<Reservation, Error> {
        let call = self.mutation(Method::POST, &usage(&["reservations", id, "renew"]))?;
        self.read(call.json(&Renewal { ttl_seconds })?).await
    }

    /// Reservations, newest first.
    pub async fn reservations(&self, filter: &ReservationFilter) -> Result<Page<Reservation>, Error> {
        let call = self.get(&usage(&["reservations"]))?.query(&[
            ("user_id", filter.user_id.as_deref()),
            ("subscription_id", filter.subscription_id.as_deref()),
            ("metric_type", filter.metric_type.as_deref()),
            ("status", filter.status.as_ref().map(ReservationStatus::as_str)),
        ]);
        self.page(call, "reservations", &filter.part).await
    }

    /// One reservation; an API key may say whose, and then finds no other's.
    pub async fn reservation(&self, id: &str, user_id: Option<&str>) -> Result<Reservation, Error> {
        let call = self.get(&usage(&["reservations", id]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }
}
