//! Holds every counter, hold and aggregate against its records, every night: reports, repairs nothing.
//!
//! A pass goes over all users in slices; what is left goes on by a message to itself. A slice twice, or
//! two at once: one of them writes the next step, the other stops. Dies half-way: its message comes
//! again, and the step that was not written is done again, one user at a time; a user with whom it dies
//! again and again is left out, and counted. What is found is logged, counted and has an alarm.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use metering_edge::{
    App,
    config::ConfigError,
    lambda::Invoke,
    queue::{self, Message},
    telemetry,
};
use metering_store::{
    StoreError,
    keys::Owner,
    reconcile::{Findings, Scope},
    reconcile_pass::{Pass, Totals},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// For so long a slice begins with further users; what it began with is finished within the
/// function's time.
const SLICE: TimeDelta = TimeDelta::seconds(15);
/// After so long a pass goes on whose first slice died.
const IF_IT_DIES_S: i32 = 300;
/// Users of one step.
const USERS: usize = 16;
/// Users looked at at once.
const WIDTH: usize = 8;
/// How often a step may die before its one user is left out.
const TRIES_MAX: u64 = 3;
/// How many events of one owner are read.
const EVENTS_MAX: usize = 1_000_000;
/// Aggregates that changed so long before are compared: a night that failed is made up for.
const CHANGED_WITHIN: TimeDelta = TimeDelta::hours(48);

/// What is counted for the alarms; each has one in the template.
pub const MEASURES: [&str; 3] = ["CounterDrift", "AggregateDrift", "ReconcileFailed"];

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What it works with.
struct Job {
    app: Arc<App>,
    queue_url: String,
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
        queue_url: app.config.reconcile_queue_url()?,
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
            let pass = self.app.store.pass_begin(self.app.context.now()).await?;
            self.call_again(&pass, IF_IT_DIES_S).await?;
            return Ok(self.slice(pass).await?.to_string());
        }
        let mut again = Vec::new();
        for message in queue::messages(event)? {
            if let Err(error) = self.go_on(&message).await {
                let error: &dyn std::error::Error = &*error;
                tracing::error!(error, message_id = message.id, "a reconciliation could not go on");
                again.push(message.id);
            }
        }
        Ok(queue::answer(again)?)
    }

    async fn go_on(&self, message: &Message) -> Result<(), Failure> {
        let named: GoOn = serde_json::from_str(&message.body)?;
        // Another pass began meanwhile, or this one ended: the message is old.
        let pass = self.app.store.pass_get().await?;
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
        let (tries, before) = (pass.tries, pass.totals);
        // Noted first, so that it is known if this dies.
        let Some(mut pass) = store.pass_step(pass).await? else {
            return Ok(None);
        };
        if tries > TRIES_MAX {
            let places: Vec<&str> = users.iter().map(|(place, _)| place.as_str()).collect();
            tracing::error!(?places, "reconciliation dies with this user again and again");
            pass.totals.failed += users.len() as u64;
        } else {
            let looks = users.iter().cloned().map(|(_, user)| self.user(user));
            let looks: Vec<Totals> = stream::iter(looks).buffer_unordered(WIDTH).collect().await;
            looks.into_iter().for_each(|found| add(&mut pass.totals, found));
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
        self.tell(&before, &pass);
        Ok(Some(pass))
    }

    /// Counts what a step found, for the alarms.
    fn tell(&self, before: &Totals, pass: &Pass) {
        let after = &pass.totals;
        let [counters, aggregates, failed] = MEASURES;
        let counts = [
            (counters, after.drifted - before.drifted),
            (aggregates, after.aggregate_drifted - before.aggregate_drifted),
            (failed, after.failed - before.failed),
        ];
        if counts.iter().any(|(_, count)| *count > 0) {
            telemetry::measure(&self.stage, &counts, self.app.context.now());
        }
        if pass.done {
            let result = result(pass);
            tracing::info!(%result, "reconciliation is done");
        }
    }

    /// All that a user has. What fails is logged and counted; the others go on.
    async fn user(&self, user: String) -> Totals {
        let mut totals = Totals::default();
        let looked = self.owners(&user, &mut totals).await;
        if let Err(error) = looked
            && !matches!(error, StoreError::Erased)
        {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, user, "a user could not be reconciled");
            totals.failed += 1;
        }
        totals
    }

    async fn owners(&self, user: &str, totals: &mut Totals) -> Result<(), StoreError> {
        let store = &self.app.store;
        let now = self.app.context.now();
        for owner in store.owners_of(user).await? {
            let mut events_left = EVENTS_MAX;
            let scope = Scope {
                owner: owner.clone(),
                metric_type: None,
                hours_since: now - CHANGED_WITHIN,
                patient: false,
            };
            let found = store.owner_reconcile(&scope, &mut events_left).await?;
            log(user, &owner, &found, now);
            add(totals, found_totals(&found));
        }
        Ok(())
    }
}

fn log(user: &str, owner: &Owner, found: &Findings, now: DateTime<Utc>) {
    let subscription_id = owner.subscription_id();
    for drift in &found.counters {
        let counter = &drift.counter;
        let (metric_type, sk) = (&counter.key.metric_type, counter.key.sk());
        let (used, events, held, live_holds) = (counter.used, drift.expected, drift.held(), drift.live_holds);
        tracing::error!(%now, user, subscription_id, metric_type, sk, %used, %events, %held, %live_holds, "counter drift");
    }
    for drift in &found.aggregates {
        let (metric_type, span) = (&drift.series.metric_type, drift.span());
        let (start, stored, events) = (drift.start, drift.stored, drift.truth);
        tracing::error!(%now, user, subscription_id, metric_type, span, %start, %stored, %events, "aggregate drift");
    }
    if found.cut {
        tracing::error!(
            user,
            subscription_id,
            events_max = EVENTS_MAX,
            "more events than are read"
        );
    }
}

fn found_totals(found: &Findings) -> Totals {
    Totals {
        owners: 1,
        checked: found.checked,
        drifted: found.counters.len() as u64,
        unverifiable: found.unverifiable,
        busy: found.busy,
        aggregates_checked: found.aggregates_checked,
        aggregate_drifted: found.aggregates.len() as u64,
        thresholds_raised: found.thresholds_raised,
        failed: u64::from(found.cut),
    }
}

fn add(totals: &mut Totals, found: Totals) {
    totals.owners += found.owners;
    totals.checked += found.checked;
    totals.drifted += found.drifted;
    totals.unverifiable += found.unverifiable;
    totals.busy += found.busy;
    totals.aggregates_checked += found.aggregates_checked;
    totals.aggregate_drifted += found.aggregate_drifted;
    totals.thresholds_raised += found.thresholds_raised;
    totals.failed += found.failed;
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
    fn each_measure_has_an_alarm() {
        let template = include_str!("../../../template.yaml");
        for measure in MEASURES {
            let (namespace, stage) = (
                telemetry::NAMESPACE,
                "Dimensions:\n        - Name: Stage\n          Value: !Ref StageName",
            );
            let alarm = format!("Namespace: {namespace}\n      MetricName: {measure}\n      {stage}\n");
            assert!(template.contains(&alarm), "{measure}");
        }
    }
}
