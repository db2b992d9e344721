//! Alerts: raised once under a name that what they are about gives them, then moved forward only.
//!
//! The alert is written together with the locator of its id, which is its claim: whoever comes
//! second finds it taken. Its insertion is what is sent, see the relay. Dies half-way: nothing
//! happened, and whoever judges next raises it.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, TransactWriteItem, Update};
use chrono::{DateTime, Utc};
use metering_domain::alert::{AlertStatus, AlertType, Channel, Severity};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    error::failed,
    item::{Item, Reader, at, int, n, put_some, s},
    keys::{self, Owner},
    mutation::{MutationRecord, ONLY, Transacted, update},
    notification::channels,
    resolve::is_unmet,
};

/// How often a step that met another one looks again.
const MOVE_TURNS_MAX: u32 = 12;
/// The most attempts that an alert remembers.
pub const DELIVERIES_MAX: usize = 200;

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Its id: see [`alert_id`].
    pub id: String,
    /// Whose usage it is about.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// Of which metric.
    pub metric_type: String,
    /// What happened.
    pub alert_type: AlertType,
    /// How bad it is.
    pub severity: Severity,
    /// How far it has come.
    pub status: AlertStatus,
    /// The custom threshold that raised it.
    pub threshold_id: Option<String>,
    /// The threshold's value: per cent, or of a custom one what it says.
    pub threshold_value: Option<Decimal>,
    /// Usage as a percentage of the limit.
    pub quota_percentage: Option<Decimal>,
    /// The limit.
    pub quota_limit: Option<Decimal>,
    /// Usage.
    pub current_usage: Decimal,
    /// What the system does about it.
    pub action_taken: Option<String>,
    /// What happened, in a line.
    pub title: String,
    /// The numbers, the period and what happens next.
    pub message: String,
    /// The period.
    pub period_start: DateTime<Utc>,
    /// Its end.
    pub period_end: DateTime<Utc>,
    /// The anomaly that raised it.
    pub anomaly_id: Option<String>,
    /// When it was raised.
    pub created_at: DateTime<Utc>,
    /// When the first channel accepted it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When somebody said that it was seen.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Who said so.
    pub acknowledged_by: Option<String>,
    /// When somebody said that it is over.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Every attempt to deliver it.
    pub deliveries: Vec<Delivery>,
    /// By which channels it goes out; none: by those of the user's settings.
    pub channels: Option<Vec<Channel>>,
    /// When it was put on the event bus.
    pub published_at: Option<DateTime<Utc>>,
    /// How long after a delivery those of the same threshold are suppressed, in minutes.
    pub cooldown_minutes: u32,
}

/// An attempt to deliver an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// By which channel.
    pub channel: Channel,
    /// Where to: an address, a number or a URL.
    pub target: String,
    /// The how manieth attempt it was, from 1.
    pub attempt: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// When.
    pub at: DateTime<Utc>,
    /// Why it failed or was suppressed, in words.
    pub error: Option<String>,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The channel accepted it.
    Delivered,
    /// It did not.
    Failed,
    /// It was not tried: too soon after another one, or too many on one day.
    Suppressed,
}

impl Outcome {
    /// Its name in answers and items.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Delivered, Self::Failed, Self::Suppressed]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

/// Where an alert is: what a message about it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertKey {
    /// The user.
    pub user_id: String,
    /// The sort key.
    pub sk: String,
}

/// How a step of an alert ended.
#[derive(Debug, Clone)]
pub enum Moved {
    /// It is there now, or was already.
    Done(Box<Alert>),
    /// The same request moved it before: its record is there.
    Before,
    /// It is further than that.
    Backward(Box<Alert>),
}

/// The id of the alert about these things, which no other alert has: `alr_` and 32 hexadecimal
/// digits of SHA-256 over them, each with its length.
pub fn alert_id(about: &[&str]) -> String {
    keys::derived_id("alr", about)
}

impl Alert {
    /// Where it is.
    pub fn key(&self) -> AlertKey {
        AlertKey {
            user_id: self.user_id.clone(),
            sk: keys::by_instant(self.created_at, &self.id),
        }
    }

    /// The alert as it is after a step forward; the same where it is there already.
    fn moved(&self, to: AlertStatus, actor: &str, now: DateTime<Utc>) -> Self {
        let mut moved = self.clone();
        if moved.status == to {
            return moved;
        }
        moved.status = to;
        match to {
            AlertStatus::Pending => {}
            AlertStatus::Sent => moved.sent_at = Some(now),
            AlertStatus::Acknowledged => {
                moved.acknowledged_at = Some(now);
                moved.acknowledged_by = Some(actor.to_owned());
            }
            AlertStatus::Resolved => moved.resolved_at = Some(now),
        }
        moved
    }

    /// Whether this channel accepted it for this target.
    pub fn is_delivered(&self, channel: Channel, target: &str) -> bool {
        self.deliveries.iter().any(|delivery| {
            delivery.channel == channel && delivery.target == target && delivery.outcome != Outcome::Failed
        })
    }

