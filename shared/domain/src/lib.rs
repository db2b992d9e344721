//! The rules of usage metering as pure functions: quantities, identities, plans, quotas, billing
//! periods, aggregates, trends, forecasts, anomalies, reports.
//!
//! Every crate of the system may depend on this one. It depends on no other and knows nothing of
//! storage, HTTP, AWS, logging, configuration or the clock: `now` is always an argument. Nothing here
//! is async, and nothing panics on outside input. Quantities are decimals throughout; binary floating point
//! is for probabilities only, where a module says so.
//!
//! `shared/design/semantics.md` is the law that this code spells out.

pub mod address;
pub mod aggregate;
pub mod alert;
pub mod anomaly;
pub mod forecast;
pub mod ids;
pub mod metric;
mod named;
pub mod number;
pub mod period;
pub mod plan;
pub mod quota;
pub mod report;
pub mod statement;
pub mod trend;
