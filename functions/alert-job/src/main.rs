//! The bootstrap of the function AlertJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(alert_job::handler).await
}
