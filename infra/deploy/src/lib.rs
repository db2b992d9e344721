//! What a deployment must be: rules for `template.yaml`, what calls may cost, and what that comes to.
//!
//! Pure but for [`lint::Repository::read`]. How to deploy, operate and restore is written beside it:
//! `README.md`, `OPERATING.md`, `COST.md`.

pub mod budget;
pub mod cost;
pub mod lint;
