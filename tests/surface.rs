//! The public surface, on the real stack: one module per behaviour.

mod bad_input;
mod books;
mod budgets;
mod callers;
mod counted_once;
mod gauges;
mod interrupted;
mod metric_types;
mod over_admission;
mod plans;
mod real_input;
mod renewals;
mod renewals_interrupted;
mod sample_events;
mod support;
mod times;
mod unreliable;
mod wire;
