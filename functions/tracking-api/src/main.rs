//! The bootstrap of the function TrackingApi.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run(tracking_api::router).await
}
