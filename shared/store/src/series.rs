//! A series of usage without gaps: what is missing among the stored buckets is nothing, or of a gauge the level
//! that goes on.

use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, Select};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    aggregate::{Granularity, next_bucket},
    anomaly,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    aggregation::{Bucket, BucketQuery},
    error::failed,
    hour::Series,
    item::s,
    keys,
};

/// Events that are counted at most to see whether hours are behind: some 35 read units.
const COUNTED_MAX: i32 = 1_000;
/// A year of hours: no series is longer.
const BUCKETS_MAX: usize = 366 * 25;

impl Store {
    /// The buckets of a series since an instant, from the first that holds something to the running one.
    pub async fn series_filled(
        &self,
        series: &Series,
        granularity: Granularity,
        zone: Tz,
        from: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<anomaly::Bucket>, StoreError> {
        let query = BucketQuery {
            series: series.clone(),
            granularity,
            zone,
            from,
            to: now,
            after: None,
            limit: BUCKETS_MAX,
        };
        let (stored, _) = self.bucket_list(&query, now).await?;
        Ok(filled(&stored, &query, now))
    }
}

impl Store {
    /// Whether the hours since an instant say of fewer events than there are, which is so for some seconds after
    /// events came. False where there are more than [`COUNTED_MAX`] of them: a busy series is seen to be behind by
    /// nobody, and a few events more or less are nothing to it.
    pub async fn series_is_behind(
        &self,
        series: &Series,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let hour = TimeDelta::hours(1);
        let whole = |at: DateTime<Utc>| at.duration_trunc(hour).unwrap_or(at);
        let (from, to) = (whole(since), whole(now) + hour);
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.events)
            .index_name("by_time")
            .key_condition_expression("ix_pk = :pk AND ix_sk BETWEEN :from AND :end")
            .filter_expression("NOT contains(flags, :voided)")
            .expression_attribute_values(":pk", s(series.owner.events_ix_pk(&series.metric_type)))
            .expression_attribute_values(":from", s(keys::event_ix_bound(from)))
            .expression_attribute_values(":end", s(keys::event_ix_bound(to)))
            .expression_attribute_values(":voided", s("voided"))
            .select(Select::Count)
            .limit(COUNTED_MAX)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("series_is_behind", error))?;
        if page.last_evaluated_key().is_some() {
            return Ok(false);
        }
        let query = BucketQuery {
            series: series.clone(),
            granularity: Granularity::Hourly,
            zone: Tz::UTC,
            from,
            to,
            after: None,
            limit: BUCKETS_MAX,
        };
        let (stored, _) = self.bucket_list(&query, now).await?;
        let counted: u64 = stored.iter().map(|bucket| bucket.totals.count).sum();
        Ok(u64::try_from(page.count()).unwrap_or(0) > counted)
    }
}

fn filled(stored: &[Bucket], query: &BucketQuery, now: DateTime<Utc>) -> Vec<anomaly::Bucket> {
    let mut rest = stored.iter().peekable();
    let mut next = rest.peek().map(|first| first.period);
    let (mut level, mut all) = (Decimal::ZERO, Vec::new());
    while let Some(period) = next.filter(|period| period.start < now && all.len() < BUCKETS_MAX) {
        let here = rest.next_if(|bucket| bucket.period.start <= period.start);
        let value = match here {
            Some(bucket) => bucket.totals.total,
            None if query.series.gauge => level,
            None => Decimal::ZERO,
        };
        level = value;
        all.push(anomaly::Bucket {
            period,
            value,
            is_over: period.end <= now,
        });
        next = next_bucket(query.granularity, query.zone, &period);
    }
    all
}
