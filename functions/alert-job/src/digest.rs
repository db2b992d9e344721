//! The digest of what went beyond a day's messages: one message the day after.

use metering_domain::alert::Channel;
use metering_store::{
    alert::Alert,
    sent::{DIGEST_MAX, Digest},
};

use crate::{Failure, Job, deliver::Tried, mail::Mail};

/// Digests of one run; the next run does the rest.
const DIGESTS_MAX: usize = 100;

impl Job {
    /// Sends what is due. One that fails stays due, and fails the run, which an alarm sees.
    pub(crate) async fn send_digests(&self) -> Result<String, Failure> {
        let due = self.app.store.digests_due(self.app.context.now(), DIGESTS_MAX).await?;
        let mut failed = Vec::new();
        let mut sent = 0_u32;
        for digest in due {
            if self.app.store.is_erased(&digest.user_id).await? {
                continue;
            }
            match self.send_digest(&digest).await? {
                Tried::Accepted => {
                    self.app.store.digest_done(&digest).await?;
                    sent += 1;
                }
                Tried::Later(why) | Tried::Never(why) => failed.push(why),
            }
        }
        match failed.first() {
            None => Ok(serde_json::json!({"digests": sent}).to_string()),
            Some(why) => Err(format!("{} digests failed: {why}", failed.len()).into()),
        }
    }

    async fn send_digest(&self, digest: &Digest) -> Result<Tried, Failure> {
        let store = &self.app.store;
        let settings = store.notification_get(Some(&digest.user_id)).await?;
        let mut alerts: Vec<Alert> = Vec::new();
        for key in digest.alerts.iter().take(DIGEST_MAX) {
            alerts.extend(store.alert_get(key).await?);
        }
        let more = digest.alerts.len().saturating_sub(DIGEST_MAX);
        let target = match digest.channel {
            Channel::Email => settings.email,
            Channel::Sms => settings.phone,
            Channel::Webhook => None,
        };
        // Nobody is there to be told any more.
        let (Some(target), false) = (target, alerts.is_empty()) else {
            return Ok(Tried::Accepted);
        };
        // It has its place among the messages of its own day.
        let name = format!("digest-{}", digest.day);
        if !store
            .sent_claim(&digest.user_id, digest.channel, &name, self.app.context.now())
            .await?
        {
            return Ok(Tried::Later("the day's last message was sent".to_owned()));
        }
        let mail = Mail::digest(&digest.day, &alerts, more);
        match digest.channel {
            Channel::Sms => self.send_text(&target, &mail.subject).await,
            Channel::Email | Channel::Webhook => self.send_mail(&target, mail).await,
        }
    }
}
