//! A whole stack: what it keeps, what it lets go, who may hold it.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;

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
        port: 0,
        data_dir: Some(parent.path().join("data")),
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
    let second = Stack::start(Options { port, data_dir: None }).await;
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
