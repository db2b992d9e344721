//! Keeps the analytics of series in use fresh, every day: makes their forecasts, and has them looked at for anomalies.
//!
//! A pass goes over all users in slices; what is left goes on by a message to itself. A slice twice, or two at once:
//! one of them writes the next step, the other stops; a series is refreshed once a day, by the id of what is made. Dies
//! half-way: its message comes again, and the step that was not written is done again; users with whom it dies again
//! and again are left out, and logged. A series that fails keeps no other; the log and an alarm say so.

mod anomaly;
mod forecast;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use metering_domain::metric::Metric;
use metering_edge::{
    App,
    config::ConfigError,
    lambda::Invoke,
    problem::{Code, Problem},
    queue::{self, Message},
    telemetry,
};
use metering_store::{
    keys,
    reconcile_pass::{self, Work},
    subscription::Target,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// For so long a slice begins with further users; what it began with is finished within the function's time.
const SLICE: TimeDelta = TimeDelta::seconds(15);
/// After so long a pass goes on whose first slice died.
const IF_IT_DIES_S: i32 = 300;
/// Users of one step,
const USERS: usize = 8;
/// and those that are worked on at once.
const WIDTH: usize = 4;
/// How often a step may die before its one user is left out.
const TRIES_MAX: u64 = 3;
/// A series is in use if something happened in it so lately.
const IN_USE: TimeDelta = TimeDelta::days(7);
/// What is counted for the alarm.
pub const MEASURE: &str = "AnalyticsRefreshFailed";

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Pass = reconcile_pass::Pass<Totals>;

/// What a pass did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    /// Series looked at.
    series: u64,
    /// Forecasts made.
    forecasts: u64,
    /// Series, or users, that failed.
    failed: u64,
}

impl Work for Totals {
    const KEY: &'static str = keys::ANALYTICS_REFRESH;
    const PREFIX: &'static str = "rfr";
}

/// What it works with.
struct Job {
    app: Arc<App>,
    queue_url: String,
    anomaly_queue_url: String,
    stage: String,
}

