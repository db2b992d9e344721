//! Lists of alerts, newest first: one user's or everybody's, through filters; and how many are open.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, Select};
use metering_domain::alert::{AlertStatus, AlertType, Severity};

use crate::{
    Store, StoreError,
    alert::Alert,
    error::failed,
    item::{Item, s},
    keys::{self, Owner},
};

/// How many pages one listing reads while a filter leaves it unfilled.
const LIST_PAGES_MAX: usize = 5;

/// Alerts with their sort keys, and the sort key to go on from if there are more.
type Page = (Vec<(String, Alert)>, Option<String>);

/// Which alerts to list: newest first.
#[derive(Debug, Clone)]
pub struct AlertQuery {
    /// Whose; none: everybody's.
    pub user_id: Option<String>,
    /// Only of this subscription.
    pub subscription_id: Option<String>,
    /// Only of this metric.
    pub metric_type: Option<String>,
    /// Only of this severity.
    pub severity: Option<Severity>,
    /// Only with this status.
    pub status: Option<AlertStatus>,
    /// Whether those of anomalies are among them, which are for administrators.
    pub with_anomalies: bool,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

impl AlertQuery {
    fn fits(&self, alert: &Alert) -> bool {
        let text = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|wanted| wanted == own);
        text(&self.subscription_id, &alert.subscription_id)
            && text(&self.metric_type, &alert.metric_type)
            && self.severity.is_none_or(|wanted| wanted == alert.severity)
            && self.status.is_none_or(|wanted| wanted == alert.status)
            && (self.with_anomalies || alert.alert_type != AlertType::UnusualPattern)
    }
}

impl Store {
    /// Alerts, newest first, and the sort key to go on from if there may be more. Those of everybody
    /// come from an index, so one may be missing for some milliseconds after it was raised.
    pub async fn alert_list(&self, query: &AlertQuery) -> Result<(Vec<Alert>, Option<String>), StoreError> {
        let mut before = query.before.clone();
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let (page, next) = match &query.user_id {
                Some(user) => self.alerts_of(user, before.as_deref(), query.limit).await?,
                None => self.alerts_of_all(before.as_deref(), query.limit).await?,
            };
            let last = page.last().map(|(sort_key, _)| sort_key.clone());
            for (sort_key, alert) in page.into_iter().filter(|(_, alert)| query.fits(alert)) {
                found.push(alert);
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

    /// A page of a user's alerts with their sort keys, and the one to go on from.
    async fn alerts_of(&self, user: &str, before: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk < :before")
            .expression_attribute_values(":pk", s(keys::alerts(user)))
            // '~' sorts after every instant.
            .expression_attribute_values(":before", s(before.unwrap_or("~")))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("alert_list", error))?;
        let alerts = page.items().iter().map(Alert::from_item);
        let alerts = alerts.map(|alert| alert.map(|alert| (alert.key().sk, alert)));
        let mut alerts: Vec<(String, Alert)> = alerts.collect::<Result<_, _>>()?;
        // Full, or cut at DynamoDB's megabyte.
        let more = alerts.len() > limit || page.last_evaluated_key().is_some();
        alerts.truncate(limit);
        let last = alerts.last().filter(|_| more).map(|(sort_key, _)| sort_key.clone());
        Ok((alerts, last))
    }

    async fn alerts_of_all(&self, before: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let (sort_keys, next) = self.kind_list(keys::ALERT_KIND, before, limit).await?;
        let key = |sort_key: &String| {
            let (sk, user) = sort_key.rsplit_once('#')?;
            Some(Item::from([("pk".into(), s(keys::alerts(user))), ("sk".into(), s(sk))]))
        };
        let wanted: Vec<Item> = sort_keys.iter().filter_map(key).collect();
        let mut alerts = HashMap::new();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            let alert = Alert::from_item(&item)?;
            alerts.insert(format!("{}#{}", alert.key().sk, alert.user_id), alert);
        }
        let in_order = sort_keys
            .into_iter()
            .filter_map(|sort_key| alerts.remove(&sort_key).map(|alert| (sort_key, alert)));
        Ok((in_order.collect(), next))
    }

    /// How many alerts of an owner somebody still has to look at. From an index: a change is seen
    /// some milliseconds later.
    pub async fn alerts_open(&self, owner: &Owner) -> Result<u64, StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .index_name("due")
            .key_condition_expression("due_kind = :kind")
            .expression_attribute_values(":kind", s(keys::open_alerts(owner)))
            .select(Select::Count)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .send();
        let mut open = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("alerts_open", error))?;
            open += u64::try_from(page.count()).unwrap_or(0);
        }
        Ok(open)
    }
}
