//! The mail that says that there is a report, or why there is none.

use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
use metering_domain::aggregate::Granularity;
use metering_domain::report::label;
use metering_store::{report::StoredReport, report_schedule::ReportSchedule};

use crate::{Failure, Job};

/// What a mail says.
struct Said {
    subject: String,
    text: String,
    html: String,
}

impl Job {
    /// Mails all recipients of a schedule, in one mail. SES knows no repetition: see the crate.
    pub(crate) async fn mail(&self, schedule: &ReportSchedule, report: &StoredReport) -> Result<(), Failure> {
        let said = said(schedule, report, &self.api_url);
        let content = |text: String| Content::builder().data(text).charset("UTF-8").build();
        let body = Body::builder()
            .text(content(said.text)?)
            .html(content(said.html)?)
            .build();
        let message = Message::builder().subject(content(said.subject)?).body(body).build();
        let to = Destination::builder().set_to_addresses(Some(schedule.recipients.clone()));
        self.app
            .mail
            .send_email()
            .from_email_address(&self.mail_sender)
            .destination(to.build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await?;
        Ok(())
    }
}

fn said(schedule: &ReportSchedule, report: &StoredReport, api_url: &str) -> Said {
    let zone = schedule.recurrence.zone;
    let day = |at| label(Granularity::Daily, zone, at);
    let (first, last) = (
        day(report.period.start),
        day(report.period.end - chrono::TimeDelta::seconds(1)),
    );
    let days = if first == last {
        first
    } else {
        format!("{first} to {last}")
    };
    let of = match schedule.user_ids.len() {
        0 => format!("of {}", report.user_id),
        users => format!("of {users} users"),
    };
    let subject = format!("{} {of}, {days}", report.report_type.title());
    let (text, link) = match &report.error {
        Some(error) => (format!("The report could not be made. {error}"), None),
        None => {
            let link = format!("{api_url}/api/v1/usage/reports/download/{}", report.file_name());
            let until = label(Granularity::Hourly, zone, report.expires_at());
            (
                format!(
                    "The report is there until {until} ({}). It is fetched with your credentials:",
                    zone.name()
                ),
                Some(link),
            )
        }
    };
    let foot = format!("Schedule {}, {}.", schedule.id, schedule.recurrence.frequency.as_str());
    let anchor = link.as_ref().map(|link| {
        let link = escaped(link);
        format!("<p><a href=\"{link}\">{link}</a></p>")
    });
    Said {
        text: [Some(text.clone()), link, Some(foot.clone())]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("\n\n"),
        html: format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
             <body style=\"font-family:sans-serif\"><h2>{title}</h2><p>{}</p>{}<p>{}</p></body></html>",
            escaped(&text),
            anchor.unwrap_or_default(),
            escaped(&foot),
            title = escaped(&subject),
        ),
        subject,
    }
}

/// Text inside HTML: the five characters that mean something there.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
