//! Seeded fault simulation over the real code.

pub mod check;
pub mod client;
pub mod dice;
pub mod engine;
pub mod fault;
mod lag;
pub mod ledger;
pub mod life;
pub mod mutation;
pub mod queues;
pub mod run;
mod services;
pub mod time;
pub mod wire;
pub mod workload;
pub mod world;
