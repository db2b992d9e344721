//! The functions themselves, linked into this process and called as Lambda calls them: event
//! text in, answer text out, with nothing shared between two of them but the engine and the
//! clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use metering_edge::{
    App,
    aws::{Clients, Endpoints},
    config::{Config, ConfigError},
    lambda::Invoke,
    webhook::Webhooks,
};
use metering_store::context::Context;
use tokio::sync::Semaphore;

use crate::{
    policy,
    template::{Function, Template},
};

/// A set of functions as one instance of the service runs them.
#[derive(Clone)]
pub struct Functions(Arc<BTreeMap<String, Deployed>>);

/// A function, ready to be called.
#[derive(Clone)]
struct Deployed {
    invoke: Invoke,
    timeout: Duration,
    turns: Arc<Semaphore>,
}

/// How many calls of a function run at once, if the template reserves no fewer. One machine does
/// only so much: what comes beyond waits its turn, and its time starts with that, where Lambda
/// would start more machines, or turn away what is beyond the reserved ones.
const CONCURRENCY_MAX: usize = 64;

/// The functions that this program has, by the names that the template gives them.
pub type Linked = fn(&str, Arc<App>) -> Option<Result<Invoke, ConfigError>>;

/// Every function of the template.
pub fn linked(name: &str, app: Arc<App>) -> Option<Result<Invoke, ConfigError>> {
    Some(match name {
        "AccessLogJob" => access_log_job::handler(app),
        "AdminApi" => api(&app, admin_api::router),
        "AggregateJob" => aggregate_job::handler(app),
        "AlertJob" => alert_job::handler(app),
        "AlertsApi" => api(&app, alerts_api::router),
        "AnomalyJob" => anomaly_job::handler(app),
        "AnalyticsApi" => api(&app, analytics_api::router),
        "AnalyticsRefreshJob" => analytics_refresh_job::handler(app),
        "ErasureJob" => erasure_job::handler(app),
        "IngestJob" => ingest_job::handler(app),
        "LifecycleJob" => lifecycle_job::handler(app),
        "ReconcileJob" => reconcile_job::handler(app),
        "RelayJob" => relay_job::handler(app),
        "ReportJob" => report_job::handler(app),
        "ReportsApi" => api(&app, reports_api::router),
        "TrackingApi" => api(&app, tracking_api::router),
        _ => return None,
    })
}

/// A function with routes, which has to know whose tokens are good.
fn api(app: &Arc<App>, router: fn(Arc<App>) -> axum::Router) -> Result<Invoke, ConfigError> {
    app.config.require_jwt()?;
    Ok(metering_edge::lambda::handler(router(Arc::clone(app))))
}

/// How functions reach what is outside of them.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Where the services answer, and as whom.
    pub endpoints: Endpoints,
    /// What sends webhooks.
    pub webhooks: Webhooks,
}

/// Why a function cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The template names it, this program does not have it.
    #[error("template.yaml: {0}: this function is not linked into usage-local")]
    NotLinked(String),
    /// Its environment.
    #[error("template.yaml: {function}: its environment is refused")]
    Config {
        /// The function.
        function: String,
        /// Why.
        source: ConfigError,
    },
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// There is no such function.
    #[error("there is no function {0}")]
    Unknown(String),
    /// It took longer than the template allows.
    #[error("it took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It panicked.
    #[error("it panicked")]
    Panicked(#[source] tokio::task::JoinError),
    /// It said so.
    #[error("it failed: {0}")]
    Failed(String),
}

impl Functions {
    /// Builds every function of the template: its configuration from its environment, its own
    /// client and caches, its policy enforced. `http_client` connects the clients to the engine.
    pub fn deploy(
        template: &Template,
        context: &Context,
        outside: &Outside,
        http_client: &SharedHttpClient,
        linked: Linked,
    ) -> Result<Self, DeployError> {
        let mut deployed = BTreeMap::new();
        for function in &template.functions {
            let http_client = policy::enforced(function, http_client.clone());
            let mut endpoints = outside.endpoints.clone();
            // By this, S3 knows whose policy to go by.
            endpoints.s3.access_key_id.clone_from(&function.name);
            let clients = Clients::of(&endpoints, Some(http_client), outside.webhooks.clone());
            let app = App::new(config(function)?, context.clone(), clients);
            let Some(invoke) = linked(&function.name, app) else {
                return Err(DeployError::NotLinked(function.name.clone()));
            };
            let ready = Deployed {
                invoke: invoke.map_err(|source| refused(function, source))?,
                timeout: function.timeout,
                turns: Arc::new(Semaphore::new(turns(function))),
            };
            deployed.insert(function.name.clone(), ready);
        }
        Ok(Self(Arc::new(deployed)))
    }

    /// Functions made by hand.
    #[cfg(test)]
    pub fn given(functions: impl IntoIterator<Item = (&'static str, Invoke)>) -> Self {
        let timeout = Duration::from_millis(500);
        let deployed = functions.into_iter().map(|(name, invoke)| {
            let turns = Arc::new(Semaphore::new(CONCURRENCY_MAX));
            (name.to_owned(), Deployed { invoke, timeout, turns })
        });
        Self(Arc::new(deployed.collect()))
    }

    /// Calls a function. As in Lambda it runs on when the caller goes away, is stopped at its
    /// timeout, and takes nobody with it when it panics.
    pub async fn invoke(&self, name: &str, event: String) -> Result<String, InvokeError> {
        let Some(function) = self.0.get(name) else {
            return Err(InvokeError::Unknown(name.to_owned()));
        };
        let invoke = Arc::clone(&function.invoke);
        let turn = Arc::clone(&function.turns).acquire_owned().await;
        let mut running = tokio::spawn(async move {
            let _turn = turn;
            invoke(event).await
        });
        match tokio::time::timeout(function.timeout, &mut running).await {
            Ok(Ok(answer)) => answer.map_err(InvokeError::Failed),
            Ok(Err(error)) => Err(InvokeError::Panicked(error)),
            Err(_) => {
                running.abort();
                Err(InvokeError::TimedOut(function.timeout))
            }
        }
    }
}

fn turns(function: &Function) -> usize {
    function.concurrency.unwrap_or(CONCURRENCY_MAX).min(CONCURRENCY_MAX)
}

fn config(function: &Function) -> Result<Config, DeployError> {
    let lookup = |name: &str| function.environment.get(name).cloned();
    Config::from_lookup(&lookup).map_err(|source| refused(function, source))
}

fn refused(function: &Function, source: ConfigError) -> DeployError {
    DeployError::Config {
        function: function.name.clone(),
        source,
    }
}
