//! The one handle that a service keeps: the client, the sender, and what to do in an outage.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::request::Parts;

use crate::{
    client::Client,
    error::Error,
    layer::MeteringLayer,
    outage::{Allowance, OnOutage, OutageStats, Outages},
    retry::Retry,
    sender::{Sender, SenderOptions, Unsent},
    spool::{SpoolError, SpoolOptions},
};

/// How long a verdict may take before the outage policy decides.
const VERDICT_DEADLINE: Duration = Duration::from_secs(5);
/// How long nobody asks after that.
const SILENCE: Duration = Duration::from_secs(1);

/// Whose usage it is. Clones are cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    pub(crate) user_id: Arc<str>,
    pub(crate) subscription_id: Option<Arc<str>>,
}

impl Caller {
    /// A user, in the default subscription.
    pub fn new(user_id: impl Into<Arc<str>>) -> Self {
        Self {
            user_id: user_id.into(),
            subscription_id: None,
        }
    }

    /// The same in another subscription.
    pub fn subscription(mut self, id: impl Into<Arc<str>>) -> Self {
        self.subscription_id = Some(id.into());
        self
    }
}

/// Meters and protects a service. Clones share everything.
#[derive(Debug, Clone)]
pub struct Metering {
    pub(crate) client: Client,
    /// The client with the patience of a request that waits for a verdict.
    pub(crate) asking: Client,
    pub(crate) sender: Sender,
    pub(crate) outages: Arc<Outages>,
}

/// How a [`Metering`] is made.
#[derive(Debug, Clone)]
pub struct MeteringBuilder {
    client: Client,
    sender: SenderOptions,
    policies: HashMap<String, OnOutage>,
    verdict_deadline: Duration,
    silence: Duration,
}

/// Why it cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Metering {
    /// Reports to the service at `base`, with an API key that has `usage:read` and `usage:write`.
    pub fn builder(base: &str, key: &str) -> Result<MeteringBuilder, Error> {
        Ok(Self::over(Client::new(base, key)?))
    }

    /// The same with a client of one's own.
    pub fn over(client: Client) -> MeteringBuilder {
        MeteringBuilder {
            client,
            sender: SenderOptions::default(),
            policies: HashMap::new(),
            verdict_deadline: VERDICT_DEADLINE,
            silence: SILENCE,
        }
    }

    /// A layer for axum and every other tower service. `caller` says whose a request is, by its head
    /// and what earlier layers put into its extensions; requests of nobody are passed on, uncounted
    /// and unprotected.
    pub fn layer(&self, caller: impl Fn(&Parts) -> Option<Caller> + Send + Sync + 'static) -> MeteringLayer {
        MeteringLayer::new(self.clone(), caller)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The sender.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Waits until everything that was handed over before is told: before the process ends; in
    /// Lambda before each invocation does.
    pub async fn flush(&self, timeout: Duration) -> Result<(), Unsent> {
        self.sender.flush(timeout).await
    }

    /// What was decided without the service.
    pub fn outages(&self) -> OutageStats {
        self.outages.stats()
    }
}

impl MeteringBuilder {
    /// Keeps what is not told yet in this folder, so that it outlives the process.
    pub fn spool(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.sender.spool = Some(SpoolOptions::new(folder));
        self
    }

    /// With these options of the sender, its spool included.
    pub fn sender(mut self, options: SenderOptions) -> Self {
        self.sender = options;
        self
    }

    /// What happens to enforced usage of a metric while the service gives no verdict. Without it: it
    /// is refused.
    pub fn on_outage(mut self, metric: impl Into<String>, policy: OnOutage) -> Self {
        self.policies.insert(metric.into(), policy);
        self
    }

    /// How long a request waits for a verdict, retries included: 5 seconds.
    pub fn verdict_deadline(mut self, deadline: Duration) -> Self {
        self.verdict_deadline = deadline;
        self
    }

    /// How long policies decide by themselves after a verdict failed to come, before one request
    /// asks again: 1 second.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Starts it, on the present tokio runtime.
    pub fn start(self) -> Result<Metering, StartError> {
        let allowance = Arc::new(Allowance::default());
        let sender = Sender::start_with(&self.client, self.sender, Arc::clone(&allowance))?;
        let retry = self.client.retry();
        let asking = self.client.clone().with_retry(Retry {
            deadline: self.verdict_deadline,
            attempt: retry.attempt.min(self.verdict_deadline),
            ..retry
        });
        Ok(Metering {
            asking,
            sender,
            outages: Arc::new(Outages::new(self.policies, allowance, self.silence)),
            client: self.client,
        })
    }
}
