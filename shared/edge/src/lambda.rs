//! The boundary to Lambda: an event's JSON text in, the answer's JSON text out. The local stack
//! calls the same [`handler`] that the runtime calls in AWS.

use std::{future::Future, pin::Pin, sync::Arc};

use axum::Router;
use lambda_http::{Adapter, LambdaEvent, Service as _, lambda_runtime, request::LambdaRequest, service_fn};
use serde_json::Value;

use crate::{
    App,
    aws::Clients,
    config::{Config, ConfigError},
    telemetry,
};

/// A function as its host sees it.
pub type Invoke = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

/// A router behind the boundary.
pub fn handler(router: Router) -> Invoke {
    Arc::new(move |event| {
        let router = router.clone();
        Box::pin(async move {
            let payload: LambdaRequest = serde_json::from_str(&event).map_err(|error| error.to_string())?;
            let event = LambdaEvent::new(payload, lambda_http::Context::default());
            let answering = Adapter::from(router).call(event);
            let answer = answering.await.map_err(|never| never.to_string())?;
            serde_json::to_string(&answer).map_err(|error| error.to_string())
        })
    })
}

/// Runs a function in AWS: the connection to the store is made while it starts.
pub async fn run(router: impl FnOnce(Arc<App>) -> Router) -> Result<(), lambda_http::Error> {
    let app = start().await?;
    app.config.require_jwt()?;
    lambda_http::run(router(app)).await
}

/// Runs a function in AWS that is called with events of another kind.
pub async fn run_job(handler: impl FnOnce(Arc<App>) -> Result<Invoke, ConfigError>) -> Result<(), lambda_http::Error> {
    let invoke = handler(start().await?)?;
    let call = |event: LambdaEvent<Value>| {
        let answering = invoke(event.payload.to_string());
        async move {
            let answer = answering.await.map_err(lambda_http::Error::from)?;
            Ok::<Value, lambda_http::Error>(serde_json::from_str(&answer)?)
        }
    };
    lambda_runtime::run(service_fn(call)).await
}

async fn start() -> Result<Arc<App>, lambda_http::Error> {
    let config = Config::from_environment()?;
    telemetry::start(&config.log_level);
    let app = App::new(
        config,
        metering_store::Context::system(),
        Clients::from_environment().await?,
    );
    app.store.warm_up().await?;
    Ok(app)
}
