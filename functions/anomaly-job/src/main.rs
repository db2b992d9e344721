//! The bootstrap of the function AnomalyJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(anomaly_job::handler).await
}
