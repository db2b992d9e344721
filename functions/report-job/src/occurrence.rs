//! One occurrence of a schedule: its report made, mailed, and the schedule moved on.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use metering_domain::{aggregate::Granularity, metric::Metric, report::schedule::Frequency};
use metering_edge::problem::{Code, Problem};
use metering_reporter::{Ask, Filters, make};
use metering_store::{
    StoreError,
    report::{StoredReport, occurrence_id},
    report_schedule::{ReportSchedule, ScheduleKey},
    subscription::Target,
};
use serde_json::json;

use crate::{Failure, Job};

impl Job {
    /// Does what is due of a schedule; false if that is nothing, or somebody else is at it.
    pub(crate) async fn go_on(&self, key: &ScheduleKey) -> Result<bool, Failure> {
        let now = self.app.context.now();
        let found = self.app.store.schedule_read(key).await?;
        // The index may be behind.
        let Some(schedule) = found.filter(|schedule| schedule.next_run_at <= now) else {
            return Ok(false);
        };
        if self.app.store.is_erased(&schedule.user_id).await? {
            return Ok(false);
        }
        let claim = self.app.context.attempt();
        if !self.app.store.schedule_claim(&schedule, &claim, now).await? {
            return Ok(false);
        }
        match self.fulfil(&schedule, &claim, now).await {
            Ok(is_done) => Ok(is_done),
            Err(error) => {
                // What fails here, too, ends with the claim.
                if let Err(error) = self.app.store.schedule_release(&schedule, &claim).await {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, schedule_id = schedule.id, "a claim ends by itself");
                }
                Err(format!("schedule {}: {error}", schedule.id).into())
            }
        }
    }

    /// False if somebody else took over, since this took longer than a claim lasts.
    async fn fulfil(&self, schedule: &ReportSchedule, claim: &str, now: DateTime<Utc>) -> Result<bool, Failure> {
        let recurrence = &schedule.recurrence;
        // Of those that were missed the last one is made up for.
        let occurrence = recurrence
            .last(now)
            .map_or(schedule.next_run_at, |last| last.max(schedule.next_run_at));
        let next = recurrence.next(now).ok_or("a schedule ends with the calendar")?;
        let id = occurrence_id(&schedule.id, occurrence);
        let report = match self.app.store.report_get(&id).await? {
            Some(report) => report,
            None => self.report(schedule, &id, occurrence, now).await?,
        };
        // Whoever was held up that long must not mail what another one mailed.
        if !self
            .app
            .store
            .schedule_claim(schedule, claim, self.app.context.now())
            .await?
        {
            return Ok(false);
        }
        self.mail(schedule, &report).await?;
        Ok(self.app.store.schedule_advance(schedule, next, &id, now).await?)
    }

    /// Makes the report of an occurrence, or notes why it cannot be made.
    async fn report(
        &self,
        schedule: &ReportSchedule,
        id: &str,
        occurrence: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<StoredReport, Failure> {
        let recurrence = &schedule.recurrence;
        let period = recurrence
            .covers(occurrence)
            .ok_or("a schedule lies beyond the calendar")?;
        let compared_to = recurrence.covers(period.start).filter(|_| schedule.compare_to_previous);
        // A day in one bar says nothing.
        let granularity = (recurrence.frequency == Frequency::Daily).then_some(Granularity::Hourly);
        let ask = Ask {
            report_type: schedule.report_type,
            report_format: schedule.report_format,
            period,
            zone: recurrence.zone,
            metrics: self.metrics(schedule, now).await?,
            filters: Filters {
                granularity,
                ..Filters::default()
            },
            compared_to,
        };
        let mut report = StoredReport {
            id: id.to_owned(),
            user_id: schedule.user_id.clone(),
            subscription_id: schedule.subscription_id.clone(),
            report_type: schedule.report_type,
            report_format: schedule.report_format,
            period,
            metric_types: schedule.metric_types.clone(),
            filters: json!({}),
            generated_at: now,
            generated_by: schedule.created_by.clone(),
            schedule_id: Some(schedule.id.clone()),
            of_several: !schedule.user_ids.is_empty(),
            file: None,
            error: None,
            download_count: 0,
        };
        let made = match self.targets(schedule, now).await {
            Ok(targets) => make(&self.app, &self.files, &report, &targets, &ask, now).await,
            Err(problem) => Err(problem),
        };
        match made {
            Ok(file) => report.file = Some(file),
            Err(problem) if is_for_good(&problem) => report.error = Some(problem.detail().to_owned()),
            Err(problem) => return Err(failure(&problem)),
        }
        if self.app.store.report_put(&report, None).await? {
            return Ok(report);
        }
        // Somebody else was first, when this claim had ended. The file that nobody finds expires with its like.
        let there = self.app.store.report_get(id).await?;
        there.ok_or_else(|| "a report was made and is gone".into())
    }

    async fn metrics(&self, schedule: &ReportSchedule, now: DateTime<Utc>) -> Result<Option<Vec<Metric>>, StoreError> {
        let Some(names) = &schedule.metric_types else {
            return Ok(None);
        };
        let catalogue = self.app.store.metrics(names.iter().map(String::as_str), now).await?;
        Ok(Some(
            names.iter().filter_map(|name| catalogue.find(name).cloned()).collect(),
        ))
    }

    /// Whom it is about. Of several users those who were erased meanwhile are left out.
    async fn targets(&self, schedule: &ReportSchedule, now: DateTime<Utc>) -> Result<Vec<Arc<Target>>, Problem> {
        let store = &self.app.store;
        if schedule.user_ids.is_empty() {
            let named = schedule.subscription_id.as_deref();
            let found = store.subscription_resolve(&schedule.user_id, named, false, now).await?;
            return Ok(vec![found.ok_or_else(|| Problem::not_found("subscription"))?]);
        }
        let mut targets = Vec::new();
        for user in &schedule.user_ids {
            match store.subscription_resolve(user, None, false, now).await {
                Ok(found) => targets.extend(found),
                Err(StoreError::Erased) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(targets)
    }
}

/// Whether it would fail again, whenever it is tried.
fn is_for_good(problem: &Problem) -> bool {
    matches!(problem.code(), Code::ReportTooLarge | Code::NotFound)
}

/// What is wrong, in words, and why.
fn failure(problem: &Problem) -> Failure {
    match problem.source() {
        Some(source) => format!("{}: {source}", problem.detail()).into(),
        None => problem.detail().to_owned().into(),
    }
}
