//! The AWS SDK's clients, built in one place; their connector can be replaced.

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

/// The clients of a function. Building them opens no connection.
#[derive(Debug, Clone)]
pub struct Clients {
    /// DynamoDB.
    pub dynamodb: Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
}

impl Clients {
    /// Clients of emulators.
    pub fn of(dynamodb: &Endpoint, sqs: &Endpoint, http_client: Option<SharedHttpClient>) -> Self {
        Self {
            dynamodb: dynamodb_client(dynamodb, http_client.clone()),
            sqs: sqs_client(sqs, http_client),
        }
    }

    /// The clients of a function in AWS: region, credentials and endpoints from its environment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that loads the AWS configuration"
    )]
    pub async fn from_environment() -> Self {
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .timeout_config(timeouts())
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES_MAX))
            .load()
            .await;
        Self {
            dynamodb: Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
        }
    }
}

/// A client of queues for an endpoint given by hand, through `http_client` if given.
pub fn sqs_client(endpoint: &Endpoint, http_client: Option<SharedHttpClient>) -> aws_sdk_sqs::Client {
    let mut config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(&endpoint.url)
        .region(Region::new(endpoint.region.clone()))
        .credentials_provider(endpoint.credentials())
        .timeout_config(emulator_timeouts())
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES_MAX));
    config.set_http_client(http_client);
    aws_sdk_sqs::Client::from_conf(config.build())
}

impl Endpoint {
    fn credentials(&self) -> Credentials {
        Credentials::new(&self.access_key_id, &self.secret_access_key, None, None, "local")
    }
}

fn emulator_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(EMULATOR_TIMEOUT)
        .operation_timeout(EMULATOR_TIMEOUT)
        .build()
}

/// A client for an endpoint given by hand, through `http_client` if given.
pub fn dynamodb_client(endpoint: &Endpoint, http_client: Option<SharedHttpClient>) -> Client {
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(&endpoint.url)
        .region(Region::new(endpoint.region.clone()))
        .credentials_provider(endpoint.credentials())
        .timeout_config(emulator_timeouts())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(TRIES_MAX)
                .with_initial_backoff(Duration::from_millis(20)),
        );
    config.set_http_client(http_client);
    Client::from_conf(config.build())
}
