//! What was sent to a user: at most so many messages a day by a channel, the rest is a digest; and
//! after one delivery of a custom threshold's alerts a while of silence.
//!
//! Places are taken by name, so taking one twice takes one.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use metering_domain::alert::Channel;

use crate::{
    Store, StoreError,
    alert::{Alert, AlertKey},
    error::failed,
    item::{Reader, int, s},
    keys::{self, Owner},
    mutation::ONLY,
    resolve::is_unmet,
};

/// Mails to one user on one UTC day.
pub const MAILS_MAX: usize = 20;
/// Text messages to one user on one UTC day.
pub const SMS_MAX: usize = 5;
/// Alerts that one digest names; it says how many more there are.
pub const DIGEST_MAX: usize = 100;
/// How long it is known what was sent on a day.
const KEPT: TimeDelta = TimeDelta::days(40);

/// A digest to be sent: what of one day went beyond what a channel may send.
#[derive(Debug, Clone)]
pub struct Digest {
    /// To whom.
    pub user_id: String,
    /// By which channel.
    pub channel: Channel,
    /// The day, as `2026-01-31`.
    pub day: String,
    /// Where its alerts are.
    pub alerts: Vec<AlertKey>,
    key: (String, String),
}

/// How many messages a channel may send a user on one day; none: as many as there are.
fn most_of(channel: Channel) -> Option<usize> {
    match channel {
        Channel::Email => Some(MAILS_MAX),
        Channel::Sms => Some(SMS_MAX),
        Channel::Webhook => None,
    }
}

impl Store {
    /// Takes a place among a user's messages of a day; false if there is none left.
    pub async fn sent_claim(
        &self,
        user_id: &str,
        channel: Channel,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let Some(most) = most_of(channel) else { return Ok(true) };
        let (pk, sk) = keys::sent(user_id, now, channel.as_str());
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .update_expression("SET user_id = :user, expires_at = :expires ADD #names :name")
            .condition_expression("attribute_not_exists(#names) OR size(#names) < :most OR contains(#names, :one)")
            .expression_attribute_names("#names", "names")
            .expression_attribute_values(":user", s(user_id))
            .expression_attribute_values(":expires", int((now + KEPT).timestamp()))
            .expression_attribute_values(":name", AttributeValue::Ss(vec![name.to_owned()]))
            .expression_attribute_values(":one", s(name))
            .expression_attribute_values(":most", int(most))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if is_unmet(&error) => Ok(false),
            Err(error) => Err(failed("sent_claim", error)),
        }
    }

    /// Leaves an alert to the digest of its day, which is due when the day is over.
    pub async fn digest_add(&self, alert: &Alert, channel: Channel, now: DateTime<Utc>) -> Result<(), StoreError> {
        let (pk, sk) = keys::sent(&alert.user_id, now, channel.as_str());
        let tomorrow = now
            .date_naive()
            .checked_add_days(Days::new(1))
            .unwrap_or(now.date_naive());
        let due = keys::by_instant(tomorrow.and_time(NaiveTime::MIN).and_utc(), &format!("{pk}#{sk}"));
        self.dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .update_expression("SET user_id = :user, due_kind = :kind, due_at = :due ADD more :alert")
            .expression_attribute_values(":user", s(&alert.user_id))
            .expression_attribute_values(":kind", s(keys::DIGESTS))
            .expression_attribute_values(":due", s(due))
            .expression_attribute_values(":alert", AttributeValue::Ss(vec![alert.key().sk]))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("digest_add", error))
    }

    /// Digests that are due, at most `limit`.
    pub async fn digests_due(&self, now: DateTime<Utc>, limit: usize) -> Result<Vec<Digest>, StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .index_name("due")
            .key_condition_expression("due_kind = :kind AND due_at < :now")
            .expression_attribute_values(":kind", s(keys::DIGESTS))
            .expression_attribute_values(":now", s(keys::by_instant(now, "~")))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| failed("digests_due", error))?;
        let mut digests = Vec::new();
        for item in page.items() {
            let read = Reader::new(item, "digest");
            let key = (read.text("pk")?, read.text("sk")?);
            if let Some(item) = self.state_get("digests_due", &key.0, &key.1).await? {
                let read = Reader::new(&item, "digest");
                let (day, channel) = key.1.split_once('#').ok_or_else(|| read.corrupt("sk"))?;
                let user_id = read.text("user_id")?;
                let mut sort_keys = read.texts("more")?;
                sort_keys.sort();
                digests.push(Digest {
                    channel: Channel::parse(channel).ok_or_else(|| read.corrupt("sk"))?,
                    day: day.to_owned(),
                    alerts: sort_keys
                        .into_iter()
                        .map(|sk| AlertKey {
                            user_id: user_id.clone(),
                            sk,
                        })
                        .collect(),
                    user_id,
                    key,
                });
            }
        }
        Ok(digests)
    }

    /// Notes that a digest was sent.
    pub async fn digest_done(&self, digest: &Digest) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(&digest.key.0))
            .key("sk", s(&digest.key.1))
            .update_expression("REMOVE due_kind, due_at, more")
            .condition_expression("attribute_exists(pk)")
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            // Erased.
            Err(error) if is_unmet(&error) => Ok(()),
            Err(error) => Err(failed("digest_done", error)),
        }
    }

    /// Begins the silence that follows a delivery of a custom threshold's alert; false if another
    /// alert began it and it lasts. By the times at which alerts were raised, so that it is the same
    /// whenever they are delivered.
    pub async fn cooldown_claim(&self, alert: &Alert) -> Result<bool, StoreError> {
        let (Some(threshold), true) = (&alert.threshold_id, alert.cooldown_minutes > 0) else {
            return Ok(true);
        };
        let owner = Owner::of(&alert.user_id, &alert.subscription_id);
        let until = alert.created_at + TimeDelta::minutes(i64::from(alert.cooldown_minutes));
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::cooldown(&owner, threshold, &alert.metric_type)))
            .key("sk", s(ONLY))
            .update_expression("SET #until = :until, alert = :alert, expires_at = :expires")
            .condition_expression("attribute_not_exists(pk) OR #until <= :raised OR alert = :alert")
            // DynamoDB keeps the word for itself.
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":until", s(keys::instant(until)))
            .expression_attribute_values(":raised", s(keys::instant(alert.created_at)))
            .expression_attribute_values(":alert", s(&alert.id))
            .expression_attribute_values(":expires", int((until + KEPT).timestamp()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if is_unmet(&error) => Ok(false),
            Err(error) => Err(failed("cooldown_claim", error)),
        }
    }
}
