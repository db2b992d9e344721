//! Plans: kept in versions, for ever, since counters of any period may be born or billed later.
//!
//! An edited plan is a new version. It binds a subscription from its next period on, or at once one
//! that moves onto the plan after the edit. So the version in force is the newest one from at or
//! before the period's start, or the move if that was later: what is past never changes, and an
//! instance may answer from the versions it has read, as far as they reach.
//!
//! An edit is one transaction: the plan's head if it is as it was read, and the version. Sent
//! twice: the same body makes no new version. In parallel: one of two looks again. Dies half-way:
//! nothing happened.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnConsumedCapacity, TransactWriteItem};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::plan::{Plan, built_in, find_built_in};

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    counter::{quota_item, quota_read},
    error::failed,
    item::{Item, Reader, at, int, s},
    keys::{self, PLANS},
    mutation::{Committed, MutationRecord, built},
};

/// How long an instance may act on the versions it has read.
pub const CACHE_LIFE: TimeDelta = TimeDelta::seconds(60);
/// The most plans there may be: an administrator's list reads them all.
pub const PLANS_MAX: usize = 500;
/// How many versions of a plan are read at once.
const VERSIONS_PAGE: i32 = 16;

/// A version of a plan, and from when on.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// When it was made; the built-in ones were always there.
    pub since: DateTime<Utc>,
    /// What it says.
    pub plan: Plan,
}

impl Version {
    fn built_in(plan: &Plan) -> Self {
        Self {
            since: DateTime::UNIX_EPOCH,
            plan: plan.clone(),
        }
    }

    fn to_item(&self, pk: String, sk: String) -> Item {
        let quotas = self.plan.quotas.iter();
        let quotas = quotas.map(|(metric, terms)| (metric.clone(), AttributeValue::M(quota_item(terms))));
        Item::from([
            ("pk".into(), s(pk)),
            ("sk".into(), s(sk)),
            ("id".into(), s(&self.plan.id)),
            ("name".into(), s(&self.plan.name)),
            ("currency".into(), s(&self.plan.currency)),
            ("version".into(), int(self.plan.version)),
            ("since".into(), at(self.since)),
            ("quotas".into(), AttributeValue::M(quotas.collect())),
        ])
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "plan");
        Ok(Self {
            since: read.instant("since")?,
            plan: Plan {
                id: read.text("id")?,
                name: read.text("name")?,
                currency: read.text("currency")?,
                version: read.integer("version")?,
                quotas: read.map_of::<_, BTreeMap<_, _>>("quotas", |own| quota_read(&own))?,
            },
        })
    }
}

/// The versions of one plan, newest first, as far back as they were read.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    read_at: DateTime<Utc>,
    versions: Vec<Version>,
    /// Whether there are older ones that were not read.
    more: bool,
}

impl Versions {
    /// The version in force at an instant.
    pub fn at(&self, at: DateTime<Utc>) -> Option<&Plan> {
        let newest = self.versions.iter().find(|version| version.since <= at);
        newest.map(|version| &version.plan)
    }

    fn reach(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        to <= self.read_at && (!self.more || self.versions.last().is_some_and(|oldest| oldest.since <= from))
    }
}

/// What an instance has read of plans.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<String, Arc<Versions>>>);

impl Cache {
    fn get(&self, id: &str, from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> Option<Arc<Versions>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = known.get(id)?;
        // A clock that was moved back makes what is known old, too.
        let age = now - versions.read_at;
        let fresh = age >= TimeDelta::zero() && age < CACHE_LIFE;
        (fresh && versions.reach(from, to)).then(|| versions.clone())
    }

    fn put(&self, id: &str, versions: Arc<Versions>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PLANS_MAX {
            known.clear();
        }
        known.insert(id.to_owned(), versions);
    }
}

impl Store {
    /// The versions of a plan that were in force between two instants, `to` at most the present one.
    pub(crate) async fn plan_versions(
        &self,
        id: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Arc<Versions>, StoreError> {
        let now = self.context.now();
        if let Some(known) = self.plans_known.get(id, from, to, now) {
            return Ok(known);
        }
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(keys::plan_versions(id)))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(VERSIONS_PAGE)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .send();
        let mut found = Versions {
            // Whoever asks for a later instant than this must read again.
            read_at: now.max(to),
            versions: Vec::new(),
            more: true,
        };
        while !found.reach(from, to) {
            let Some(page) = pages.next().await else {
                found.more = false;
                found.versions.extend(find_built_in(id).map(Version::built_in));
                break;
            };
            let page = page.map_err(|error| failed("plan_versions", error))?;
            for item in page.items() {
                found.versions.push(Version::from_item(item)?);
            }
        }
        let found = Arc::new(found);
        self.plans_known.put(id, found.clone());
        Ok(found)
    }

    /// The newest version of a plan, strongly read.
    pub async fn plan_get(&self, id: &str) -> Result<Option<Version>, StoreError> {
        let item = self.state_get("plan_get", PLANS, id).await?;
        let stored = item.as_ref().map(Version::from_item).transpose()?;
        Ok(stored.or_else(|| find_built_in(id).map(Version::built_in)))
    }

    /// The newest version of each plan, newest first; built-in ones that nobody edited are the oldest.
    pub async fn plan_list(&self) -> Result<Vec<Version>, StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(PLANS))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .items()
            .send();
        let mut plans = Vec::new();
        while let Some(item) = pages.next().await {
            plans.push(Version::from_item(&item.map_err(|error| failed("plan_list", error))?)?);
        }
        plans.sort_by(|a, b| (b.since, &b.plan.id).cmp(&(a.since, &a.plan.id)));
        for plan in built_in() {
            if !plans.iter().any(|known| known.plan.id == plan.id) {
                plans.push(Version::built_in(plan));
            }
        }
        Ok(plans)
    }

    /// Makes `plan` the version after `before`. Unmet: somebody else made one.
    pub async fn plan_put(
        &self,
        plan: &Plan,
        before: Option<&Version>,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let now = self.context.now();
        let next = Version {
            // Versions are found by their instants, so no two may share one.
            since: before.map_or(now, |before| now.max(before.since + TimeDelta::milliseconds(1))),
            plan: plan.clone(),
        };
        let head = Put::builder()
            .table_name(&self.tables.state)
            .set_item(Some(next.to_item(PLANS.to_owned(), plan.id.clone())));
        let stored = before.filter(|before| before.since > DateTime::UNIX_EPOCH);
        let head = match stored {
            None => head.condition_expression("attribute_not_exists(pk)"),
            Some(before) => head
                .condition_expression("#version = :before")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":before", int(before.plan.version)),
        };
        let version = next.to_item(keys::plan_versions(&plan.id), keys::instant(next.since));
        let items = vec![
            TransactWriteItem::builder().put(built(head.build())?).build(),
            self.put_new(version)?,
        ];
        self.mutation_commit(items, audit, record).await
    }
}
