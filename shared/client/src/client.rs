//! The HTTP API's client: how a call is sent, and sent again. The calls themselves are in `api`.

use std::{fmt, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Url;
use serde::{Serialize, de::DeserializeOwned};

use crate::{clock, error::Error, retry::Retry};

/// Calls the service. Clones share connections.
///
/// Every mutation carries an identity that its retries repeat: of an event its own, of everything
/// else a new `Idempotency-Key`, or the one given with [`Client::keyed`].
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    key: Option<Arc<str>>,
    retry: Retry,
}

struct Shared {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
}

/// One call, before it is sent.
pub(crate) struct Call {
    method: Method,
    url: Url,
    body: Option<(&'static str, Bytes)>,
    key: Option<HeaderValue>,
}

/// A success.
pub(crate) struct Answer {
    pub(crate) body: Bytes,
}

impl Client {
    /// A client of the service at `base` (`https://usage.example.com`), with an API key (`mk_…`) or
    /// a user's token.
    pub fn new(base: &str, credentials: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Unreachable)?;
        Self::over(http, base, credentials)
    }

    /// The same over a connection pool of one's own, which should follow no redirects.
    pub fn over(http: reqwest::Client, base: &str, credentials: &str) -> Result<Self, Error> {
        let base = Url::parse(base).map_err(|error| Error::invalid("base", format!("{base} is no URL: {error}")))?;
        if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
            return Err(Error::invalid("base", "must begin with https:// or http://"));
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {credentials}"))
            .map_err(|_| Error::invalid("credentials", "must be an API key or a token: printable ASCII"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            shared: Arc::new(Shared {
                http,
                base,
                authorization,
            }),
            key: None,
            retry: Retry::default(),
        })
    }

    /// The same client with other retries.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same client, whose calls carry this `Idempotency-Key` (1 to 255 printable ASCII
    /// characters): for one mutation that is to be done once however often the program asks for it.
    /// Events have identities of their own and are not concerned.
    pub fn keyed(&self, key: &str) -> Self {
        let mut keyed = self.clone();
        keyed.key = Some(key.into());
        keyed
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry
    }

    /// A read of a path, given by its segments.
    pub(crate) fn get(&self, segments: &[&str]) -> Result<Call, Error> {
        self.call(Method::GET, segments)
    }

    /// A mutation, with a key of its own.
    pub(crate) fn mutation(&self, method: Method, segments: &[&str]) -> Result<Call, Error> {
        let key = match &self.key {
            Some(key) => key.to_string(),
            None => clock::new_id().to_string(),
        };
        let key = HeaderValue::try_from(key)
            .map_err(|_| Error::invalid("idempotency_key", "must be 1 to 255 printable ASCII characters"))?;
        let mut call = self.call(method, segments)?;
        call.key = Some(key);
        Ok(call)
    }

    /// A call of a path, given by its segments, whose body carries the identity if it needs one.
    pub(crate) fn call(&self, method: Method, segments: &[&str]) -> Result<Call, Error> {
        let mut url = self.shared.base.clone();
        let mut path = url
            .path_segments_mut()
            .map_err(|()| Error::invalid("base", "must be a URL with a host"))?;
        path.pop_if_empty().extend(segments);
        drop(path);
        Ok(Call {
            method,
            url,
            body: None,
            key: None,
        })
    }

    /// Sends a call until it is answered or retries end, and reads its answer.
    pub(crate) async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(Error::Unreadable)
    }

    /// Sends a call until it is answered or retries end.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Error> {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let left = self.retry.deadline.saturating_sub(started.elapsed());
            let error = match self.attempt(&call, left.min(self.retry.attempt)).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_temporary() => return Err(error),
                Err(error) => error,
            };
            failures += 1;
            let pause = self.retry.pause(failures, error.retry_after());
            if started.elapsed() + pause >= self.retry.deadline {
                return Err(error);
            }
            tracing::debug!(%error, failures, ?pause, path = call.url.path(), "a call is tried again");
            clock::wait(pause).await;
        }
    }

    async fn attempt(&self, call: &Call, timeout: std::time::Duration) -> Result<Answer, Error> {
        let mut request = self.shared.http.request(call.method.clone(), call.url.clone());
        request = request
            .timeout(timeout)
            .header(header::AUTHORIZATION, self.shared.authorization.clone());
        if let Some((content_type, body)) = &call.body {
            request = request.header(header::CONTENT_TYPE, *content_type).body(body.clone());
        }
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key.clone());
        }
        let response = request.send().await.map_err(Error::Unreachable)?;
        let status = response.status();
        let headers: HeaderMap = response.headers().clone();
        let body = response.bytes().await.map_err(Error::Unreachable)?;
        if status.is_success() {
            Ok(Answer { body })
        } else {
            Err(Error::answered(status, &headers, &body))
        }
    }
}

impl Call {
    /// With a body.
    pub(crate) fn json(self, body: &impl Serialize) -> Result<Self, Error> {
        self.body("application/json", body)
    }

    /// With a body of another type in JSON.
    pub(crate) fn body(mut self, content_type: &'static str, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::invalid("body", error.to_string()))?;
        self.body = Some((content_type, body.into()));
        Ok(self)
    }

    /// With those parameters that have a value.
    pub(crate) fn query(mut self, parameters: &[(&str, Option<&str>)]) -> Self {
        let given = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        for (name, value) in given {
            self.url.query_pairs_mut().append_pair(name, value);
        }
        self
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("base", &self.shared.base.as_str())
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