    fn to_item(&self) -> Item {
        let key = self.key();
        let owner = Owner::of(&self.user_id, &self.subscription_id);
        let mut item = Item::from([
            ("pk".into(), s(keys::alerts(&self.user_id))),
            ("sk".into(), s(&key.sk)),
            ("kind".into(), s(keys::ALERT_KIND)),
            ("kind_sort".into(), s(format!("{}#{}", key.sk, self.user_id))),
            ("id".into(), s(&self.id)),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("metric_type".into(), s(&self.metric_type)),
            ("alert_type".into(), s(self.alert_type.as_str())),
            ("severity".into(), s(self.severity.as_str())),
            ("status".into(), s(self.status.as_str())),
            ("current_usage".into(), n(self.current_usage)),
            ("title".into(), s(&self.title)),
            ("message".into(), s(&self.message)),
            ("period_start".into(), at(self.period_start)),
            ("period_end".into(), at(self.period_end)),
            ("created_at".into(), at(self.created_at)),
            ("deliveries".into(), AttributeValue::L(Vec::new())),
            ("cooldown_minutes".into(), int(self.cooldown_minutes)),
        ]);
        // What only administrators see is not among what a user's summary counts.
        if self.status.is_open() && self.alert_type != AlertType::UnusualPattern {
            item.insert("due_kind".into(), s(keys::open_alerts(&owner)));
            item.insert("due_at".into(), s(&key.sk));
        }
        put_some(&mut item, "threshold_id", self.threshold_id.clone().map(s));
        put_some(&mut item, "threshold_value", self.threshold_value.map(n));
        put_some(&mut item, "quota_percentage", self.quota_percentage.map(n));
        put_some(&mut item, "quota_limit", self.quota_limit.map(n));
        put_some(&mut item, "action_taken", self.action_taken.clone().map(s));
        put_some(&mut item, "anomaly_id", self.anomaly_id.clone().map(s));
        let channels = self.channels.as_ref().map(|all| {
            let names = all.iter().map(|channel| s(channel.as_str()));
            AttributeValue::L(names.collect())
        });
        put_some(&mut item, "channels", channels);
        item
    }

    /// Reads an alert's item.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "alert");
        let parsed = |name: &str| read.text(name);
        Ok(Self {
            id: read.text("id")?,
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            metric_type: read.text("metric_type")?,
            alert_type: AlertType::parse(&parsed("alert_type")?).ok_or_else(|| read.corrupt("alert_type"))?,
            severity: Severity::parse(&parsed("severity")?).ok_or_else(|| read.corrupt("severity"))?,
            status: AlertStatus::parse(&parsed("status")?).ok_or_else(|| read.corrupt("status"))?,
            threshold_id: read.text_opt("threshold_id")?,
            threshold_value: read.decimal_opt("threshold_value")?,
            quota_percentage: read.decimal_opt("quota_percentage")?,
            quota_limit: read.decimal_opt("quota_limit")?,
            current_usage: read.decimal("current_usage")?,
            action_taken: read.text_opt("action_taken")?,
            title: read.text("title")?,
            message: read.text("message")?,
            period_start: read.instant("period_start")?,
            period_end: read.instant("period_end")?,
            anomaly_id: read.text_opt("anomaly_id")?,
            created_at: read.instant("created_at")?,
            sent_at: read.instant_opt("sent_at")?,
            acknowledged_at: read.instant_opt("acknowledged_at")?,
            acknowledged_by: read.text_opt("acknowledged_by")?,
            resolved_at: read.instant_opt("resolved_at")?,
            deliveries: read.list_of("deliveries", Delivery::read)?,
            channels: match read.has("channels") {
                true => Some(channels(&read, "channels")?),
                false => None,
            },
            published_at: read.instant_opt("published_at")?,
            cooldown_minutes: read.integer("cooldown_minutes")?,
        })
    }
}

impl Delivery {
    fn to_value(&self) -> AttributeValue {
        let mut item = Item::from([
            ("channel".into(), s(self.channel.as_str())),
            ("target".into(), s(&self.target)),
            ("attempt".into(), int(self.attempt)),
            ("outcome".into(), s(self.outcome.as_str())),
            ("at".into(), at(self.at)),
        ]);
        put_some(&mut item, "error", self.error.clone().map(s));
        AttributeValue::M(item)
    }

    fn read(read: Reader<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            channel: Channel::parse(&read.text("channel")?).ok_or_else(|| read.corrupt("channel"))?,
            target: read.text("target")?,
            attempt: read.integer("attempt")?,
            outcome: Outcome::parse(&read.text("outcome")?).ok_or_else(|| read.corrupt("outcome"))?,
            at: read.instant("at")?,
            error: read.text_opt("error")?,
        })
    }
}

impl Store {
    /// Raises an alert if its id was never taken; whether this call did.
    pub async fn alert_raise(&self, alert: &Alert) -> Result<bool, StoreError> {
        let locator = Item::from([
            ("pk".into(), s(keys::locator(&alert.id))),
            ("sk".into(), s(ONLY)),
            ("user_id".into(), s(&alert.user_id)),
            ("alert".into(), s(alert.key().sk)),
        ]);
        let items = vec![self.put_new(locator)?, self.put_new(alert.to_item())?];
        Ok(self.transact("alert_raise", items).await? == Transacted::Done)
    }

