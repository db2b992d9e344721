//! The bootstrap of the function ReportJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(report_job::handler).await
}
