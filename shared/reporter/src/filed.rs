//! Makes a report's file: gathered, rendered, written to the bucket.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use metering_edge::{
    App,
    file::{Files, attachment},
    problem::Problem,
};
use metering_report::render;
use metering_store::{
    report::{ReportFile, StoredReport, folder},
    subscription::Target,
};

use crate::{Ask, gather::gather};

/// Makes the file of a report that has everything else. Each making has a key of its own: whoever makes the same
/// report at the same time, or made it half, is not disturbed.
///
/// # Errors
/// 422 `report_too_large`; 404 if a subscription is gone; 410 if a user was erased.
pub async fn make(
    app: &App,
    files: &Files,
    report: &StoredReport,
    targets: &[Arc<Target>],
    ask: &Ask,
    now: DateTime<Utc>,
) -> Result<ReportFile, Problem> {
    let gathered = gather(app, targets, ask, now).await?;
    let bytes = render(&gathered, ask.report_format).map_err(Problem::internal)?;
    let key = format!(
        "{}{}/{}.{}",
        folder(&report.user_id),
        report.id,
        app.context.attempt(),
        ask.report_format.extension()
    );
    let file = ReportFile {
        key,
        bytes: bytes.len() as u64,
    };
    let (media_type, disposition) = (ask.report_format.media_type(), attachment(&report.file_name()));
    files.put(&file.key, bytes.into(), media_type, &disposition).await?;
    Ok(file)
}

/// Deletes a file that nobody will find, as far as that is possible: the bucket's lifecycle rule deletes the rest.
pub async fn discard(files: &Files, file: &ReportFile) {
    if let Err(error) = files.delete(&file.key).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "a file that is not needed stays until it expires");
    }
}
