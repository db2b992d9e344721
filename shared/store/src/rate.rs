//! Rates: custom thresholds on what is used within an hour, judged when an hour was computed.
//!
//! Each fires once per hour: judged twice, or by two at once, the alert's id is taken. What an hour
//! had reached by events received before the threshold was made does not fire it. Dies half-way: the
//! message that had the hour computed comes again.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    alert::{AlertType, Facts, ThresholdType},
    metric::Kind,
    period::Period,
    quota::Terms,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    alert::{Alert, alert_id},
    hour::{Computed, Series},
    judge::{Subject, alert_of},
    keys,
    notification::CustomThreshold,
};

impl Store {
    /// The rates that are watched of a series.
    pub async fn rates_watched(&self, series: &Series, user_id: &str) -> Result<Vec<CustomThreshold>, StoreError> {
        if series.gauge {
            return Ok(Vec::new());
        }
        let (_, own, all) = self.watched(None, user_id).await?;
        let custom = own.thresholds.into_values().chain(all.thresholds.into_values());
        let subscription = series.owner.subscription_id().to_owned();
        let rates = custom
            .filter(|one| one.threshold_type == ThresholdType::Rate && one.watches(&series.metric_type, &subscription));
        Ok(rates.collect())
    }

    /// Raises the rates that an hour has reached, each once per hour. What the hour had reached by
    /// events received before a threshold was made does not fire it; `computed` must hold all of an
    /// hour that began before that.
    pub async fn rates_judge(
        &self,
        series: &Series,
        user_id: &str,
        hour: DateTime<Utc>,
        rates: &[CustomThreshold],
        computed: &Computed,
    ) -> Result<(), StoreError> {
        let reached = rates.iter().filter(|rate| computed.total >= rate.value);
        for rate in reached {
            let before = computed.received.iter().filter(|(received, _)| *received <= rate.since);
            let before: Decimal = before.map(|(_, value)| value).sum();
            if hour < rate.since && before >= rate.value {
                continue;
            }
            let id = alert_id(&[
                &series.owner.pk(),
                "hour",
                &series.metric_type,
                &keys::instant(hour),
                &rate.id,
                &rate.revision.to_string(),
            ]);
            if self.taken.has(&id) {
                continue;
            }
            let alert = self
                .rate_alert(series, user_id, hour, rate, computed.total, &id)
                .await?;
            self.alert_raise(&alert).await?;
            self.taken.add(id);
        }
        Ok(())
    }

    async fn rate_alert(
        &self,
        series: &Series,
        user_id: &str,
        hour: DateTime<Utc>,
        rate: &CustomThreshold,
        total: Decimal,
        id: &str,
    ) -> Result<Alert, StoreError> {
        let now = self.context.now();
        let catalogue = self.metrics([series.metric_type.as_str()], now).await?;
        let unit = catalogue.find(&series.metric_type).map(|metric| metric.unit.clone());
        let terms = Terms::unlimited();
        let period = Period {
            start: hour,
            end: hour + TimeDelta::hours(1),
        };
        let facts = Facts {
            alert_type: AlertType::CustomThreshold,
            metric_type: &series.metric_type,
            unit: unit.as_deref().unwrap_or("units"),
            kind: Kind::Sum,
            used: total,
            custom: Some((rate.threshold_type, rate.value)),
            terms: &terms,
            period,
            zone: Tz::UTC,
        };
        let subject = Subject {
            id,
            user_id,
            subscription_id: series.owner.subscription_id(),
        };
        Ok(alert_of(
            &subject,
            &facts,
            rate.severity,
            rate.value,
            Some(rate),
            None,
            now,
        ))
    }
}
