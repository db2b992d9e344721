//! The bootstrap of the function AnalyticsRefreshJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(analytics_refresh_job::handler).await
}
