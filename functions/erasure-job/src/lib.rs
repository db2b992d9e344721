//! Erases users: on a schedule, a slice of the work at a time, over both tables, the dead-letter queues
//! and the bucket of reports. What a pass does with each item is the store's to know; this counts time.
//!
//! Called twice at once: one goes on, the other finds that somebody is at it. Dies half-way: the next
//! call goes on from what was noted. Several users at once: one after the other, each as far as there
//! is time. One that fails does not keep the others, and fails the call, which an alarm sees.
//!
//! Each pass reads both tables strongly: a read unit for each 4 KB, some 20 MB a second. A further
//! place where something of a user is kept is one more [`Stage`].

mod dead_letter;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use metering_edge::{App, config::ConfigError, file::Files, lambda::Invoke};
use metering_store::{
    erasure::{Erasure, Next, Stage},
    report,
};
use serde_json::json;

use crate::dead_letter::DeadLetters;

/// How long one call works: the function is stopped after 29 s, a page may take some.
const SLICE: TimeDelta = TimeDelta::seconds(20);
/// Users that one call looks at.
const USERS_MAX: i32 = 20;
/// Pages that one call reads of one user at most.
const STEPS_MAX: u32 = 10_000;

/// A step that failed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What it works with.
struct Job {
    app: Arc<App>,
    letters: DeadLetters,
    files: Files,
}

/// What one call did.
#[derive(Default)]
struct Done {
    users: u32,
    finished: u32,
    read: u64,
    found: u64,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job {
        letters: DeadLetters::new(app.sqs.clone(), &app.config)?,
        files: Files::new(app.s3.clone(), app.config.reports_bucket()?),
        app,
    });
    Ok(Arc::new(move |_event| {
        let job = Arc::clone(&job);
        Box::pin(async move { job.run().await.map_err(|error| error.to_string()) })
    }))
}

impl Job {
    async fn run(&self) -> Result<String, Failure> {
        let now = self.app.context.now();
        let until = now + SLICE;
        let mut done = Done::default();
        let mut failed = Vec::new();
        for mut erasure in self.app.store.erasures_due(now, USERS_MAX).await? {
            done.users += 1;
            if let Err(error) = self.go_on(&mut erasure, until, &mut done).await {
                let error: &dyn std::error::Error = &*error;
                tracing::error!(error, pseudonym = erasure.pseudonym, "a user could not be erased");
                failed.push(error.to_string());
            }
        }
        match failed.first() {
            None => Ok(done.answer()),
            Some(why) => Err(format!("{} users could not be erased: {why}", failed.len()).into()),
        }
    }

    /// Goes on with one user until that is done, must wait, or the time is over.
    async fn go_on(&self, erasure: &mut Erasure, until: DateTime<Utc>, done: &mut Done) -> Result<(), Failure> {
        let store = &self.app.store;
        for _ in 0..STEPS_MAX {
            let now = self.app.context.now();
            if now >= until || !store.erasure_begin(erasure, now).await? {
                return Ok(());
            }
            let next = match self.step(erasure, now, done).await? {
                true => erasure.advance(now),
                false => Next::Stage,
            };
            let due_at = match next {
                Next::Stage => now,
                Next::Pass(at) => at,
                Next::Finished => {
                    done.finished += u32::from(store.erasure_finish(erasure, now).await?);
                    log(erasure, "a user is erased");
                    return Ok(());
                }
            };
            if !store.erasure_save(erasure, due_at).await? {
                return Ok(());
            }
            if let Next::Pass(at) = next {
                log(erasure, "a pass is over");
                if at > now {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One page, or all queues and files; whether that was the end of its stage.
    async fn step(&self, erasure: &mut Erasure, now: DateTime<Utc>, done: &mut Done) -> Result<bool, Failure> {
        let store = &self.app.store;
        if erasure.stage == Stage::Queues {
            let traces = erasure.traces(store.deployment_secret().await?);
            let found = self.letters.clean(&traces).await?;
            let files = self.files.delete_all(&report::folder(&erasure.user_id)).await?;
            let found = found + files as u64;
            erasure.found += found;
            done.found += found;
            return Ok(true);
        }
        let stage = erasure.stage;
        let swept = store.erasure_page(erasure, now).await?;
        done.read += swept.read;
        done.found += swept.found;
        tracing::info!(
            pseudonym = erasure.pseudonym,
            pass = erasure.pass,
            ?stage,
            read = swept.read,
            read_units = swept.read_units,
            found = swept.found,
            "a page is looked through"
        );
        Ok(swept.is_last)
    }
}

impl Done {
    fn answer(&self) -> String {
        json!({"users": self.users, "finished": self.finished, "read": self.read, "found": self.found}).to_string()
    }
}

fn log(erasure: &Erasure, what: &str) {
    let Erasure {
        pseudonym, pass, found, ..
    } = erasure;
    tracing::info!(pseudonym, pass, found, "{what}");
}
