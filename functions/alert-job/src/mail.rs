//! Mails and text messages: what they say, and sending them. SES and SNS take no idempotency token:
//! what is sent and not noted is sent again.

use std::fmt::Write as _;

use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
use metering_domain::{number::plain, period::instant_text};
use metering_store::alert::Alert;

use crate::{Failure, Job, deliver::Tried};

/// A mail.
pub(crate) struct Mail {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The text message of an alert is cut to what one message carries (GSM 03.38, 160 characters).
const SMS_CHARS_MAX: usize = 160;

/// The lines of a mail's table.
fn rows(alert: &Alert) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Metric", alert.metric_type.clone()),
        ("Used", plain(alert.current_usage)),
    ];
    rows.extend(alert.quota_limit.map(|limit| ("Limit", plain(limit))));
    rows.extend(
        alert
            .quota_percentage
            .map(|percentage| ("Used of the limit", format!("{} %", plain(percentage)))),
    );
    rows.push(("User", alert.user_id.clone()));
    rows.push(("Subscription", alert.subscription_id.clone()));
    rows.push(("Alert", alert.id.clone()));
    rows
}

impl Mail {
    /// The mail about an alert.
    pub fn of(alert: &Alert) -> Self {
        let rows = rows(alert);
        let mut text = format!("{}\n\n{}\n\n", alert.title, alert.message);
        let mut table = String::new();
        for (name, value) in &rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}: {value}");
            let (name, value) = (escaped(name), escaped(value));
            let _ = write!(
                table,
                r#"<tr><th align="left" style="padding:2px 16px 2px 0">{name}</th><td>{value}</td></tr>"#
            );
        }
        let _ = writeln!(
            text,
            "\nSeen? PATCH /api/v1/usage/alerts/{}/acknowledge says so.",
            alert.id
        );
        Self {
            subject: alert.title.clone(),
            html: page(
                &alert.title,
                &format!("<p>{}</p><table>{table}</table>", escaped(&alert.message)),
            ),
            text,
        }
    }

    /// The mail about alerts that went beyond what a day may bring.
    pub fn digest(day: &str, alerts: &[Alert], more: usize) -> Self {
        let subject = format!("{} further usage alerts of {day}", alerts.len() + more);
        let mut text = format!("{subject}\n\n");
        let mut list = String::new();
        for alert in alerts {
            let line = format!("{} {}: {}", instant_text(alert.created_at), alert.title, alert.message);
            let _ = writeln!(text, "- {line}");
            let _ = write!(list, "<li>{}</li>", escaped(&line));
        }
        if more > 0 {
            let _ = writeln!(text, "- and {more} more");
            let _ = write!(list, "<li>and {more} more</li>");
        }
        Self {
            html: page(&subject, &format!("<ul>{list}</ul>")),
            subject,
            text,
        }
    }
}

fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body style=\"font-family:sans-serif\"><h2>{title}</h2>{body}</body></html>"
    )
}

/// Text inside HTML: the five characters that mean something there.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

impl Job {
    /// Mails an alert.
    pub(crate) async fn mail(&self, alert: &Alert, to: &str) -> Result<Tried, Failure> {
        self.send_mail(to, Mail::of(alert)).await
    }

    /// Sends a mail.
    pub(crate) async fn send_mail(&self, to: &str, mail: Mail) -> Result<Tried, Failure> {
        let content = |text: String| Content::builder().data(text).charset("UTF-8").build();
        let body = Body::builder()
            .text(content(mail.text)?)
            .html(content(mail.html)?)
            .build();
        let message = Message::builder().subject(content(mail.subject)?).body(body).build();
        let sent = self
            .app
            .mail
            .send_email()
            .from_email_address(&self.mail_sender)
            .destination(Destination::builder().to_addresses(to).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await;
        Ok(match sent {
            Ok(_) => Tried::Accepted,
            Err(error) => Tried::Later(reason(&error)),
        })
    }

    /// Sends an alert as a text message.
    pub(crate) async fn text(&self, alert: &Alert, to: &str) -> Result<Tried, Failure> {
        self.send_text(to, &format!("{}. {}", alert.title, alert.message)).await
    }

    /// Sends a text message.
    pub(crate) async fn send_text(&self, to: &str, text: &str) -> Result<Tried, Failure> {
        let cut: String = text.chars().take(SMS_CHARS_MAX).collect();
        let sent = self.app.sms.publish().phone_number(to).message(cut).send().await;
        Ok(match sent {
            Ok(_) => Tried::Accepted,
            Err(error) => Tried::Later(reason(&error)),
        })
    }
}

/// Why a service refused, for those who may read the alert: its code, not its words.
fn reason<E, R>(error: &aws_sdk_sqs::error::SdkError<E, R>) -> String
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata,
{
    let code = error.as_service_error().and_then(|error| error.code());
    code.unwrap_or("the service could not be reached").to_owned()
}
