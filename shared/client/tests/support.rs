//! A stack per test, and what an administrator does there.

use std::time::Duration;

use metering_client::{Client, EventFilter, Metering, MeteringBuilder, Part, Retry, Whose};
use serde_json::{Value, json};
use usage_local::{Options, Stack};

/// The key of an administrator.
pub const ADMIN: &str = "mk_dev_admin";
/// The key of a service.
pub const SERVICE: &str = "mk_dev_service";
/// Long enough for a slow machine; nothing is asserted about time.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A stack that keeps nothing and does nothing by itself.
pub async fn stack() -> Stack {
    stack_with(Options::default()).await
}

/// A stack as the options say, which does nothing by itself.
pub async fn stack_with(options: Options) -> Stack {
    let options = Options { idle: true, ..options };
    Stack::start(options).await.expect("the stack starts")
}

/// A client that waits as long as a slow machine takes.
pub fn client(base: &str, key: &str) -> Client {
    let client = Client::new(base, key).expect("a client");
    client.with_retry(Retry {
        deadline: PATIENCE,
        attempt: Duration::from_secs(60),
        longest_pause: Duration::from_millis(500),
        ..Retry::default()
    })
}

/// A metering that waits as long as a slow machine takes.
pub fn metering(base: &str) -> MeteringBuilder {
    Metering::over(client(base, SERVICE)).verdict_deadline(PATIENCE)
}

/// Sends what only administrators may.
pub async fn administer(base: &str, method: reqwest::Method, path: &str, body: Value) -> Value {
    let request = reqwest::Client::new().request(method, format!("{base}{path}"));
    let answer = request.bearer_auth(ADMIN).json(&body).send().await.expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    assert!(status.is_success(), "{status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// Limits a metric of a user for good.
pub async fn limit(base: &str, user: &str, metric: &str, limit: u32) {
    let body = json!({"user_id": user, "plan": "enterprise"});
    administer(base, reqwest::Method::POST, "/api/v1/usage/admin/subscriptions", body).await;
    let body = json!({"user_id": user, "metric_type": metric, "quota_limit": limit, "allow_overage": false});
    administer(base, reqwest::Method::PUT, "/api/v1/usage/admin/quotas", body).await;
}

/// What a user has used and what is held, as texts.
pub async fn used(base: &str, user: &str, metric: &str) -> (String, String) {
    let quotas = client(base, SERVICE)
        .quotas(&Whose::user(user), Some(metric))
        .await
        .expect("quotas");
    let quota = quotas.first().expect("a quota");
    (quota.current_usage.to_string(), quota.held.to_string())
}

/// All events of a user's metric.
pub async fn events(base: &str, user: &str, metric: &str) -> Vec<metering_client::types::Event> {
    let (client, mut cursor, mut events) = (client(base, SERVICE), None, Vec::new());
    loop {
        let filter = EventFilter {
            metric_type: Some(metric.to_owned()),
            part: Part {
                limit: Some(200),
                cursor,
            },
            ..EventFilter::default()
        };
        let page = client.events(&Whose::user(user), &filter).await.expect("events");
        events.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return events;
        }
    }
}
