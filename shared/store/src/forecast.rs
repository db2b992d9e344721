//! Forecasts as they were answered, and what they are made from: usage by day, the running counter, the terms of the
//! periods ahead.
//!
//! A forecast is written once, with the record of its request; nothing changes it. Sent twice with an idempotency key
//! it is one. It expires.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, bucket_at, next_bucket},
    metric::{Kind, Metric},
    period::Period,
    quota::Terms,
};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::{
    Store, StoreError,
    aggregation::BucketQuery,
    counter::Counter,
    hour::Series,
    item::{Item, Reader, at, int, s},
    keys::{self, Owner},
    mutation::{MutationRecord, ONLY, Transacted},
    newest::Part,
    reservation::{Reservation, ReservationQuery},
    subscription::Target,
};

/// How long a forecast is kept.
pub const LIFE: TimeDelta = TimeDelta::days(90);
/// How many days of history a forecast is made from: what changed before says little of weeks to come.
pub const HISTORY: TimeDelta = TimeDelta::days(180);
/// Days that one forecast reads.
const DAYS_MAX: usize = 200;
/// Reservations that one page of leases reads,
const LEASES_PAGE: usize = 200;
/// and how many pages. Of more leases the latest count.
const LEASES_PAGES_MAX: usize = 25;
/// Billing periods that one forecast touches: a year of days, and the running one.
const PERIODS_MAX: usize = 367;

/// A forecast as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredForecast {
    /// Its id.
    pub id: String,
    /// Whose usage it is about.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// Of which metric.
    pub metric_type: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The answer.
    pub body: Value,
}

/// Which forecasts to list: newest first.
#[derive(Debug, Clone)]
pub struct ForecastQuery {
    /// Whose.
    pub user_id: String,
    /// Only of this subscription.
    pub subscription_id: Option<String>,
    /// Only of this metric.
    pub metric_type: Option<String>,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// What a forecast is made from.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// Days with usage, oldest first: of gauges the level at the end, of leases the peak.
    pub days: Vec<(Period, Decimal)>,
    /// Usage of the running period, the level, or the live leases.
    pub used: Decimal,
    /// The highest level in the running period, of gauges and leases.
    pub peak: Option<Decimal>,
    /// The billing periods from the running one on, and what is in force in each as far as is known.
    pub periods: Vec<(Period, Terms)>,
}

impl StoredForecast {
    fn sk(&self) -> String {
        keys::by_instant(self.created_at, &self.id)
    }

    fn to_item(&self) -> Item {
        Item::from([
            ("pk".into(), s(keys::forecasts(&self.user_id))),
            ("sk".into(), s(self.sk())),
            ("id".into(), s(&self.id)),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("metric_type".into(), s(&self.metric_type)),
            ("created_at".into(), at(self.created_at)),
            ("body".into(), s(self.body.to_string())),
            ("expires_at".into(), int((self.created_at + LIFE).timestamp())),
        ])
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "forecast");
        Ok(Self {
            id: read.text("id")?,
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            metric_type: read.text("metric_type")?,
            created_at: read.instant("created_at")?,
            body: serde_json::from_str(&read.text("body")?).map_err(|_| read.corrupt("body"))?,
        })
    }

    fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.created_at + LIFE <= now
    }
}

impl ForecastQuery {
    fn fits(&self, one: &StoredForecast, now: DateTime<Utc>) -> bool {
        let text = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|wanted| wanted == own);
        text(&self.subscription_id, &one.subscription_id)
            && text(&self.metric_type, &one.metric_type)
            && !one.is_expired(now)
    }
}

/// The id of the forecast that is made of a series on some day by a schedule.
pub fn daily_id(owner: &Owner, metric: &str, day: DateTime<Utc>) -> String {
    let day = day.format("%Y-%m-%d").to_string();
    keys::derived_id("fct", &[&owner.pk(), metric, &day])
}

