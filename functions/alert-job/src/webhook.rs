//! Webhooks: the body, its signatures, and what an endpoint's answer means.

use metering_domain::period::instant_text;
use metering_edge::{
    answer::number,
    webhook::{Secret, SendError},
};
use metering_store::{alert::Alert, notification::Notification};
use serde_json::{Value, json};

use crate::{Failure, Job, deliver::Tried};

/// The type of the body, and of the event on the bus.
pub(crate) const TYPE: &str = "usage.threshold_reached";

/// What is told of an alert.
pub(crate) fn data(alert: &Alert) -> Value {
    let number = |value: Option<_>| value.map_or(Value::Null, number);
    json!({
        "alert_id": alert.id, "user_id": alert.user_id, "subscription_id": alert.subscription_id,
        "metric_type": alert.metric_type, "alert_type": alert.alert_type.as_str(), "severity": alert.severity.as_str(),
        "threshold_value": number(alert.threshold_value), "usage_percentage": number(alert.quota_percentage),
        "current_usage": number(Some(alert.current_usage)), "quota_limit": number(alert.quota_limit),
        "period_start": instant_text(alert.period_start), "period_end": instant_text(alert.period_end),
    })
}

impl Job {
    /// Posts an alert to an endpoint, under an id that stays the same.
    pub(crate) async fn post(&self, alert: &Alert, settings: &Notification, id: &str) -> Result<Tried, Failure> {
        let Some(endpoint) = settings.endpoints.get(id) else {
            return Ok(Tried::Never("the endpoint is gone".to_owned()));
        };
        let now = self.app.context.now();
        let secrets = endpoint.secrets(now).into_iter().map(Secret::parse);
        let secrets: Vec<Secret> = secrets.collect::<Result<_, _>>()?;
        let body = json!({"type": TYPE, "timestamp": instant_text(alert.created_at), "data": data(alert)});
        let sent = self
            .app
            .webhooks
            .send(&endpoint.url, &alert.id, now, &body.to_string(), &secrets)
            .await;
        Ok(match sent {
            Ok(_) => Tried::Accepted,
            Err(SendError::Gone) => {
                self.app.store.endpoint_disable(&alert.user_id, id, now).await?;
                Tried::Never("the endpoint answered 410 and was disabled".to_owned())
            }
            Err(error) if error.retryable() => Tried::Later(error.to_string()),
            Err(error) => Tried::Never(error.to_string()),
        })
    }
}
