//! A load balancer's request counts, each reported at its own time, counted once.

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Client, SERVICE, count};

const SERIES: &str = "anomaly/realAWSCloudwatch/elb_request_count_8c0756.csv";

/// The series where it is; without it one like it, made here.
#[expect(
    clippy::disallowed_methods,
    reason = "the data's folder is no configuration of the service"
)]
fn rows() -> Vec<(String, u64)> {
    let Ok(folder) = env::var("METERING_DATA_DIR") else {
        return (0..4032u64)
            .map(|i| {
                (
                    format!("2014-04-{:02} {:02}:{:02}:00", 10 + i / 288, i / 12 % 24, i % 12 * 5),
                    i * 7919 % 123,
                )
            })
            .collect();
    };
    let text = fs::read_to_string(Path::new(&folder).join(SERIES)).expect("the series");
    let row = |line: &str| {
        let (at, value) = line.split_once(',').expect("two columns");
        (
            at.to_owned(),
            value
                .split('.')
                .next()
                .and_then(|whole| whole.parse().ok())
                .expect("a number"),
        )
    };
    text.lines().skip(1).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_counts_once_and_again_not() {
    let client = Client::start().await;
    client.clock(json!({"now": "2014-04-25T00:00:00Z"})).await;
    let body = json!({"id": "elb", "user_id": "u", "plan": "enterprise", "starts_at": "2014-04-01T00:00:00Z"});
    assert_eq!(
        client
            .post("/api/v1/usage/admin/subscriptions", crate::support::ADMIN, body)
            .await
            .status,
        201
    );
    let rows = rows();
    let event = |(index, (at, value)): (usize, &(String, u64))| json!({"user_id": "u", "metric_type": "api_calls", "metric_value": value, "timestamp": at, "enforce": false, "idempotency_key": format!("row-{index}")});
    let bodies: Vec<Value> = rows.iter().enumerate().map(event).collect();
    let total: u64 = rows.iter().map(|(_, value)| value).sum();
    for (status, sent) in [(201, "first"), (200, "again")] {
        let answers = client.track_all(&[client.stack.url()], bodies.clone(), 16).await;
        assert_eq!(count(&answers, status), rows.len(), "sent {sent}");
        assert_eq!(client.used("u", "api_calls").await, json!(total), "sent {sent}");
    }
    if rows[0].0.starts_with("2014-04-10 00:04") {
        assert_eq!(total, 249_327, "the series' own total");
    }
    let listed = client
        .get("/api/v1/usage/events?user_id=u&from=2014-04-01&limit=200", SERVICE)
        .await;
    assert_eq!(listed.status, 422, "a bare date is no instant: {listed:?}");
}
