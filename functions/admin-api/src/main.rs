//! The bootstrap of the function AdminApi.

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    metering_edge::lambda::run(admin_api::router).await
}
