//! Users listed, with where each stands; and what each used lately. Only read, from the users' own
//! items, counters and aggregates: no event is read but the newest key of the index.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use metering_domain::{
    aggregate::Granularity,
    metric::{Kind, Metric},
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    account::Account,
    aggregation::{Bucket, BucketQuery},
    hour::Series,
    keys::{self, Owner},
    quota::Quotas,
    subscription::{Subscription, Target},
};

/// Reads that are under way at once.
const WIDTH: usize = 32;
/// Subscriptions, implicit ones included, that one page of users looks at, but for its first user.
const OWNERS_MAX: usize = 400;
/// Users whose usage one step computes,
const USERS_STEP: usize = 20;
/// and steps that one listing takes while it finds little.
const STEPS_MAX: usize = 10;

/// A user, with where they stand.
#[derive(Debug)]
pub struct UserOverview {
    /// Who.
    pub user_id: String,
    /// The user's subscriptions in the order of their creation.
    pub subscriptions: Vec<Subscription>,
    /// The quotas of each owner that takes usage now.
    pub quotas: Vec<Quotas>,
    /// When the newest event happened.
    pub last_event_at: Option<DateTime<Utc>>,
    /// Alerts that somebody still has to look at.
    pub open_alerts: u64,
}

/// What a user used of a metric lately, over all their subscriptions.
#[derive(Debug, Clone)]
pub struct UserUsage {
    /// Who.
    pub user_id: String,
    /// Of what.
    pub metric: Metric,
    /// How many events, without voided ones.
    pub event_count: u64,
    /// Their sum; of a gauge the level at the end.
    pub total: Decimal,
    /// How many of them failed.
    pub error_count: u64,
    /// When the newest event happened.
    pub last_event_at: Option<DateTime<Utc>>,
}

/// Whose and which usage to list: the users made last first.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// Only of this user.
    pub user_id: Option<String>,
    /// Of which metrics.
    pub metrics: Vec<Metric>,
    /// In the hours from this instant on.
    pub from: DateTime<Utc>,
    /// Only what lies after this.
    pub after: Option<UsageKey>,
    /// How many at most.
    pub limit: usize,
}

/// Where an element of a list of usage is.
#[derive(Debug, Clone)]
pub struct UsageKey {
    /// The user's place among users.
    pub user: String,
    /// The metric; none: the user as a whole.
    pub metric_type: Option<String>,
}

/// No id contains it, and every character of ids sorts after it.
const END: char = '!';

impl UsageKey {
    /// The key as a text.
    pub fn to_text(&self) -> String {
        format!("{}{END}{}", self.user, self.metric_type.as_deref().unwrap_or_default())
    }

    /// The key in a text.
    pub fn parse(text: &str) -> Self {
        let (user, metric) = text.split_once(END).unwrap_or((text, ""));
        Self {
            user: user.to_owned(),
            metric_type: (!metric.is_empty()).then(|| metric.to_owned()),
        }
    }
}

