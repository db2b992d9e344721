//! Records of reports that were made: where their files are, until when, how often they were fetched.
//!
//! The file is written first, under a name that nobody has used, then the record: dies between them, a file is left
//! that nobody finds and that expires. Sent twice with an idempotency key: one record. The record of a schedule's
//! occurrence has an id that the occurrence gives it, so that there is one, whoever writes it.

use aws_sdk_dynamodb::types::{Delete, ReturnConsumedCapacity, TransactWriteItem};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{
    period::Period,
    report::{ReportFormat, ReportType},
};
use serde_json::Value;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    error::failed,
    item::{Item, Reader, at, int, put_some, s},
    keys,
    mutation::{Committed, MutationRecord, ONLY, Transacted, built},
    newest::Part,
    no_retries,
    resolve::is_unmet,
};

/// How long a report's file is kept: as the bucket's lifecycle rule says.
pub const FILE_LIFE: TimeDelta = TimeDelta::days(7);
/// How long its record is kept after that.
pub const RECORD_LIFE: TimeDelta = TimeDelta::days(30);

/// A report that was made, or could not be.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReport {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription, if it is of one alone.
    pub subscription_id: Option<String>,
    /// What it is about.
    pub report_type: ReportType,
    /// What file it is.
    pub report_format: ReportFormat,
    /// Of which time, as asked for.
    pub period: Period,
    /// Of which metrics; None: of all.
    pub metric_types: Option<Vec<String>>,
    /// By what else it was narrowed down.
    pub filters: Value,
    /// When it was made.
    pub generated_at: DateTime<Utc>,
    /// By whom.
    pub generated_by: String,
    /// By which schedule.
    pub schedule_id: Option<String>,
    /// Whether it says of several users, so that administrators alone may read it.
    pub of_several: bool,
    /// The file; none where it could not be made.
    pub file: Option<ReportFile>,
    /// Why it could not be made.
    pub error: Option<String>,
    /// How often it was fetched.
    pub download_count: u64,
}

/// A report's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// Its key in the bucket.
    pub key: String,
    /// How large it is.
    pub bytes: u64,
}

/// How far a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportStatus {
    /// Its file can be fetched.
    Completed,
    /// It could not be made.
    Failed,
    /// Its file is gone.
    Expired,
}

impl ReportStatus {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// Which reports to list: newest first.
#[derive(Debug, Clone)]
pub struct ReportQuery {
    /// Whose.
    pub user_id: String,
    /// Only of this subscription.
    pub subscription_id: Option<String>,
    /// Only about this.
    pub report_type: Option<ReportType>,
    /// Whether also those that say of several users.
    pub of_several: bool,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

impl StoredReport {
    /// Until when its file can be fetched.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.generated_at + FILE_LIFE
    }

    /// How far it is.
    pub fn status_at(&self, now: DateTime<Utc>) -> ReportStatus {
        match &self.file {
            None => ReportStatus::Failed,
            Some(_) if self.expires_at() <= now => ReportStatus::Expired,
            Some(_) => ReportStatus::Completed,
        }
    }

    /// The name under which it is fetched.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.id, self.report_format.extension())
    }

    fn sk(&self) -> String {
        keys::by_instant(self.generated_at, &self.id)
    }

    /// When nothing is known of it any more.
    fn forgotten_at(&self) -> DateTime<Utc> {
        self.expires_at() + RECORD_LIFE
    }

    fn to_item(&self) -> Item {
        let mut item = Item::from([
            ("pk".into(), s(keys::reports(&self.user_id))),
            ("sk".into(), s(self.sk())),
            ("id".into(), s(&self.id)),
            ("user_id".into(), s(&self.user_id)),
            ("report_type".into(), s(self.report_type.as_str())),
            ("report_format".into(), s(self.report_format.as_str())),
            ("period_start".into(), at(self.period.start)),
            ("period_end".into(), at(self.period.end)),
            ("filters".into(), s(self.filters.to_string())),
            ("generated_at".into(), at(self.generated_at)),
            ("generated_by".into(), s(&self.generated_by)),
            ("downloads".into(), int(self.download_count)),
            ("expires_at".into(), int(self.forgotten_at().timestamp())),
        ]);
        put_some(&mut item, "subscription_id", self.subscription_id.clone().map(s));
        let metrics = self.metric_types.as_ref();
        put_some(&mut item, "metric_types", metrics.map(|metrics| s(metrics.join(","))));
        put_some(&mut item, "schedule_id", self.schedule_id.clone().map(s));
        put_some(&mut item, "of_several", self.of_several.then(|| int(1)));
        put_some(&mut item, "error", self.error.clone().map(s));
        if let Some(file) = &self.file {
            item.insert("file".into(), s(&file.key));
            item.insert("bytes".into(), int(file.bytes));
        }
        item
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "report");
        let report_type = read.text("report_type")?;
        let report_format = read.text("report_format")?;
        let file = match read.text_opt("file")? {
            Some(key) => Some(ReportFile {
                key,
                bytes: read.integer("bytes")?,
            }),
            None => None,
        };
        Ok(Self {
            id: read.text("id")?,
            user_id: read.text("user_id")?,
            subscription_id: read.text_opt("subscription_id")?,
            report_type: ReportType::parse(&report_type).ok_or_else(|| read.corrupt("report_type"))?,
            report_format: ReportFormat::parse(&report_format).ok_or_else(|| read.corrupt("report_format"))?,
            period: Period {
                start: read.instant("period_start")?,
                end: read.instant("period_end")?,
            },
            metric_types: listed(&read, "metric_types")?,
            filters: serde_json::from_str(&read.text("filters")?).map_err(|_| read.corrupt("filters"))?,
            generated_at: read.instant("generated_at")?,
            generated_by: read.text("generated_by")?,
            schedule_id: read.text_opt("schedule_id")?,
            of_several: read.has("of_several"),
            file,
            error: read.text_opt("error")?,
            download_count: read.integer("downloads")?,
        })
    }
}

