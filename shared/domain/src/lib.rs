//! The rules of usage metering as pure functions: quantities, identities, plans, quotas, billing periods.
//!
//! Every crate of the system may depend on this one. It depends on no other and knows nothing of
//! storage, HTTP, AWS, logging, configuration or the clock: `now` is always an argument. Nothing here
//! is async, nothing uses binary floating point, and nothing panics on outside input.
//!
//! `shared/design/semantics.md` is the law that this code spells out.

pub mod ids;
pub mod metric;
pub mod number;
pub mod period;
pub mod plan;
pub mod quota;