/// What the message says by which a pass goes on.
#[derive(Debug, Serialize, Deserialize)]
struct GoOn {
    pass: String,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job {
        queue_url: app.config.analytics_refresh_queue_url()?,
        anomaly_queue_url: app.config.anomaly_queue_url()?,
        stage: app.config.stage()?,
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
            let pass: Pass = self.app.store.pass_begin(self.app.context.now()).await?;
            self.call_again(&pass, IF_IT_DIES_S).await?;
            return Ok(self.slice(pass).await?.to_string());
        }
        let mut again = Vec::new();
        for message in queue::messages(event)? {
            if let Err(error) = self.go_on(&message).await {
                let error: &dyn std::error::Error = &*error;
                tracing::error!(error, message_id = message.id, "a refresh could not go on");
                again.push(message.id);
            }
        }
        Ok(queue::answer(again)?)
    }

    async fn go_on(&self, message: &Message) -> Result<(), Failure> {
        let named: GoOn = serde_json::from_str(&message.body)?;
        // Another pass began meanwhile, or this one ended: the message is old.
        let pass: Option<Pass> = self.app.store.pass_get().await?;
        if let Some(pass) = pass.filter(|pass| pass.id == named.pass && !pass.done) {
            self.slice(pass).await?;
        }
        Ok(())
    }

    /// Goes on with a pass for a while; what is known of it then.
    async fn slice(&self, mut pass: Pass) -> Result<Value, Failure> {
        let began = self.app.context.now();
        while !pass.done && self.app.context.now() - began < SLICE {
            match self.step(pass.clone()).await? {
                Some(next) => pass = next,
                // Another worker goes on with it.
                None => return Ok(result(&pass)),
            }
        }
        if !pass.done {
            self.call_again(&pass, 0).await?;
        }
        Ok(result(&pass))
    }

    /// Sends the message by which a pass goes on.
    async fn call_again(&self, pass: &Pass, delay_s: i32) -> Result<(), Failure> {
        let body = serde_json::to_string(&GoOn { pass: pass.id.clone() })?;
        let send = self.app.sqs.send_message().queue_url(&self.queue_url);
        send.message_body(body).delay_seconds(delay_s).send().await?;
        Ok(())
    }

    /// The next users of a pass; none if another worker is at it.
    async fn step(&self, mut pass: Pass) -> Result<Option<Pass>, Failure> {
        let store = &self.app.store;
        let width = if pass.tries == 0 { USERS } else { 1 };
        let (users, more) = store.user_page(pass.after.as_deref(), width).await?;
        pass.tries += 1;
        let (tries, failed) = (pass.tries, pass.totals.failed);
        // Noted first, so that it is known if this dies.
        let Some(mut pass) = store.pass_step(pass).await? else {
            return Ok(None);
        };
        if tries > TRIES_MAX {
            tracing::error!("a refresh dies with a user again and again, who is left out");
            pass.totals.failed += users.len() as u64;
        } else {
            let began = pass.began_at;
            let each = users.iter().cloned().map(|(_, user)| self.user(user, began));
            let done: Vec<Totals> = stream::iter(each).buffer_unordered(WIDTH).collect().await;
            for one in done {
                pass.totals.series += one.series;
                pass.totals.forecasts += one.forecasts;
                pass.totals.failed += one.failed;
            }
        }
        pass.after = users.into_iter().next_back().map(|(place, _)| place).or(pass.after);
        pass.tries = 0;
        pass.done = !more;
        if pass.done {
            // Where a pass is names a user, who may be erased.
            pass.after = None;
        }
        let Some(pass) = store.pass_step(pass).await? else {
            return Ok(None);
        };
        if pass.totals.failed > failed {
            let counts = [(MEASURE, pass.totals.failed - failed)];
            telemetry::measure(&self.stage, &counts, self.app.context.now());
        }
        if pass.done {
            let result = result(&pass);
            tracing::info!(%result, "the refresh is done");
        }
        Ok(Some(pass))
    }

    /// Everything that a user has. What fails is logged and counted; the others go on.
    async fn user(&self, user: String, began: DateTime<Utc>) -> Totals {
        let mut totals = Totals::default();
        if let Err(error) = self.owners(&user, began, &mut totals).await {
            self.count_failure(&error, &user, &mut totals);
        }
        totals
    }

    async fn owners(&self, user: &str, began: DateTime<Utc>, totals: &mut Totals) -> Result<(), Problem> {
        let store = &self.app.store;
        let now = self.app.context.now();
        for owner in store.owners_of(user).await? {
            let named = Some(owner.subscription_id());
            let target = store.subscription_resolve(user, named, false, now).await?;
            // What has ended does not go on.
            let Some(target) = target.filter(|target| target.active) else {
                continue;
            };
            for metric in store.metrics_in_use(&owner, now - IN_USE, now).await? {
                totals.series += 1;
                if let Err(error) = self.refresh(&target, metric, began, totals).await {
                    self.count_failure(&error, user, totals);
                }
            }
        }
        Ok(())
    }

    /// All that is kept fresh of one series.
    async fn refresh(
        &self,
        target: &Target,
        metric: Metric,
        began: DateTime<Utc>,
        totals: &mut Totals,
    ) -> Result<(), Problem> {
        // First, so that it is looked at what cannot be forecast, too.
        anomaly::ask(&self.app, &self.anomaly_queue_url, target, &metric).await?;
        totals.forecasts += u64::from(forecast::refresh(&self.app, target, metric, began).await?);
        Ok(())
    }

    fn count_failure(&self, problem: &Problem, user: &str, totals: &mut Totals) {
        // Of whoever is erased nothing is kept fresh.
        if problem.code() == Code::Gone {
            return;
        }
        tracing::error!(
            error = problem.source(),
            code = problem.code().as_str(),
            user,
            "analytics could not be refreshed"
        );
        totals.failed += 1;
    }
}

fn result(pass: &Pass) -> Value {
    let mut result = json!(pass.totals);
    result["more"] = json!(!pass.done);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measure_has_an_alarm() {
        let template = include_str!("../../../template.yaml");
        let stage = "Dimensions:\n        - Name: Stage\n          Value: !Ref StageName";
        let alarm = format!(
            "Namespace: {}\n      MetricName: {MEASURE}\n      {stage}\n",
            telemetry::NAMESPACE
        );
        assert!(template.contains(&alarm));
    }
}
