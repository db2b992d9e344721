//! The bootstrap of the function AlertsApi.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run(alerts_api::router).await
}
