//! The bootstrap of the function AccessLogJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(access_log_job::handler).await
}
