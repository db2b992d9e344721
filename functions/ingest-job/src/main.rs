//! The bootstrap of the function IngestJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(ingest_job::handler).await
}
