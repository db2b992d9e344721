//! Tells the service, until it has said what became of each record.
//!
//! There is no end to trying: what is told is bounded by the queue or the spool, and `flush` by its
//! caller's patience. What the service refuses by itself ends as dead; what it refuses to everybody
//! (wrong credentials, a wrong address) is an error in the log, and is tried again.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use super::Shared;
use crate::{client::Client, clock, error::Error, record::Record, retry::Retry, types::BatchItemResult, usage::Usage};

/// How long an attempt may take at least: as long as API Gateway lets a function work.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How many commits and releases are under way at once, for each batch.
const SINGLES_AT_ONCE: usize = 8;

/// What the service will never count.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Dead {
    /// What it was: an event, a commit, a release.
    pub record: serde_json::Value,
    /// The kind of reason: `validation_failed`, `gone`, `invalid`.
    pub code: String,
    /// The reason, in words.
    pub detail: String,
}

/// What became of an attempt.
enum Fate {
    Told,
    Again(Option<Error>),
    /// The request as a whole was refused, so that it is not known which part of it is wrong.
    Apart(Error),
}

/// Tells all records; when this returns, each is told or dead.
pub(super) async fn ship(shared: &Arc<Shared>, records: Vec<Record>) {
    let (events, singles): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| matches!(record, Record::Track { .. }));
    let mut under_way = JoinSet::new();
    for record in singles {
        if under_way.len() >= SINGLES_AT_ONCE {
            under_way.join_next().await;
        }
        let shared = Arc::clone(shared);
        under_way.spawn(async move { ship_single(&shared, record).await });
    }
    ship_events(shared, events).await;
    while under_way.join_next().await.is_some() {}
}

async fn ship_events(shared: &Arc<Shared>, records: Vec<Record>) {
    // Parts are told one after the other; a part is split where it is refused as a whole.
    let mut parts = vec![records];
    while let Some(mut part) = parts.pop() {
        let mut failures = 0;
        while !part.is_empty() {
            let error = match attempt_events(shared, &mut part).await {
                Fate::Told => break,
                Fate::Apart(error) if part.len() == 1 => {
                    part.drain(..).for_each(|record| refuse(shared, &record, &error));
                    break;
                }
                Fate::Apart(_) => {
                    parts.push(part.split_off(part.len() / 2));
                    continue;
                }
                Fate::Again(error) => error,
            };
            pause(shared, &mut failures, error).await;
        }
    }
}

/// Tells events; those that are told leave `part`.
async fn attempt_events(shared: &Arc<Shared>, part: &mut Vec<Record>) -> Fate {
    let usages: Vec<Usage> = part.iter().filter_map(usage).cloned().collect();
    #[cfg(feature = "sqs")]
    if let Some(queue) = &shared.options.queue {
        return match queue.send(&usages).await {
            Ok(()) => {
                shared.counters.counted(part.len() as u64);
                part.drain(..).for_each(|record| settle(shared, &record));
                Fate::Told
            }
            Err(error) => {
                tracing::error!(%error, "the queue cannot be reached; it is tried again");
                Fate::Again(None)
            }
        };
    }
    match once(&shared.client).track_batch(&usages, false).await {
        Ok(answer) if answer.results.len() == part.len() => {
            let told = std::mem::take(part);
            *part = told
                .into_iter()
                .zip(answer.results)
                .filter_map(|(record, result)| judge(shared, record, &result))
                .collect();
            if part.is_empty() { Fate::Told } else { Fate::Again(None) }
        }
        Ok(answer) => {
            tracing::error!(
                sent = part.len(),
                answered = answer.results.len(),
                "a batch has another number of results"
            );
            Fate::Again(None)
        }
        Err(error) => match error.problem().map(|problem| problem.status) {
            Some(400 | 409 | 413 | 422) => Fate::Apart(error),
            _ => Fate::Again(Some(error)),
        },
    }
}

/// What became of one event; it comes back if it is to be told again.
fn judge(shared: &Shared, record: Record, result: &BatchItemResult) -> Option<Record> {
    match result.status {
        201 => shared.counters.counted(1),
        200 => shared.counters.duplicates(1),
        500.. => return Some(record),
        _ => {
            let (code, detail) = match &result.error {
                Some(error) => (error.code.as_str(), said(&error.detail, &error.errors)),
                None => ("unknown", format!("status {}", result.status)),
            };
            bury(shared, &record, code, &detail);
            return None;
        }
    }
    settle(shared, &record);
    None
}

async fn ship_single(shared: &Arc<Shared>, record: Record) {
    let mut failures = 0;
    loop {
        let error = match attempt_single(shared, &record).await {
            Ok(()) => return,
            Err(error) => error,
        };
        match error.problem() {
            Some(problem) if problem.code == "reservation_expired" => {
                return count_expired(shared, record).await;
            }
            // It has been committed meanwhile: there is nothing to give back.
            Some(problem) if problem.code == "reservation_closed" && matches!(record, Record::Release { .. }) => {
                shared.counters.settled(1);
                return;
            }
            Some(problem) if matches!(problem.status, 400 | 404 | 409 | 410 | 422) => {
                return refuse(shared, &record, &error);
            }
            _ => pause(shared, &mut failures, Some(error)).await,
        }
    }
}