/// Names in one text; none of them contains a comma.
pub(crate) fn listed(read: &Reader<'_>, name: &str) -> Result<Option<Vec<String>>, StoreError> {
    let text = read.text_opt(name)?;
    Ok(text.map(|text| text.split(',').map(str::to_owned).collect()))
}

/// The folder of a user's reports in the bucket.
pub fn folder(user_id: &str) -> String {
    format!("reports/{user_id}/")
}

/// The id of the report of an occurrence of a schedule.
pub fn occurrence_id(schedule_id: &str, occurrence: DateTime<Utc>) -> String {
    keys::derived_id("rpt", &[schedule_id, &keys::instant(occurrence)])
}

impl Store {
    /// Writes the record of a report, with that of the answer; false if there is one already, of this id or of this
    /// request.
    pub async fn report_put(&self, report: &StoredReport, record: Option<&MutationRecord>) -> Result<bool, StoreError> {
        let locator = Item::from([
            ("pk".into(), s(keys::locator(&report.id))),
            ("sk".into(), s(ONLY)),
            ("user_id".into(), s(&report.user_id)),
            ("report".into(), s(report.sk())),
            ("expires_at".into(), int(report.forgotten_at().timestamp())),
        ]);
        let mut items = vec![self.put_new(report.to_item())?, self.put_new(locator)?];
        if let Some(record) = record {
            items.push(self.put_record(record, report.generated_at).await?);
        }
        Ok(self.transact("report_put", items).await? == Transacted::Done)
    }

    /// The report with this id, strongly read.
    pub async fn report_get(&self, id: &str) -> Result<Option<StoredReport>, StoreError> {
        let Some(item) = self.state_get("report_get", &keys::locator(id), ONLY).await? else {
            return Ok(None);
        };
        let read = Reader::new(&item, "locator");
        let Some((user, sk)) = read.text_opt("user_id")?.zip(read.text_opt("report")?) else {
            return Ok(None);
        };
        let item = self.state_get("report_get", &keys::reports(&user), &sk).await?;
        let report = item.as_ref().map(StoredReport::from_item).transpose()?;
        Ok(report.filter(|report| self.context.now() < report.forgotten_at()))
    }

    /// A user's reports, newest first, and the sort key to go on from if there may be more.
    pub async fn report_list(
        &self,
        query: &ReportQuery,
        now: DateTime<Utc>,
    ) -> Result<(Vec<StoredReport>, Option<String>), StoreError> {
        let part = Part {
            operation: "report_list",
            pk: keys::reports(&query.user_id),
            before: query.before.as_deref(),
            limit: query.limit,
        };
        let fits = |one: &StoredReport| {
            (query.of_several || !one.of_several)
                && query.report_type.is_none_or(|wanted| wanted == one.report_type)
                && (query.subscription_id.is_none() || query.subscription_id == one.subscription_id)
                && now < one.forgotten_at()
        };
        let read = |item: &Item| Ok(Some(StoredReport::from_item(item)?).filter(fits));
        self.newest(part, read).await
    }

    /// Counts a download; false if the record is gone. Not sent again by itself: where its answer is lost, a link is
    /// counted that nobody got.
    pub async fn report_downloaded(&self, report: &StoredReport) -> Result<bool, StoreError> {
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(keys::reports(&report.user_id)))
            .key("sk", s(report.sk()))
            .update_expression("ADD downloads :one")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":one", int(1))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .config_override(no_retries())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if is_unmet(&error) => Ok(false),
            Err(error) => Err(failed("report_downloaded", error)),
        }
    }

    /// Deletes a report's record, whose file is gone; with the audit entry and the record of the answer.
    pub async fn report_delete(
        &self,
        report: &StoredReport,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let items = vec![
            self.delete_there(keys::reports(&report.user_id), report.sk())?,
            self.delete_there(keys::locator(&report.id), ONLY.to_owned())?,
        ];
        self.mutation_commit(items, audit, record).await
    }

    /// A part of a transaction: deletes an item that is there.
    pub(crate) fn delete_there(&self, pk: String, sk: String) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.tables.state)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .condition_expression("attribute_exists(pk)");
        Ok(TransactWriteItem::builder().delete(built(delete.build())?).build())
    }
}
