//! Usage from the access logs of API Gateway: of an API that knows nothing of this service.
//!
//! CloudWatch Logs hands over lines, each a request that was served. Of each, up to two events go to
//! the queue of usage, named by the id that API Gateway gave the request. Handed over twice: the same
//! names, so that each is counted once. Dies half-way, or a queue is out of reach: Lambda calls again,
//! twice within minutes, and then puts the batch aside whole; to send it again is safe at any time.
//! A line that cannot be read is put aside with its reason; the others count.

mod letter;
mod request;

use std::{collections::BTreeSet, sync::Arc};

use metering_edge::{
    App,
    config::ConfigError,
    lambda::Invoke,
    logs::{self, Batch},
    send::{Outbox, Outgoing},
};
use metering_store::StoreError;
use serde_json::{Value, json};

use crate::{letter::Unread, request::Request};

/// How many events one message has: some 60 KB, which SQS counts as one request.
const EVENTS_MAX: usize = 200;

struct Job {
    app: Arc<App>,
    usage: Outbox,
    letters: Outbox,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job {
        usage: Outbox::new(app.sqs.clone(), app.config.usage_events_queue_url()?),
        letters: Outbox::new(app.sqs.clone(), app.config.access_log_dead_letters_url()?),
        app,
    });
    Ok(Arc::new(move |event| {
        let job = Arc::clone(&job);
        Box::pin(async move { job.run(&event).await.map_err(|error| error.to_string()) })
    }))
}

impl Job {
    async fn run(&self, event: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let batch = logs::batch(event)?;
        let (mut events, mut unread, mut anonymous) = (Vec::new(), Vec::new(), 0_usize);
        for line in &batch.lines {
            match Request::read(&line.text) {
                Ok(Some(request)) => events.extend(request.usage()),
                Ok(None) => anonymous += 1,
                Err(problem) => unread.push(Unread { line, problem }),
            }
        }
        self.tell(&events).await?;
        self.put_aside(&batch, &unread).await?;
        let (events, unread) = (events.len(), unread.len());
        tracing::info!(
            log_group = batch.group,
            lines = batch.lines.len(),
            events,
            anonymous,
            unread,
            "an access log"
        );
        Ok(json!({"events": events, "anonymous": anonymous, "unread": unread}).to_string())
    }

    async fn tell(&self, events: &[Value]) -> Result<(), StoreError> {
        let messages = events.chunks(EVENTS_MAX).map(|events| Outgoing::new(&events, 0));
        self.usage.send(messages.collect::<Result<_, _>>()?).await
    }

    /// What names an erased user is not kept.
    async fn put_aside(&self, batch: &Batch, unread: &[Unread<'_>]) -> Result<(), StoreError> {
        let user = |one: &Unread<'_>| logs::user(&one.line.text);
        let users: BTreeSet<String> = unread.iter().filter_map(user).collect();
        let erased = self.app.store.erased_among(users).await?;
        let kept = unread
            .iter()
            .filter(|one| user(one).is_none_or(|user| !erased.contains(&user)));
        let letters = kept.map(|one| {
            tracing::warn!(
                log_group = batch.group,
                line = one.line.id,
                "a line of an access log cannot be read"
            );
            Outgoing::new(&one.letter(&batch.group), 0)
        });
        self.letters.send(letters.collect::<Result<_, _>>()?).await
    }
}
