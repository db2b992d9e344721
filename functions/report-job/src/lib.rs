//! Makes the reports whose turn it is, on a schedule, and mails who is to have them where they are.
//!
//! Of an occurrence there is one report: its id is made of the schedule and the occurrence. Called twice at once: the
//! schedule is claimed, one works. Dies half-way: the claim ends after minutes, and the next call goes on, with the
//! report if it was made, and mails what was not mailed; between the mail and the note that moves the schedule on lies
//! nothing, so that a mail is sent twice only if the function dies there. After a downtime the latest occurrence is
//! made up for, once. One that fails keeps no other; the call fails at the end, which an alarm sees.

mod mail;
mod occurrence;

use std::sync::Arc;

use chrono::TimeDelta;
use metering_edge::{App, config::ConfigError, file::Files, lambda::Invoke};
use serde_json::json;

/// For so long a call begins with further reports; what it began with is finished within the function's time.
const SLICE: TimeDelta = TimeDelta::seconds(12);
/// Schedules that are read at once.
const PAGE: i32 = 50;
/// Pages that one call reads.
const PAGES_MAX: usize = 200;

/// A step that failed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What it works with.
pub(crate) struct Job {
    app: Arc<App>,
    files: Files,
    mail_sender: String,
    /// Where users reach the API.
    api_url: String,
}

/// What one call did.
#[derive(Default)]
struct Done {
    made: u32,
    failed: u32,
    more: bool,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job {
        files: Files::new(app.s3.clone(), app.config.reports_bucket()?),
        mail_sender: app.config.mail_sender()?,
        api_url: app.config.public_url()?,
        app,
    });
    Ok(Arc::new(move |_event| {
        let job = Arc::clone(&job);
        Box::pin(async move { job.run().await.map_err(|error| error.to_string()) })
    }))
}

impl Job {
    async fn run(&self) -> Result<String, Failure> {
        let began = self.app.context.now();
        let (mut done, mut after) = (Done::default(), None);
        'pages: for _ in 0..PAGES_MAX {
            let (page, next) = self.app.store.schedules_due(began, after, PAGE).await?;
            for key in page {
                if self.app.context.now() - began > SLICE {
                    done.more = true;
                    break 'pages;
                }
                match self.go_on(&key).await {
                    Ok(is_made) => done.made += u32::from(is_made),
                    Err(error) => {
                        let error: &dyn std::error::Error = &*error;
                        tracing::error!(error, "a report could not be made");
                        done.failed += 1;
                    }
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        let said = json!({"made": done.made, "failed": done.failed, "more": done.more}).to_string();
        match done.failed {
            0 => Ok(said),
            _ => Err(format!("some reports could not be made: {said}").into()),
        }
    }
}
