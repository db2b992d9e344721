//! Schedules of reports, and whose turn it is.
//!
//! A schedule names its next occurrence, under which the index finds it. Whoever makes the report claims it for a
//! while, and at the end moves it on to the next occurrence, if it still names this one: two at once, one works; dies
//! half-way, the claim ends and another one goes on; done twice, the second finds it moved. What is made in between
//! has a name that the occurrence gives it (see [`crate::report`]).

use aws_sdk_dynamodb::{operation::update_item::builders::UpdateItemFluentBuilder, types::ReturnConsumedCapacity};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::report::{
    ReportFormat, ReportType,
    schedule::{Frequency, Recurrence},
};

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    error::failed,
    item::{Item, Reader, at, int, put_some, s},
    keys,
    mutation::{Committed, MutationRecord, ONLY},
    newest::Part,
    report::listed,
    resolve::is_unmet,
};

/// For so long a schedule is claimed: longer than the function may run.
pub const CLAIM: TimeDelta = TimeDelta::minutes(6);
/// How many schedules a user may have.
pub const SCHEDULES_MAX: usize = 50;
const TIME: &str = "%H:%M";

/// A schedule of reports.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportSchedule {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription its reports are; None: of the default one.
    pub subscription_id: Option<String>,
    /// What its reports are about.
    pub report_type: ReportType,
    /// What files they are.
    pub report_format: ReportFormat,
    /// When they are made.
    pub recurrence: Recurrence,
    /// Who is sent the link.
    pub recipients: Vec<String>,
    /// Of which metrics; None: of all.
    pub metric_types: Option<Vec<String>>,
    /// Whether they show the period before, too.
    pub compare_to_previous: bool,
    /// Whom they are about, instead of the user alone.
    pub user_ids: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// The next occurrence.
    pub next_run_at: DateTime<Utc>,
    /// When the last report was made.
    pub last_run_at: Option<DateTime<Utc>>,
    /// The last report.
    pub last_report_id: Option<String>,
}

/// Which schedules to list: newest first.
#[derive(Debug, Clone)]
pub struct ScheduleQuery {
    /// Whose.
    pub user_id: String,
    /// Only of this subscription.
    pub subscription_id: Option<String>,
    /// Whether also those about several users.
    pub of_several: bool,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// Where a schedule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleKey {
    pk: String,
    sk: String,
}

impl ReportSchedule {
    fn key(&self) -> ScheduleKey {
        ScheduleKey {
            pk: keys::report_schedules(&self.user_id),
            sk: keys::by_instant(self.created_at, &self.id),
        }
    }

    /// How it is found when it is due.
    fn due_at(&self, occurrence: DateTime<Utc>) -> String {
        keys::by_instant(occurrence, &self.id)
    }

