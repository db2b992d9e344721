//! Anomalies: one record each, under a name that what was found gives it.
//!
//! Found again, in parallel or by a message that is delivered twice, it is the same record: the first put stays.
//! If it turns out worse while nobody has looked at it, its risk and reasons are raised, never lowered. Its
//! insertion, and each rise, is what administrators are told from, see the relay. Dies half-way: nothing happened,
//! and whoever looks next finds it again.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, Update};
use chrono::{DateTime, Utc};
use metering_domain::{
    alert::{AlertStatus, AlertType},
    anomaly::{ALERT_RISK_MIN, AnomalyStatus, AnomalyType, Finding, Method, Reason},
    number::plain,
    period::{Period, instant_text},
};

use crate::{
    Store, StoreError,
    alert::{Alert, alert_id},
    audit::AuditEntry,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    error::failed,
    item::{Item, Reader, at, int, n, put_some, s},
    keys::{self, Owner},
    mutation::{Committed, MutationRecord, ONLY, Transacted, update},
    resolve::is_unmet,
};

/// How often a step that met another one looks again.
const TURNS_MAX: u32 = 12;

/// An anomaly.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomaly {
    /// Its id, made of what it is about.
    pub id: String,
    /// Whose usage it is about.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// Of which metric.
    pub metric_type: String,
    /// What was found.
    pub finding: Finding,
    /// How far its review has come.
    pub status: AnomalyStatus,
    /// When it was found first.
    pub detected_at: DateTime<Utc>,
    /// What whoever reviewed it wrote.
    pub note: Option<String>,
}

/// Where an anomaly is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnomalyKey {
    /// The user.
    pub user_id: String,
    /// The sort key.
    pub sk: String,
}

/// A step of a review.
#[derive(Debug, Clone)]
pub struct Review {
    /// Where it goes.
    pub status: AnomalyStatus,
    /// A note that replaces the one that is there; none leaves it.
    pub note: Option<String>,
}

/// How a step of a review ended.
#[derive(Debug, Clone)]
pub enum Reviewed {
    /// It is there now, or was already.
    Done(Box<Anomaly>),
    /// The same request did it before: its record is there.
    Before,
    /// Its review is over.
    Final(Box<Anomaly>),
}

impl Anomaly {
    /// What was found just now.
    pub fn new(user_id: &str, owner: &Owner, metric_type: &str, finding: Finding, now: DateTime<Utc>) -> Self {
        let grain = if finding.is_daily { "day" } else { "hour" };
        let about = [
            &owner.pk(),
            metric_type,
            finding.anomaly_type.as_str(),
            grain,
            &keys::instant(finding.window.start),
        ];
        Self {
            id: keys::derived_id("ano", &about),
            user_id: user_id.to_owned(),
            subscription_id: owner.subscription_id().to_owned(),
            metric_type: metric_type.to_owned(),
            finding,
            status: AnomalyStatus::Detected,
            detected_at: now,
            note: None,
        }
    }

    /// Where it is: by the start of its window, which never changes.
    pub fn key(&self) -> AnomalyKey {
        AnomalyKey {
            user_id: self.user_id.clone(),
            sk: keys::by_instant(self.finding.window.start, &self.id),
        }
    }

    /// How it sorts among those of all users.
    pub(crate) fn kind_sort(&self) -> String {
        format!("{}#{}", self.key().sk, self.user_id)
    }

    /// The alert that tells administrators of it; none below a risk of 50, and of what somebody looks at already.
    pub fn alert(&self, now: DateTime<Utc>) -> Option<Alert> {
        let finding = &self.finding;
        if finding.risk < ALERT_RISK_MIN || self.status != AnomalyStatus::Detected {
            return None;
        }
        let details: Vec<&str> = finding.reasons.iter().map(|reason| reason.detail.as_str()).collect();
        let message = format!(
            "User {} used {} from {} to {}, where {} was expected ({}, risk {}): {}.",
            self.user_id,
            plain(finding.observed),
            instant_text(finding.window.start),
            instant_text(finding.window.end),
            plain(finding.expected.round_dp(2)),
            finding.anomaly_type.as_str(),
            finding.risk,
            details.join("; ")
        );
        Some(Alert {
            id: alert_id(&["anomaly", &self.id]),
            user_id: self.user_id.clone(),
            subscription_id: self.subscription_id.clone(),
            metric_type: self.metric_type.clone(),
            alert_type: AlertType::UnusualPattern,
            severity: finding.severity(),
            status: AlertStatus::Pending,
            threshold_id: None,
            threshold_value: None,
            quota_percentage: None,
            quota_limit: None,
            current_usage: finding.observed,
            action_taken: None,
            title: format!("Unusual {} usage", self.metric_type),
            message,
            period_start: finding.window.start,
            period_end: finding.window.end,
            anomaly_id: Some(self.id.clone()),
            created_at: now,
            sent_at: None,
            acknowledged_at: None,
            acknowledged_by: None,
            resolved_at: None,
            deliveries: Vec::new(),
            // The user is not told.
            channels: Some(Vec::new()),
            published_at: None,
            cooldown_minutes: 0,
        })
    }