async fn attempt_single(shared: &Arc<Shared>, record: &Record) -> Result<(), Error> {
    let client = once(&shared.client);
    match record {
        Record::Track { .. } => {}
        Record::Commit { id, used, .. } => {
            client.keyed(&format!("commit-{id}")).commit(id, used).await?;
            shared.counters.committed(1);
        }
        Record::Release { id } => {
            client.keyed(&format!("release-{id}")).release(id).await?;
            shared.counters.released(1);
        }
    }
    shared.counters.settled(1);
    Ok(())
}

/// The hold has expired, the work is done: it is an event, under an identity that the hold gives it.
async fn count_expired(shared: &Arc<Shared>, record: Record) {
    match record {
        Record::Commit { usage, .. } => {
            tracing::warn!(
                key = usage.idempotency_key,
                "a hold had expired before its commit; it is counted as an event"
            );
            ship_events(shared, vec![Record::Track { usage, local: false }]).await;
        }
        Record::Track { .. } | Record::Release { .. } => shared.counters.settled(1),
    }
}

/// The same client, tried once for each of our own attempts, and with patience: nobody waits here.
fn once(client: &Client) -> Client {
    let retry = client.retry();
    let attempt = retry.attempt.max(ATTEMPT);
    client.clone().with_retry(Retry {
        deadline: attempt,
        first_pause: attempt,
        attempt,
        ..retry
    })
}

async fn pause(shared: &Shared, failures: &mut u32, error: Option<Error>) {
    *failures += 1;
    shared.counters.retries(1);
    let retry_after = error.as_ref().and_then(Error::retry_after);
    match &error {
        Some(error) if !error.is_temporary() => {
            tracing::error!(%error, failures = *failures, "the service refuses everything; it is tried again");
        }
        Some(error) => tracing::warn!(%error, failures = *failures, "usage is told again"),
        None => {}
    }
    clock::wait(shared.client.retry().pause(*failures, retry_after)).await;
}

/// It is told.
fn settle(shared: &Shared, record: &Record) {
    shared.counters.settled(1);
    if let Record::Track { usage, local: true } = record {
        shared.allowance.settled(&usage.metric_type, usage.metric_value);
    }
}

fn refuse(shared: &Shared, record: &Record, error: &Error) {
    let (code, detail) = match error.problem() {
        Some(problem) => (problem.code.as_str(), said(&problem.detail, &problem.errors)),
        None => ("unknown", error.to_string()),
    };
    bury(shared, record, code, &detail);
}

/// It will never be told: that is counted, logged, and kept where that is possible.
pub(super) fn bury(shared: &Shared, record: &Record, code: &str, detail: &str) {
    let dead = Dead {
        record: serde_json::to_value(record).unwrap_or_default(),
        code: code.to_owned(),
        detail: detail.to_owned(),
    };
    tracing::error!(code, detail, record = %dead.record, "usage will never be counted");
    shared.counters.dead(1);
    if let (Some(spool), Ok(mut line)) = (&shared.spool, serde_json::to_vec(&dead)) {
        line.push(b'\n');
        let kept = spool.lock().unwrap_or_else(PoisonError::into_inner).bury(&line);
        if let Err(error) = kept {
            tracing::error!(%error, "what will never be counted cannot be kept");
        }
    }
    if let Some(on_dead) = &shared.options.on_dead {
        on_dead(&dead);
    }
    settle(shared, record);
}

fn said(detail: &str, errors: &[crate::types::FieldError]) -> String {
    errors.iter().fold(detail.to_owned(), |text, error| {
        format!("{text}; {} {}", error.pointer, error.detail)
    })
}

/// What is wrong with a record that the application did not make itself.
pub(super) fn fault(record: &Record) -> Option<String> {
    usage(record)?.check().err().map(|error| error.to_string())
}

/// About how many bytes a record is in a request.
pub(super) fn size(record: &Record) -> usize {
    let text = |text: &Option<String>| text.as_deref().map_or(0, |text| text.len() + 16);
    usage(record).map_or(256, |usage| {
        let known = if usage.metadata.is_empty() { 0 } else { 512 };
        200 + usage.user_id.len()
            + usage.metric_type.len()
            + usage.idempotency_key.len()
            + text(&usage.subscription_id)
            + text(&usage.endpoint)
            + text(&usage.operation)
            + text(&usage.resource_id)
            + known
    })
}

fn usage(record: &Record) -> Option<&Usage> {
    match record {
        Record::Track { usage, .. } => Some(usage),
        Record::Commit { .. } | Record::Release { .. } => None,
    }
}
