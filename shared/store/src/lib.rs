//! The concrete DynamoDB store: two tables, one file per entity, every write path exact.
//!
//! The flow is "count, then confirm" ([`count`]): the counter's conditional update admits, the
//! event's insertion commits. It knows nothing of HTTP, credentials or who may do what.

pub mod account;
pub mod adjustment;
pub mod aggregate_drift;
pub mod aggregation;
pub mod alert;
pub mod alert_list;
pub mod anomaly;
pub mod anomaly_list;
pub mod api_key;
pub mod audit;
mod batch;
pub mod billing;
mod checkpoint;
pub mod configuration;
pub mod context;
pub mod count;
pub mod counter;
pub mod decide;
mod denials;
pub mod deployment;
pub mod dev;
pub mod erasure;
pub mod erasure_sweep;
pub mod error;
pub mod event;
pub mod event_list;
pub mod forecast;
pub mod gauge;
pub mod hold;
pub mod hold_check;
pub mod hour;
pub mod item;
pub mod judge;
pub mod keys;
pub mod limit;
pub mod metric;
pub mod mutation;
mod newest;
pub mod notification;
pub mod peak;
pub mod plan;
pub mod quota;
pub mod rate;
pub mod reconcile;
pub mod reconcile_pass;
pub mod renewal;
pub mod repair;
pub mod report;
pub mod report_schedule;
pub mod reservation;
pub mod reserve;
pub mod reset;
pub mod resolve;
mod seal;
pub mod sent;
mod series;
pub mod statement;
pub mod subscription;
mod tally;
pub mod traces;
pub mod track;
pub mod track_batch;
pub mod user_list;
pub mod void;

use std::sync::Arc;

use aws_sdk_dynamodb::{Client, config::Builder, config::retry::RetryConfig};

pub use crate::{context::Context, error::StoreError};
use crate::{count::Confirmed, denials::Denials, deployment::Secret, subscription::Cache};

/// The names of the two tables.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The table of events.
    pub events: String,
    /// The table of everything else.
    pub state: String,
}

/// The store: cheap to clone, to be built once per process.
#[derive(Clone)]
pub struct Store {
    pub(crate) dynamodb: Client,
    pub(crate) tables: Arc<Tables>,
    pub(crate) context: Context,
    pub(crate) subscriptions: Arc<Cache>,
    pub(crate) confirmed: Arc<Confirmed>,
    pub(crate) resolving: Arc<resolve::Resolving>,
    pub(crate) denials: Arc<Denials>,
    pub(crate) metrics_known: Arc<metric::Cache>,
    pub(crate) plans_known: Arc<plan::Cache>,
    pub(crate) gauge_queues: Arc<gauge::Queues>,
    pub(crate) secret: Arc<Secret>,
    pub(crate) taken: Arc<judge::Taken>,
    pub(crate) erased: Arc<erasure::Known>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// A store over `dynamodb`. Opens no connection.
    pub fn new(dynamodb: Client, tables: Tables, context: Context) -> Self {
        Self {
            dynamodb,
            tables: Arc::new(tables),
            context,
            subscriptions: Arc::default(),
            confirmed: Arc::default(),
            resolving: Arc::default(),
            denials: Arc::default(),
            metrics_known: Arc::default(),
            plans_known: Arc::default(),
            gauge_queues: Arc::default(),
            secret: Arc::default(),
            taken: Arc::default(),
            erased: Arc::default(),
        }
    }

    /// The context this store runs in.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Makes the connection to the store and reads what a deployment has for itself, so that the
    /// first request does not wait for it.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        self.deployment_secret().await.map(drop)
    }
}

/// The configuration of a request that must not be sent twice under one name.
pub(crate) fn no_retries() -> Builder {
    aws_sdk_dynamodb::Config::builder().retry_config(RetryConfig::disabled())
}
