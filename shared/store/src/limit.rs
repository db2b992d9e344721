//! Limit changes: overrides and changes of plan, binding the very next event.
//!
//! One transaction changes the owner's configuration and every counter it limits, by difference,
//! if no counter was born and no other change was made since it looked. Sent twice: the second
//! finds nothing to change, or its record. In parallel: one of two looks again. Dies half-way:
//! nothing happened.
//!
//! A standing counter (gauge, lease) has no birth per period. The first write in a later period
//! brings it under the version of the plan that is in force there; until then readers see it so.

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, TransactWriteItem, Update, builders::UpdateBuilder};
use chrono::{DateTime, Utc};
use metering_domain::{
    alert::ThresholdType,
    metric::Kind,
    period::Period,
    quota::{Terms, Threshold},
};

use crate::{
    Store, StoreError,
    account::{LISTED, listed},
    audit::AuditEntry,
    configuration::{Configuration, Limits},
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::{Counter, terms_item},
    item::{Item, Reader, at, int, n, s},
    keys::{OWNER, Owner},
    mutation::{Committed, MutationRecord, Transacted, built, update},
    notification::CustomThreshold,
    plan::Versions,
    subscription::{Subscription, Target},
};

/// How often a limit change looks again.
const TURNS_MAX: u32 = 12;
/// DynamoDB takes 100 items in a transaction: the owner, the audit entry and the record besides.
const COUNTERS_MAX: usize = 97;

/// An owner and its running counters, as a limit change finds them.
#[derive(Debug, Clone)]
pub struct Limited {
    /// The owner as it is, whatever was known of it before.
    pub target: Target,
    /// The owner's limits and their guards.
    pub configuration: Configuration,
    /// Counters of the present and later periods, and the standing ones.
    pub counters: Vec<Counter>,
    /// The versions of its plan in force in those periods.
    pub versions: Arc<Versions>,
    /// The instant of the newest event of the bus that it has seen.
    pub seen_at: Option<DateTime<Utc>>,
    own: Option<Item>,
}

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The limits from now on.
    pub limits: Limits,
    /// The instant of the event that says so, if it was one: noted with the change.
    pub seen_at: Option<DateTime<Utc>>,
    /// The audit entry.
    pub audit: AuditEntry,
    /// The record of the answer.
    pub record: Option<MutationRecord>,
}

impl Limited {
    /// The owner's item, for those who know more about it.
    pub fn item(&self) -> Option<&Item> {
        self.own.as_ref()
    }

    /// A counter as it is in the present period, in which a standing one may be under other terms.
    pub fn present(&self, counter: &Counter, present: &Period, now: DateTime<Utc>) -> Result<Counter, StoreError> {
        if !counter.is_behind(present) {
            return Ok(counter.clone());
        }
        let limits = &self.configuration.limits;
        let terms = limits.terms(&self.versions, &counter.key.metric_type, present.start, now)?;
        Ok(counter.under(terms))
    }
}

impl Counter {
    /// Whether its plan may have a newer version for this period.
    pub(crate) fn is_behind(&self, present: &Period) -> bool {
        self.kind != Kind::Sum && self.terms.plan.is_some() && self.terms_from < present.start
    }

    /// The counter under other terms, its thresholds armed again where usage is below them now.
    pub fn under(&self, terms: Terms) -> Self {
        let cap = terms.stored_cap();
        let mut arms = self.arms.clone();
        if let Some(limit) = terms.quota.quota_limit {
            for threshold in Threshold::all()
                .into_iter()
                .filter(|threshold| !threshold.reached(self.used, limit))
            {
                *arms.entry(threshold.name().to_owned()).or_default() += 1;
            }
        }
        Self {
            cap,
            remaining: self.remaining + (cap - self.cap),
            arms,
            terms,
            ..self.clone()
        }
    }
}

