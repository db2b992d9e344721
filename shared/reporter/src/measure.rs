//! What was used of one metric: from the aggregates, or, where only some events count, from the events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use metering_domain::{
    aggregate::{Granularity, Partial, Sample, bucket_at},
    metric::{Kind, Metric},
    period::Period,
    report::{Measured, ResourceUse},
};
use metering_edge::{
    App,
    problem::{Code, Problem},
};
use metering_store::{
    aggregation::BucketQuery, event::Event, event_list::EventQuery, hour::Series, subscription::Target,
};
use rust_decimal::Decimal;

use crate::Ask;

/// Buckets that are read of one metric: a year of hours.
const BUCKETS_MAX: usize = 366 * 25;
/// Events that are read of one metric.
pub(crate) const EVENTS_MAX: usize = 10_000;
/// Events of one page.
const EVENTS_PAGE: usize = 500;

/// Whose usage of what, in which buckets.
pub(crate) struct Measuring<'a> {
    pub app: &'a App,
    pub target: &'a Target,
    pub metric: &'a Metric,
    pub ask: &'a Ask,
    /// The report's period in whole buckets.
    pub covered: Period,
    pub now: DateTime<Utc>,
}

impl Measuring<'_> {
    fn series(&self) -> Series {
        Series {
            owner: self.target.owner.clone(),
            metric_type: self.metric.metric_type.clone(),
            gauge: self.metric.kind == Kind::Gauge,
        }
    }

    fn granularity(&self) -> Granularity {
        self.ask.filters.granularity()
    }

    /// What was used in the period.
    pub async fn measured(&self) -> Result<Measured, Problem> {
        match (self.metric.kind, &self.ask.filters.endpoint) {
            (Kind::Lease, _) => self.peaks(self.covered).await.map(Measured::Peaks),
            (Kind::Sum, Some(endpoint)) => {
                let events = self.events().await?.ok_or_else(|| too_many(self.metric))?;
                let own = events
                    .iter()
                    .filter(|event| event.details.endpoint.as_ref() == Some(endpoint));
                Ok(Measured::Events {
                    carried_in: Decimal::ZERO,
                    buckets: self.added_up(own)?,
                })
            }
            (Kind::Sum | Kind::Gauge, _) => Ok(Measured::Events {
                carried_in: self.level(self.covered.start).await?,
                buckets: self.buckets(self.granularity(), self.covered).await?,
            }),
        }
    }

    /// The total of another period, in whole buckets; of gauges the level at its end, of leases their peak.
    pub async fn total(&self, of: Period, granularity: Granularity) -> Result<Decimal, Problem> {
        Ok(match self.metric.kind {
            Kind::Gauge => self.level(of.end).await?,
            Kind::Lease => {
                let peaks = self.peaks(of).await?;
                peaks.iter().map(|(_, peak)| *peak).max().unwrap_or_default()
            }
            Kind::Sum => {
                let buckets = self.buckets(granularity, of).await?;
                buckets.iter().map(|(_, partial)| partial.total).sum()
            }
        })
    }

    async fn level(&self, at: DateTime<Utc>) -> Result<Decimal, Problem> {
        match self.metric.kind {
            Kind::Gauge => Ok(self.app.store.level_at(&self.series(), at).await?),
            Kind::Sum | Kind::Lease => Ok(Decimal::ZERO),
        }
    }

    /// The buckets of a period that hold something; of those that its ends cut, nothing.
    async fn buckets(&self, granularity: Granularity, of: Period) -> Result<Vec<(Period, Partial)>, Problem> {
        if of.start >= of.end {
            return Ok(Vec::new());
        }
        let query = BucketQuery {
            series: self.series(),
            granularity,
            zone: self.ask.zone,
            from: of.start,
            to: of.end,
            after: None,
            limit: BUCKETS_MAX,
        };
        let (found, _) = self.app.store.bucket_list(&query, self.now).await?;
        let inside = found
            .into_iter()
            .filter(|bucket| of.start <= bucket.period.start && bucket.period.end <= of.end);
        Ok(inside.map(|bucket| (bucket.period, bucket.partial)).collect())
    }

    /// The highest number held, in each bucket of a period in which something was.
    async fn peaks(&self, of: Period) -> Result<Vec<(Period, Decimal)>, Problem> {
        let buckets = (self.granularity(), self.ask.zone);
        let all = self
            .app
            .store
            .lease_peaks(self.target, self.metric, buckets, self.now)
            .await?;
        Ok(all
            .into_iter()
            .filter(|(bucket, _)| of.contains(bucket.start))
            .collect())
    }

    /// The events of the period, as far as they are kept; None: there are too many.
    pub async fn events(&self) -> Result<Option<Vec<Event>>, Problem> {
        let mut query = EventQuery {
            owners: vec![self.target.owner.clone()],
            metrics: vec![self.metric.metric_type.clone()],
            from: self.covered.start,
            to: self.covered.end,
            resource_id: None,
            before: None,
            limit: EVENTS_PAGE,
        };
        let mut events = Vec::new();
        loop {
            let (page, next) = self.app.store.event_list(&query, self.now).await?;
            events.extend(page.into_iter().filter(|event| !event.voided));
            if events.len() > EVENTS_MAX {
                return Ok(None);
            }
            query.before = next;
            if query.before.is_none() {
                return Ok(Some(events));
            }
        }
    }

    /// What some events add up to, in each bucket.
    fn added_up<'e>(&self, events: impl Iterator<Item = &'e Event>) -> Result<Vec<(Period, Partial)>, Problem> {
        let mut buckets: BTreeMap<DateTime<Utc>, (Period, Vec<Sample>)> = BTreeMap::new();
        for event in events {
            let bucket = bucket_at(self.granularity(), self.ask.zone, event.timestamp)
                .ok_or_else(|| Problem::internal("an event lies beyond the calendar"))?;
            let (_, samples) = buckets.entry(bucket.start).or_insert((bucket, Vec::new()));
            samples.push(Sample {
                at: event.timestamp,
                value: event.value,
                error: event.details.error_occurred,
                response_time_ms: event.details.response_time_ms,
            });
        }
        let added_up = |(period, mut samples): (Period, Vec<Sample>)| {
            (period, Partial::of(self.metric.kind, &mut samples, period))
        };
        Ok(buckets.into_values().map(added_up).collect())
    }

    /// What each resource used; None: there are too many events to tell.
    pub async fn resources(&self) -> Result<Option<Vec<ResourceUse>>, Problem> {
        if self.metric.kind != Kind::Sum {
            return Ok(Some(Vec::new()));
        }
        let Some(events) = self.events().await? else {
            return Ok(None);
        };
        let endpoint = self.ask.filters.endpoint.as_ref();
        let wanted = events
            .into_iter()
            .filter(|event| endpoint.is_none() || event.details.endpoint.as_ref() == endpoint);
        let mut uses: BTreeMap<Option<String>, ResourceUse> = BTreeMap::new();
        for event in wanted {
            let id = event.details.resource_id;
            let one = uses.entry(id.clone()).or_insert(ResourceUse {
                resource_id: id,
                event_count: 0,
                total: Decimal::ZERO,
            });
            one.event_count += 1;
            one.total += event.value;
        }
        Ok(Some(uses.into_values().collect()))
    }

    /// Whether events of the period may be gone.
    pub fn reaches_back_too_far(&self) -> bool {
        self.covered.start < self.now - metering_store::event::RETENTION
    }
}

fn too_many(metric: &Metric) -> Problem {
    let detail = format!(
        "There are more than {EVENTS_MAX} events of {} in this period, which is the most that is looked through for an \
         endpoint: ask for a shorter period, or without the filter.",
        metric.metric_type
    );
    Problem::new(Code::ReportTooLarge, detail)
}
