//! What others tell of subscriptions over the bus: created, renewed, moved to another plan, cancelled.
//!
//! Told twice, in parallel or out of order: an event counts only if it is newer than what its
//! subscription has seen, which is noted in the transaction that makes the change. Dies half-way:
//! nothing happened, or the period close finishes what was ended. What cannot be done fails: it is
//! tried again, since what it builds on may be yet to come, and then kept in the dead-letter queue.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use metering_domain::plan::Override;
use metering_edge::{
    answer,
    fields::Fields,
    problem::Problem,
    read,
    subscription::{Periods, Wanted, known_plan, moved_to, plans_for, read_limits},
};
use metering_store::{
    StoreError,
    audit::{Actor, AuditEntry},
    configuration::Limits,
    limit::{Limited, Planned},
    mutation::Committed,
    plan::Version,
    renewal::{EndOrder, Ended, Ending, Noted},
    subscription::{Subscription, Target},
};
use serde_json::{Value, json};

use crate::{Failure, Job, TOLD};

/// How often a creation that met another one looks again.
const TURNS_MAX: u32 = 3;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Created,
    Renewed,
    PlanChanged,
    Cancelled,
}

impl Told {
    /// What an event's type says, if it is about subscriptions.
    pub fn parse(detail_type: &str) -> Option<Self> {
        let all = [Self::Created, Self::Renewed, Self::PlanChanged, Self::Cancelled];
        let mut named = TOLD.into_iter().zip(all);
        named.find(|(name, _)| *name == detail_type).map(|(_, told)| told)
    }
}

/// An event as read.
struct Message {
    id: String,
    user_id: String,
    /// What cannot go without one has one.
    plan: Option<Version>,
    periods: Periods,
    overrides: BTreeMap<String, Override>,
    at_period_end: bool,
    occurred_at: DateTime<Utc>,
}

/// Why limits were not changed.
enum Refusal {
    /// The subscription has seen this event, or a newer one.
    Outdated,
    Other(Failure),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl Message {
    /// The plan and the limits that it brings, on top of those before.
    fn limits(&self, before: &Limits, now: DateTime<Utc>) -> Limits {
        let mut limits = match &self.plan {
            Some(plan) => moved_to(before, plan, now),
            None => before.clone(),
        };
        limits.overrides.extend(self.overrides.clone());
        limits
    }

    fn changes_limits(&self, before: &Limits) -> bool {
        self.limits(before, before.plan_since) != *before
    }
}

impl Job {
    /// Does what an event tells.
    pub(crate) async fn take(&self, told: Told, detail: &Value) -> Result<String, Failure> {
        let now = self.app.context.now();
        // A dead letter would keep the name of a user who was erased.
        if let Some(user) = detail["user_id"].as_str()
            && self.app.store.is_erased(user).await?
        {
            tracing::warn!("an event about a user who was erased is dropped");
            return Ok(json!({"applied": false}).to_string());
        }
        let message = self.read(told, detail, now).await?;
        let applied = match told {
            Told::Created => self.created(&message, now).await?,
            Told::PlanChanged => {
                let found = self.own(&message).await?;
                self.change_limits(&message, &found, now).await?
            }
            Told::Renewed => self.end(&message, Ending::Renew, now).await?,
            Told::Cancelled if message.at_period_end => self.end(&message, Ending::CancelAtPeriodEnd, now).await?,
            Told::Cancelled => self.end(&message, Ending::CancelNow, now).await?,
        };
        Ok(json!({"applied": applied}).to_string())
    }

    async fn read(&self, told: Told, detail: &Value, now: DateTime<Utc>) -> Result<Message, Failure> {
        let mut fields = Fields::body(detail.clone()).map_err(wrong)?;
        let plans = plans_for(&self.app, &fields).await?;
        let metrics = self.app.store.metrics(fields.names_in("limits"), now).await?;
        let id = fields.required("subscription_id", read::new_subscription_id);
        let user_id = fields.required("user_id", read::user_id);
        let plan = match told {
            Told::Created | Told::PlanChanged => fields.required("plan", known_plan(&plans)),
            Told::Renewed | Told::Cancelled => fields.optional("plan", known_plan(&plans)),
        };
        let periods = Periods::read(&mut fields);
        let overrides = read_limits(&mut fields, &metrics);
        let at_period_end = fields.optional("at_period_end", read::boolean).unwrap_or(false);
        let occurred_at = fields.required("occurred_at", read::instant);
        let required = id.zip(user_id).zip(occurred_at);
        let ((id, user_id), occurred_at) = fields.finish(required).map_err(wrong)?;
        Ok(Message {
            id,
            user_id,
            plan,
            periods,
            overrides,
            at_period_end,
            occurred_at,
        })
    }

    /// The subscription that an event is about.
    async fn own(&self, message: &Message) -> Result<Subscription, Failure> {
        let found = self.app.store.subscription_get(&message.id).await?;
        let found = found.ok_or_else(|| format!("there is no subscription {}", message.id))?;
        owned(&found, message)?;
        Ok(found)
    }

