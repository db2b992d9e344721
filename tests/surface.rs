//! The public surface, on the real stack: one module per behaviour.

mod bad_input;
mod callers;
mod counted_once;
mod gauges;
mod over_admission;
mod real_input;
mod support;