    fn to_item(&self) -> Item {
        let key = self.key();
        let mut item = Item::from([
            ("pk".into(), s(key.pk)),
            ("sk".into(), s(key.sk)),
            ("id".into(), s(&self.id)),
            ("user_id".into(), s(&self.user_id)),
            ("report_type".into(), s(self.report_type.as_str())),
            ("report_format".into(), s(self.report_format.as_str())),
            ("frequency".into(), s(self.recurrence.frequency.as_str())),
            ("time".into(), s(self.recurrence.time.format(TIME).to_string())),
            ("weekday".into(), int(self.recurrence.weekday)),
            ("day_of_month".into(), int(self.recurrence.day_of_month)),
            ("zone".into(), s(self.recurrence.zone.name())),
            ("recipients".into(), s(self.recipients.join(","))),
            ("created_at".into(), at(self.created_at)),
            ("created_by".into(), s(&self.created_by)),
            ("next_run_at".into(), at(self.next_run_at)),
            ("due_kind".into(), s(keys::REPORTS_DUE)),
            ("due_at".into(), s(self.due_at(self.next_run_at))),
        ]);
        put_some(&mut item, "subscription_id", self.subscription_id.clone().map(s));
        let metrics = self.metric_types.as_ref();
        put_some(&mut item, "metric_types", metrics.map(|metrics| s(metrics.join(","))));
        let several = (!self.user_ids.is_empty()).then(|| s(self.user_ids.join(",")));
        put_some(&mut item, "user_ids", several);
        put_some(&mut item, "compare", self.compare_to_previous.then(|| int(1)));
        put_some(&mut item, "last_run_at", self.last_run_at.map(at));
        put_some(&mut item, "last_report_id", self.last_report_id.clone().map(s));
        item
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "report schedule");
        let report_type = ReportType::parse(&read.text("report_type")?);
        let report_format = ReportFormat::parse(&read.text("report_format")?);
        let frequency = Frequency::parse(&read.text("frequency")?);
        let time = NaiveTime::parse_from_str(&read.text("time")?, TIME).ok();
        let zone = read.text("zone")?.parse::<Tz>().ok();
        Ok(Self {
            id: read.text("id")?,
            user_id: read.text("user_id")?,
            subscription_id: read.text_opt("subscription_id")?,
            report_type: report_type.ok_or_else(|| read.corrupt("report_type"))?,
            report_format: report_format.ok_or_else(|| read.corrupt("report_format"))?,
            recurrence: Recurrence {
                frequency: frequency.ok_or_else(|| read.corrupt("frequency"))?,
                time: time.ok_or_else(|| read.corrupt("time"))?,
                weekday: read.integer("weekday")?,
                day_of_month: read.integer("day_of_month")?,
                zone: zone.ok_or_else(|| read.corrupt("zone"))?,
            },
            recipients: listed(&read, "recipients")?.unwrap_or_default(),
            metric_types: listed(&read, "metric_types")?,
            compare_to_previous: read.has("compare"),
            user_ids: listed(&read, "user_ids")?.unwrap_or_default(),
            created_at: read.instant("created_at")?,
            created_by: read.text("created_by")?,
            next_run_at: read.instant("next_run_at")?,
            last_run_at: read.instant_opt("last_run_at")?,
            last_report_id: read.text_opt("last_report_id")?,
        })
    }
}

impl Store {
    /// Writes a new schedule, with its audit entry and the record of its answer.
    pub async fn schedule_create(
        &self,
        schedule: &ReportSchedule,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let locator = Item::from([
            ("pk".into(), s(keys::locator(&schedule.id))),
            ("sk".into(), s(ONLY)),
            ("user_id".into(), s(&schedule.user_id)),
            ("report_schedule".into(), s(schedule.key().sk)),
        ]);
        let items = vec![self.put_new(schedule.to_item())?, self.put_new(locator)?];
        self.mutation_commit(items, audit, record).await
    }

    /// The schedule with this id, strongly read.
    pub async fn schedule_get(&self, id: &str) -> Result<Option<ReportSchedule>, StoreError> {
        let Some(item) = self.state_get("schedule_get", &keys::locator(id), ONLY).await? else {
            return Ok(None);
        };
        let read = Reader::new(&item, "locator");
        let Some((user, sk)) = read.text_opt("user_id")?.zip(read.text_opt("report_schedule")?) else {
            return Ok(None);
        };
        let pk = keys::report_schedules(&user);
        self.schedule_read(&ScheduleKey { pk, sk }).await
    }

    /// The schedule at a place, strongly read.
    pub async fn schedule_read(&self, key: &ScheduleKey) -> Result<Option<ReportSchedule>, StoreError> {
        let item = self.state_get("schedule_get", &key.pk, &key.sk).await?;
        item.as_ref().map(ReportSchedule::from_item).transpose()
    }

    /// A user's schedules, newest first, and the sort key to go on from if there may be more.
    pub async fn schedule_list(
        &self,
        query: &ScheduleQuery,
    ) -> Result<(Vec<ReportSchedule>, Option<String>), StoreError> {
        let part = Part {
            operation: "schedule_list",
            pk: keys::report_schedules(&query.user_id),
            before: query.before.as_deref(),
            limit: query.limit,
        };
        let fits = |one: &ReportSchedule| {
            (query.of_several || one.user_ids.is_empty())
                && (query.subscription_id.is_none() || query.subscription_id == one.subscription_id)
        };
        let read = |item: &Item| Ok(Some(ReportSchedule::from_item(item)?).filter(fits));
        self.newest(part, read).await
    }

