//! What decides an owner's limits: its plan, the overrides, what they were before, and the
//! version that births and limit changes are guarded by.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use metering_domain::{
    metric::Kind,
    period::Period,
    plan::{self, Override, QuotaTerms},
    quota::Terms,
};
use rust_decimal::Decimal;

use crate::{
    StoreError,
    item::{Item, Reader, at, n, put_some, s},
};

/// How many earlier configurations an owner keeps: a first event of an ended period needs the one
/// in force at that period's end.
pub const PAST_MAX: usize = 24;

/// An owner's plan and overrides at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// The plan; none for the implicit subscription.
    pub plan: Option<String>,
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
    /// The terms of one metric.
    pub fn terms(&self, metric: &str) -> Result<Terms, StoreError> {
        let plan = match &self.plan {
            None => None,
            Some(id) => Some(plan::find_built_in(id).ok_or(StoreError::Corrupt {
                what: "subscription",
                attribute: "plan".into(),
            })?),
        };
        let base = plan.map_or_else(QuotaTerms::default, |plan| plan.terms(metric));
        let own = self.overrides.get(metric);
        let implicit = Terms::unlimited();
        Ok(Terms {
            plan: self.plan.clone(),
            plan_version: plan.map_or(implicit.plan_version, |plan| plan.version),
            currency: plan.map_or(implicit.currency, |plan| plan.currency.clone()),
            overridden: own.is_some(),
            quota: own.map_or_else(|| base.clone(), |own| own.apply(&base)),
        })
    }
}

impl Configuration {
    /// The terms with which a counter is born: those in force now, whenever the event that needs it
    /// came, so that a limit changed meanwhile binds it. Of a period that is over: those at its end,
    /// since a statement uses what is in force then.
    pub fn terms_at_birth(
        &self,
        metric: &str,
        kind: Kind,
        period: &Period,
        now: DateTime<Utc>,
    ) -> Result<Terms, StoreError> {
        let is_over = kind == Kind::Sum && period.end <= now;
        let at_its_end = self.past.iter().find(|(until, _)| is_over && *until >= period.end);
        at_its_end.map_or(&self.limits, |(_, limits)| limits).terms(metric)
    }

    /// Replaces the limits at `now` and remembers those before.
    pub fn changed(&self, limits: Limits, now: DateTime<Utc>) -> Self {
        let mut past = self.past.clone();
        past.push((now, self.limits.clone()));
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
            overrides: read.map_of("overrides", |own| override_read(&own))?,
        })
    }

    /// The limits as stored.
    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from([("overrides".into(), self.overrides_value())]);
        put_some(&mut item, "plan", self.plan.clone().map(s));
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