impl Store {
    /// The metrics of an owner that something happened of since an instant; leases always, whose records say.
    pub async fn metrics_in_use(
        &self,
        owner: &Owner,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Metric>, StoreError> {
        let mut found = Vec::new();
        for metric in self.metrics_all(now).await?.all() {
            let in_use = match metric.kind {
                Kind::Lease => true,
                Kind::Sum | Kind::Gauge => {
                    let last = self.last_event_at(owner, &metric.metric_type).await?;
                    last.is_some_and(|last| last >= since)
                }
            };
            found.extend(in_use.then(|| metric.clone()));
        }
        Ok(found)
    }

    /// What is known of an owner's usage of a metric, and of the periods until `until`. None if there is no such
    /// subscription.
    pub async fn outlook(
        &self,
        target: &Target,
        metric: &Metric,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<Outlook>, StoreError> {
        let Some((target, counter)) = self.quota_get(target, metric, now).await? else {
            return Ok(None);
        };
        let Some(limited) = self.limited_get(&target, now).await? else {
            return Ok(None);
        };
        let running = target.period_at(now)?;
        let terms = |period: &Period| {
            let limits = &limited.configuration.limits;
            limits.terms(&limited.versions, &metric.metric_type, period.start, now)
        };
        // What is in force now is on the counter.
        let mut periods = vec![(running, counter.terms.clone())];
        let mut last = running;
        while last.end < until && periods.len() < PERIODS_MAX && target.ends_at.is_none_or(|end| last.end < end) {
            let Some(next) = target.timeline.next(&last) else { break };
            periods.push((next, terms(&next)?));
            last = next;
        }
        let used = match metric.kind {
            Kind::Lease => counter.held(now),
            Kind::Sum | Kind::Gauge => counter.used,
        };
        let peak = (metric.kind != Kind::Sum).then(|| counter.peak_in(&running).unwrap_or(used).max(used));
        let days = match metric.kind {
            Kind::Lease => {
                let days = (Granularity::Daily, target.timeline.zone());
                self.lease_peaks(&target, metric, days, now).await?
            }
            Kind::Sum | Kind::Gauge => self.usage_days(&target, metric, &counter, now).await?,
        };
        Ok(Some(Outlook {
            days,
            used,
            peak,
            periods,
        }))
    }

    /// Days that have usage, in the subscription's zone.
    async fn usage_days(
        &self,
        target: &Target,
        metric: &Metric,
        counter: &Counter,
        now: DateTime<Utc>,
    ) -> Result<Vec<(Period, Decimal)>, StoreError> {
        let from = now - HISTORY;
        let query = BucketQuery {
            series: Series {
                owner: target.owner.clone(),
                metric_type: metric.metric_type.clone(),
                gauge: metric.kind == Kind::Gauge,
            },
            granularity: Granularity::Daily,
            zone: target.timeline.zone(),
            from,
            // Exclusive; what is a moment ahead belongs to a day that is not over.
            to: now + TimeDelta::milliseconds(1),
            after: None,
            limit: DAYS_MAX,
        };
        let (buckets, _) = self.bucket_list(&query, now).await?;
        // A level from before the first day is carried into it.
        let carried = match buckets.first() {
            _ if metric.kind != Kind::Gauge => Decimal::ZERO,
            Some(first) => first.previous,
            None if counter.level_at.is_some_and(|at| at < from) => counter.used,
            None => Decimal::ZERO,
        };
        let mut days: Vec<(Period, Decimal)> = Vec::new();
        if let Some(first) = bucket_at(Granularity::Daily, query.zone, from).filter(|_| carried > Decimal::ZERO) {
            days.extend(
                buckets
                    .first()
                    .is_none_or(|bucket| bucket.period.start > first.start)
                    .then_some((first, carried)),
            );
        }
        days.extend(buckets.into_iter().map(|bucket| (bucket.period, bucket.totals.total)));
        Ok(days)
    }

    /// Days or hours of a zone in which something was held, with the most that was held at once: from the
    /// reservations, which stay as long as events do.
    pub async fn lease_peaks(
        &self,
        target: &Target,
        metric: &Metric,
        buckets: (Granularity, Tz),
        now: DateTime<Utc>,
    ) -> Result<Vec<(Period, Decimal)>, StoreError> {
        let mut query = ReservationQuery {
            user_id: target.user_id.clone(),
            subscription_id: Some(target.subscription_id.clone()),
            metric_type: Some(metric.metric_type.clone()),
            state: None,
            before: None,
            limit: LEASES_PAGE,
        };
        let mut leases = Vec::new();
        for _ in 0..LEASES_PAGES_MAX {
            let (page, next) = self.reservation_list(&query, now).await?;
            leases.extend(page.iter().map(|lease| held(lease, now)));
            query.before = next;
            if query.before.is_none() {
                break;
            }
        }
        Ok(peaks(&leases, buckets))
    }

    /// Writes a forecast together with the record of its answer; false if the request was answered before.
    pub async fn forecast_put(
        &self,
        forecast: &StoredForecast,
        record: Option<&MutationRecord>,
    ) -> Result<bool, StoreError> {
        let mut items = vec![self.put_new(forecast.to_item())?];
        if let Some(record) = record {
            items.push(self.put_record(record, forecast.created_at).await?);
        }
        Ok(self.transact("forecast_put", items).await? == Transacted::Done)
    }

    /// Writes a forecast whose id says its day; false if there is one of this id: made again it stays as it is.
    pub async fn forecast_put_daily(&self, forecast: &StoredForecast) -> Result<bool, StoreError> {
        // The key of a forecast begins with its instant: what keeps the id from being used again is an item of its own.
        let id = Item::from([
            ("pk".into(), s(keys::locator(&forecast.id))),
            ("sk".into(), s(ONLY)),
            ("user_id".into(), s(&forecast.user_id)),
            ("subscription_id".into(), s(&forecast.subscription_id)),
            ("expires_at".into(), int((forecast.created_at + LIFE).timestamp())),
        ]);
        let items = vec![self.put_new(forecast.to_item())?, self.put_new(id)?];
        Ok(self.transact("forecast_put_daily", items).await? == Transacted::Done)
    }

    /// A user's forecasts, newest first, and the sort key to go on from if there may be more.
    pub async fn forecast_list(
        &self,
        query: &ForecastQuery,
        now: DateTime<Utc>,
    ) -> Result<(Vec<StoredForecast>, Option<String>), StoreError> {
        let part = Part {
            operation: "forecast_list",
            pk: keys::forecasts(&query.user_id),
            before: query.before.as_deref(),
            limit: query.limit,
        };
        let read = |item: &Item| {
            let one = StoredForecast::from_item(item)?;
            Ok(query.fits(&one, now).then_some(one))
        };
        self.newest(part, read).await
    }
}

/// From when to when a lease was held, and how much.
fn held(lease: &Reservation, now: DateTime<Utc>) -> (Period, Decimal) {
    let decided = lease.decision.as_ref().map_or(now, |decision| decision.at);
    let end = lease.held_until.min(decided).min(now).max(lease.created_at);
    (
        Period {
            start: lease.created_at,
            end,
        },
        lease.quantity,
    )
}

/// The most that was held at once, in each bucket in which something was.
fn peaks(leases: &[(Period, Decimal)], of: (Granularity, Tz)) -> Vec<(Period, Decimal)> {
    // What ends makes room for what begins at the same instant.
    let mut changes: Vec<(DateTime<Utc>, bool, Decimal)> = Vec::new();
    for (held, quantity) in leases {
        changes.push((held.start, true, *quantity));
        changes.push((held.end, held.end == held.start, -*quantity));
    }
    changes.sort_unstable_by_key(|(at, later, quantity)| (*at, *later, *quantity < Decimal::ZERO));
    let mut days: BTreeMap<DateTime<Utc>, (Period, Decimal)> = BTreeMap::new();
    let mut level = Decimal::ZERO;
    let mut since: Option<DateTime<Utc>> = None;
    for (at, _, quantity) in changes {
        if let Some(since) = since.filter(|_| level > Decimal::ZERO) {
            note(&mut days, of, since, at, level);
        }
        level += quantity;
        since = Some(at);
        if level > Decimal::ZERO {
            note(&mut days, of, at, at, level);
        }
    }
    days.into_values().collect()
}

/// Notes a level in all buckets from one instant to another.
fn note(
    days: &mut BTreeMap<DateTime<Utc>, (Period, Decimal)>,
    (granularity, zone): (Granularity, Tz),
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    level: Decimal,
) {
    let mut day = bucket_at(granularity, zone, from);
    while let Some(own) = day.filter(|own| own.start < to || own.contains(from)) {
        let peak = days.entry(own.start).or_insert((own, level));
        peak.1 = peak.1.max(level);
        day = next_bucket(granularity, zone, &own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> DateTime<Utc> {
        keys::parse_instant(text).expect("an instant")
    }

    #[test]
    fn the_peak_of_a_day_is_what_was_held_at_once() {
        let lease = |from, to, quantity: i64| {
            let held = Period {
                start: instant(from),
                end: instant(to),
            };
            (held, Decimal::from(quantity))
        };
        let leases = [
            lease("2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", 2),
            // Ends as the next one begins: never three.
            lease("2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z", 1),
            lease("2026-01-01T10:30:00Z", "2026-01-01T10:40:00Z", 1),
            // Over midnight, for two days.
            lease("2026-01-01T23:00:00Z", "2026-01-03T01:00:00Z", 1),
            lease("2026-01-05T01:00:00Z", "2026-01-05T01:00:00Z", 4),
        ];
        let days: Vec<(String, Decimal)> = peaks(&leases, (Granularity::Daily, Tz::UTC))
            .iter()
            .map(|(day, peak)| (day.start.date_naive().to_string(), *peak))
            .collect();
        let wanted = [
            ("2026-01-01", 3),
            ("2026-01-02", 1),
            ("2026-01-03", 1),
            ("2026-01-05", 4),
        ];
        assert_eq!(days, wanted.map(|(day, peak)| (day.to_owned(), Decimal::from(peak))));
    }
}
