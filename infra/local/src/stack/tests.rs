//! A whole stack: what it keeps, what it lets go, who may hold it.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;

mod buckets;
mod outbox;

use super::*;
use crate::{data_dir::DataDirError, expiry, front::PortError};

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

async fn put(stack: &Stack, id: &str, expiry: AttributeValue) {
    let client = dynamodb_client(&stack.dynamodb_endpoint(), Some(plain_http()));
    let put = client.put_item().table_name(stack.events_table());
    let put = put.item("pk", text(id)).item("expires_at", expiry);
    put.send().await.expect("stored");
}

async fn has(stack: &Stack, id: &str) -> bool {
    let client = dynamodb_client(&stack.dynamodb_endpoint(), Some(plain_http()));
    let get = client.get_item().table_name(stack.events_table());
    let found = get.key("pk", text(id)).send().await.expect("answered");
    found.item.is_some()
}

#[tokio::test]
async fn a_restart_keeps_data_and_clock_and_a_folder_is_held_once() {
    let parent = tempfile::tempdir().expect("a directory");
    let options = Options {
        data_dir: Some(parent.path().join("data")),
        ..Options::default()
    };
    let stack = Stack::start(options.clone()).await.expect("started");
    put(&stack, "EVT#kept", text("no number")).await;
    let start = "2014-04-25T00:00:00Z".parse().expect("an instant");
    stack.clock().set(Some(start)).expect("set");
    let second = Stack::start(options.clone()).await;
    assert!(matches!(second, Err(StackError::DataDir(DataDirError::InUse { .. }))));
    stack.stop().await;

    let stack = Stack::start(options).await.expect("started again");
    assert!(has(&stack, "EVT#kept").await);
    let shown = stack.clock().now();
    assert!((start..start + TimeDelta::minutes(1)).contains(&shown), "{shown}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let stack = Stack::start(Options::default()).await.expect("started");
    let port = stack.url().rsplit(':').next().and_then(|port| port.parse().ok());
    let port = port.expect("a port");
    let second = Stack::start(Options {
        port,
        ..Options::default()
    })
    .await;
    assert!(matches!(second, Err(StackError::Port(PortError::Taken(taken))) if taken == port));
}

#[tokio::test]
async fn what_expired_at_the_stacks_clock_is_deleted_and_nothing_else() {
    let stack = Stack::start(Options::default()).await.expect("started");
    let now = stack.clock().now();
    let at = |instant: DateTime<Utc>| AttributeValue::N(instant.timestamp().to_string());
    put(&stack, "EVT#past", at(now - TimeDelta::seconds(1))).await;
    put(&stack, "EVT#future", at(now + TimeDelta::days(1))).await;
    put(&stack, "EVT#ancient", at(now - TimeDelta::days(6 * 365))).await;
    put(&stack, "EVT#text", text(&(now.timestamp() - 1).to_string())).await;
    let client = dynamodb_client(&stack.dynamodb_endpoint(), Some(plain_http()));
    let tables = &stack.parts.template.tables;
    assert_eq!(expiry::sweep(&client, tables, now).await.expect("swept"), 1);
    for (id, kept) in [
        ("EVT#past", false),
        ("EVT#future", true),
        ("EVT#ancient", true),
        ("EVT#text", true),
    ] {
        assert_eq!(has(&stack, id).await, kept, "{id}");
    }
    let later = now + TimeDelta::days(2);
    assert_eq!(expiry::sweep(&client, tables, later).await.expect("swept"), 1);
}

#[tokio::test]
async fn instances_have_ports_of_their_own() {
    let stack = Stack::start(Options::default()).await.expect("started");
    let instance = stack.instance(None).expect("a second instance");
    assert_ne!(instance.url(), stack.url());
}

async fn call(stack: &Stack, method: reqwest::Method, path: &str, body: &str) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", stack.url()));
    let answer = request.body(body.to_owned()).send().await.expect("answered");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn queues_are_described_filled_looked_into_and_drained() {
    use reqwest::Method;
    use serde_json::json;

    const DEAD: &str = "UsageEventsDeadLetters";
    let stack = Stack::start(Options::default()).await.expect("started");
    let (_, described) = call(&stack, Method::GET, "/_local", "").await;
    let at = stack.sqs_endpoint().url;
    assert_eq!(described["sqs"], json!(at));
    assert_eq!(described["queues"][DEAD], json!(format!("{at}/000000000000/{DEAD}")));

    let path = format!("/_local/queues/{DEAD}");
    for (body, kept) in [(r#"{"body":"a"}"#, "a"), (r#"{"body":{"b":1}}"#, r#"{"b":1}"#)] {
        let (status, sent) = call(&stack, Method::POST, &path, body).await;
        assert_eq!(status, 202, "{sent}");
        let (_, listed) = call(&stack, Method::GET, &format!("{path}/messages"), "").await;
        let last = listed["messages"].as_array().and_then(|messages| messages.last());
        let expected = json!({"message_id": sent["message_id"], "body": kept, "receive_count": 0});
        assert_eq!(last, Some(&expected));
    }
    let (_, listed) = call(&stack, Method::GET, "/_local/queues", "").await;
    let dead = json!({"name": DEAD, "visible": 2, "in_flight": 0, "delayed": 0, "dead_letters": 0});
    let queues = listed["queues"].as_array().expect("queues");
    assert!(queues.contains(&dead), "{listed}");
    assert!(queues.iter().any(|queue| queue["name"] == "UsageEventsQueue"));

    let drained = call(&stack, Method::POST, "/_local/drain", "").await;
    assert_eq!(
        drained,
        (200, json!({"drained": true})),
        "a queue that no function takes from holds nobody up"
    );
    for (method, path, body, expected) in [
        (Method::POST, "/_local/queues/None", r#"{"body":"a"}"#, 404),
        (Method::GET, "/_local/queues/None/messages", "", 404),
        (Method::POST, path.as_str(), "{}", 422),
        (Method::POST, path.as_str(), r#"{"body":""}"#, 422),
        (Method::POST, path.as_str(), r#"{"body":"a","more":1}"#, 422),
        (Method::POST, "/_local/drain", r#"{"timeout_seconds":-1}"#, 422),
        (Method::GET, "/_local/drain", "", 405),
    ] {
        let (status, problem) = call(&stack, method, path, body).await;
        assert_eq!(status, expected, "{path} {body}: {problem}");
    }
    let (status, _) = call(&stack, Method::POST, "/_local/clock", r#"{"advance_seconds":1209601}"#).await;
    assert_eq!(status, 200);
    let (_, listed) = call(&stack, Method::GET, &format!("{path}/messages"), "").await;
    assert_eq!(listed, json!({"messages": []}), "past its retention");
}
