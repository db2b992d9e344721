//! The template's bucket in a whole stack.

use axum::body::Bytes;
use metering_edge::{
    aws::s3_client,
    file::{Files, attachment},
};
use reqwest::Method;
use serde_json::json;

use super::*;

fn files(stack: &Stack) -> Files {
    let client = s3_client(&stack.endpoints().s3, Some(plain_http()));
    Files::new(client, "reports".to_owned())
}

#[tokio::test]
async fn a_bucket_is_described_kept_over_a_restart_and_emptied_as_the_clock_is_moved() {
    let parent = tempfile::tempdir().expect("a directory");
    let options = Options {
        data_dir: Some(parent.path().join("data")),
        ..Options::default()
    };
    let stack = Stack::start(options.clone()).await.expect("started");
    let (_, described) = call(&stack, Method::GET, "/_local", "").await;
    assert_eq!(described["s3"], json!(stack.endpoints().s3.url));
    assert_eq!(described["buckets"], json!({"Reports": "reports"}));
    let bytes = Bytes::from_static(b"a");
    let put = files(&stack)
        .put("1/a.csv", bytes, "text/csv", &attachment("a.csv"))
        .await;
    put.expect("put");
    stack.stop().await;

    let stack = Stack::start(options).await.expect("started again");
    let files = files(&stack);
    assert!(files.exists("1/a.csv").await.expect("answered"));
    let url = files
        .signed_url("1/a.csv", stack.clock().now(), 60, "a.csv")
        .await
        .expect("signed");
    let body = reqwest::get(&url).await.expect("answered").text().await;
    assert_eq!(body.expect("a text"), "a");
    let days = |days: i64| json!({"advance_seconds": days * 86_400}).to_string();
    call(&stack, Method::POST, "/_local/clock", &days(6)).await;
    assert!(files.exists("1/a.csv").await.expect("answered"));
    call(&stack, Method::POST, "/_local/clock", &days(3)).await;
    assert!(!files.exists("1/a.csv").await.expect("answered"));
    assert_eq!(
        stack.parts.buckets.expire().expect("expired"),
        0,
        "it was deleted with the move"
    );
}
