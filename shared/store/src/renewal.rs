//! Renewals and cancellations: the running period ends now, or the subscription with its period.
//!
//! One transaction changes the subscription, if nobody changed it and no counter was born since it
//! was read, together with the audit entry and the record; what it ended is sealed afterwards (see
//! [`crate::seal`]). Sent twice with a key: the record. Sent twice without one, or in parallel: who
//! finds that a renewal took place since its request, or is not sealed yet, takes it for its own;
//! who finds the end decided, decides nothing. Dies half-way: nothing happened, or the note of what
//! is to be sealed stays on the subscription for whoever comes next.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update, builders::UpdateBuilder};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::period::Timeline;

use crate::{
    Store, StoreError,
    account::{Status, entry},
    audit::AuditEntry,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::Counter,
    item::{at, int, s},
    keys::{OWNER, Owner},
    mutation::{Committed, MutationRecord, update},
    subscription::{Subscription, Target},
};

/// How often a change that met another one looks again.
const TURNS_MAX: u32 = 12;
/// How old an unfinished renewal may be for a request without a key to be its repetition.
const REPEATED_WITHIN: TimeDelta = TimeDelta::minutes(15);

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
}

/// A step of one look at a subscription.
enum Step {
    Commit(Box<Subscription>, Vec<TransactWriteItem>),
    Answer(Ended),
}

impl Store {
    /// Ends a subscription's period as asked at `now`. `named`: the request has an idempotency key.
    pub async fn subscription_end<E>(
        &self,
        id: &str,
        ending: Ending,
        named: bool,
        now: DateTime<Utc>,
        note: impl Fn(&Subscription, &Subscription) -> Result<Noted, E> + Send + Sync,
    ) -> Result<Ended, E>
    where
        E: From<StoreError>,
    {
        for turn in 0..TURNS_MAX {
            let Some(found) = self.subscription_get(id).await? else {
                return Ok(Ended::Unknown);
            };
            self.seals_finish(&found).await?;
            let step = if is_done(&found, ending, named, now) {
                Step::Commit(Box::new(found.clone()), Vec::new())
            } else {
                self.end_step(&found, ending, now).await?
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
                    self.seals_finish(&after).await?;
                    return Ok(Ended::Done(after));
                }
                Committed::Before => return Ok(Ended::Before),
                Committed::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
            }
        }
        Err(StoreError::busy("subscription_end").into())
    }

    /// The subscription as it will be, and the writes that make it so.
    async fn end_step(&self, found: &Subscription, ending: Ending, now: DateTime<Utc>) -> Result<Step, StoreError> {
        if found.ended_at(now).is_some() {
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
        let after = match (ending, ahead) {
            (Ending::Renew, Some(start)) => return Ok(Step::Answer(Ended::Ahead(start))),
            (Ending::Renew, None) => found.renewed(now, running.start)?,
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
        let mut items = vec![update(self.end_owner(found, &after))?];
        if (after.status, after.cancel_at) != (found.status, found.cancel_at) {
            items.push(self.end_listed(&after).await?);
            for counter in counters.iter().filter(|one| one.key.period_start.is_none()) {
                items.push(update(self.end_standing(counter, after.cancel_at))?);
            }
        }
        Ok(Step::Commit(Box::new(after), items))
    }

    fn end_owner(&self, found: &Subscription, after: &Subscription) -> UpdateBuilder {
        let instants = |instants: &[DateTime<Utc>]| AttributeValue::L(instants.iter().copied().map(at).collect());
        let mut set = "SET #status = :status, renewals = :renewals, billing_anchor = :anchor, sealing = :sealing, \
             config_version = :after"
            .to_owned();
        let mut remove = String::new();
        let mut builder = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(Owner::Subscription(found.id.clone()).pk()))
            .key("sk", s(OWNER))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", s(after.status.as_str()))
            .expression_attribute_values(":renewals", instants(after.timeline.renewals()))
            .expression_attribute_values(":anchor", at(after.timeline.first_anchor()))
            .expression_attribute_values(":sealing", instants(&after.sealing))
            .expression_attribute_values(":before", int(found.configuration.version))
            .expression_attribute_values(":after", int(found.configuration.version + 1))
            .expression_attribute_values(":births", int(found.configuration.births));
        let closed_until = after.configuration.closed_until;
        let optional = [
            ("cancel_at", after.cancel_at),
            ("cancelled_at", after.cancelled_at),
            ("closed_until", closed_until),
        ];
        for (name, value) in optional {
            match value {
                Some(value) => {
                    set.push_str(&format!(", {name} = :{name}"));
                    builder = builder.expression_attribute_values(format!(":{name}"), at(value));
                }
                None => {
                    remove.push_str(if remove.is_empty() { " REMOVE " } else { ", " });
                    remove.push_str(name);
                }
            }
        }
        builder
            .update_expression(format!("{set}{remove}"))
            .condition_expression("config_version = :before AND births = :births")
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

/// Whether what is asked has been done. `found` says by its note whether it was finished.
fn is_done(found: &Subscription, ending: Ending, named: bool, now: DateTime<Utc>) -> bool {
    let ended = found.ended_at(now).is_some();
    match (ending, found.timeline.last_renewal()) {
        (Ending::CancelNow, _) => ended,
        (Ending::CancelAtPeriodEnd, _) => ended || found.cancel_at.is_some(),
        (Ending::Renew, None) => false,
        (Ending::Renew, Some(last)) => {
            // Without a key, a renewal that its request did not finish is taken for this one.
            let repeated = !named && !found.sealing.is_empty() && now - last <= REPEATED_WITHIN;
            !ended && (last >= now || repeated)
        }
    }
}

impl Subscription {
    /// The subscription after a renewal of the period that started at `running`. One that was to end
    /// with that period goes on.
    fn renewed(&self, now: DateTime<Utc>, running: DateTime<Utc>) -> Result<Self, StoreError> {
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
        if timeline.first_anchor() != self.timeline.first_anchor() {
            // The oldest renewal was forgotten, and with it how the periods before the next one lay.
            let oldest = timeline.renewals().first().copied();
            after.configuration.closed_until = self.configuration.closed_until.max(oldest);
        }
        Ok(Self { timeline, ..after })
    }
}
