//! The AWS SDK's clients, built in one place; their connector can be replaced.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::{
    Client,
    config::{
        Credentials, Region, SharedCredentialsProvider, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig,
    },
};

use crate::webhook::{Reach, Webhooks};

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

/// An emulator of each service that functions use.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// DynamoDB.
    pub dynamodb: Endpoint,
    /// SQS.
    pub sqs: Endpoint,
    /// SES, version 2 of its API.
    pub sesv2: Endpoint,
    /// SNS.
    pub sns: Endpoint,
    /// EventBridge.
    pub events: Endpoint,
}

/// One try waits this long for an answer; DynamoDB answers in milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// All tries of one operation together: well below a function's timeout.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// How often the SDK tries an operation that may be repeated.
const TRIES_MAX: u32 = 4;

/// An emulator does one thing at a time: a burst of hundreds waits in its queue, and is answered.
const EMULATOR_TIMEOUT: Duration = Duration::from_secs(25);
/// Before the second try at an emulator's table, whose queue is over sooner than DynamoDB's
/// throttling.
const EMULATOR_BACKOFF: Duration = Duration::from_millis(20);

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// The clients of a function. Building them opens no connection.
///
/// All of them try again alike, whether or not the service knows a repetition when it sees one.
/// SES, SNS, SQS and EventBridge do not: an answer that is lost makes a mail, a text message, a
/// queued message or an event arrive twice. At least once is what is promised.
#[derive(Debug, Clone)]
pub struct Clients {
    /// DynamoDB.
    pub dynamodb: Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// SES, version 2 of its API.
    pub sesv2: aws_sdk_sesv2::Client,
    /// SNS.
    pub sns: aws_sdk_sns::Client,
    /// EventBridge.
    pub events: aws_sdk_eventbridge::Client,
    /// What sends webhooks.
    pub webhooks: Webhooks,
}

impl Clients {
    /// Clients of emulators, through `http_client` if given; `webhooks` leave the machine.
    pub fn of(endpoints: &Endpoints, http_client: Option<SharedHttpClient>, webhooks: Webhooks) -> Self {
        let http = || http_client.clone();
        Self {
            dynamodb: dynamodb_client(&endpoints.dynamodb, http()),
            sqs: sqs_client(&endpoints.sqs, http()),
            sesv2: aws_sdk_sesv2::Client::new(&endpoints.sesv2.config(http())),
            sns: aws_sdk_sns::Client::new(&endpoints.sns.config(http())),
            events: aws_sdk_eventbridge::Client::new(&endpoints.events.config(http())),
            webhooks,
        }
    }

    /// The clients of a function in AWS: region, credentials and endpoints from its environment.
    /// Webhooks reach what is public, and are not noted.
    ///
    /// # Errors
    /// As [`Webhooks::new`].
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that loads the AWS configuration"
    )]
    pub async fn from_environment() -> Result<Self, reqwest::Error> {
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .timeout_config(timeouts())
            .retry_config(retries())
            .load()
            .await;
        Ok(Self {
            dynamodb: Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            sesv2: aws_sdk_sesv2::Client::new(&config),
            sns: aws_sdk_sns::Client::new(&config),
            events: aws_sdk_eventbridge::Client::new(&config),
            webhooks: Webhooks::new(Reach::Public, None)?,
        })
    }
}

/// A client of queues for an endpoint given by hand, through `http_client` if given.
pub fn sqs_client(endpoint: &Endpoint, http_client: Option<SharedHttpClient>) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::new(&endpoint.config(http_client))
}

/// A client of tables for an endpoint given by hand, through `http_client` if given.
pub fn dynamodb_client(endpoint: &Endpoint, http_client: Option<SharedHttpClient>) -> Client {
    let retries = retries().with_initial_backoff(EMULATOR_BACKOFF);
    let config = endpoint.config(http_client).into_builder().retry_config(retries);
    Client::new(&config.build())
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(TRIES_MAX)
}

impl Endpoint {
    /// What a client of this endpoint is made from, whatever the service.
    fn config(&self, http_client: Option<SharedHttpClient>) -> SdkConfig {
        let credentials = Credentials::new(&self.access_key_id, &self.secret_access_key, None, None, "local");
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(EMULATOR_TIMEOUT)
            .operation_timeout(EMULATOR_TIMEOUT);
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&self.url)
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .timeout_config(timeouts.build())
            .retry_config(retries());
        config.set_http_client(http_client);
        config.build()
    }
}
