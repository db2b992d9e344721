//! Subscriptions: created, read, listed, and found for a request. What a cache may keep of one is
//! what never changes: whose it is and how its periods run. Limits are read only on counters.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, Update};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    ids::NONE,
    period::{Period, PeriodLength, Schedule, Timeline},
};

use crate::{
    Store, StoreError,
    account::{LISTED, SUBSCRIPTIONS_MAX, Status, entry, listed},
    audit::AuditEntry,
    configuration::{Configuration, Limits},
    error::failed,
    item::{Item, Reader, at, int, put_some, s},
    keys::{self, CounterKey, OWNER, Owner},
    mutation::{Committed, MutationRecord, update},
    plan::Version,
};

/// How long an instance may act on what it knew of a subscription.
pub const CACHE_LIFE: TimeDelta = TimeDelta::seconds(60);
/// How many subscriptions one instance remembers.
const CACHED_MAX: usize = 20_000;
/// The kind under which subscriptions are listed.
const KIND: &str = "subscription";

/// A subscription as stored.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// How its periods run, and ran.
    pub timeline: Timeline,
    /// Usage before it is history.
    pub starts_at: DateTime<Utc>,
    /// Whether it takes enforced usage.
    pub status: Status,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it will end, if that is decided.
    pub cancel_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Starts of periods that were ended early and are yet to be sealed.
    pub sealing: Vec<DateTime<Utc>>,
    /// Its limits and their guards.
    pub configuration: Configuration,
    /// Up to where its periods have their statements; none: before the first one.
    pub billed_until: Option<DateTime<Utc>>,
    /// The instant of the newest event of the bus that it has seen.
    pub seen_at: Option<DateTime<Utc>>,
    /// A hash of the request that created it, to tell the same request again from another one.
    pub created_as: String,
}

impl Subscription {
    /// The plan it has now.
    pub fn plan(&self) -> &str {
        self.configuration.limits.plan.as_deref().unwrap_or(NONE)
    }

    /// When it ended, if that is not after `now`.
    pub fn ended_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cancelled_at.or(self.cancel_at.filter(|at| *at <= now))
    }

    /// Whether it takes enforced usage at `now`.
    pub fn status_at(&self, now: DateTime<Utc>) -> Status {
        match self.ended_at(now) {
            Some(_) => Status::Cancelled,
            None => Status::Active,
        }
    }

    /// The period that runs at `now`; the first one before the start, the last one after the end.
    pub fn current_period(&self, now: DateTime<Utc>) -> Result<Period, StoreError> {
        let period = Target::of(self, now).period_at(now.max(self.starts_at))?;
        let end = self
            .ended_at(now)
            .filter(|end| period.contains(*end) && *end > period.start);
        Ok(Period {
            end: end.unwrap_or(period.end),
            ..period
        })
    }

    /// Whether no counter of that period may be born any more: it was closed, or ended early, or
    /// the subscription ends before it.
    fn closes(&self, period: &Period) -> bool {
        self.configuration
            .closed_until
            .is_some_and(|until| period.start < until)
            || self.timeline.is_cut(period)
            || self.cancel_at.is_some_and(|at| at <= period.start)
    }

    fn to_item(&self) -> Result<Item, StoreError> {
        let mut item = self.configuration.limits.to_item();
        item.extend([
            ("pk".into(), s(Owner::Subscription(self.id.clone()).pk())),
            ("sk".into(), s(OWNER)),
            ("kind".into(), s(KIND)),
            ("kind_sort".into(), s(keys::by_instant(self.created_at, &self.id))),
            ("id".into(), s(&self.id)),
            ("user_id".into(), s(&self.user_id)),
            ("timezone".into(), s(self.timeline.zone().name())),
            ("period_length".into(), s(self.timeline.length().as_str())),
            ("starts_at".into(), at(self.starts_at)),
            ("created_at".into(), at(self.created_at)),
            ("created_as".into(), s(&self.created_as)),
            ("births".into(), int(self.configuration.births)),
        ]);
        for (name, value) in self.state()? {
            put_some(&mut item, name, value);
        }
        Ok(item)
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "subscription");
        let zone: Tz = read.text("timezone")?.parse().map_err(|_| read.corrupt("timezone"))?;
        let length = PeriodLength::parse(&read.text("period_length")?).ok_or_else(|| read.corrupt("period_length"))?;
        let first = Schedule::new(zone, read.instant("billing_anchor")?, length);
        Ok(Self {
            id: read.text("id")?,
            user_id: read.text("user_id")?,
            timeline: Timeline::new(first, read.instants("renewals")?),
            starts_at: read.instant("starts_at")?,
            status: Status::parse(&read.text("status")?).ok_or_else(|| read.corrupt("status"))?,
            created_at: read.instant("created_at")?,
            cancel_at: read.instant_opt("cancel_at")?,
            cancelled_at: read.instant_opt("cancelled_at")?,
            sealing: read.instants("sealing")?,
            billed_until: read.instant_opt("billed_until")?,
            seen_at: read.instant_opt("seen_at")?,
            configuration: Configuration::read(&read)?,
            created_as: read.text("created_as")?,
        })
    }
}

