//! The bootstrap of the function ErasureJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(erasure_job::handler).await
}
