//! Reports and the schedules by which they are made.

use http::Method;
use serde::Serialize;

use super::{Part, Whose, usage};
use crate::{
    client::Client,
    error::Error,
    types::{
        AnomalyStatus, Frequency, Granularity, Page, Report, ReportFormat, ReportLink, ReportSchedule, ReportType,
        Severity,
    },
};

/// What a report is to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NewReport {
    /// Whose; a user's token may leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Of which subscription; none: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// What it is about; a summary if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_type: Option<ReportType>,
    /// What file it is; PDF if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_format: Option<ReportFormat>,
    /// An instant, or a day like `2026-01-31`; 30 days before the end if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_start: Option<String>,
    /// Exclusive; a day means its end; now if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_end: Option<String>,
    /// All that are limited or used if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_types: Option<Vec<String>>,
    /// By what it is narrowed down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<ReportFilters>,
    /// An IANA time zone; UTC if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// By what a report is narrowed down.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReportFilters {
    /// Anomalies of this severity only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Anomalies with this status only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AnomalyStatus>,
    /// Usage of this endpoint only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Days or hours; days if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granularity: Option<Granularity>,
}

/// When reports are to be made, and who is mailed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewReportSchedule {
    /// Whose; a user's token may leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Of which subscription; none: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// What they are about.
    pub report_type: ReportType,
    /// What files they are.
    pub report_format: ReportFormat,
    /// How often; each covers the last full day, week or month.
    pub frequency: Frequency,
    /// The local time; `08:00` if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Of weekly ones: 1 is Monday, which it is if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekday: Option<u32>,
    /// Of monthly ones; 1 if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_of_month: Option<u32>,
    /// An IANA time zone; UTC if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Who is mailed, 1 to 50 addresses.
    pub recipients: Vec<String>,
    /// All that are limited or used if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_types: Option<Vec<String>>,
    /// Whether the period before is shown, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare_to_previous: Option<bool>,
    /// For administrators: whom they are about, instead of the user alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_ids: Option<Vec<String>>,
}

impl Client {
    /// Makes a report. Too large a period: `report_too_large`.
    pub async fn generate_report(&self, wanted: &NewReport) -> Result<Report, Error> {
        let call = self.mutation(Method::POST, &usage(&["reports", "generate"]))?;
        self.read(call.json(wanted)?).await
    }

    /// Reports, newest first.
    pub async fn reports(
        &self,
        whose: &Whose,
        report_type: Option<&ReportType>,
        part: &Part,
    ) -> Result<Page<Report>, Error> {
        let call = self.get(&usage(&["reports"]))?.query(&whose.query());
        let call = call.query(&[("report_type", report_type.map(ReportType::as_str))]);
        self.page(call, "reports", part).await
    }

    /// One report; an API key may say whose, and then finds no other's.
    pub async fn report(&self, id: &str, user_id: Option<&str>) -> Result<Report, Error> {
        let call = self.get(&usage(&["reports", id]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }

    /// Deletes a report and its file.
    pub async fn delete_report(&self, id: &str, user_id: Option<&str>) -> Result<(), Error> {
        let call = self.mutation(Method::DELETE, &usage(&["reports", id]))?;
        self.send(call.query(&[("user_id", user_id)])).await?;
        Ok(())
    }

    /// A link to a report's file, the end of its `file_url`. Counts as a download.
    pub async fn report_link(&self, file: &str, user_id: Option<&str>) -> Result<ReportLink, Error> {
        let call = self.get(&usage(&["reports", "download", file]))?;
        self.read(call.query(&[("user_id", user_id), ("redirect", Some("false"))]))
            .await
    }

    /// Has reports made on schedule.
    pub async fn create_report_schedule(&self, wanted: &NewReportSchedule) -> Result<ReportSchedule, Error> {
        let call = self.mutation(Method::POST, &usage(&["report-schedules"]))?;
        self.read(call.json(wanted)?).await
    }

    /// Schedules of reports, newest first.
    pub async fn report_schedules(&self, whose: &Whose, part: &Part) -> Result<Page<ReportSchedule>, Error> {
        let call = self.get(&usage(&["report-schedules"]))?.query(&whose.query());
        self.page(call, "report_schedules", part).await
    }

    /// One schedule; an API key may say whose, and then finds no other's.
    pub async fn report_schedule(&self, id: &str, user_id: Option<&str>) -> Result<ReportSchedule, Error> {
        let call = self.get(&usage(&["report-schedules", id]))?;
        self.read(call.query(&[("user_id", user_id)])).await
    }

    /// Has no more reports made.
    pub async fn delete_report_schedule(&self, id: &str, user_id: Option<&str>) -> Result<(), Error> {
        let call = self.mutation(Method::DELETE, &usage(&["report-schedules", id]))?;
        self.send(call.query(&[("user_id", user_id)])).await?;
        Ok(())
    }
}
