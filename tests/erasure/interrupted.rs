//! An erasure stopped at each of its waits, called again, and the stopped one going on last of all.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Kept, erase, names_of};
use crate::{
    support::{ADMIN, Client},
    wire::Wire,
};

/// More waits than a call has.
const WAITS_MAX: usize = 120;
/// Stacks that are at it at once, each with its share of the waits.
const STACKS: usize = 6;
/// How often an erasure is gone on with at most.
const RUNS_MAX: usize = 5;

/// A user of whom there is something of each kind.
async fn user(client: &Client, user: &str) {
    let subscription = client.subscribe(user, "basic").await;
    client.limit(user, "api_calls", 10).await;
    let event = json!({"user_id": user, "metric_type": "api_calls", "metric_value": 9, "idempotency_key": "k"});
    assert_eq!(client.track(event).await.status, 201);
    let settings = json!({"user_id": user, "notification_channels": ["email"]});
    assert_eq!(
        client.put("/api/v1/usage/notification-settings", settings).await.status,
        200
    );
    let letter = json!({"body": {"user_id": user, "subscription_id": subscription}});
    client.post("/_local/queues/UsageEventsDeadLetters", "", letter).await;
    client.drain().await;
}

/// Whether a call waits so often; then it was stopped there, and the user erased by others.
async fn holds(client: &Client, wait: usize) -> bool {
    let name = format!("user-{wait}");
    user(client, &name).await;
    assert_eq!(erase(client, &name).await.status, 202);
    let (wire, gate) = Wire::stopping(wait);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let instance = Arc::new(instance);
    let own = Arc::clone(&instance);
    let mut stopped = tokio::spawn(async move {
        // What it answers when it goes on last matters to nobody.
        let _ = own.invoke("ErasureJob", "{}".to_owned()).await;
    });
    let is_held = tokio::select! {
        () = gate.reached() => true,
        ended = &mut stopped => {
            ended.expect("it does not panic");
            false
        }
    };
    let other = client.stack.instance(None).expect("an instance");
    let run = async || -> Value {
        let answer = other.invoke("ErasureJob", "{}".to_owned()).await.expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    };
    run().await;
    client.clock(json!({"advance_seconds": 100})).await;
    // The clock may have called it by schedule, too: one of them ends it, the next call finds nobody.
    let mut last = run().await;
    for _ in 0..RUNS_MAX {
        if last["users"] == 0 {
            break;
        }
        last = run().await;
    }
    assert_eq!(last["users"], 0, "wait {wait}: {last}");
    gate.open();
    if is_held {
        stopped.await.expect("it does not panic");
    }
    client.drain().await;
    let left = Kept::of(client).await.naming(&names_of(&name));
    assert_eq!(left, Vec::<String>::new(), "wait {wait}");
    is_held
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_an_erasure_stops_the_next_call_ends_it() {
    let stacks = (0..STACKS).map(|share| async move {
        let client = Client::start().await;
        // Somebody who stays.
        client.subscribe("stays", "basic").await;
        let mut held = 0;
        for wait in (share..WAITS_MAX * 2).step_by(STACKS) {
            if !holds(&client, wait).await {
                break;
            }
            held += 1;
        }
        let users = client.all("/api/v1/usage/admin/users", "users").await;
        assert_eq!(users.len(), 1, "{users:?}");
        let entries = client.audit().await;
        let erased = entries.iter().filter(|entry| entry["action"] == "user.erase");
        assert!(erased.count() >= held, "{ADMIN} asked");
        held
    });
    let held: usize = futures::future::join_all(stacks).await.into_iter().sum();
    println!("{held} erasures stopped");
    assert!((20..WAITS_MAX * 2).contains(&held), "{held} waits");
}
