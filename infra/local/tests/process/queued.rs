//! A kill loses no message that a queue acknowledged.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Process;

/// A queue that no function takes from.
const QUEUE: &str = "UsageEventsDeadLetters";
const SENDERS: usize = 8;
/// After so many answers of one sender the process is killed.
const ANSWERS: usize = 100;

/// One call of the queue's own protocol.
async fn call(http: &reqwest::Client, url: &str, operation: &str, body: Value) -> reqwest::Result<Value> {
    let target = format!("AmazonSQS.{operation}");
    let sent = http.post(url).header("x-amz-target", target).json(&body).send().await?;
    assert_eq!(sent.status(), 200, "{operation}");
    sent.json().await
}

/// Where the queue answers.
async fn queue_url(http: &reqwest::Client, process: &Process) -> String {
    let described = http.get(format!("{}/_local", process.url)).send().await;
    let described: Value = described.expect("an answer").json().await.expect("JSON");
    described["queues"][QUEUE].as_str().expect("an address").to_owned()
}

/// Sends until the process dies; the acknowledged names.
async fn load(process: Process) -> BTreeSet<String> {
    let url = queue_url(&reqwest::Client::new(), &process).await;
    let mut process = Some(process);
    let (enough, mut reached) = tokio::sync::mpsc::channel::<()>(SENDERS);
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (url, enough) = (url.clone(), enough.clone());
        senders.spawn(async move {
            let http = reqwest::Client::new();
            let mut names = Vec::new();
            let body = json!({"QueueUrl": url, "MessageBody": "{}"});
            while let Ok(sent) = call(&http, &url, "SendMessage", body.clone()).await {
                names.push(sent["MessageId"].as_str().expect("a name").to_owned());
                if names.len() == ANSWERS {
                    enough.send(()).await.expect("who listens");
                }
            }
            names
        });
    }
    reached.recv().await.expect("a sender");
    drop(process.take());
    senders.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_message_that_was_acknowledged() {
    let data = tempfile::tempdir().expect("a directory");
    let http = reqwest::Client::new();
    let acknowledged = load(Process::start_on(data.path())).await;
    assert!(acknowledged.len() >= ANSWERS, "{}", acknowledged.len());

    let process = Process::start_on(data.path());
    let url = queue_url(&http, &process).await;
    let mut received = BTreeSet::new();
    let body = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
    while let Some(Value::Array(messages)) = call(&http, &url, "ReceiveMessage", body.clone())
        .await
        .expect("an answer")
        .get("Messages")
    {
        for message in messages {
            let fresh = received.insert(message["MessageId"].as_str().expect("a name").to_owned());
            assert!(fresh, "{message} came twice");
        }
    }
    println!("{} acknowledged, {} kept", acknowledged.len(), received.len());
    assert!(received.is_superset(&acknowledged));
    assert!(received.len() <= acknowledged.len() + SENDERS, "{}", received.len());
    drop(process);

    // What was in flight is there again when its time has passed.
    let process = Process::start_on(data.path());
    let clock = http.post(format!("{}/_local/clock", process.url));
    let moved = clock.json(&json!({"advance_seconds": 31})).send().await;
    assert_eq!(moved.expect("an answer").status(), 200);
    let listed = http.get(format!("{}/_local/queues", process.url)).send().await;
    let listed: Value = listed.expect("an answer").json().await.expect("JSON");
    let queues = listed["queues"].as_array().expect("queues");
    let queue = queues.iter().find(|queue| queue["name"] == QUEUE).expect("the queue");
    assert_eq!(queue["visible"], json!(received.len()), "{queue}");
}
