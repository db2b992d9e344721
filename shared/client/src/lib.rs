//! Reports usage to the usage metering service and enforces its quotas.
//!
//! - [`Metering`] is what a service keeps: it makes the tower layer ([`Metering::layer`]), guards any
//!   future ([`Metering::consume`], [`Metering::reserve`], [`Metering::check`]) and reports in the
//!   background.
//! - [`Client`] has every call of the HTTP API that a service may make.
//! - [`Sender`] tells events in batches, in memory or by way of a spool that survives a crash.
//!
//! It must not know how the service counts. Everything that is told has an identity, made when it is
//! handed in and repeated by every retry; the service counts an identity once.

mod api;
mod client;
mod clock;
mod enforce;
mod error;
mod guarded;
mod layer;
mod metering;
mod outage;
mod record;
mod refusal;
mod retry;
mod sender;
mod spool;
pub mod types;
mod usage;

pub use api::{
    AggregationFilter, AlertFilter, AnomalyFilter, CloudEvent, Commit, Detection, EventFilter, ForecastFilter, Health,
    NewForecast, NewReport, NewReportSchedule, NewReservation, NewThreshold, NewWebhookEndpoint, Part, ReportFilters,
    ReservationFilter, Reserved, Settings, Tracked, Whose,
};
pub use client::Client;
pub use error::{Error, Problem, RateLimit};
pub use guarded::{Guarded, Used};
pub use layer::{CountedBody, Metered, MeteredBody, MeteringLayer, OnFull, Rule};
pub use metering::{Caller, Metering, MeteringBuilder, StartError};
pub use outage::{OnOutage, OutageStats};
pub use refusal::Refusal;
pub use retry::Retry;
#[cfg(feature = "sqs")]
pub use sender::Queue;
pub use sender::{Dead, OnDead, SendError, Sender, SenderOptions, Stats, Unsent};
pub use spool::{SpoolError, SpoolOptions, Sync};
pub use types::Quantity;
pub use usage::Usage;