    fn to_item(&self) -> Item {
        let mut item = Item::from([
            ("pk".into(), s(keys::anomalies(&self.user_id))),
            ("sk".into(), s(self.key().sk)),
            ("kind".into(), s(keys::ANOMALY_KIND)),
            ("kind_sort".into(), s(self.kind_sort())),
            ("id".into(), s(&self.id)),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("metric_type".into(), s(&self.metric_type)),
            ("status".into(), s(self.status.as_str())),
            ("detected_at".into(), at(self.detected_at)),
        ]);
        for (name, value) in found(&self.finding) {
            item.insert(name.to_owned(), value);
        }
        put_some(&mut item, "note", self.note.clone().map(s));
        item
    }

    /// Reads an anomaly's item.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "anomaly");
        let status = read.text("status")?;
        Ok(Self {
            id: read.text("id")?,
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            metric_type: read.text("metric_type")?,
            finding: finding_read(&read)?,
            status: AnomalyStatus::parse(&status).ok_or_else(|| read.corrupt("status"))?,
            detected_at: read.instant("detected_at")?,
            note: read.text_opt("note")?,
        })
    }
}

/// The attributes that say what was found: those that a rise replaces.
fn found(finding: &Finding) -> Vec<(&'static str, AttributeValue)> {
    let reason = |reason: &Reason| {
        AttributeValue::M(Item::from([
            ("code".into(), s(&reason.code)),
            ("detail".into(), s(&reason.detail)),
            ("points".into(), int(reason.points)),
        ]))
    };
    vec![
        ("anomaly_type", s(finding.anomaly_type.as_str())),
        ("method", s(finding.method.as_str())),
        ("window_start", at(finding.window.start)),
        ("window_end", at(finding.window.end)),
        ("is_daily", AttributeValue::Bool(finding.is_daily)),
        ("observed", n(finding.observed)),
        ("expected", n(finding.expected)),
        ("expected_lower", n(finding.expected_lower)),
        ("expected_upper", n(finding.expected_upper)),
        ("confidence", n(finding.confidence)),
        ("risk", int(finding.risk)),
        (
            "reasons",
            AttributeValue::L(finding.reasons.iter().map(reason).collect()),
        ),
    ]
}

fn finding_read(read: &Reader<'_>) -> Result<Finding, StoreError> {
    let (anomaly_type, method) = (read.text("anomaly_type")?, read.text("method")?);
    Ok(Finding {
        anomaly_type: AnomalyType::parse(&anomaly_type).ok_or_else(|| read.corrupt("anomaly_type"))?,
        method: Method::parse(&method).ok_or_else(|| read.corrupt("method"))?,
        window: Period {
            start: read.instant("window_start")?,
            end: read.instant("window_end")?,
        },
        is_daily: read.flag("is_daily")?,
        observed: read.decimal("observed")?,
        expected: read.decimal("expected")?,
        expected_lower: read.decimal("expected_lower")?,
        expected_upper: read.decimal("expected_upper")?,
        confidence: read.decimal("confidence")?,
        risk: read.integer("risk")?,
        reasons: read.list_of("reasons", |reason| {
            Ok(Reason {
                code: reason.text("code")?,
                detail: reason.text("detail")?,
                points: reason.integer("points")?,
            })
        })?,
    })
}

