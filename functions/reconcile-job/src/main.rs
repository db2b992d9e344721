//! The bootstrap of the function ReconcileJob.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run_job(reconcile_job::handler).await
}
