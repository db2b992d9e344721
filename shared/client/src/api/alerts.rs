//! Alerts, what raises them and where they go.

use http::Method;
use serde::Serialize;

use super::{Part, Whose, usage};
use crate::{
    client::Client,
    error::Error,
    types::{
        Alert, AlertStatus, Channel, NotificationSettings, Page, Quantity, Severity, Threshold, ThresholdScope,
        ThresholdType, WebhookEndpoint,
    },
};

/// Which alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Of one metric.
    pub metric_type: Option<String>,
    /// Of one severity.
    pub severity: Option<Severity>,
    /// In one state.
    pub status: Option<AlertStatus>,
    /// Which part of the list.
    pub part: Part,
}

/// A threshold to be watched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewThreshold {
    /// Whom; none: the subscription if one is named, else the user. Everybody needs `usage:admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ThresholdScope>,
    /// Which user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Which subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Which metric.
    pub metric_type: String,
    /// What is measured.
    pub threshold_type: ThresholdType,
    /// From where on, above 0.
    pub threshold_value: Quantity,
    /// Where it is told; by mail if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_channels: Option<Vec<Channel>>,
    /// How long after a delivery further ones are suppressed; 60 if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_minutes: Option<u64>,
    /// How serious; medium if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Whether it is in force; it is if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl NewThreshold {
    /// A threshold of a user.
    pub fn new(
        user_id: impl Into<String>,
        metric_type: impl Into<String>,
        threshold_type: ThresholdType,
        value: impl Into<Quantity>,
    ) -> Self {
        Self {
            scope: None,
            user_id: Some(user_id.into()),
            subscription_id: None,
            metric_type: metric_type.into(),
            threshold_type,
            threshold_value: value.into(),
            notification_channels: None,
            cooldown_minutes: None,
            severity: None,
            enabled: None,
        }
    }
}

/// Where a user is to be told of alerts; what is none is removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Settings {
    /// Whose; a user's token may leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// A mail address.
    pub email: Option<String>,
    /// A phone number, E.164.
    pub phone: Option<String>,
    /// Where built-in alerts are told, each once; mail and webhook if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_channels: Option<Vec<Channel>>,
}

/// Where webhooks of a user are to go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewWebhookEndpoint {
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// HTTPS, port 443, a public address.
    pub url: String,
}

impl Client {
    /// Alerts, newest first.
    pub async fn alerts(&self, whose: &Whose, filter: &AlertFilter) -> Result<Page<Alert>, Error> {
        let call = self.get(&usage(&["alerts"]))?.query(&whose.query()).query(&[
            ("metric_type", filter.metric_type.as_deref()),
            ("severity", filter.severity.as_ref().map(Severity::as_str)),
            ("status", filter.status.as_ref().map(AlertStatus::as_str)),
        ]);
        self.page(call, "alerts", &filter.part).await
    }

    /// Somebody has seen an alert; again is the same answer.
    pub async fn acknowledge_alert(&self, id: &str, user_id: Option<&str>) -> Result<Alert, Error> {
        let call = self.mutation(Method::PATCH, &usage(&["alerts", id, "acknowledge"]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }

    /// An alert is dealt with; again is the same answer.
    pub async fn resolve_alert(&self, id: &str, user_id: Option<&str>) -> Result<Alert, Error> {
        let call = self.mutation(Method::PATCH, &usage(&["alerts", id, "resolve"]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }

    /// Watches a threshold.
    pub async fn create_threshold(&self, wanted: &NewThreshold) -> Result<Threshold, Error> {
        let call = self.mutation(Method::POST, &usage(&["thresholds"]))?;
        self.read(call.json(wanted)?).await
    }

    /// Thresholds, newest first.
    pub async fn thresholds(&self, whose: &Whose, part: &Part) -> Result<Page<Threshold>, Error> {
        let call = self.get(&usage(&["thresholds"]))?.query(&whose.query());
        self.page(call, "thresholds", part).await
    }

    /// One threshold; an API key may say whose, and then finds no other's.
    pub async fn threshold(&self, id: &str, user_id: Option<&str>) -> Result<Threshold, Error> {
        let call = self.get(&usage(&["thresholds", id]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }

    /// Replaces a threshold.
    pub async fn put_threshold(&self, id: &str, wanted: &NewThreshold) -> Result<Threshold, Error> {
        let call = self.mutation(Method::PUT, &usage(&["thresholds", id]))?;
        self.read(call.json(wanted)?).await
    }

    /// Watches a threshold no longer.
    pub async fn delete_threshold(&self, id: &str, user_id: Option<&str>) -> Result<(), Error> {
        let call = self.mutation(Method::DELETE, &usage(&["thresholds", id]))?;
        self.send(call.query(&[("user_id", user_id)])).await?;
        Ok(())
    }

    /// Where a user is told of alerts.
    pub async fn notification_settings(&self, user_id: Option<&str>) -> Result<NotificationSettings, Error> {
        let call = self.get(&usage(&["notification-settings"]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }

    /// Says where a user is told of alerts.
    pub async fn put_notification_settings(&self, settings: &Settings) -> Result<NotificationSettings, Error> {
        let call = self.mutation(Method::PUT, &usage(&["notification-settings"]))?;
        self.read(call.json(settings)?).await
    }

    /// Sends webhooks of a user to a URL. The answer alone has the secret; a replayed one has none.
    pub async fn create_webhook_endpoint(&self, wanted: &NewWebhookEndpoint) -> Result<WebhookEndpoint, Error> {
        let call = self.mutation(Method::POST, &usage(&["webhook-endpoints"]))?;
        self.read(call.json(wanted)?).await
    }

    /// Where webhooks of a user go.
    pub async fn webhook_endpoints(&self, user_id: Option<&str>, part: &Part) -> Result<Page<WebhookEndpoint>, Error> {
        let call = self.get(&usage(&["webhook-endpoints"]))?.query(&[("user_id", user_id)]);
        self.page(call, "webhook_endpoints", part).await
    }

    /// Sends webhooks there no longer.
    pub async fn delete_webhook_endpoint(&self, id: &str, user_id: Option<&str>) -> Result<(), Error> {
        let call = self.mutation(Method::DELETE, &usage(&["webhook-endpoints", id]))?;
        self.send(call.query(&[("user_id", user_id)])).await?;
        Ok(())
    }

    /// A new secret; the old one signs for a day beside it.
    pub async fn rotate_webhook_secret(&self, id: &str, user_id: Option<&str>) -> Result<WebhookEndpoint, Error> {
        let call = self.mutation(Method::POST, &usage(&["webhook-endpoints", id, "rotate-secret"]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }
}
