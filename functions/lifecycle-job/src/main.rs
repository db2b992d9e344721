//! The bootstrap of the function LifecycleJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(lifecycle_job::handler).await
}