impl Store {
    /// Records what was found; the record that there is then, with what others made of it before.
    pub async fn anomaly_record(&self, anomaly: &Anomaly) -> Result<Anomaly, StoreError> {
        let key = anomaly.key();
        for turn in 0..TURNS_MAX {
            let known = match self.anomaly_get(&key).await? {
                Some(known) => known,
                None => {
                    let locator = Item::from([
                        ("pk".into(), s(keys::locator(&anomaly.id))),
                        ("sk".into(), s(ONLY)),
                        ("user_id".into(), s(&anomaly.user_id)),
                        ("anomaly".into(), s(&key.sk)),
                    ]);
                    let items = vec![self.put_new(locator)?, self.put_new(anomaly.to_item())?];
                    if self.transact("anomaly_record", items).await? == Transacted::Done {
                        return Ok(anomaly.clone());
                    }
                    // Somebody else was first.
                    self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
                    continue;
                }
            };
            let is_worse = anomaly.finding.risk > known.finding.risk;
            if known.status != AnomalyStatus::Detected || !is_worse || self.anomaly_raise(anomaly).await? {
                let raised = Anomaly {
                    finding: anomaly.finding.clone(),
                    ..known.clone()
                };
                let is_raised = is_worse && known.status == AnomalyStatus::Detected;
                return Ok(if is_raised { raised } else { known });
            }
        }
        Err(StoreError::busy("anomaly_record"))
    }

    /// Makes a record say what is worse than what it says; whether it did, unless somebody looked at it meanwhile.
    async fn anomaly_raise(&self, anomaly: &Anomaly) -> Result<bool, StoreError> {
        let found = found(&anomaly.finding);
        let set: Vec<String> = found.iter().map(|(name, _)| format!("#{name} = :{name}")).collect();
        let mut request = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::anomalies(&anomaly.user_id)))
            .key("sk", s(anomaly.key().sk))
            .update_expression(format!("SET {}", set.join(", ")))
            .condition_expression("#status = :detected AND #risk < :risk")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":detected", s(AnomalyStatus::Detected.as_str()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        for (name, value) in found {
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if is_unmet(&error) => Ok(false),
            Err(error) => Err(failed("anomaly_raise", error)),
        }
    }

    /// Where the anomaly with this id is.
    pub async fn anomaly_find(&self, id: &str) -> Result<Option<AnomalyKey>, StoreError> {
        let Some(item) = self.state_get("anomaly_find", &keys::locator(id), ONLY).await? else {
            return Ok(None);
        };
        let read = Reader::new(&item, "locator");
        let place = read.text_opt("user_id")?.zip(read.text_opt("anomaly")?);
        Ok(place.map(|(user_id, sk)| AnomalyKey { user_id, sk }))
    }

    /// An anomaly, strongly read.
    pub async fn anomaly_get(&self, key: &AnomalyKey) -> Result<Option<Anomaly>, StoreError> {
        let pk = keys::anomalies(&key.user_id);
        let item = self.state_get("anomaly_get", &pk, &key.sk).await?;
        item.as_ref().map(Anomaly::from_item).transpose()
    }

    /// Moves a review on, together with its audit entry and the record of its answer. What says the same as before
    /// changes nothing.
    pub async fn anomaly_review(
        &self,
        key: &AnomalyKey,
        review: &Review,
        audit: &(dyn Fn(&Anomaly, &Anomaly) -> AuditEntry + Send + Sync),
        record: &(dyn Fn(&Anomaly) -> Option<MutationRecord> + Send + Sync),
    ) -> Result<Option<Reviewed>, StoreError> {
        for turn in 0..TURNS_MAX {
            let Some(before) = self.anomaly_get(key).await? else {
                return Ok(None);
            };
            let mut after = before.clone();
            after.status = review.status;
            after.note = review.note.clone().or(after.note);
            if after == before {
                return Ok(Some(Reviewed::Done(Box::new(before))));
            }
            if before.status.is_final() || !before.status.may_become(after.status) {
                return Ok(Some(Reviewed::Final(Box::new(before))));
            }
            let mut request = Update::builder()
                .table_name(&self.tables.state)
                .key("pk", s(keys::anomalies(&key.user_id)))
                .key("sk", s(&key.sk))
                .update_expression("SET #status = :after")
                .condition_expression("#status = :before")
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":before", s(before.status.as_str()))
                .expression_attribute_values(":after", s(after.status.as_str()));
            if let Some(note) = &review.note {
                request = request
                    .update_expression("SET #status = :after, note = :note")
                    .expression_attribute_values(":note", s(note));
            }
            let (audit, record) = (audit(&before, &after), record(&after));
            let written = self
                .mutation_commit(vec![update(request)?], &audit, record.as_ref())
                .await?;
            match written {
                Committed::Done => return Ok(Some(Reviewed::Done(Box::new(after)))),
                Committed::Before => return Ok(Some(Reviewed::Before)),
                // It was moved meanwhile, or erased.
                Committed::Unmet(_) => self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await,
            }
        }
        Err(StoreError::busy("anomaly_review"))
    }
}