    /// Deletes a schedule, with its audit entry and the record of the answer.
    pub async fn schedule_delete(
        &self,
        schedule: &ReportSchedule,
        audit: &AuditEntry,
        record: Option<&MutationRecord>,
    ) -> Result<Committed, StoreError> {
        let key = schedule.key();
        let items = vec![
            self.delete_there(key.pk, key.sk)?,
            self.delete_there(keys::locator(&schedule.id), ONLY.to_owned())?,
        ];
        self.mutation_commit(items, audit, record).await
    }

    /// Where schedules are that are due, the longest overdue first, at most `limit` of them after a place. From an
    /// index: one may be missing, or be done already.
    pub async fn schedules_due(
        &self,
        now: DateTime<Utc>,
        after: Option<Item>,
        limit: i32,
    ) -> Result<(Vec<ScheduleKey>, Option<Item>), StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .index_name("due")
            .key_condition_expression("due_kind = :kind AND due_at < :now")
            .expression_attribute_values(":kind", s(keys::REPORTS_DUE))
            .expression_attribute_values(":now", s(keys::by_instant(now, "~")))
            .set_exclusive_start_key(after)
            .limit(limit)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("schedules_due", error))?;
        let key = |item: &Item| {
            let read = Reader::new(item, "report schedule");
            Ok(ScheduleKey {
                pk: read.text("pk")?,
                sk: read.text("sk")?,
            })
        };
        let keys = page.items().iter().map(key).collect::<Result<_, StoreError>>()?;
        Ok((keys, page.last_evaluated_key))
    }

    /// Claims the next occurrence of a schedule under a name, or keeps a claim up; false if somebody else is at it, or
    /// it was moved on.
    pub async fn schedule_claim(
        &self,
        schedule: &ReportSchedule,
        claim: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let update = self
            .update(schedule, "SET claimed_until = :until, claimed_by = :claim")
            .condition_expression(
                "next_run_at = :next AND \
                 (attribute_not_exists(claimed_until) OR claimed_until <= :now OR claimed_by = :claim)",
            )
            .expression_attribute_values(":next", at(schedule.next_run_at))
            .expression_attribute_values(":now", at(now))
            .expression_attribute_values(":until", at(now + CLAIM))
            .expression_attribute_values(":claim", s(claim));
        met("schedule_claim", update).await
    }

    /// Moves a schedule on to another occurrence, unless somebody did; ends the claim.
    pub async fn schedule_advance(
        &self,
        schedule: &ReportSchedule,
        next: DateTime<Utc>,
        report_id: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let update = self
            .update(
                schedule,
                "SET next_run_at = :to, due_at = :due, last_run_at = :now, last_report_id = :report \
                 REMOVE claimed_until, claimed_by",
            )
            .condition_expression("next_run_at = :next")
            .expression_attribute_values(":next", at(schedule.next_run_at))
            .expression_attribute_values(":to", at(next))
            .expression_attribute_values(":due", s(schedule.due_at(next)))
            .expression_attribute_values(":now", at(now))
            .expression_attribute_values(":report", s(report_id));
        met("schedule_advance", update).await
    }

    /// Ends a claim before its time, after a failure, so that the next run tries again.
    pub async fn schedule_release(&self, schedule: &ReportSchedule, claim: &str) -> Result<(), StoreError> {
        let update = self
            .update(schedule, "REMOVE claimed_until, claimed_by")
            .condition_expression("claimed_by = :claim")
            .expression_attribute_values(":claim", s(claim));
        met("schedule_release", update).await.map(drop)
    }

    fn update(&self, schedule: &ReportSchedule, expression: &str) -> UpdateItemFluentBuilder {
        let key = schedule.key();
        self.dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(key.pk))
            .key("sk", s(key.sk))
            .update_expression(expression)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}

/// Sends an update; false if its condition is not met.
async fn met(operation: &'static str, update: UpdateItemFluentBuilder) -> Result<bool, StoreError> {
    match update.send().await {
        Ok(_) => Ok(true),
        Err(error) if is_unmet(&error) => Ok(false),
        Err(error) => Err(failed(operation, error)),
    }
}