    /// Creates a subscription, or takes over plan and limits of one that is there.
    async fn created(&self, message: &Message, now: DateTime<Utc>) -> Result<bool, Failure> {
        let plan = message.plan.clone().ok_or("a creation has no plan")?;
        let wanted = Wanted {
            id: Some(message.id.clone()),
            user_id: message.user_id.clone(),
            plan,
            periods: message.periods,
            // What was used since belongs to it, however long the event took.
            starts_at: Some(message.occurred_at.min(now)),
        };
        for _ in 0..TURNS_MAX {
            if let Some(found) = self.app.store.subscription_get(&message.id).await? {
                owned(&found, message)?;
                return self.change_limits(message, &found, now).await;
            }
            let mut new = wanted.subscription(&self.app, now);
            new.configuration.limits.overrides = message.overrides.clone();
            new.seen_at = Some(message.occurred_at);
            let after = answer::subscription(&new, now).map_err(wrong)?;
            let audit = self.audit("subscription.create", message, now, Value::Null, after);
            match self.app.store.subscription_create(&new, &audit, None).await? {
                Committed::Done | Committed::Before => return Ok(true),
                // Another one put it.
                Committed::Unmet(unmet) if unmet.contains(&0) => {}
                Committed::Unmet(_) => return Err("the user has as many subscriptions as one may have".into()),
            }
        }
        Err(StoreError::Unavailable {
            operation: "created",
            source: None,
        }
        .into())
    }

    /// Takes over plan and limits; false if the subscription has seen something newer.
    async fn change_limits(
        &self,
        message: &Message,
        found: &Subscription,
        now: DateTime<Utc>,
    ) -> Result<bool, Failure> {
        let planned = |limited: &Limited| -> Result<Planned, Refusal> {
            if limited.seen_at.is_some_and(|seen| message.occurred_at <= seen) {
                return Err(Refusal::Outdated);
            }
            if !limited.target.active {
                return Err(Refusal::Other("the subscription is cancelled".into()));
            }
            let before = &limited.configuration.limits;
            let limits = message.limits(before, now);
            let (shown_before, shown_after) = (shown(before), shown(&limits));
            Ok(Planned {
                limits,
                seen_at: Some(message.occurred_at),
                audit: self.audit("subscription.plan", message, now, shown_before, shown_after),
                record: None,
            })
        };
        let target = Target::of(found, now);
        match self.app.store.limits_change(&target, now, planned).await {
            Ok(Some(_)) => Ok(true),
            Ok(None) => Err(format!("there is no subscription {}", message.id).into()),
            Err(Refusal::Outdated) => Ok(false),
            Err(Refusal::Other(error)) => Err(error),
        }
    }

    /// Ends the running period; false if the subscription has seen something newer.
    async fn end(&self, message: &Message, ending: Ending, now: DateTime<Utc>) -> Result<bool, Failure> {
        let found = self.own(message).await?;
        let next = |before: &Limits, at: DateTime<Utc>| message.limits(before, at);
        let order = EndOrder {
            id: &message.id,
            ending,
            named: true,
            seen_at: Some(message.occurred_at),
            limits: message
                .changes_limits(&found.configuration.limits)
                .then_some(&next as _),
        };
        let action = match ending {
            Ending::Renew => "subscription.renew",
            Ending::CancelNow | Ending::CancelAtPeriodEnd => "subscription.cancel",
        };
        let note = |before: &Subscription, after: &Subscription| -> Result<Noted, Failure> {
            let shown = |one: &Subscription| answer::subscription(one, now).map_err(wrong);
            Ok(Noted {
                audit: self.audit(action, message, now, shown(before)?, shown(after)?),
                record: None,
            })
        };
        match self.app.store.subscription_end(order, now, note).await? {
            Ended::Done(_) | Ended::Before => Ok(true),
            Ended::Outdated => Ok(false),
            Ended::Unknown => Err(format!("there is no subscription {}", message.id).into()),
            Ended::Inactive => Err("the subscription is cancelled".into()),
            Ended::NotBegun => Err("the subscription has not begun".into()),
            Ended::Ahead(start) => Err(format!("usage of the period that begins at {start} is counted already").into()),
        }
    }

    fn audit(
        &self,
        action: &'static str,
        message: &Message,
        now: DateTime<Utc>,
        before: Value,
        after: Value,
    ) -> AuditEntry {
        let id = self.app.context.id("aud");
        AuditEntry {
            at: now,
            actor: Actor {
                kind: "system",
                id: "bus".to_owned(),
            },
            action,
            target: message.id.clone(),
            before,
            after,
            reason: None,
            ip: None,
            request_id: id.clone(),
            id,
        }
    }
}

/// What an audit entry says of limits.
fn shown(limits: &Limits) -> Value {
    json!({"plan": limits.plan, "overridden": limits.overrides.keys().collect::<Vec<_>>()})
}

fn owned(found: &Subscription, message: &Message) -> Result<(), Failure> {
    match found.user_id == message.user_id {
        true => Ok(()),
        false => Err(format!("the subscription {} is another user's", message.id).into()),
    }
}

/// What is wrong with an event, in words.
fn wrong(problem: Problem) -> Failure {
    format!("{} {}", problem.detail(), problem.errors_value()).into()
}
