//! Of new alerts: one message for each way it goes, so that each is tried by itself.

use metering_domain::alert::{AlertType, Channel};
use metering_edge::{
    message::{AlertTask, Way},
    send::Outgoing,
};
use metering_store::{StoreError, alert::Alert, notification::Notification};

use crate::{Fault, Relay};

impl Relay {
    pub(crate) async fn fan_out(&self, alerts: &[(usize, Alert)]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (index, alert) in alerts {
            let sent = self.fan_out_one(alert).await;
            faults.extend(sent.err().map(|error| Fault {
                records: vec![*index],
                error,
            }));
        }
        faults
    }

    async fn fan_out_one(&self, alert: &Alert) -> Result<(), StoreError> {
        let settings = self.app.store.notification_get(Some(&alert.user_id)).await?;
        let key = alert.key();
        let messages = ways(alert, &settings).into_iter().map(|way| {
            let task = AlertTask::Deliver {
                user_id: key.user_id.clone(),
                sk: key.sk.clone(),
                way,
            };
            Outgoing::new(&task, 0)
        });
        self.alerts.send(messages.collect::<Result<_, _>>()?).await
    }
}

/// The ways of an alert: the bus, and those of its channels that reach somebody. Administrators alone are told of an
/// anomaly, which is on the bus itself.
fn ways(alert: &Alert, settings: &Notification) -> Vec<Way> {
    if alert.alert_type == AlertType::UnusualPattern {
        return vec![Way::Administrators];
    }
    let mut ways = vec![Way::Bus];
    for channel in alert.channels.as_ref().unwrap_or(&settings.channels) {
        match channel {
            Channel::Email => ways.extend(settings.email.as_ref().map(|_| Way::Email)),
            Channel::Sms => ways.extend(settings.phone.as_ref().map(|_| Way::Sms)),
            Channel::Webhook => {
                let enabled = settings.endpoints.values().filter(|endpoint| endpoint.enabled);
                ways.extend(enabled.map(|endpoint| Way::Webhook(endpoint.id.clone())));
            }
        }
    }
    ways
}
