//! Quotas as they stand: read from counters, or from the owner's limits where nothing was used yet.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use metering_domain::{
    metric::{Kind, Metric},
    period::Period,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError, configuration::Configuration, counter::Counter, limit::Limited, metric::Catalogue,
    subscription::Target,
};

/// How often one look at a counter resolves what crashes left on it.
const SETTLE_TURNS_MAX: u32 = 8;

/// Quotas of one owner in its present period.
#[derive(Debug, Clone)]
pub struct Quotas {
    /// The owner as it is.
    pub target: Target,
    /// The owner's limits.
    pub configuration: Configuration,
    /// The present period.
    pub period: Period,
    /// One counter per metric: stored, or as it would be born now.
    pub counters: Vec<Counter>,
}

impl Limited {
    /// The counter of a metric as it would be born now, in the present period.
    pub fn unborn(&self, metric: &Metric, period: Period, now: DateTime<Utc>) -> Result<Counter, StoreError> {
        let limits = &self.configuration.limits;
        let terms = limits.terms(&self.versions, &metric.metric_type, period.start, now)?;
        Ok(Counter::new(
            self.target.counter_key(metric, &period),
            &self.target.user_id,
            &self.target.subscription_id,
            metric,
            period,
            terms,
        ))
    }
}

impl Quotas {
    /// The present counters of an owner. The catalogue must know every metric that is limited.
    pub fn of(limited: Limited, catalogue: &Catalogue, now: DateTime<Utc>) -> Result<Self, StoreError> {
        let period = limited.target.period_at(now)?;
        let mut counters: Vec<Counter> = limited
            .counters
            .iter()
            .filter(|counter| counter.kind != Kind::Sum || counter.key.period_start == Some(period.start))
            .map(|counter| limited.present(counter, &period, now))
            .collect::<Result<_, _>>()?;
        let born: HashSet<String> = counters.iter().map(|counter| counter.key.metric_type.clone()).collect();
        for metric in catalogue
            .all()
            .into_iter()
            .filter(|metric| !born.contains(&metric.metric_type))
        {
            counters.push(limited.unborn(metric, period, now)?);
        }
        counters.sort_by(|a, b| a.key.metric_type.cmp(&b.key.metric_type));
        Ok(Self {
            target: limited.target,
            configuration: limited.configuration,
            period,
            counters,
        })
    }
}

impl Counter {
    /// Whether a summary shows it: limited, overridden, or used in this period.
    pub fn is_notable(&self) -> bool {
        self.terms.quota.quota_limit.is_some()
            || self.terms.overridden
            || self.used != Decimal::ZERO
            || !self.peaks.highest.is_empty()
            || self.denied > 0
    }
}

impl Store {
    /// The counter of one metric in the present period, and the owner: one strong read; a second one
    /// of the owner where nothing was used yet, or where what is known of it is behind. None if there
    /// is no such subscription.
    pub async fn quota_get(
        &self,
        target: &Target,
        metric: &Metric,
        now: DateTime<Utc>,
    ) -> Result<Option<(Target, Counter)>, StoreError> {
        let period = target.period_at(now)?;
        let found = self.counter_get(&target.counter_key(metric, &period)).await?;
        if let Some(counter) = found
            && !(counter.sealed || counter.ended.is_some() || counter.is_behind(&period))
        {
            return Ok(Some((target.clone(), self.with_denials(self.settled(counter).await?))));
        }
        let Some(limited) = self.limited_get(target, now).await? else {
            return Ok(None);
        };
        let period = limited.target.period_at(now)?;
        let key = limited.target.counter_key(metric, &period);
        let counter = match limited.counters.iter().find(|counter| counter.key == key) {
            Some(counter) => limited.present(&self.settled(counter.clone()).await?, &period, now)?,
            None => limited.unborn(metric, period, now)?,
        };
        Ok(Some((limited.target, self.with_denials(counter))))
    }

    /// All quotas of an owner in its present period: one strong query. None if there is no such
    /// subscription.
    pub async fn quota_list(&self, target: &Target, now: DateTime<Utc>) -> Result<Option<Quotas>, StoreError> {
        let Some(limited) = self.limited_get(target, now).await? else {
            return Ok(None);
        };
        let plan = limited
            .versions
            .at(limited.configuration.limits.bound_at(now, now))
            .map(|plan| plan.quotas.keys());
        let overrides = limited.configuration.limits.overrides.keys();
        let named = overrides.chain(plan.into_iter().flatten()).map(String::as_str);
        let catalogue = self.metrics(named, now).await?;
        let mut quotas = Quotas::of(limited, &catalogue, now)?;
        for counter in &mut quotas.counters {
            *counter = self.with_denials(self.settled(counter.clone()).await?);
        }
        Ok(Some(quotas))
    }

    /// The counter after entries whose writers are gone were resolved, if it has any. What a crash
    /// of many leaves beyond the bound is resolved by the next look.
    async fn settled(&self, mut counter: Counter) -> Result<Counter, StoreError> {
        for _ in 0..SETTLE_TURNS_MAX {
            if !self.resolve_stale(&counter).await? {
                break;
            }
            match self.counter_get(&counter.key).await? {
                Some(after) => counter = after,
                None => break,
            }
        }
        Ok(counter)
    }
}