/// What never changes about the subscription that a request is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whose counters are meant.
    pub owner: Owner,
    /// The user.
    pub user_id: String,
    /// The subscription, or `none`.
    pub subscription_id: String,
    /// How its periods run, and ran.
    pub timeline: Timeline,
    /// Usage before it is history; the implicit subscription has no start.
    pub starts_at: Option<DateTime<Utc>>,
    /// When it ends, or ended, if that is decided.
    pub ends_at: Option<DateTime<Utc>>,
    /// Whether it takes enforced usage.
    pub active: bool,
}

impl Target {
    /// The user's implicit subscription.
    pub fn implicit(user_id: &str, active: bool) -> Self {
        Self {
            owner: Owner::None(user_id.to_owned()),
            user_id: user_id.to_owned(),
            subscription_id: NONE.to_owned(),
            timeline: Timeline::new(Schedule::utc_months(), []),
            starts_at: None,
            ends_at: None,
            active,
        }
    }

    /// The target that a subscription is at `now`.
    pub fn of(subscription: &Subscription, now: DateTime<Utc>) -> Self {
        Self {
            owner: Owner::Subscription(subscription.id.clone()),
            user_id: subscription.user_id.clone(),
            subscription_id: subscription.id.clone(),
            timeline: subscription.timeline.clone(),
            starts_at: Some(subscription.starts_at),
            ends_at: subscription.cancelled_at.or(subscription.cancel_at),
            active: subscription.status_at(now) == Status::Active,
        }
    }
}

/// A user and the subscription as requested.
type Asked = (String, Option<String>);

/// What is known, and since when.
type Known = (DateTime<Utc>, Arc<Target>);

/// What an instance remembers of subscriptions, and since when.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Asked, Known>>);

impl Cache {
    fn get(&self, key: &Asked, now: DateTime<Utc>) -> Option<Arc<Target>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, target) = entries.get(key)?;
        // A clock that was moved back makes an entry old, too.
        let age = now - *since;
        let fresh = age >= TimeDelta::zero() && age < CACHE_LIFE;
        (fresh && target.ends_at.is_none_or(|at| now < at)).then(|| target.clone())
    }

    fn put(&self, key: Asked, now: DateTime<Utc>, target: Arc<Target>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CACHED_MAX {
            entries.clear();
        }
        entries.insert(key, (now, target));
    }
}