    /// Where the alert with this id is.
    pub async fn alert_find(&self, id: &str) -> Result<Option<AlertKey>, StoreError> {
        let Some(item) = self.state_get("alert_find", &keys::locator(id), ONLY).await? else {
            return Ok(None);
        };
        let read = Reader::new(&item, "locator");
        let place = read.text_opt("user_id")?.zip(read.text_opt("alert")?);
        Ok(place.map(|(user_id, sk)| AlertKey { user_id, sk }))
    }

    /// An alert, strongly read.
    pub async fn alert_get(&self, key: &AlertKey) -> Result<Option<Alert>, StoreError> {
        let item = self
            .state_get("alert_get", &keys::alerts(&key.user_id), &key.sk)
            .await?;
        item.as_ref().map(Alert::from_item).transpose()
    }

    /// Moves an alert forward; where it is there already nothing changes. `record` makes the record of
    /// the answer, which is written in the same transaction.
    pub async fn alert_move(
        &self,
        key: &AlertKey,
        to: AlertStatus,
        actor: &str,
        now: DateTime<Utc>,
        record: &(dyn Fn(&Alert) -> Option<MutationRecord> + Send + Sync),
    ) -> Result<Option<Moved>, StoreError> {
        for turn in 0..MOVE_TURNS_MAX {
            let Some(alert) = self.alert_get(key).await? else {
                return Ok(None);
            };
            if alert.status > to {
                return Ok(Some(Moved::Backward(Box::new(alert))));
            }
            let moved = alert.moved(to, actor, now);
            let mut items = Vec::new();
            if moved.status != alert.status {
                items.push(self.alert_step(&alert, &moved)?);
            }
            let steps = items.len();
            if let Some(record) = record(&moved) {
                items.push(self.put_record(&record, now).await?);
            }
            if items.is_empty() {
                return Ok(Some(Moved::Done(Box::new(moved))));
            }
            match self.transact("alert_move", items).await? {
                Transacted::Done => return Ok(Some(Moved::Done(Box::new(moved)))),
                Transacted::Unmet(unmet) if unmet.contains(&steps) => return Ok(Some(Moved::Before)),
                // It was moved meanwhile, or erased.
                Transacted::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
            }
        }
        Err(StoreError::busy("alert_move"))
    }

    /// A part of a transaction: the step from one state of an alert to a later one. Deliveries that
    /// are noted meanwhile stay.
    fn alert_step(&self, before: &Alert, after: &Alert) -> Result<TransactWriteItem, StoreError> {
        let key = before.key();
        let remove = if after.status.is_open() {
            ""
        } else {
            " REMOVE due_kind, due_at"
        };
        let steps = [
            ("sent_at", after.sent_at.map(at)),
            ("acknowledged_at", after.acknowledged_at.map(at)),
            ("acknowledged_by", after.acknowledged_by.as_ref().map(s)),
            ("resolved_at", after.resolved_at.map(at)),
        ];
        let steps: Vec<(&str, AttributeValue)> = steps
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let set = steps.iter().map(|(name, _)| format!(", {name} = :{name}"));
        let mut request = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(keys::alerts(&key.user_id)))
            .key("sk", s(&key.sk))
            .update_expression(format!("SET #status = :after{}{remove}", set.collect::<String>()))
            .condition_expression("#status = :before")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":before", s(before.status.as_str()))
            .expression_attribute_values(":after", s(after.status.as_str()));
        for (name, value) in steps {
            request = request.expression_attribute_values(format!(":{name}"), value);
        }
        update(request)
    }

    /// Notes that an alert is on the event bus.
    pub async fn alert_published(&self, key: &AlertKey, now: DateTime<Utc>) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::alerts(&key.user_id)))
            .key("sk", s(&key.sk))
            .update_expression("SET published_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", at(now))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            // Erased.
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("alert_published", error)),
        }
    }

    /// Notes an attempt on its alert; the first one that was accepted makes it sent.
    pub async fn alert_delivery(&self, key: &AlertKey, delivery: &Delivery) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::alerts(&key.user_id)))
            .key("sk", s(&key.sk))
            .update_expression("SET deliveries = list_append(deliveries, :delivery)")
            .condition_expression("attribute_exists(pk) AND size(deliveries) < :most")
            .expression_attribute_values(":delivery", AttributeValue::L(vec![delivery.to_value()]))
            .expression_attribute_values(":most", int(DELIVERIES_MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => {}
            // It is full, or erased.
            Err(error) if is_unmet(&error) => {}
            Err(error) => return Err(failed("alert_delivery", error)),
        }
        if delivery.outcome == Outcome::Delivered {
            self.alert_move(key, AlertStatus::Sent, "", delivery.at, &|_| None)
                .await?;
        }
        Ok(())
    }
}