impl Counter {
    /// Arms the percentages again that usage is below now.
    fn rearm(&mut self, custom: &[&CustomThreshold]) {
        let limit = self.terms.quota.quota_limit;
        let percentages = custom
            .iter()
            .filter(|one| one.threshold_type == ThresholdType::Percentage && one.metric_type == self.key.metric_type);
        for one in percentages.filter(|one| !one.threshold_type.reached(one.value, self.used, limit)) {
            *self.arms.entry(one.id.clone()).or_default() += 1;
        }
    }
}

impl Store {
    /// An owner with its running counters, strongly read; none if there is no such subscription.
    pub async fn limited_get(&self, target: &Target, now: DateTime<Utc>) -> Result<Option<Limited>, StoreError> {
        let known = target.period_at(now)?.start;
        let (own, mut counters) = self.counters_list(&target.owner, known).await?;
        let mut seen_at = None;
        let (target, configuration) = match (&own, &target.owner) {
            (Some(item), Owner::None(_)) => (target.clone(), Configuration::read(&Reader::new(item, "owner"))?),
            (Some(item), Owner::Subscription(_)) => {
                let found = Subscription::from_item(item)?;
                seen_at = found.seen_at;
                (Target::of(&found, now), found.configuration)
            }
            (None, Owner::None(_)) => (target.clone(), Configuration::default()),
            (None, Owner::Subscription(_)) => return Ok(None),
        };
        // A renewal that was not known begins a later period.
        let start = target.period_at(now)?.start;
        counters.retain(|counter| counter.key.period_start.is_none_or(|own| own >= start));
        let versions = self.versions_of(&configuration.limits, start, now).await?;
        Ok(Some(Limited {
            target,
            configuration,
            counters,
            versions,
            seen_at,
            own,
        }))
    }

    /// Changes an owner's limits as `plan` says, which sees the owner as it is and may be asked
    /// again if that changes meanwhile. None if there is no such subscription.
    pub async fn limits_change<E>(
        &self,
        target: &Target,
        now: DateTime<Utc>,
        plan: impl Fn(&Limited) -> Result<Planned, E> + Send + Sync,
    ) -> Result<Option<Committed>, E>
    where
        E: From<StoreError>,
    {
        for turn in 0..TURNS_MAX {
            let Some(found) = self.limited_get(target, now).await? else {
                return Ok(None);
            };
            let planned = plan(&found)?;
            match self.limits_commit(&found, &planned, now).await? {
                Committed::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
                done => return Ok(Some(done)),
            }
        }
        Err(StoreError::busy("limits_change").into())
    }

    async fn limits_commit(
        &self,
        found: &Limited,
        planned: &Planned,
        now: DateTime<Utc>,
    ) -> Result<Committed, StoreError> {
        let target = &found.target;
        let present = target.period_at(now)?;
        let configuration = found.configuration.changed(planned.limits.clone(), now, present.start);
        let limits = &configuration.limits;
        let versions = self.versions_of(limits, present.start, now).await?;
        let (_, own, all) = self.watched(None, &target.user_id).await?;
        let custom: Vec<&CustomThreshold> = own.thresholds.values().chain(all.thresholds.values()).collect();
        let owner = self.change_owner(
            &target.owner,
            &found.configuration,
            &configuration,
            planned.seen_at,
            now,
        );
        let mut items = vec![update(owner)?];
        for counter in found.counters.iter().filter(|counter| !counter.sealed) {
            let start = counter.key.period_start.unwrap_or(present.start);
            let terms = limits.terms(&versions, &counter.key.metric_type, start, now)?;
            if terms != counter.terms {
                let mut after = Counter {
                    terms_from: start,
                    ..counter.under(terms)
                };
                after.rearm(&custom);
                items.push(update(self.change_counter(counter, &after, now))?);
            }
        }
        if items.len() > COUNTERS_MAX {
            return Err(StoreError::Refused {
                operation: "limits_change",
                source: "more counters than one transaction holds".into(),
            });
        }
        self.mutation_commit(items, &planned.audit, planned.record.as_ref())
            .await
    }

