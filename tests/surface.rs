//! The public surface, on the real stack: one module per behaviour.

mod bad_input;
mod batches;
mod books;
mod budgets;
mod callers;
mod cloud_events;
mod counted_once;
mod gauges;
mod imports;
mod interrupted;
mod metric_types;
mod openapi;
mod over_admission;
mod plans;
mod queue;
mod real_input;
mod renewals;
mod renewals_interrupted;
mod sample_events;
mod series;
mod support;
mod times;
mod unreliable;
mod wire;
