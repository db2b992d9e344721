//! Webhooks as they go out: one signed POST to a URL that a customer chose.
//!
//! The headers are those of Standard Webhooks 1.0 (<https://www.standardwebhooks.com>). Because the
//! URL is a stranger's, every try is judged twice: the URL itself before anything happens, and each
//! address that its host resolves to inside the client, so that what was judged is what is connected
//! to. When to try again, and how often, is the caller's business: this knows neither alerts nor the
//! store.

mod address;
mod message;
mod resolve;
mod secret;
#[cfg(test)]
mod tests;
mod url;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use http::StatusCode;
use reqwest::{Client, redirect::Policy};

pub use self::{
    message::MessageFault,
    resolve::{Lookup, SystemLookup},
    secret::{Secret, SecretFault},
    url::UrlFault,
};
use self::{resolve::Guard, url::Rule};

/// How long a connection may take to open, the look-up of its host included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a try may take in all.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The port of what is public.
const PUBLIC_PORT: u16 = 443;

/// Who may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// HTTPS on port 443 at globally reachable unicast addresses: production.
    Public,
    /// Also plain HTTP and loopback on any port: the local stack, when it is asked for.
    Local,
}

/// One try, as it went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where to.
    pub url: String,
    /// What this module put into the head, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The answer's status; none when there was no answer.
    pub status: Option<u16>,
}

/// Hears of every try that was allowed to go out, once it is over.
pub type Observer = Arc<dyn Fn(Sent) + Send + Sync>;

/// Why a try did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The URL, or what its host resolves to now, may not be reached. Nothing was sent.
    #[error("the URL is not allowed: {0}")]
    NotAllowed(#[source] UrlFault),
    /// The message cannot be sent to anybody. Nothing was sent.
    #[error("the message cannot be sent: {0}")]
    Message(#[from] MessageFault),
    /// The receiver wants no more (410).
    #[error("the receiver is gone (410)")]
    Gone,
    /// Any other status but 2xx: a redirect too, which is not followed.
    #[error("the receiver answered {0}")]
    Refused(u16),
    /// No answer: the host does not resolve, the connection or TLS fails, or it takes too long.
    #[error("the receiver cannot be reached")]
    Unreachable(#[source] reqwest::Error),
}

impl SendError {
    /// Whether the same message may get through later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::NotAllowed(_) | Self::Message(_) | Self::Gone => false,
            Self::Refused(_) | Self::Unreachable(_) => true,
        }
    }
}

/// What a [`Webhooks`] is built from; tests shorten the times and take another port for public.
struct Settings {
    rule: Rule,
    lookup: Arc<dyn Lookup>,
    observer: Option<Observer>,
    connect_timeout: Duration,
    total_timeout: Duration,
}

/// The sender. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    client: Client,
    settings: Arc<Settings>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("rule", &self.settings.rule)
            .finish_non_exhaustive()
    }
}

impl Webhooks {
    /// A sender that resolves hosts as the machine does. Opens no connection.
    ///
    /// # Errors
    /// When TLS cannot be set up, as without any root certificate.
    pub fn new(reach: Reach, observer: Option<Observer>) -> Result<Self, reqwest::Error> {
        Self::resolving(reach, observer, Arc::new(SystemLookup))
    }

    /// A sender with a resolver of its own, whose answers are judged like any other's.
    ///
    /// # Errors
    /// As [`Webhooks::new`].
    pub fn resolving(
        reach: Reach,
        observer: Option<Observer>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, reqwest::Error> {
        Self::build(Settings {
            rule: Rule::new(reach, PUBLIC_PORT),
            lookup,
            observer,
            connect_timeout: CONNECT_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
        })
    }

    fn build(settings: Settings) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(Policy::none())
            // A proxy would resolve the host again, out of the guard's sight.
            .no_proxy()
            .dns_resolver(Guard::new(settings.rule, settings.lookup.clone()))
            // Tries are minutes apart, and a function sleeps between them: nothing is kept open.
            .pool_max_idle_per_host(0)
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.total_timeout)
            .build()?;
        let settings = Arc::new(settings);
        Ok(Self { client, settings })
    }

    /// Whether an endpoint may be registered: the URL in its normal form. A host that does not
    /// resolve is accepted, since it may later; [`Webhooks::send`] judges again.
    ///
    /// # Errors
    /// A sentence for the caller.
    pub async fn check(&self, url: &str) -> Result<String, UrlFault> {
        let Settings {
            rule,
            lookup,
            connect_timeout,
            ..
        } = &*self.settings;
        let url = rule.url(url)?;
        if let Some(host) = url.domain()
            && let Ok(Ok(addresses)) = tokio::time::timeout(*connect_timeout, lookup.lookup(host)).await
        {
            rule.resolved(host, &addresses)?;
        }
        Ok(url.into())
    }

    /// One try: its 2xx status. `id` is the same for every try of a message, `at` the present
    /// instant. Every one of `secrets` signs, so that a receiver may hold the old or the new one
    /// while they change. The answer's body is not read.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        &self,
        url: &str,
        id: &str,
        at: DateTime<Utc>,
        body: &str,
        secrets: &[Secret],
    ) -> Result<u16, SendError> {
        // A literal address never comes to the resolver: here is where it is judged, each time.
        let url = self.settings.rule.url(url).map_err(SendError::NotAllowed)?;
        let headers = message::headers(id, at, body, secrets)?;
        let request = self.client.post(url.clone()).headers(headers.clone());
        let answer = request.body(body.to_owned()).send().await;
        let (status, outcome) = match answer {
            Ok(answer) => (Some(answer.status().as_u16()), judge(answer.status())),
            Err(error) => (None, Err(failure(error))),
        };
        if let Some(observer) = &self.settings.observer
            && !matches!(outcome, Err(SendError::NotAllowed(_)))
        {
            observer(Sent {
                url: url.into(),
                headers: message::told(&headers),
                body: body.to_owned(),
                status,
            });
        }
        outcome
    }
}

fn judge(status: StatusCode) -> Result<u16, SendError> {
    match status {
        StatusCode::GONE => Err(SendError::Gone),
        status if status.is_success() => Ok(status.as_u16()),
        status => Err(SendError::Refused(status.as_u16())),
    }
}

/// What the client's error means: the guard's refusal lies somewhere below it. The URL stays out of
/// it, as its path may be a secret of the receiver.
fn failure(error: reqwest::Error) -> SendError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(fault) = inner.downcast_ref::<UrlFault>() {
            return SendError::NotAllowed(fault.clone());
        }
        cause = inner.source();
    }
    SendError::Unreachable(error.without_url())
}
