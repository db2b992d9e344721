//! What one user wants to be told, and where: addresses, channels, webhook endpoints, custom
//! thresholds. One item per user, and one with the thresholds of all users, since whoever judges a
//! counter or sends an alert needs the whole of it in one read.
//!
//! A change rewrites the item if it is as it was read, together with the locators of what it adds
//! or takes away, its audit entry and the record of its answer. Sent twice: the record, or the
//! version, refuses the second. In parallel: one of two looks again. Dies half-way: nothing happened.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::alert::{Channel, Severity, ThresholdType};
use rust_decimal::Decimal;
use serde_json::json;

use crate::{
    Store, StoreError,
    audit::{Actor, AuditEntry},
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    item::{Item, Reader, at, int, n, put_some, s},
    keys,
    mutation::{Committed, MutationRecord, ONLY, built},
};

/// The most custom thresholds of one user, and the most of all users: they are read with every
/// judgement.
pub const THRESHOLDS_MAX: usize = 50;
/// The most webhook endpoints of one user.
pub const ENDPOINTS_MAX: usize = 10;
/// How long the secret before the last rotation still signs.
pub const ROTATION: TimeDelta = TimeDelta::hours(24);
/// How often a change that met another looks again.
const TURNS_MAX: u32 = 12;

/// What one user wants to be told, or what is watched for all users.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// The user; none for the thresholds of all users.
    pub user_id: Option<String>,
    /// Incremented by each change.
    pub version: u64,
    /// Where mails go.
    pub email: Option<String>,
    /// Where text messages go.
    pub phone: Option<String>,
    /// By which channels built-in alerts go out.
    pub channels: Vec<Channel>,
    /// Custom thresholds, by id.
    pub thresholds: BTreeMap<String, CustomThreshold>,
    /// Webhook endpoints, by id.
    pub endpoints: BTreeMap<String, WebhookEndpoint>,
}

/// A threshold that somebody set.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomThreshold {
    /// Its id.
    pub id: String,
    /// The subscription it is for; none for all of the user, or of everybody.
    pub subscription_id: Option<String>,
    /// The metric it watches.
    pub metric_type: String,
    /// What it compares.
    pub threshold_type: ThresholdType,
    /// With which value.
    pub value: Decimal,
    /// By which channels its alerts go out.
    pub channels: Vec<Channel>,
    /// How long after a delivery further ones are suppressed, in minutes.
    pub cooldown_minutes: u32,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it is watched.
    pub enabled: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it is watched as it is: what had reached it by then does not fire.
    pub since: DateTime<Utc>,
    /// Incremented by each change of what it watches, which arms it anew.
    pub revision: u64,
}

/// A webhook endpoint.
#[derive(Clone, PartialEq)]
pub struct WebhookEndpoint {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// What signs.
    pub secret: String,
    /// What signs besides, and until when.
    pub previous: Option<(String, DateTime<Utc>)>,
    /// Whether anything is sent to it.
    pub enabled: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl std::fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookEndpoint")
            .field("id", &self.id)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl WebhookEndpoint {
    /// Everything that signs at `now`.
    pub fn secrets(&self, now: DateTime<Utc>) -> Vec<&str> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until);
        std::iter::once(self.secret.as_str())
            .chain(previous.map(|(secret, _)| secret.as_str()))
            .collect()
    }
}

impl Notification {
    /// What holds for a user who never said anything.
    pub fn unsaid(user_id: Option<&str>) -> Self {
        Self {
            user_id: user_id.map(str::to_owned),
            version: 0,
            email: None,
            phone: None,
            channels: vec![Channel::Email, Channel::Webhook],
            thresholds: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }

    fn pk(user_id: Option<&str>) -> String {
        user_id.map_or_else(|| keys::THRESHOLDS.to_owned(), keys::notification)
    }

    /// The ids of what is known by its id alone.
    fn ids(&self) -> impl Iterator<Item = &String> {
        self.thresholds.keys().chain(self.endpoints.keys())
    }

    fn to_item(&self) -> Item {
        let channels = self.channels.iter().map(|channel| s(channel.as_str())).collect();
        let thresholds = self.thresholds.iter();
        let thresholds: Item = thresholds.map(|(id, own)| (id.clone(), own.to_value())).collect();
        let endpoints = self.endpoints.iter();
        let endpoints: Item = endpoints.map(|(id, own)| (id.clone(), own.to_value())).collect();
        let mut item = Item::from([
            ("pk".into(), s(Self::pk(self.user_id.as_deref()))),
            ("sk".into(), s(ONLY)),
            ("version".into(), int(self.version)),
            ("channels".into(), AttributeValue::L(channels)),
            ("thresholds".into(), AttributeValue::M(thresholds)),
            ("endpoints".into(), AttributeValue::M(endpoints)),
        ]);
        put_some(&mut item, "user_id", self.user_id.clone().map(s));
        put_some(&mut item, "email", self.email.clone().map(s));
        put_some(&mut item, "phone", self.phone.clone().map(s));
        item
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "notification settings");
        let thresholds: Vec<(String, CustomThreshold)> = read.map_of("thresholds", CustomThreshold::read)?;
        let endpoints: Vec<(String, WebhookEndpoint)> = read.map_of("endpoints", WebhookEndpoint::read)?;
        Ok(Self {
            user_id: read.text_opt("user_id")?,
            version: read.integer("version")?,
            email: read.text_opt("email")?,
            phone: read.text_opt("phone")?,
            channels: channels(&read, "channels")?,
            thresholds: thresholds.into_iter().collect(),
            endpoints: endpoints.into_iter().collect(),
        })
    }
}

