//! Makes reports, asked for by a caller or by a schedule: gathers what is known, renders it, stores the file.
//!
//! Must not know who may ask for what, nor when a schedule is due.

pub mod ask;
mod filed;
mod gather;
mod measure;

pub use ask::{Ask, Filters};
pub use filed::{discard, make};
