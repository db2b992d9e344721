//! What every function shares at its edge: configuration, clients, who is calling, what they sent,
//! what they get back. It knows HTTP and Lambda; it does not decide numbers.

pub mod access;
pub mod anomaly;
pub mod answer;
pub mod auth;
pub mod aws;
pub mod cloud_event;
pub mod config;
pub mod cursor;
pub mod fields;
pub mod file;
pub mod forecast;
pub mod geography;
pub mod idempotency;
mod jwks;
pub mod lambda;
pub mod logs;
pub mod message;
pub mod problem;
pub mod queue;
pub mod read;
pub mod report;
pub mod request;
pub mod send;
pub mod stream;
pub mod subject;
pub mod subscription;
pub mod telemetry;
pub mod usage_message;
pub mod verdict;
pub mod webhook;

use std::sync::Arc;

use metering_store::{Context, Store};

use crate::{auth::Authenticator, aws::Clients, config::Config, geography::Geography, webhook::Webhooks};

/// What a function has while it runs; built once.
#[derive(Debug)]
pub struct App {
    /// Its configuration.
    pub config: Config,
    /// Time, randomness and waiting.
    pub context: Context,
    /// The store.
    pub store: Store,
    /// Queues.
    pub sqs: aws_sdk_sqs::Client,
    /// Mails.
    pub mail: aws_sdk_sesv2::Client,
    /// Text messages.
    pub sms: aws_sdk_sns::Client,
    /// The event bus.
    pub bus: aws_sdk_eventbridge::Client,
    /// Buckets; see [`file::Files`].
    pub s3: aws_sdk_s3::Client,
    /// What sends webhooks.
    pub webhooks: Webhooks,
    /// Who is who.
    pub auth: Authenticator,
    /// Where addresses are.
    pub geography: Geography,
}

impl App {
    /// An app over its clients. Opens no connection.
    pub fn new(config: Config, context: Context, clients: Clients) -> Arc<Self> {
        let store = Store::new(clients.dynamodb, config.tables.clone(), context.clone());
        let auth = Authenticator::new(config.jwt.clone());
        let geography = Geography::new(config.geo_database.clone());
        Arc::new(Self {
            config,
            context,
            store,
            sqs: clients.sqs,
            mail: clients.sesv2,
            sms: clients.sns,
            bus: clients.events,
            s3: clients.s3,
            webhooks: clients.webhooks,
            auth,
            geography,
        })
    }
}
