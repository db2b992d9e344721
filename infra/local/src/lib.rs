//! The local stack: the service on one machine, as it is deployed.
//!
//! It reads `template.yaml` and carries out what that says: the tables on an embedded DynamoDB,
//! the queues, the event bus and the buckets on files of its own, mails and text messages in an outbox, the functions in this process behind an HTTP
//! server that does API Gateway's part and an event host that does the rest, each with the
//! environment and the policy it has in AWS. On top comes `/_local`: tokens, a clock that can be
//! moved, a look into queues and outbox, a description.
//!
//! The rest of the system does not know that it exists. It must not know what the functions do.

mod buckets;
mod bus;
mod clock;
mod control;
mod data_dir;
pub mod demo;
mod engine;
mod expiry;
mod fields;
mod front;
mod functions;
mod gateway;
mod host;
mod mail;
mod outbox;
mod pattern;
mod policy;
mod problem;
mod queues;
mod routes;
mod schedule;
mod services;
mod sms;
mod stack;
mod streams;
pub mod template;
mod tokens;

pub use buckets::BucketError;
pub use clock::{Clock, ClockError};
pub use data_dir::DataDirError;
pub use engine::EngineError;
pub use front::PortError;
pub use functions::{DeployError, linked};
pub use queues::Refusal;
pub use stack::{ADMIN_KEY, Instance, Options, SERVICE_KEY, Stack};
pub use streams::StreamError;
pub use template::TemplateError;
pub use tokens::TokenError;

/// Why a stack cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Its threads.
    #[error("the stack's threads cannot be started")]
    Threads(#[source] std::io::Error),
    /// Its port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Its folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its clock.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// Its tokens.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The queues.
    #[error("the queues cannot be opened")]
    Queues(#[from] Refusal),
    /// The buckets.
    #[error(transparent)]
    Buckets(#[from] BucketError),
    /// The streams.
    #[error(transparent)]
    Streams(#[from] StreamError),
    /// The embedded DynamoDB.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What sends webhooks.
    #[error("webhooks cannot be sent from here")]
    Webhooks(#[source] reqwest::Error),
    /// The functions.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The development keys.
    #[error("the development keys cannot be stored")]
    Keys(#[from] metering_store::StoreError),
}