impl Store {
    /// The subscription a request is about: the named one, or the user's default. None if there is
    /// no such subscription of this user. `fresh` passes the cache by. Absence is never cached.
    pub async fn subscription_resolve(
        &self,
        user_id: &str,
        requested: Option<&str>,
        fresh: bool,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Target>>, StoreError> {
        let key = (user_id.to_owned(), requested.map(str::to_owned));
        if !fresh && let Some(target) = self.subscriptions.get(&key, now) {
            return Ok(Some(target));
        }
        let found = match requested {
            Some(NONE) | None => self.resolve_default(user_id, requested, now).await?,
            Some(id) => self
                .subscription_get(id)
                .await?
                .filter(|found| found.user_id == user_id)
                .map(|found| Target::of(&found, now)),
        };
        let Some(target) = found.map(Arc::new) else {
            return Ok(None);
        };
        if target.active && target.subscription_id != NONE {
            self.subscriptions.put(key, now, target.clone());
        }
        Ok(Some(target))
    }

    async fn resolve_default(
        &self,
        user_id: &str,
        requested: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Option<Target>, StoreError> {
        let account = self.account_get(user_id).await?;
        let implicit = Target::implicit(user_id, account.subscriptions.is_empty());
        let Some(id) = account.default_subscription(now).filter(|_| requested.is_none()) else {
            return Ok(Some(implicit));
        };
        let found = self.subscription_get(id).await?;
        // The account and the subscription are written together.
        let found = found.ok_or(StoreError::Corrupt {
            what: "account",
            attribute: "subscriptions".into(),
        })?;
        Ok(Some(Target::of(&found, now)))
    }

    /// A subscription, strongly read.
    pub async fn subscription_get(&self, id: &str) -> Result<Option<Subscription>, StoreError> {
        let pk = Owner::Subscription(id.to_owned()).pk();
        let item = self.state_get("subscription_get", &pk, OWNER).await?;
        item.as_ref().map(Subscription::from_item).transpose()
    }

    /// Writes a new subscription and adds it to its user's account, which ends `none`.
    pub async fn subscription_create(
        &self,
        subscription: &Subscription,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let account = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(Owner::None(subscription.user_id.clone()).pk()))
            .key("sk", s(OWNER))
            .update_expression(format!(
                "SET subscriptions = list_append(if_not_exists(subscriptions, :none), :one), \
                 config_version = if_not_exists(config_version, :zero) + :step, {LISTED}"
            ))
            .condition_expression("attribute_not_exists(subscriptions) OR size(subscriptions) < :most")
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(
                ":one",
                AttributeValue::L(vec![entry(&subscription.id, subscription.status, None)]),
            )
            .expression_attribute_values(":zero", int(0))
            .expression_attribute_values(":step", int(1))
            .expression_attribute_values(":most", int(SUBSCRIPTIONS_MAX));
        let account = listed(account, &subscription.user_id, audit.at);
        let items = vec![self.put_new(subscription.to_item()?)?, update(account)?];
        self.mutation_commit(items, audit, record).await
    }

    /// A user's subscriptions, newest first, after the one with this id, and the one to go on from.
    pub async fn subscription_list_of(
        &self,
        user_id: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Subscription>, Option<String>), StoreError> {
        let account = self.account_get(user_id).await?;
        let mut ids: Vec<String> = account.subscriptions.into_iter().rev().map(|one| one.id).collect();
        if let Some(after) = after {
            ids = ids.into_iter().skip_while(|id| id != after).skip(1).collect();
        }
        let next = (ids.len() > limit).then(|| ids[limit - 1].clone());
        ids.truncate(limit);
        Ok((self.subscriptions_by_id(&ids).await?, next))
    }

    /// Subscriptions of all users, newest first, before a sort key, and the one to go on from.
    pub async fn subscription_list(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Subscription>, Option<String>), StoreError> {
        let (keys, next) = self.kind_list(KIND, before, limit).await?;
        let ids: Vec<String> = keys
            .iter()
            .filter_map(|key| key.split_once('#').map(|(_, id)| id.to_owned()))
            .collect();
        Ok((self.subscriptions_by_id(&ids).await?, next))
    }

    async fn subscriptions_by_id(&self, ids: &[String]) -> Result<Vec<Subscription>, StoreError> {
        let key = |id: &String| {
            Item::from([
                ("pk".into(), s(Owner::Subscription(id.clone()).pk())),
                ("sk".into(), s(OWNER)),
            ])
        };
        let wanted: Vec<Item> = ids.iter().map(key).collect();
        let mut found = HashMap::new();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            let subscription = Subscription::from_item(&item)?;
            found.insert(subscription.id.clone(), subscription);
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// Sort keys of one kind of record, newest first, before a sort key, and the one to go on from.
    pub(crate) async fn kind_list(
        &self,
        kind: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>), StoreError> {
        // '~' sorts after every instant.
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .index_name("by_kind")
            .key_condition_expression("kind = :kind AND kind_sort < :before")
            .expression_attribute_values(":kind", s(kind))
            .expression_attribute_values(":before", s(before.unwrap_or("~")))
            .scan_index_forward(false)
            .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("kind_list", error))?;
        let keys = page
            .items()
            .iter()
            .map(|item| Reader::new(item, "list entry").text("kind_sort"));
        let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = if more { keys.last().cloned() } else { None };
        Ok((keys, next))
    }

    /// An owner's configuration, strongly read, and whether the owner still takes new counters:
    /// the implicit subscription does not once there is an active one.
    pub(crate) async fn configuration_get(&self, owner: &Owner) -> Result<Option<Configuration>, StoreError> {
        match owner {
            Owner::Subscription(id) => Ok(self.subscription_get(id).await?.map(|found| found.configuration)),
            Owner::None(user) => {
                let account = self.account_get(user).await?;
                Ok(account
                    .default_subscription(self.context.now())
                    .is_none()
                    .then_some(account.configuration))
            }
        }
    }

    /// The configuration under which a counter may be born; none if it may not: its period is
    /// closed or none of its owner's (any more), or its owner takes no more.
    pub(crate) async fn birthright(
        &self,
        key: &CounterKey,
        period: &Period,
    ) -> Result<Option<Configuration>, StoreError> {
        let sums = key.period_start.is_some();
        match &key.owner {
            Owner::Subscription(id) => Ok(self.subscription_get(id).await?.and_then(|found| {
                let exists = !sums || found.timeline.period_at(period.start).as_ref() == Some(period);
                let takes = found.status_at(self.context.now()) == Status::Active;
                (exists && takes && !(sums && found.closes(period))).then_some(found.configuration)
            })),
            Owner::None(_) => {
                let configuration = self.configuration_get(&key.owner).await?;
                let open = |own: &Configuration| !sums || own.closed_until.is_none_or(|until| until <= period.start);
                Ok(configuration.filter(open))
            }
        }
    }

    /// The configuration of a new subscription, on the newest version of a plan.
    pub fn subscription_limits(plan: &Version, now: DateTime<Utc>) -> Configuration {
        Configuration {
            version: 1,
            limits: Limits::default().on(plan, now),
            ..Configuration::default()
        }
    }
}
