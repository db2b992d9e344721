//! A kill with messages in flight loses none: each is counted once after the next start.

use serde_json::{Value, json};

use crate::Process;

/// How many messages are sent, of ten events each.
const MESSAGES: usize = 200;
/// The process is killed when so many events are counted.
const COUNTED: u64 = 300;

async fn post(http: &reqwest::Client, url: String, key: &str, body: Value) -> Value {
    let sent = http
        .post(url)
        .bearer_auth(key)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    assert!(sent.status().is_success(), "{}", sent.status());
    sent.json().await.expect("JSON")
}

async fn get(http: &reqwest::Client, url: String) -> Value {
    let sent = http.get(url).bearer_auth("mk_dev_service").send().await;
    sent.expect("an answer").json().await.expect("JSON")
}

async fn used(http: &reqwest::Client, process: &Process) -> u64 {
    let url = format!("{}/api/v1/usage/quotas?user_id=u&metric_type=api_calls", process.url);
    let quotas = get(http, url).await;
    quotas["quotas"][0]["current_usage"].as_u64().expect("a number")
}

/// Ten events in a message: half name themselves, half are named by the message.
fn message(number: usize) -> Value {
    let event = |index: usize| {
        let mut event = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1});
        if index.is_multiple_of(2) {
            event["idempotency_key"] = json!(format!("{number}-{index}"));
        }
        event
    };
    (0..10).map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_with_messages_in_flight_loses_and_doubles_none() {
    let data = tempfile::tempdir().expect("a directory");
    let http = reqwest::Client::new();
    let process = Process::start_on(data.path());
    let subscription = json!({"id": "sub_u", "user_id": "u", "plan": "enterprise"});
    let subscriptions = format!("{}/api/v1/usage/admin/subscriptions", process.url);
    post(&http, subscriptions, "mk_dev_admin", subscription).await;
    let queue = format!("{}/_local/queues/UsageEventsQueue", process.url);
    for number in 0..MESSAGES {
        post(&http, queue.clone(), "", json!({"body": message(number).to_string()})).await;
    }
    while used(&http, &process).await < COUNTED {
        tokio::task::yield_now().await;
    }
    drop(process);

    let process = Process::start_on(data.path());
    let counted = used(&http, &process).await;
    // What was in flight comes again when its time has passed.
    post(
        &http,
        format!("{}/_local/clock", process.url),
        "",
        json!({"advance_seconds": 181}),
    )
    .await;
    let drained = post(&http, format!("{}/_local/drain", process.url), "", json!({})).await;
    assert_eq!(drained["drained"], json!(true));
    println!("{counted} of {} were counted when it was killed", MESSAGES * 10);
    assert_eq!(used(&http, &process).await, MESSAGES as u64 * 10);
}
