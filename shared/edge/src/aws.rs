//! The AWS SDK's clients, built in one place; their connector can be replaced.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::{
    Client,
    config::{
        Credentials, Region, SharedCredentialsProvider, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig,
    },
};

use aws_types::service_config::ServiceConfigKey;

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
    /// S3.
    pub s3: Endpoint,
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
    /// S3.
    pub s3: aws_sdk_s3::Client,
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
            s3: s3_client(&endpoints.s3, http()),
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
            s3: s3_of(&config),
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

/// A client of buckets for an endpoint given by hand, through `http_client` if given.
pub fn s3_client(endpoint: &Endpoint, http_client: Option<SharedHttpClient>) -> aws_sdk_s3::Client {
    s3_of(&endpoint.config(http_client))
}

/// A client of buckets. Where its endpoint is another than AWS's, a bucket is named in the path,
/// and not in a host name that nobody there would resolve.
fn s3_of(config: &SdkConfig) -> aws_sdk_s3::Client {
    let own = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = own.ok().and_then(|key| config.service_config()?.load_config(key));
    let elsewhere = config.endpoint_url().is_some() || own.is_some();
    let config = aws_sdk_s3::config::Builder::from(config).force_path_style(elsewhere);
    aws_sdk_s3::Client::from_conf(config.build())
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn url(client: &aws_sdk_s3::Client) -> String {
        let valid = aws_sdk_s3::presigning::PresigningConfig::expires_in(Duration::from_secs(60));
        let get = client.get_object().bucket("reports").key("a/b.csv");
        let signed = get.presigned(valid.expect("a minute")).await.expect("signed");
        signed.uri().to_owned()
    }

    #[tokio::test]
    async fn a_bucket_is_in_the_path_where_the_endpoint_is_not_amazons_and_in_the_host_where_it_is() {
        let endpoint = Endpoint {
            url: "http://127.0.0.1:4566".to_owned(),
            region: "eu-central-1".to_owned(),
            access_key_id: "test".to_owned(),
            secret_access_key: "test".to_owned(),
        };
        let emulated = url(&s3_client(&endpoint, None)).await;
        assert!(
            emulated.starts_with("http://127.0.0.1:4566/reports/a/b.csv?"),
            "{emulated}"
        );
        let mut amazons = endpoint.config(None).into_builder();
        amazons.set_endpoint_url(None);
        let real = url(&s3_of(&amazons.build())).await;
        assert!(
            real.starts_with("https://reports.s3.eu-central-1.amazonaws.com/a/b.csv?"),
            "{real}"
        );
    }
}
