//! Renewals and cancellations: the running period ends now, or the subscription with its period.
//!
//! One transaction changes the subscription, if nobody changed it and no counter was born since it
//! was read, together with the audit entry and the record; what it ended is sealed and billed
//! afterwards (see [`crate::billing`]). Sent twice with a key: the record. Sent twice without one, or
//! in parallel: who finds that a renewal took place since its request, or is not sealed yet, takes it
//! for its own; who finds the end decided, decides nothing. An event of the bus counts only if it is
//! newer than what the subscription has seen, which the same transaction notes. Dies half-way: nothing
//! happened, or the note of what is to be sealed stays on the subscription for whoever comes next, the
//! period close if nobody else.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update, builders::UpdateBuilder};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::period::Timeline;

use crate::{
    Store, StoreError,
    account::{Status, entry},
    audit::AuditEntry,
    configuration::Limits,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::Counter,
    item::{at, int, s},
    keys::{self, OWNER, Owner},
    mutation::{Committed, MutationRecord, update},
    subscription::{Subscription, Target},
};

/// How often a change that met another one looks again.
const TURNS_MAX: u32 = 12;
/// How old an unfinished renewal may be for a request without a key to be its repetition.
pub(crate) const REPEATED_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// What is to be done to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The running period ends now, and the next begins, anchored here.
    Renew,
    /// The running period ends now, and the subscription with it.
    CancelNow,
    /// The subscription ends with the running period.
    CancelAtPeriodEnd,
}

/// What a subscription's limits become, from an instant on.
pub type NextLimits<'a> = &'a (dyn Fn(&Limits, DateTime<Utc>) -> Limits + Send + Sync);

/// What somebody asks for.
#[derive(Clone, Copy)]
pub struct EndOrder<'a> {
    /// Of which subscription.
    pub id: &'a str,
    /// What is to be done.
    pub ending: Ending,
    /// Whether the request is known again when it is repeated.
    pub named: bool,
    /// The instant of the event that says so: nothing is done if the subscription has seen a newer one.
    pub seen_at: Option<DateTime<Utc>>,
    /// The limits after a renewal, if they change with it.
    pub limits: Option<NextLimits<'a>>,
}

/// What is written with it: said by the caller, who sees the subscription before and after.
#[derive(Debug)]
pub struct Noted {
    /// The audit entry.
    pub audit: AuditEntry,
    /// The record of the answer.
    pub record: Option<MutationRecord>,
}

/// What became of it.
#[derive(Debug)]
pub enum Ended {
    /// The subscription is as asked, by this request or another that meant the same.
    Done(Box<Subscription>),
    /// The same request was answered before.
    Before,
    /// There is no such subscription.
    Unknown,
    /// It was cancelled: there is nothing to renew.
    Inactive,
    /// It has not begun: no period runs.
    NotBegun,
    /// Usage of the next period, which begins then, is counted already.
    Ahead(DateTime<Utc>),
    /// The subscription has seen an event that is not older: nothing was done.
    Outdated,
}

/// A step of one look at a subscription.
enum Step {
    Commit(Box<Subscription>, Vec<TransactWriteItem>),
    Answer(Ended),
}

impl Store {
    /// Ends a subscription's period as asked at `now`.
    pub async fn subscription_end<E>(
        &self,
        order: EndOrder<'_>,
        now: DateTime<Utc>,
        note: impl Fn(&Subscription, &Subscription) -> Result<Noted, E> + Send + Sync,
    ) -> Result<Ended, E>
    where
        E: From<StoreError>,
    {
        for turn in 0..TURNS_MAX {
            let Some(read) = self.subscription_get(order.id).await? else {
                return Ok(Ended::Unknown);
            };
            let noted = read.sealing.clone();
            let (found, _) = self.seals_finish(read, now).await?;
            if found.has_seen(order.seen_at) {
                return Ok(Ended::Outdated);
            }
            let step = if is_done(&found, &noted, &order, now) {
                self.nothing_step(&found, &order)?
            } else {
                self.end_step(&found, &order, now).await?
            };
            let (after, items) = match step {
                Step::Commit(after, items) => (after, items),
                Step::Answer(answer) => return Ok(answer),
            };
            let noted = note(&found, &after)?;
            if items.is_empty() && noted.record.is_none() {
                return Ok(Ended::Done(after));
            }
            match self.mutation_commit(items, &noted.audit, noted.record.as_ref()).await? {
                Committed::Done => {
                    let (after, _) = self.seals_finish(*after, now).await?;
                    return Ok(Ended::Done(Box::new(after)));
                }
                Committed::Before => return Ok(Ended::Before),
                Committed::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
            }
        }
        Err(StoreError::busy("subscription_end").into())
    }

