//! The bootstrap of the function AggregateJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(aggregate_job::handler).await
}
