//! Lists of anomalies, newest first: one user's or everybody's, through filters.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{alert::Severity, anomaly::AnomalyStatus};

use crate::{
    Store, StoreError,
    anomaly::Anomaly,
    error::failed,
    item::{Item, s},
    keys,
};

/// How many pages one listing reads while a filter leaves it unfilled.
const LIST_PAGES_MAX: usize = 5;
/// How far back something may be found: its record lies by its window, which is older than its detection.
pub const LOOK_BACK_DAYS_MAX: u32 = 90;

/// Anomalies with their sort keys, and the sort key to go on from if there are more.
type Page = (Vec<(String, Anomaly)>, Option<String>);

/// Which anomalies to list: those of the newest windows first.
#[derive(Debug, Clone)]
pub struct AnomalyQuery {
    /// Whose; none: everybody's.
    pub user_id: Option<String>,
    /// Only of this subscription.
    pub subscription_id: Option<String>,
    /// Only of this metric.
    pub metric_type: Option<String>,
    /// Only of this severity.
    pub severity: Option<Severity>,
    /// Only with this status.
    pub status: Option<AnomalyStatus>,
    /// Only found at this instant or later.
    pub since: DateTime<Utc>,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

impl AnomalyQuery {
    fn fits(&self, anomaly: &Anomaly) -> bool {
        let text = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|wanted| wanted == own);
        text(&self.subscription_id, &anomaly.subscription_id)
            && text(&self.metric_type, &anomaly.metric_type)
            && self.severity.is_none_or(|wanted| wanted == anomaly.finding.severity())
            && self.status.is_none_or(|wanted| wanted == anomaly.status)
            && anomaly.detected_at >= self.since
    }

    /// The sort key before which nothing is that was found since then.
    fn end(&self) -> String {
        // Windows begin up to a day before the first day that is looked at.
        keys::instant(self.since - TimeDelta::days(i64::from(LOOK_BACK_DAYS_MAX) + 1))
    }
}

impl Store {
    /// Anomalies, and the sort key to go on from if there may be more. Those of everybody come from an index, so
    /// one may be missing for some milliseconds after it was found.
    pub async fn anomaly_list(&self, query: &AnomalyQuery) -> Result<(Vec<Anomaly>, Option<String>), StoreError> {
        let end = query.end();
        let mut before = query.before.clone();
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let (page, next) = match &query.user_id {
                Some(user) => self.anomalies_of(user, before.as_deref(), query.limit).await?,
                None => self.anomalies_of_all(before.as_deref(), query.limit).await?,
            };
            let last = page.last().map(|(sort_key, _)| sort_key.clone());
            for (sort_key, anomaly) in page {
                if sort_key < end {
                    return Ok((found, None));
                }
                if !query.fits(&anomaly) {
                    continue;
                }
                found.push(anomaly);
                if found.len() == query.limit {
                    let is_end = next.is_none() && Some(&sort_key) == last.as_ref();
                    return Ok((found, (!is_end).then_some(sort_key)));
                }
            }
            if next.is_none() {
                return Ok((found, None));
            }
            before = next;
        }
        Ok((found, before))
    }

    async fn anomalies_of(&self, user: &str, before: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk < :before")
            .expression_attribute_values(":pk", s(keys::anomalies(user)))
            // '~' sorts after every instant.
            .expression_attribute_values(":before", s(before.unwrap_or("~")))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("anomaly_list", error))?;
        let anomalies = page.items().iter().map(Anomaly::from_item);
        let anomalies = anomalies.map(|anomaly| anomaly.map(|anomaly| (anomaly.key().sk, anomaly)));
        let mut anomalies: Vec<(String, Anomaly)> = anomalies.collect::<Result<_, _>>()?;
        // Full, or cut at DynamoDB's megabyte.
        let more = anomalies.len() > limit || page.last_evaluated_key().is_some();
        anomalies.truncate(limit);
        let last = anomalies.last().filter(|_| more).map(|(sort_key, _)| sort_key.clone());
        Ok((anomalies, last))
    }

    async fn anomalies_of_all(&self, before: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let (sort_keys, next) = self.kind_list(keys::ANOMALY_KIND, before, limit).await?;
        let key = |sort_key: &String| {
            let (sk, user) = sort_key.rsplit_once('#')?;
            Some(Item::from([
                ("pk".into(), s(keys::anomalies(user))),
                ("sk".into(), s(sk)),
            ]))
        };
        let wanted: Vec<Item> = sort_keys.iter().filter_map(key).collect();
        let mut anomalies = HashMap::new();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            let anomaly = Anomaly::from_item(&item)?;
            anomalies.insert(anomaly.kind_sort(), anomaly);
        }
        let in_order = sort_keys
            .into_iter()
            .filter_map(|sort_key| anomalies.remove(&sort_key).map(|anomaly| (sort_key, anomaly)));
        Ok((in_order.collect(), next))
    }
}
