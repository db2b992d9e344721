//! Tells people: each message of its queue is one alert by one way. Also puts statements and
//! anomalies on the event bus, judges counters again that could not be decided, and sends the digests of the day before, on a
//! schedule.
//!
//! Delivered twice: what an alert's list of attempts says was accepted is not sent again; a statement
//! is published again, under its id. Dies
//! between sending and noting: it is sent again, a webhook under the same id. What fails comes again
//! later and later, then goes to the dead-letter queue, where an alarm looks.

mod bus;
mod deliver;
mod digest;
mod mail;
mod webhook;

use std::sync::Arc;

use futures::future::join_all;
use metering_edge::{
    App,
    config::ConfigError,
    lambda::Invoke,
    message::AlertTask,
    queue::{self, Message},
};
use metering_store::{
    StoreError,
    alert::AlertKey,
    anomaly::AnomalyKey,
    judge::Judged,
    keys::{self, CounterKey, Owner},
    statement::StatementKey,
};
use serde_json::Value;

/// The second delivery follows so many seconds after the first, each further one after twice as long,
const BACK_OFF_FIRST_S: i32 = 15;
/// and after this at most.
const BACK_OFF_MOST_S: i32 = 3_600;

/// A step that failed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What it works with.
pub(crate) struct Job {
    app: Arc<App>,
    queue_url: String,
    bus_name: String,
    mail_sender: String,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job {
        queue_url: app.config.alert_queue_url()?,
        bus_name: app.config.event_bus_name()?,
        mail_sender: app.config.mail_sender()?,
        app,
    });
    Ok(Arc::new(move |event| {
        let job = Arc::clone(&job);
        Box::pin(async move { job.run(&event).await.map_err(|error| error.to_string()) })
    }))
}

impl Job {
    async fn run(&self, event: &str) -> Result<String, Failure> {
        let whole: Value = serde_json::from_str(event)?;
        if whole.get("Records").is_none() {
            return self.send_digests().await;
        }
        // At once: one that is slow must not keep the others until the function's time is over.
        let handled = queue::messages(event)?.into_iter().map(|message| self.settle(message));
        let again = join_all(handled).await.into_iter().flatten();
        Ok(queue::answer(again)?)
    }

    /// Handles a message; its id if it must come again.
    async fn settle(&self, message: Message) -> Option<String> {
        let failed = self.handle(&message).await.unwrap_or_else(|error| {
            let error: &dyn std::error::Error = &*error;
            tracing::error!(error, message_id = message.id, "an alert could not be handled");
            true
        });
        if !failed {
            return None;
        }
        let client = &self.app.sqs;
        queue::back_off(client, &self.queue_url, &message, BACK_OFF_FIRST_S, BACK_OFF_MOST_S).await;
        Some(message.id)
    }

    /// Whether the message must come again.
    async fn handle(&self, message: &Message) -> Result<bool, Failure> {
        let task = serde_json::from_str(&message.body)?;
        let user = match &task {
            AlertTask::Judge { user_id, .. } | AlertTask::Deliver { user_id, .. } => Some(user_id.as_str()),
            AlertTask::Publish { pk, .. } => keys::statements_of(pk).or(keys::anomalies_of(pk)),
        };
        if let Some(user) = user
            && self.app.store.is_erased(user).await?
        {
            return Ok(false);
        }
        match task {
            AlertTask::Judge { user_id, pk, sk } => self.judge_again(&user_id, &pk, &sk).await,
            AlertTask::Publish { pk, sk } => {
                if let Some(user) = keys::anomalies_of(&pk) {
                    let user_id = user.to_owned();
                    self.publish_anomaly(&AnomalyKey { user_id, sk }).await?;
                    return Ok(false);
                }
                self.publish(&StatementKey { pk, sk }).await?;
                Ok(false)
            }
            AlertTask::Deliver { user_id, sk, way } => {
                let key = AlertKey { user_id, sk };
                self.deliver(&key, &way, message.receive_count).await
            }
        }
    }

    async fn judge_again(&self, user_id: &str, pk: &str, sk: &str) -> Result<bool, Failure> {
        let key = Owner::parse(pk).and_then(|owner| CounterKey::parse(owner, sk));
        let key = key.ok_or(StoreError::Corrupt {
            what: "task",
            attribute: "sk".into(),
        })?;
        let now = self.app.context.now();
        let judged = self.app.store.thresholds_judge(&key, user_id, &[], now).await?;
        Ok(judged == Judged::Undecided)
    }
}