    /// Nothing changes, but what the subscription has seen.
    fn nothing_step(&self, found: &Subscription, order: &EndOrder<'_>) -> Result<Step, StoreError> {
        let mut after = found.clone();
        if order.seen_at.is_none() {
            return Ok(Step::Commit(Box::new(after), Vec::new()));
        }
        after.seen_at = order.seen_at;
        after.configuration.version += 1;
        let items = vec![update(after.change(&self.tables.state, found)?)?];
        Ok(Step::Commit(Box::new(after), items))
    }

    /// The subscription as it will be, and the writes that make it so.
    async fn end_step(
        &self,
        found: &Subscription,
        order: &EndOrder<'_>,
        now: DateTime<Utc>,
    ) -> Result<Step, StoreError> {
        let ending = order.ending;
        if found.is_over(now) {
            return Ok(Step::Answer(Ended::Inactive));
        }
        if now < found.starts_at && ending == Ending::Renew {
            return Ok(Step::Answer(Ended::NotBegun));
        }
        let target = Target::of(found, now);
        let running = target.period_at(now.max(found.starts_at))?;
        let (_, counters) = self.counters_list(&target.owner, running.start).await?;
        let starts: BTreeSet<DateTime<Utc>> = counters.iter().filter_map(|one| one.key.period_start).collect();
        let ahead = starts.iter().copied().find(|start| *start > running.start);
        let mut after = match (ending, ahead) {
            (Ending::Renew, Some(start)) => return Ok(Step::Answer(Ended::Ahead(start))),
            (Ending::Renew, None) => found.renewed(now, running.start, order.limits)?,
            (Ending::CancelNow, _) => Subscription {
                status: Status::Cancelled,
                cancel_at: Some(now),
                cancelled_at: Some(now),
                sealing: starts
                    .into_iter()
                    .chain([running.start])
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                ..found.clone()
            },
            (Ending::CancelAtPeriodEnd, _) => Subscription {
                cancel_at: Some(running.end),
                ..found.clone()
            },
        };
        after.seen_at = order.seen_at.or(found.seen_at);
        after.configuration.version = found.configuration.version + 1;
        let mut items = vec![update(after.change(&self.tables.state, found)?)?];
        if (after.status, after.cancel_at) != (found.status, found.cancel_at) {
            items.push(self.end_listed(&after).await?);
            for counter in counters.iter().filter(|one| one.key.period_start.is_none()) {
                items.push(update(self.end_standing(counter, after.cancel_at))?);
            }
        }
        Ok(Step::Commit(Box::new(after), items))
    }

    /// The same in the list by which a user's default subscription is found.
    async fn end_listed(&self, after: &Subscription) -> Result<TransactWriteItem, StoreError> {
        let account = self.account_get(&after.user_id).await?;
        let place = account.subscriptions.iter().position(|one| one.id == after.id);
        let place = place.ok_or(StoreError::Corrupt {
            what: "account",
            attribute: "subscriptions".into(),
        })?;
        // Entries are only ever appended, so the place stays.
        let listed = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(Owner::None(after.user_id.clone()).pk()))
            .key("sk", s(OWNER))
            .update_expression(format!("SET subscriptions[{place}] = :one"))
            .condition_expression(format!("subscriptions[{place}].id = :id"))
            .expression_attribute_values(":one", entry(&after.id, after.status, after.cancel_at))
            .expression_attribute_values(":id", s(&after.id));
        update(listed)
    }

    /// Gauges and leases carry on over a renewal. Once their subscription has ended they keep their
    /// level and take no more, also from an instance that does not know of the end yet.
    fn end_standing(&self, counter: &Counter, ends_at: Option<DateTime<Utc>>) -> UpdateBuilder {
        let builder = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(counter.key.pk()))
            .key("sk", s(counter.key.sk()))
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":step", int(1));
        // The version makes a change under way look again.
        match ends_at {
            Some(ends_at) => builder
                .update_expression("SET ended = :ended, version = version + :step")
                .expression_attribute_values(":ended", at(ends_at)),
            None => builder.update_expression("SET version = version + :step REMOVE ended"),
        }
    }
}

/// Whether what is asked has been done. `noted` is what was yet to be sealed when this request came.
fn is_done(found: &Subscription, noted: &[DateTime<Utc>], order: &EndOrder<'_>, now: DateTime<Utc>) -> bool {
    let ended = found.ended_at(now).is_some();
    match (order.ending, found.timeline.last_renewal()) {
        (Ending::CancelNow, _) => ended,
        (Ending::CancelAtPeriodEnd, _) => ended || found.cancel_at.is_some(),
        (Ending::Renew, None) => false,
        (Ending::Renew, Some(last)) => {
            // Without a key, a renewal that its request did not finish is taken for this one.
            let repeated = !order.named && !noted.is_empty() && now - last <= REPEATED_WITHIN;
            !ended && (last >= now || repeated)
        }
    }
}

