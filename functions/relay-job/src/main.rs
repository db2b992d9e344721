//! The bootstrap of the function RelayJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(relay_job::handler).await
}
