//! One alert by one way: whether it may go out, the try, and what is noted of it.

use metering_domain::alert::{AlertStatus, Channel};
use metering_edge::message::Way;
use metering_store::{
    alert::{Alert, AlertKey, Delivery, Outcome},
    notification::Notification,
};

use crate::{Failure, Job};

/// How a try ended.
pub(crate) enum Tried {
    /// It was accepted.
    Accepted,
    /// It may be later.
    Later(String),
    /// It never will be.
    Never(String),
}

/// Where a way leads.
struct Place {
    channel: Channel,
    target: String,
}

impl Job {
    /// Delivers; whether that must be tried again.
    pub(crate) async fn deliver(&self, key: &AlertKey, way: &Way, attempt: u32) -> Result<bool, Failure> {
        let store = &self.app.store;
        // Erased since.
        let Some(alert) = store.alert_get(key).await? else {
            return Ok(false);
        };
        if *way == Way::Bus {
            if alert.published_at.is_none() {
                self.put_on_bus(&alert).await?;
                store.alert_published(key, self.app.context.now()).await?;
            }
            return Ok(false);
        }
        let settings = store.notification_get(Some(&alert.user_id)).await?;
        // The address, or the endpoint, was taken away since.
        let administrators = self.app.config.administrator_email.as_deref();
        let Some(place) = place(way, &settings, administrators) else {
            return Ok(false);
        };
        if alert.is_delivered(place.channel, &place.target) {
            // Noted, but maybe not moved on.
            self.mark_sent(&alert, &place).await?;
            return Ok(false);
        }
        // Of administrators' mail nothing is kept back: each anomaly has one.
        if *way != Way::Administrators
            && let Some(why) = self.kept_back(&alert, &place, way).await?
        {
            self.note(&alert, &place, attempt, Outcome::Suppressed, Some(why))
                .await?;
            return Ok(false);
        }
        let tried = match way {
            Way::Email | Way::Administrators => self.mail(&alert, &place.target).await?,
            Way::Sms => self.text(&alert, &place.target).await?,
            Way::Webhook(id) => self.post(&alert, &settings, id).await?,
            Way::Bus => Tried::Accepted,
        };
        let (outcome, error, again) = match tried {
            Tried::Accepted => (Outcome::Delivered, None, false),
            Tried::Later(why) => (Outcome::Failed, Some(why), true),
            Tried::Never(why) => (Outcome::Failed, Some(why), false),
        };
        if let Some(error) = &error {
            tracing::error!(
                alert_id = alert.id,
                channel = place.channel.as_str(),
                error,
                "a delivery failed"
            );
        }
        self.note(&alert, &place, attempt, outcome, error).await?;
        Ok(again)
    }

    async fn mark_sent(&self, alert: &Alert, place: &Place) -> Result<(), Failure> {
        let accepted = |delivery: &&Delivery| {
            delivery.channel == place.channel
                && delivery.target == place.target
                && delivery.outcome == Outcome::Delivered
        };
        if let Some(delivery) = alert.deliveries.iter().find(accepted) {
            let store = &self.app.store;
            store
                .alert_move(&alert.key(), AlertStatus::Sent, "", delivery.at, &|_| None)
                .await?;
        }
        Ok(())
    }

    /// Why an alert does not go out, if it does not.
    async fn kept_back(&self, alert: &Alert, place: &Place, way: &Way) -> Result<Option<String>, Failure> {
        let store = &self.app.store;
        if !store.cooldown_claim(alert).await? {
            return Ok(Some(format!(
                "an alert of this threshold went out less than {} minutes before",
                alert.cooldown_minutes
            )));
        }
        let now = self.app.context.now();
        if matches!(way, Way::Email | Way::Sms)
            && !store.sent_claim(&alert.user_id, place.channel, &alert.id, now).await?
        {
            store.digest_add(alert, place.channel, now).await?;
            return Ok(Some(
                "the day's last message was sent; it goes into the digest".to_owned(),
            ));
        }
        Ok(None)
    }

    async fn note(
        &self,
        alert: &Alert,
        place: &Place,
        attempt: u32,
        outcome: Outcome,
        error: Option<String>,
    ) -> Result<(), Failure> {
        let delivery = Delivery {
            channel: place.channel,
            target: place.target.clone(),
            attempt,
            outcome,
            at: self.app.context.now(),
            error,
        };
        Ok(self.app.store.alert_delivery(&alert.key(), &delivery).await?)
    }
}

/// Where a way leads at this moment.
fn place(way: &Way, settings: &Notification, administrators: Option<&str>) -> Option<Place> {
    let (channel, target) = match way {
        Way::Email => (Channel::Email, settings.email.clone()?),
        Way::Sms => (Channel::Sms, settings.phone.clone()?),
        Way::Webhook(id) => {
            let endpoint = settings.endpoints.get(id).filter(|endpoint| endpoint.enabled)?;
            (Channel::Webhook, endpoint.url.clone())
        }
        Way::Administrators => (Channel::Email, administrators?.to_owned()),
        Way::Bus => return None,
    };
    Some(Place { channel, target })
}
