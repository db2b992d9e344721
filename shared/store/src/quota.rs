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
    /// The owner's limits.
    pub configuration: Configuration,
    /// The present period.
    pub period: Period,
    /// One counter per metric: stored, or as it would be born now.
    pub counters: Vec<Counter>,
}

impl Target {
    /// The counter of a metric as it would be born now, in the present period.
    pub fn unborn(
        &self,
        limited: &Limited,
        metric: &Metric,
        period: Period,
        now: DateTime<Utc>,
    ) -> Result<Counter, StoreError> {
        let limits = &limited.configuration.limits;
        let terms = limits.terms(&limited.versions, &metric.metric_type, period.start, now)?;
        Ok(Counter::new(
            self.counter_key(metric, &period),
            &self.user_id,
            &self.subscription_id,
            metric,
            period,
            terms,
        ))
    }
}

impl Quotas {
    /// The present counters of an owner. The catalogue must know every metric that is limited.
    pub fn of(
        target: &Target,
        limited: Limited,
        catalogue: &Catalogue,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let period = target.period_at(now)?;
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
            counters.push(target.unborn(&limited, metric, period, now)?);
        }
        counters.sort_by(|a, b| a.key.metric_type.cmp(&b.key.metric_type));
        Ok(Self {
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
            || !self.peaks.is_empty()
            || self.denied > 0
    }
}

impl Store {
    /// The counter of one metric in the present period: one strong read; a second one of the
    /// owner where nothing was used yet. None if there is no such subscription.
    pub async fn quota_get(
        &self,
        target: &Target,
        metric: &Metric,
        now: DateTime<Utc>,
    ) -> Result<Option<Counter>, StoreError> {
        let period = target.period_at(now)?;
        let key = target.counter_key(metric, &period);
        let found = self.counter_get(&key).await?;
        if let Some(counter) = &found
            && !counter.is_behind(&period)
        {
            return Ok(Some(self.with_denials(self.settled(counter.clone()).await?)));
        }
        let Some(limited) = self.limited_get(target, now).await? else {
            return Ok(None);
        };
        if let Some(counter) = found {
            let counter = limited.present(&counter, &period, now)?;
            return Ok(Some(self.with_denials(counter)));
        }
        Ok(Some(target.unborn(&limited, metric, period, now)?))
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
        let mut quotas = Quotas::of(target, limited, &catalogue, now)?;
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
