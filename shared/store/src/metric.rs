//! The catalogue of metrics: those built in, and those that administrators defined.
//!
//! The defined ones are one item, so that an instance knows all of them by one read. What it knows
//! it may use for a minute: kinds never change. Absence is never cached: a name that is not known
//! is looked up once more before anybody is told that there is no such metric.
//!
//! A definition sent twice: the condition on its own attribute refuses the second. In parallel: one
//! of two. Dies half-way: nothing happened.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::metric::{Kind, Metric, built_in, find_built_in};

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    item::{Item, Reader, at, int, put_some, s},
    keys::METRICS,
    mutation::{Committed, MutationRecord, ONLY, update},
};

/// How long an instance may act on what it knew of defined metrics.
pub const CACHE_LIFE: TimeDelta = TimeDelta::seconds(60);
/// The most metrics that may be defined: a change of plan writes all counters of one subscription,
/// one per metric, in one transaction of at most 100 items.
pub const DEFINED_MAX: usize = 80;
/// What a defined metric's attribute begins with; no other attribute of the item does.
const PREFIX: &str = "m:";

/// All metrics, as known at one time.
#[derive(Debug, Default)]
pub struct Catalogue {
    defined: BTreeMap<String, (DateTime<Utc>, Metric)>,
}

impl Catalogue {
    /// The metric of a name.
    pub fn find(&self, name: &str) -> Option<&Metric> {
        find_built_in(name).or_else(|| self.defined.get(name).map(|(_, metric)| metric))
    }

    /// All of them, newest first; the built-in ones are the oldest.
    pub fn all(&self) -> Vec<&Metric> {
        let mut defined: Vec<_> = self.defined.values().collect();
        defined.sort_by(|a, b| (b.0, &b.1.metric_type).cmp(&(a.0, &a.1.metric_type)));
        defined
            .into_iter()
            .map(|(_, metric)| metric)
            .chain(built_in())
            .collect()
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "metric");
        let names = item.keys().filter_map(|attribute| attribute.strip_prefix(PREFIX));
        let defined = names.map(|name| {
            let own = read.map(&attribute(name))?;
            let own = Reader::new(&own, "metric");
            let metric = Metric {
                metric_type: name.to_owned(),
                kind: Kind::parse(&own.text("kind")?).ok_or_else(|| own.corrupt("kind"))?,
                unit: own.text("unit")?,
                description: own.text_opt("description")?,
                built_in: false,
            };
            Ok((name.to_owned(), (own.instant("created_at")?, metric)))
        });
        Ok(Self {
            defined: defined.collect::<Result<_, StoreError>>()?,
        })
    }
}

fn attribute(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn value(metric: &Metric, created_at: DateTime<Utc>) -> AttributeValue {
    let mut item = Item::from([
        ("kind".into(), s(metric.kind.as_str())),
        ("unit".into(), s(&metric.unit)),
        ("created_at".into(), at(created_at)),
    ]);
    put_some(&mut item, "description", metric.description.clone().map(s));
    AttributeValue::M(item)
}

/// The catalogue that an instance knows, and since when.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Option<(DateTime<Utc>, Arc<Catalogue>)>>);

impl Cache {
    fn get(&self, now: DateTime<Utc>) -> Option<Arc<Catalogue>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, catalogue) = known.as_ref()?;
        // A clock that was moved back makes what is known old, too.
        let age = now - *since;
        (age >= TimeDelta::zero() && age < CACHE_LIFE).then(|| catalogue.clone())
    }

    fn put(&self, now: DateTime<Utc>, catalogue: Arc<Catalogue>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, catalogue));
    }
}

impl Store {
    /// A catalogue that has every one of these names that exists. Only names that are neither built
    /// in nor known to this instance cost a request.
    pub async fn metrics<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Catalogue>, StoreError> {
        let known = self.metrics_known.get(now).unwrap_or_default();
        if names.into_iter().all(|name| known.find(name).is_some()) {
            return Ok(known);
        }
        self.metrics_all(now).await
    }

    /// The whole catalogue as it is now, strongly read.
    pub async fn metrics_all(&self, now: DateTime<Utc>) -> Result<Arc<Catalogue>, StoreError> {
        let item = self.state_get("metrics_all", METRICS, ONLY).await?;
        let catalogue = item.as_ref().map(Catalogue::from_item).transpose()?.unwrap_or_default();
        let catalogue = Arc::new(catalogue);
        self.metrics_known.put(now, catalogue.clone());
        Ok(catalogue)
    }

    /// Defines a metric. Unmet: there is one of that name, or there are as many as there may be.
    pub async fn metric_create(
        &self,
        metric: &Metric,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let define = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(METRICS))
            .key("sk", s(ONLY))
            .update_expression("SET #metric = :metric, how_many = if_not_exists(how_many, :zero) + :step")
            .condition_expression(
                "attribute_not_exists(#metric) AND (attribute_not_exists(how_many) OR how_many < :most)",
            )
            .expression_attribute_names("#metric", attribute(&metric.metric_type))
            .expression_attribute_values(":metric", value(metric, audit.at))
            .expression_attribute_values(":zero", int(0))
            .expression_attribute_values(":step", int(1))
            .expression_attribute_values(":most", int(DEFINED_MAX));
        self.mutation_commit(vec![update(define)?], audit, record).await
    }

    /// Changes unit and description of a defined metric. Unmet: there is none of that name and kind.
    pub async fn metric_change(
        &self,
        metric: &Metric,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let (set, removed) = match &metric.description {
            Some(_) => (", #metric.description = :description", ""),
            None => ("", " REMOVE #metric.description"),
        };
        let mut change = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(METRICS))
            .key("sk", s(ONLY))
            .update_expression(format!("SET #metric.#unit = :unit{set}{removed}"))
            .condition_expression("#metric.kind = :kind")
            .expression_attribute_names("#metric", attribute(&metric.metric_type))
            .expression_attribute_names("#unit", "unit")
            .expression_attribute_values(":unit", s(&metric.unit))
            .expression_attribute_values(":kind", s(metric.kind.as_str()));
        if let Some(description) = &metric.description {
            change = change.expression_attribute_values(":description", s(description));
        }
        self.mutation_commit(vec![update(change)?], audit, record).await
    }
}