impl Store {
    /// A page of users, those made last first, and the sort key to go on from.
    pub async fn user_list(
        &self,
        metrics: &[Metric],
        before: Option<&str>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<(Vec<UserOverview>, Option<String>), StoreError> {
        let (sort_keys, mut next) = self.kind_list(keys::USER_KIND, before, limit).await?;
        let accounts = self.accounts(&sort_keys).await?;
        let mut owners = 0;
        let mut page: Vec<(String, Account)> = Vec::new();
        for (user, account) in accounts {
            owners += 1 + account.subscriptions.len();
            if owners > OWNERS_MAX && !page.is_empty() {
                break;
            }
            page.push((user, account));
        }
        if page.len() < sort_keys.len() {
            next = sort_keys.get(page.len().saturating_sub(1)).cloned();
        }
        // One user after the other, what there is of each at once.
        let mut overviews = Vec::new();
        for (user, account) in page {
            overviews.push(self.overview(user, account, metrics, now).await?);
        }
        Ok((overviews, next))
    }

    async fn accounts(&self, sort_keys: &[String]) -> Result<Vec<(String, Account)>, StoreError> {
        let user = |sort_key: &String| Some(sort_key.split_once('#')?.1.to_owned());
        let users: Vec<String> = sort_keys.iter().filter_map(user).collect();
        let reads = stream::iter(users).map(|user| async move {
            let account = self.account_get(&user).await?;
            Ok::<_, StoreError>((user, account))
        });
        reads.buffered(WIDTH).try_collect().await
    }

    async fn overview(
        &self,
        user_id: String,
        account: Account,
        metrics: &[Metric],
        now: DateTime<Utc>,
    ) -> Result<UserOverview, StoreError> {
        let ids: Vec<String> = account.subscriptions.iter().map(|one| one.id.clone()).collect();
        let subscriptions = self.subscriptions_by_id(&ids).await?;
        let mut targets: Vec<Target> = subscriptions.iter().map(|own| Target::of(own, now)).collect();
        if account.default_subscription(now).is_none() {
            targets.push(Target::implicit(&user_id, account.subscriptions.is_empty()));
        } else {
            targets.retain(|target| target.active);
        }
        let quotas = stream::iter(targets).map(|target| async move { self.quota_list(&target, now).await });
        let quotas: Vec<Option<Quotas>> = quotas.buffer_unordered(WIDTH).try_collect().await?;
        let owners = account.owners(&user_id);
        let alerts = stream::iter(owners.clone()).map(|owner| async move { self.alerts_open(&owner).await });
        let alerts: Vec<u64> = alerts.buffer_unordered(WIDTH).try_collect().await?;
        let mut series = Vec::new();
        for owner in owners {
            series.extend(metrics.iter().map(|metric| (owner.clone(), metric.metric_type.clone())));
        }
        let newest =
            stream::iter(series).map(|(owner, metric)| async move { self.last_event_at(&owner, &metric).await });
        let newest: Vec<Option<DateTime<Utc>>> = newest.buffer_unordered(WIDTH).try_collect().await?;
        Ok(UserOverview {
            user_id,
            subscriptions,
            quotas: quotas.into_iter().flatten().collect(),
            last_event_at: newest.into_iter().flatten().max(),
            open_alerts: alerts.into_iter().sum(),
        })
    }

    /// What was used, by user and metric, and where to go on.
    pub async fn usage_list(
        &self,
        query: &UsageQuery,
        now: DateTime<Utc>,
    ) -> Result<(Vec<UserUsage>, Option<UsageKey>), StoreError> {
        let mut after = query.after.clone();
        let mut found = Vec::new();
        for _ in 0..STEPS_MAX {
            let (sort_keys, more) = self.usage_users(query, after.as_ref()).await?;
            let resumed = after.clone();
            let usages = self.usage_of(query, &sort_keys, now).await?;
            for (sort_key, usage) in usages {
                let seen = resumed.as_ref().is_some_and(|after| {
                    after.user == sort_key && after.metric_type.as_ref() >= Some(&usage.metric.metric_type)
                });
                if seen {
                    continue;
                }
                if found.len() == query.limit {
                    return Ok((found, after));
                }
                after = Some(UsageKey {
                    user: sort_key,
                    metric_type: Some(usage.metric.metric_type.clone()),
                });
                found.push(usage);
            }
            let Some(last) = sort_keys.last().filter(|_| more) else {
                return Ok((found, None));
            };
            after = Some(UsageKey {
                user: last.clone(),
                metric_type: None,
            });
        }
        Ok((found, after))
    }

    /// The next users' sort keys, and whether there are more.
    async fn usage_users(
        &self,
        query: &UsageQuery,
        after: Option<&UsageKey>,
    ) -> Result<(Vec<String>, bool), StoreError> {
        if let Some(user) = &query.user_id {
            return Ok((vec![keys::by_instant(DateTime::UNIX_EPOCH, user)], false));
        }
        // Of a user some of whose metrics were listed, the rest follows.
        let before = after.map(|after| match after.metric_type {
            Some(_) => format!("{}{END}", after.user),
            None => after.user.clone(),
        });
        let (sort_keys, next) = self.kind_list(keys::USER_KIND, before.as_deref(), USERS_STEP).await?;
        Ok((sort_keys, next.is_some()))
    }

    /// What these users used, in their order and that of the metrics.
    async fn usage_of(
        &self,
        query: &UsageQuery,
        sort_keys: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<(String, UserUsage)>, StoreError> {
        let mut series = Vec::new();
        for (index, (user, account)) in self.accounts(sort_keys).await?.into_iter().enumerate() {
            for owner in account.owners(&user) {
                series.extend(
                    query
                        .metrics
                        .iter()
                        .map(|metric| (index, user.clone(), owner.clone(), metric.clone())),
                );
            }
        }
        let usages = stream::iter(series).map(|(index, user, owner, metric)| async move {
            let usage = self.usage_in(query, user, &owner, &metric, now).await?;
            Ok::<_, StoreError>(usage.map(|usage| (index, usage)))
        });
        let mut usages = usages.buffer_unordered(WIDTH);
        let mut sums: BTreeMap<(usize, String), UserUsage> = BTreeMap::new();
        while let Some(usage) = usages.next().await {
            let Some((index, usage)) = usage? else { continue };
            let key = (index, usage.metric.metric_type.clone());
            match sums.get_mut(&key) {
                Some(sum) => sum.add(&usage),
                None => drop(sums.insert(key, usage)),
            }
        }
        let placed = sums
            .into_iter()
            .filter_map(|((index, _), usage)| Some((sort_keys.get(index)?.clone(), usage)));
        Ok(placed.collect())
    }

    /// What one owner used of a metric: whole days, and the hours of the first that belong to it.
    async fn usage_in(
        &self,
        query: &UsageQuery,
        user_id: String,
        owner: &Owner,
        metric: &Metric,
        now: DateTime<Utc>,
    ) -> Result<Option<UserUsage>, StoreError> {
        let first = query.from.date_naive().and_time(NaiveTime::MIN).and_utc();
        let second = first + TimeDelta::days(1);
        let list = |granularity, from, to| BucketQuery {
            series: Series {
                owner: owner.clone(),
                metric_type: metric.metric_type.clone(),
                gauge: metric.kind == Kind::Gauge,
            },
            granularity,
            zone: Tz::UTC,
            from,
            to,
            after: None,
            limit: usize::MAX,
        };
        // Events come up to five minutes ahead.
        let end = now + TimeDelta::hours(1);
        let (mut buckets, _) = self.bucket_list(&list(Granularity::Daily, first, end), now).await?;
        if buckets.first().is_some_and(|bucket| bucket.period.start == first) {
            let (hours, _) = self
                .bucket_list(&list(Granularity::Hourly, query.from, second), now)
                .await?;
            buckets.splice(..1, hours);
        }
        let Some(last) = buckets.last() else { return Ok(None) };
        let total = match metric.kind {
            Kind::Gauge => last.totals.total,
            Kind::Sum | Kind::Lease => buckets.iter().map(|bucket| bucket.totals.total).sum(),
        };
        let sum = |of: fn(&Bucket) -> u64| buckets.iter().map(of).sum();
        Ok(Some(UserUsage {
            user_id,
            metric: metric.clone(),
            event_count: sum(|bucket| bucket.totals.count),
            total,
            error_count: sum(|bucket| bucket.totals.errors),
            last_event_at: self.last_event_at(owner, &metric.metric_type).await?,
        }))
    }
}

impl UserUsage {
    /// Adds what another subscription of the user used.
    fn add(&mut self, other: &Self) {
        self.event_count += other.event_count;
        self.total += other.total;
        self.error_count += other.error_count;
        self.last_event_at = self.last_event_at.max(other.last_event_at);
    }
}
