//! Calls of reports and their schedules.

use metering_client::{
    Client, NewReport, NewReportSchedule, ReportFilters,
    types::{AnomalyStatus, Frequency, Granularity, ReportFormat, ReportType, Severity},
};
use serde_json::Value;

use super::{page, part, some, whose, written};

pub async fn reports(client: &Client) -> Vec<(&'static str, Value)> {
    let wanted = NewReport {
        user_id: some("1"),
        subscription_id: some("sub_1"),
        report_type: Some(ReportType::Detailed),
        report_format: Some(ReportFormat::Excel),
        period_start: some("2026-01-01"),
        period_end: some("2026-01-31T23:59:59"),
        metric_types: Some(vec!["api_calls".to_owned()]),
        filters: Some(ReportFilters {
            severity: Some(Severity::High),
            status: Some(AnomalyStatus::Detected),
            endpoint: some("/documents"),
            granularity: Some(Granularity::Hourly),
        }),
        timezone: some("Europe/Berlin"),
    };
    let schedule = NewReportSchedule {
        user_id: some("1"),
        subscription_id: some("sub_1"),
        report_type: ReportType::Summary,
        report_format: ReportFormat::Pdf,
        frequency: Frequency::Weekly,
        time: some("06:30"),
        weekday: Some(5),
        day_of_month: Some(31),
        timezone: some("Asia/Kolkata"),
        recipients: vec!["a@example.com".to_owned()],
        metric_types: Some(vec!["api_calls".to_owned()]),
        compare_to_previous: Some(true),
        user_ids: Some(vec!["2".to_owned()]),
    };
    let (id, user) = ("rpt_1", Some("1"));
    client.delete_report(id, user).await.expect("deleteReport");
    client
        .delete_report_schedule("sch_1", user)
        .await
        .expect("deleteReportSchedule");
    let listed = client
        .reports(&whose(), Some(&ReportType::Anomaly), &part())
        .await
        .expect("listReports");
    let scheduled = client
        .report_schedules(&whose(), &part())
        .await
        .expect("listReportSchedules");
    vec![
        (
            "generateReport",
            written(&client.generate_report(&wanted).await.expect("generateReport")),
        ),
        ("listReports", page("reports", &listed)),
        ("getReport", written(&client.report(id, user).await.expect("getReport"))),
        (
            "downloadReport",
            written(&client.report_link("rpt_1.pdf", user).await.expect("downloadReport")),
        ),
        (
            "createReportSchedule",
            written(
                &client
                    .create_report_schedule(&schedule)
                    .await
                    .expect("createReportSchedule"),
            ),
        ),
        ("listReportSchedules", page("report_schedules", &scheduled)),
        (
            "getReportSchedule",
            written(&client.report_schedule("sch_1", user).await.expect("getReportSchedule")),
        ),
    ]
}