/// A list of channels.
pub(crate) fn channels(read: &Reader<'_>, name: &str) -> Result<Vec<Channel>, StoreError> {
    let names = read.list_of_texts(name)?;
    let parsed = names.iter().map(|one| Channel::parse(one));
    parsed.collect::<Option<_>>().ok_or_else(|| read.corrupt(name))
}

impl CustomThreshold {
    fn to_value(&self) -> AttributeValue {
        let channels = self.channels.iter().map(|channel| s(channel.as_str())).collect();
        let mut item = Item::from([
            ("id".into(), s(&self.id)),
            ("metric_type".into(), s(&self.metric_type)),
            ("type".into(), s(self.threshold_type.as_str())),
            ("value".into(), n(self.value)),
            ("channels".into(), AttributeValue::L(channels)),
            ("cooldown_minutes".into(), int(self.cooldown_minutes)),
            ("severity".into(), s(self.severity.as_str())),
            ("enabled".into(), AttributeValue::Bool(self.enabled)),
            ("created_at".into(), at(self.created_at)),
            ("since".into(), at(self.since)),
            ("revision".into(), int(self.revision)),
        ]);
        put_some(&mut item, "subscription_id", self.subscription_id.clone().map(s));
        AttributeValue::M(item)
    }

    fn read(read: Reader<'_>) -> Result<Self, StoreError> {
        let threshold_type = ThresholdType::parse(&read.text("type")?);
        let severity = Severity::parse(&read.text("severity")?);
        Ok(Self {
            id: read.text("id")?,
            subscription_id: read.text_opt("subscription_id")?,
            metric_type: read.text("metric_type")?,
            threshold_type: threshold_type.ok_or_else(|| read.corrupt("type"))?,
            value: read.decimal("value")?,
            channels: channels(&read, "channels")?,
            cooldown_minutes: read.integer("cooldown_minutes")?,
            severity: severity.ok_or_else(|| read.corrupt("severity"))?,
            enabled: read.flag("enabled")?,
            created_at: read.instant("created_at")?,
            since: read.instant("since")?,
            revision: read.integer("revision")?,
        })
    }

    /// Whether it watches this metric of this subscription.
    pub fn watches(&self, metric: &str, subscription_id: &str) -> bool {
        let own = self.subscription_id.as_deref();
        self.enabled && self.metric_type == metric && own.is_none_or(|own| own == subscription_id)
    }
}

impl WebhookEndpoint {
    fn to_value(&self) -> AttributeValue {
        let mut item = Item::from([
            ("id".into(), s(&self.id)),
            ("url".into(), s(&self.url)),
            ("secret".into(), s(&self.secret)),
            ("enabled".into(), AttributeValue::Bool(self.enabled)),
            ("created_at".into(), at(self.created_at)),
        ]);
        if let Some((secret, until)) = &self.previous {
            item.insert("previous".into(), s(secret));
            item.insert("previous_until".into(), at(*until));
        }
        AttributeValue::M(item)
    }

    fn read(read: Reader<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: read.text("id")?,
            url: read.text("url")?,
            secret: read.text("secret")?,
            previous: read.text_opt("previous")?.zip(read.instant_opt("previous_until")?),
            enabled: read.flag("enabled")?,
            created_at: read.instant("created_at")?,
        })
    }
}

/// What a change makes of a user's settings.
#[derive(Debug, Clone)]
pub struct NotificationChange {
    /// The settings after it.
    pub after: Notification,
    /// Its audit entry.
    pub audit: AuditEntry,
    /// The record of its answer.
    pub record: Option<MutationRecord>,
}

impl Store {
    /// What a user wants to be told, or what is watched for all users, strongly read.
    pub async fn notification_get(&self, user_id: Option<&str>) -> Result<Notification, StoreError> {
        let pk = Notification::pk(user_id);
        let item = self.state_get("notification_get", &pk, ONLY).await?;
        item.map_or_else(
            || Ok(Notification::unsaid(user_id)),
            |item| Notification::from_item(&item),
        )
    }

