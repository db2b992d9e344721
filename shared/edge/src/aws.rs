//! The AWS SDK's client, built in one place; its connector can be replaced.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{
    Client, Config,
    config::{Credentials, Region, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig},
};

/// An endpoint with its own credentials: an emulator.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its address.
    pub url: String,
    /// The region it stands for.
    pub region: String,
    /// As whom it is called.
    pub access_key_id: String,
    /// With which secret.
    pub secret_access_key: String,
}

/// One try waits this long for an answer; DynamoDB answers in milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// All tries of one operation together: well below a function's timeout.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// How often the SDK tries an operation that may be repeated.
const TRIES_MAX: u32 = 4;

/// An emulator does one thing at a time: a burst of hundreds waits in its queue, and is answered.
const EMULATOR_TIMEOUT: Duration = Duration::from_secs(25);

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// A client for an endpoint given by hand, through `http_client` if given.
pub fn dynamodb_client(endpoint: &Endpoint, http_client: Option<SharedHttpClient>) -> Client {
    let credentials = Credentials::new(
        &endpoint.access_key_id,
        &endpoint.secret_access_key,
        None,
        None,
        "local",
    );
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(&endpoint.url)
        .region(Region::new(endpoint.region.clone()))
        .credentials_provider(credentials)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(EMULATOR_TIMEOUT)
                .operation_timeout(EMULATOR_TIMEOUT)
                .build(),
        )
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(TRIES_MAX)
                .with_initial_backoff(Duration::from_millis(20)),
        );
    config.set_http_client(http_client);
    Client::from_conf(config.build())
}

/// The client of a function in AWS: region, credentials and endpoint from its environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that loads the AWS configuration"
)]
pub async fn dynamodb_from_environment() -> Client {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .timeout_config(timeouts())
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES_MAX))
        .load()
        .await;
    Client::new(&config)
}
