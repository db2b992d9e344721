//! The bootstrap of the function AnalyticsApi.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run(analytics_api::router).await
}
