//! One schedule of a function. It runs as the clock ticks past its instants; when somebody moves
//! the clock, what lies between is left out.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use metering_store::context::Source as _;
use serde_json::json;

use super::{Busy, Work};
use crate::{
    clock::Clock,
    template::{ACCOUNT, REGION, Schedule},
};

/// A run that is later than this is left out: the machine slept.
const LATE_MAX: TimeDelta = TimeDelta::minutes(1);

/// Runs a schedule until told to stop; a run that takes long does not hold up the next.
pub async fn run(schedule: Schedule, work: Work) {
    let (mut orders, mut moves) = (work.orders.clone(), work.clock.moves());
    // Not from now on: what came due while this thread was not yet running is due.
    let mut from = *moves.borrow_and_update();
    loop {
        let Some(next) = schedule.expression.next(from.max(work.clock.now() - LATE_MAX)) else {
            return;
        };
        tokio::select! {
            biased;
            _ = orders.wait_for(|orders| orders.stop) => return,
            _ = moves.changed() => {
                from = *moves.borrow_and_update();
                continue;
            }
            () = work.clock.reach(Some(next)) => {}
        }
        from = next;
        let event = event(&schedule, next, &work.clock);
        let (functions, function) = (work.functions.clone(), schedule.function.clone());
        let busy = Busy::begin(&work.running);
        tokio::spawn(async move {
            if let Err(error) = functions.invoke(&function, event).await {
                tracing::error!(function, %error, "a scheduled run failed");
            }
            drop(busy);
        });
    }
}

/// What the function is handed for a run at `at`.
pub fn event(schedule: &Schedule, at: DateTime<Utc>, clock: &Clock) -> String {
    let time = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let id = format!("{:032x}", clock.random());
    match (&schedule.input, schedule.scheduler) {
        (Some(input), true) => input
            .replace("<aws.scheduler.schedule-arn>", &schedule.arn)
            .replace("<aws.scheduler.scheduled-time>", &time)
            .replace("<aws.scheduler.execution-id>", &id)
            .replace("<aws.scheduler.attempt-number>", "1"),
        (Some(input), false) => input.clone(),
        (None, scheduler) => json!({
            "version": "0",
            "id": id,
            "detail-type": "Scheduled Event",
            "source": if scheduler { "aws.scheduler" } else { "aws.events" },
            "account": ACCOUNT,
            "time": time,
            "region": REGION,
            "resources": [schedule.arn],
            "detail": if scheduler { json!("{}") } else { json!({}) },
        })
        .to_string(),
    }
}
