//! What decides an owner's limits: its plan, the overrides, what they were before, and the
//! version that births and limit changes are guarded by.

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use metering_domain::{
    metric::{Kind, Metric},
    period::Period,
    plan::Override,
    quota::Terms,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    item::{Item, Reader, at, n, put_some, s},
    plan::{Version, Versions},
};

/// How many earlier configurations an owner keeps, at most one a period: a first event of an ended
/// period, and its statement, need the one in force at that period's end.
pub const PAST_MAX: usize = 24;

/// An owner's plan and overrides at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// The plan; none for the implicit subscription.
    pub plan: Option<String>,
    /// Since when it is on the plan: of versions made later none binds it before its next period.
    pub plan_since: DateTime<Utc>,
    /// Overrides by metric type.
    pub overrides: BTreeMap<String, Override>,
}

/// An owner's limits, now and before.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    /// Incremented with each change.
    pub version: u64,
    /// How many counters were born; a limit change is refused if one was since it looked.
    pub births: u64,
    /// Counters of periods that start before it are closed, so none may be born.
    pub closed_until: Option<DateTime<Utc>>,
    /// The limits in force.
    pub limits: Limits,
    /// Earlier limits and when each ended, oldest first.
    pub past: Vec<(DateTime<Utc>, Limits)>,
}

impl Limits {
    /// These limits on a plan from now on, which must be its newest version: that one binds, even
    /// if the clock that dated it is ahead of this one.
    pub fn on(&self, plan: &Version, now: DateTime<Utc>) -> Self {
        Self {
            plan: Some(plan.plan.id.clone()),
            plan_since: now.max(plan.since),
            overrides: self.overrides.clone(),
        }
    }

    /// The instant whose newest version of the plan binds a period. A period that has not begun yet
    /// (events come up to five minutes ahead) goes by what is known now.
    pub(crate) fn bound_at(&self, period_start: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        period_start.min(now).max(self.plan_since)
    }

    /// The terms of one metric in the period that starts at `period_start`; `versions` are those of
    /// the plan and reach that far.
    pub fn terms(
        &self,
        versions: &Versions,
        metric: &str,
        period_start: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Terms, StoreError> {
        let own = self.overrides.get(metric);
        if self.plan.is_none() {
            let implicit = Terms::unlimited();
            return Ok(Terms {
                overridden: own.is_some(),
                quota: own.map_or_else(|| implicit.quota.clone(), |own| own.apply(&implicit.quota)),
                ..implicit
            });
        }
        let plan = versions.at(self.bound_at(period_start, now));
        let plan = plan.ok_or(StoreError::Corrupt {
            what: "subscription",
            attribute: "plan".into(),
        })?;
        Ok(Terms::of_plan(plan, metric, own))
    }
}

impl Store {
    /// The versions of the plan of some limits, from a period's on.
    pub(crate) async fn versions_of(
        &self,
        limits: &Limits,
        period_start: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Versions>, StoreError> {
        match &limits.plan {
            None => Ok(Arc::default()),
            Some(plan) => {
                let bound = limits.bound_at(period_start, now);
                self.plan_versions(plan, bound, bound).await
            }
        }
    }

    /// The terms with which a counter is born: those in force now, whenever the event that needs it
    /// came, so that a limit changed meanwhile binds it. Of a period that is over: those at its end,
    /// since a statement uses what is in force then.
    pub(crate) async fn terms_at_birth(
        &self,
        configuration: &Configuration,
        metric: &Metric,
        period: &Period,
        now: DateTime<Utc>,
    ) -> Result<Terms, StoreError> {
        let limits = configuration.limits_of(metric.kind, period, now);
        let versions = self.versions_of(limits, period.start, now).await?;
        limits.terms(&versions, &metric.metric_type, period.start, now)
    }
}

impl Configuration {
    /// The limits in force now, or at the end of a period that is over.
    fn limits_of(&self, kind: Kind, period: &Period, now: DateTime<Utc>) -> &Limits {
        if kind == Kind::Sum && period.end <= now {
            return self.limits_until(period.end);
        }
        &self.limits
    }

    /// The limits in force just before an instant, the present ones if they were made before it.
    pub(crate) fn limits_until(&self, end: DateTime<Utc>) -> &Limits {
        let then = self.past.iter().find(|(until, _)| *until >= end);
        then.map_or(&self.limits, |(_, limits)| limits)
    }

    /// Replaces the limits at `now`, in the period that starts at `period_start`, and remembers those
    /// before if a period ended under them: nothing else asks for them, however often they change.
    pub fn changed(&self, limits: Limits, now: DateTime<Utc>, period_start: DateTime<Utc>) -> Self {
        let mut past = self.past.clone();
        if past.last().is_none_or(|(until, _)| *until < period_start) {
            past.push((now, self.limits.clone()));
        }
        past.drain(..past.len().saturating_sub(PAST_MAX));
        Self {
            version: self.version + 1,
            limits,
            past,
            ..self.clone()
        }
    }

    /// Reads an owner's item.
    pub(crate) fn read(read: &Reader<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            version: read.integer_opt("config_version")?.unwrap_or_default(),
            births: read.integer_opt("births")?.unwrap_or_default(),
            closed_until: read.instant_opt("closed_until")?,
            limits: Limits::read(read)?,
            past: read.list_of("past", |past| Ok((past.instant("until")?, Limits::read(&past)?)))?,
        })
    }

    /// Earlier limits as stored.
    pub(crate) fn past_value(&self) -> AttributeValue {
        let item = |(until, limits): &(DateTime<Utc>, Limits)| {
            let mut item = limits.to_item();
            item.insert("until".into(), at(*until));
            AttributeValue::M(item)
        };
        AttributeValue::L(self.past.iter().map(item).collect())
    }
}

impl Limits {
    fn read(read: &Reader<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            plan: read.text_opt("plan")?,
            plan_since: read.instant_opt("plan_since")?.unwrap_or_default(),
            overrides: read.map_of("overrides", |own| override_read(&own))?,
        })
    }

    /// The limits as stored.
    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from([("overrides".into(), self.overrides_value())]);
        put_some(&mut item, "plan", self.plan.clone().map(s));
        item.insert("plan_since".into(), at(self.plan_since));
        item
    }

    /// The overrides as stored.
    pub(crate) fn overrides_value(&self) -> AttributeValue {
        AttributeValue::M(
            self.overrides
                .iter()
                .map(|(metric, own)| (metric.clone(), AttributeValue::M(override_item(own))))
                .collect(),
        )
    }
}

fn override_item(own: &Override) -> Item {
    let mut item = Item::new();
    let number = |value: Option<Decimal>| value.map_or(AttributeValue::Null(true), n);
    put_some(&mut item, "limit", own.quota_limit.map(number));
    put_some(&mut item, "overage", own.allow_overage.map(AttributeValue::Bool));
    put_some(&mut item, "overage_limit", own.overage_limit.map(number));
    put_some(&mut item, "price", own.overage_price.map(number));
    put_some(&mut item, "block", own.block_size.map(number));
    item
}

fn override_read(read: &Reader<'_>) -> Result<Override, StoreError> {
    let number = |name: &str| match read.is_null(name) {
        true => Ok(Some(None)),
        false => read.decimal_opt(name).map(|value| value.map(Some)),
    };
    Ok(Override {
        quota_limit: number("limit")?,
        allow_overage: read.has("overage").then(|| read.flag("overage")).transpose()?,
        overage_limit: number("overage_limit")?,
        overage_price: number("price")?,
        block_size: number("block")?,
    })
}