    /// A counter's item, and what is watched of its user and of all users: one request.
    pub(crate) async fn watched(
        &self,
        counter: Option<&keys::CounterKey>,
        user_id: &str,
    ) -> Result<(Option<Item>, Notification, Notification), StoreError> {
        let key = |pk: String, sk: String| Item::from([("pk".into(), s(pk)), ("sk".into(), s(sk))]);
        let mut wanted = vec![
            key(Notification::pk(Some(user_id)), ONLY.to_owned()),
            key(Notification::pk(None), ONLY.to_owned()),
        ];
        wanted.extend(counter.map(|counter| key(counter.pk(), counter.sk())));
        let (mut found, mut own, mut all) = (None, None, None);
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            match Reader::new(&item, "notification settings").text("pk")? {
                pk if pk == Notification::pk(Some(user_id)) => own = Some(Notification::from_item(&item)?),
                pk if pk == Notification::pk(None) => all = Some(Notification::from_item(&item)?),
                _ => found = Some(item),
            }
        }
        let unsaid = |user_id| Notification::unsaid(user_id);
        Ok((
            found,
            own.unwrap_or_else(|| unsaid(Some(user_id))),
            all.unwrap_or_else(|| unsaid(None)),
        ))
    }

    /// Changes a user's settings as `change` says, which sees them as they are and may be asked again
    /// if they change meanwhile; it answers nothing where there is nothing to change. What they are
    /// then; none if the same request changed them before: its record is there.
    pub async fn notification_change<E>(
        &self,
        user_id: Option<&str>,
        change: impl Fn(&Notification) -> Result<Option<NotificationChange>, E> + Send + Sync,
    ) -> Result<Option<Notification>, E>
    where
        E: From<StoreError>,
    {
        if let Some(user_id) = user_id {
            self.require_user(user_id).await?;
        }
        for turn in 0..TURNS_MAX {
            let before = self.notification_get(user_id).await?;
            let Some(mut change) = change(&before)? else {
                return Ok(Some(before));
            };
            change.after.version = before.version + 1;
            match self.notification_commit(&before, &change).await? {
                Committed::Done => return Ok(Some(change.after)),
                Committed::Before => return Ok(None),
                Committed::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
            }
        }
        Err(StoreError::busy("notification_change").into())
    }

    async fn notification_commit(
        &self,
        before: &Notification,
        change: &NotificationChange,
    ) -> Result<Committed, StoreError> {
        let after = &change.after;
        let put = Put::builder()
            .table_name(&self.tables.state)
            .set_item(Some(after.to_item()))
            .condition_expression(if before.version == 0 {
                "attribute_not_exists(pk) OR version = :before"
            } else {
                "version = :before"
            })
            .expression_attribute_values(":before", int(before.version));
        let mut items = vec![TransactWriteItem::builder().put(built(put.build())?).build()];
        for id in after.ids().filter(|id| !before.ids().any(|other| other == *id)) {
            let mut item = Item::from([("pk".into(), s(keys::locator(id))), ("sk".into(), s(ONLY))]);
            put_some(&mut item, "user_id", after.user_id.clone().map(s));
            items.push(self.put_new(item)?);
        }
        for id in before.ids().filter(|id| !after.ids().any(|other| other == *id)) {
            let delete = Delete::builder()
                .table_name(&self.tables.state)
                .key("pk", s(keys::locator(id)))
                .key("sk", s(ONLY));
            items.push(TransactWriteItem::builder().delete(built(delete.build())?).build());
        }
        self.mutation_commit(items, &change.audit, change.record.as_ref()).await
    }

    /// Sends nothing more to a webhook endpoint, which said that it is gone for good.
    pub async fn endpoint_disable(&self, user_id: &str, id: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let audit_id = self.context.id("aud");
        let disabled = |before: &Notification| -> Result<Option<NotificationChange>, StoreError> {
            let mut after = before.clone();
            let Some(endpoint) = after.endpoints.get_mut(id).filter(|endpoint| endpoint.enabled) else {
                return Ok(None);
            };
            endpoint.enabled = false;
            let audit = AuditEntry {
                id: audit_id.clone(),
                at: now,
                actor: Actor {
                    kind: "system",
                    id: "AlertJob".to_owned(),
                },
                action: "webhook_endpoint.disable",
                target: id.to_owned(),
                before: json!({"enabled": true}),
                after: json!({"enabled": false}),
                reason: Some("the endpoint answered 410".to_owned()),
                ip: None,
                request_id: audit_id.clone(),
            };
            Ok(Some(NotificationChange {
                after,
                audit,
                record: None,
            }))
        };
        self.notification_change(Some(user_id), disabled).await.map(drop)
    }

    /// Whose a threshold or webhook endpoint is: the outer none if there is no such object, the inner
    /// one for a threshold of all users.
    pub async fn notification_owner(&self, id: &str) -> Result<Option<Option<String>>, StoreError> {
        let item = self.state_get("notification_owner", &keys::locator(id), ONLY).await?;
        item.map(|item| Reader::new(&item, "locator").text_opt("user_id"))
            .transpose()
    }
}