    /// Brings a standing counter under the terms of the present period, if its owner's limits are as
    /// read and nobody else changed its terms; whoever asked reads it again.
    pub(crate) async fn terms_follow(
        &self,
        counter: &Counter,
        present: &Period,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let owner = &counter.key.owner;
        let Some(configuration) = self.configuration_get(owner).await? else {
            return Ok(());
        };
        let limits = &configuration.limits;
        let versions = self.versions_of(limits, present.start, now).await?;
        let terms = limits.terms(&versions, &counter.key.metric_type, present.start, now)?;
        let after = Counter {
            terms_from: present.start,
            ..counter.under(terms)
        };
        let unchanged = ConditionCheck::builder()
            .table_name(&self.tables.state)
            .key("pk", s(owner.pk()))
            .key("sk", s(OWNER))
            .condition_expression("config_version = :version")
            .expression_attribute_values(":version", int(configuration.version));
        let unchanged = TransactWriteItem::builder().condition_check(built(unchanged.build())?);
        let items = vec![unchanged.build(), update(self.change_counter(counter, &after, now))?];
        // Unmet: another writer was faster, or the limits changed.
        let (Transacted::Done | Transacted::Unmet(_)) = self.transact("terms_follow", items).await?;
        Ok(())
    }

    fn change_owner(
        &self,
        owner: &Owner,
        before: &Configuration,
        after: &Configuration,
        seen_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> UpdateBuilder {
        let mut expression = "SET overrides = :overrides, past = :past, config_version = :after".to_owned();
        let mut builder = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(owner.pk()))
            .key("sk", s(OWNER))
            .expression_attribute_values(":overrides", after.limits.overrides_value())
            .expression_attribute_values(":past", after.past_value())
            .expression_attribute_values(":after", int(after.version));
        if let Some(plan) = &after.limits.plan {
            expression.push_str(", #plan = :plan, plan_since = :plan_since");
            builder = builder
                .expression_attribute_names("#plan", "plan")
                .expression_attribute_values(":plan_since", at(after.limits.plan_since))
                .expression_attribute_values(":plan", s(plan));
        }
        if let Some(seen_at) = seen_at {
            expression.push_str(", seen_at = :seen_at");
            builder = builder.expression_attribute_values(":seen_at", at(seen_at));
        }
        if let Owner::None(user) = owner {
            expression.push_str(&format!(", {LISTED}"));
            builder = listed(builder, user, now);
        }
        // Both are absent until somebody counts them.
        let guard = |name: &str, value: u64| {
            if value == 0 {
                format!("(attribute_not_exists({name}) OR {name} = :{name})")
            } else {
                format!("{name} = :{name}")
            }
        };
        let condition = format!(
            "{} AND {}",
            guard("config_version", before.version),
            guard("births", before.births)
        );
        builder
            .update_expression(expression)
            .condition_expression(condition)
            .expression_attribute_values(":config_version", int(before.version))
            .expression_attribute_values(":births", int(before.births))
    }

    fn change_counter(&self, before: &Counter, after: &Counter, now: DateTime<Utc>) -> UpdateBuilder {
        let arms: BTreeMap<_, _> = after.arms.iter().map(|(name, arm)| (name.clone(), int(arm))).collect();
        Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(before.key.pk()))
            .key("sk", s(before.key.sk()))
            .update_expression(
                "SET terms = :terms, terms_from = :from, cap = :cap, remaining = remaining + :difference, arms = :arms, \
                 changed_at = :now",
            )
            .expression_attribute_values(":now", at(now))
            .expression_attribute_values(":from", at(after.terms_from))
            .condition_expression("cap = :before AND attribute_not_exists(sealed)")
            .expression_attribute_values(":terms", AttributeValue::M(terms_item(&after.terms)))
            .expression_attribute_values(":cap", n(after.cap))
            .expression_attribute_values(":difference", n(after.cap - before.cap))
            .expression_attribute_values(":before", n(before.cap))
            .expression_attribute_values(":arms", AttributeValue::M(arms.into_iter().collect()))
    }
}
