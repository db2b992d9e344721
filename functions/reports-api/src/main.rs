//! The bootstrap of the function ReportsApi.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run(reports_api::router).await
}