impl Subscription {
    /// Whether it has ended, or is closed as if it had, by a clock that is ahead of this one.
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        let closed = |at: DateTime<Utc>| self.configuration.closed_until >= Some(at);
        self.ended_at(now).is_some() || self.cancel_at.is_some_and(closed)
    }

    /// Whether it has seen an event from then, or a newer one.
    pub fn has_seen(&self, event_at: Option<DateTime<Utc>>) -> bool {
        event_at.is_some_and(|at| self.seen_at.is_some_and(|seen| at <= seen))
    }

    /// What renewals, cancellations and the period close change of its item; what is none is not
    /// there.
    pub(crate) fn state(&self) -> Result<Vec<(&'static str, Option<AttributeValue>)>, StoreError> {
        let due = self.due()?;
        let instants = |instants: &[DateTime<Utc>]| AttributeValue::L(instants.iter().copied().map(at).collect());
        Ok(vec![
            ("status", Some(s(self.status.as_str()))),
            ("renewals", Some(instants(self.timeline.renewals()))),
            ("billing_anchor", Some(at(self.timeline.first_anchor()))),
            ("sealing", Some(instants(&self.sealing))),
            ("cancel_at", self.cancel_at.map(at)),
            ("cancelled_at", self.cancelled_at.map(at)),
            ("closed_until", self.configuration.closed_until.map(at)),
            ("billed_until", self.billed_until.map(at)),
            ("seen_at", self.seen_at.map(at)),
            ("due_kind", due.map(|_| s(keys::periods_to_close(self.shard())))),
            ("due_at", due.map(at)),
            ("config_version", Some(int(self.configuration.version))),
        ])
    }

    /// The write that makes this of what it was before, if nobody changed it and no counter was born
    /// since; its limits, too. The version is to be one more.
    pub(crate) fn change(&self, table: &str, before: &Self) -> Result<UpdateBuilder, StoreError> {
        let mut attributes = self.state()?;
        let limits = &self.configuration.limits;
        attributes.extend([
            ("overrides", Some(limits.overrides_value())),
            ("past", Some(self.configuration.past_value())),
            ("plan", limits.plan.clone().map(s)),
            ("plan_since", Some(at(limits.plan_since))),
        ]);
        let mut builder = Update::builder()
            .table_name(table)
            .key("pk", s(Owner::Subscription(self.id.clone()).pk()))
            .key("sk", s(OWNER))
            .condition_expression("#config_version = :before AND births = :births")
            .expression_attribute_values(":before", int(before.configuration.version))
            .expression_attribute_values(":births", int(before.configuration.births));
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (name, value) in attributes {
            builder = builder.expression_attribute_names(format!("#{name}"), name);
            match value {
                Some(value) => {
                    set.push(format!("#{name} = :{name}"));
                    builder = builder.expression_attribute_values(format!(":{name}"), value);
                }
                None => remove.push(format!("#{name}")),
            }
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        Ok(builder.update_expression(expression))
    }

    /// The subscription after a renewal of the period that started at `running`. One that was to end
    /// with that period goes on.
    fn renewed(
        &self,
        now: DateTime<Utc>,
        running: DateTime<Utc>,
        limits: Option<NextLimits<'_>>,
    ) -> Result<Self, StoreError> {
        let renewal = self.timeline.renewal_at(now).ok_or(StoreError::Corrupt {
            what: "subscription",
            attribute: "billing_anchor".into(),
        })?;
        let timeline: Timeline = self.timeline.renewed(renewal);
        let mut after = Self {
            cancel_at: None,
            sealing: vec![running],
            ..self.clone()
        };
        if let Some(limits) = limits {
            let next = limits(&self.configuration.limits, renewal);
            after.configuration = self.configuration.changed(next, renewal, renewal);
        }
        if timeline.first_anchor() != self.timeline.first_anchor() {
            // It must not be forgotten before the periods that it cut have their statements.
            if self.billed_from()? < timeline.first_anchor() {
                return Err(StoreError::busy("renewal: an earlier period is not closed yet"));
            }
            // The oldest renewal was forgotten, and with it how the periods before the next one lay.
            let oldest = timeline.renewals().first().copied();
            after.configuration.closed_until = self.configuration.closed_until.max(oldest);
        }
        Ok(Self { timeline, ..after })
    }
}
