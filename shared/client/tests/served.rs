//! The example service as a process, under load from another one: what was served is what is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use usage_local::{Options, Stack};

use crate::support::{events, stack, stack_with, used};

const USERS: usize = 8;

/// A program of `examples/`, which `cargo test -p metering-client` builds beside the tests.
fn example(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a path");
    let built = here
        .parent()
        .and_then(Path::parent)
        .expect("a folder")
        .join("examples")
        .join(name);
    assert!(
        built.exists(),
        "{} is not there: run `cargo build -p metering-client --examples`",
        built.display()
    );
    built
}

/// The example service; dropping it kills it, as `kill -9` does.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(metering: &str, spool: &Path) -> Self {
        let mut child = Command::new(example("document_service"))
            .args(["--port", "0", "--faults", "--metering", metering, "--spool"])
            .arg(spool)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.next().expect("a line").expect("text");
        let url = line.strip_prefix("ready ").expect("it is ready").to_owned();
        Self { child, url }
    }

    /// Asks it to end, which it does when everything is told.
    fn end(mut self) {
        let asked = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(asked.expect("kill is there").success());
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An ended process is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(service: &Service, more: &[&str]) -> Child {
    Command::new(example("load"))
        .args(["--service", &service.url, "--users", &USERS.to_string()])
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// What the load was served, by its own count.
async fn report(load: Child) -> BTreeMap<String, Value> {
    let ended = tokio::task::spawn_blocking(|| load.wait_with_output())
        .await
        .expect("no panic")
        .expect("it ends");
    assert!(ended.status.success());
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

fn number(value: &Value) -> String {
    value.as_u64().unwrap_or(0).to_string()
}

/// Starts a stack again on its port and folder.
async fn start_again(port: u16, options: Options) -> Stack {
    loop {
        let again = Options {
            port,
            idle: true,
            ..options.clone()
        };
        match Stack::start(again).await {
            Ok(stack) => return stack,
            // The folder is let go with the last thread of the old one.
            Err(usage_local::StackError::DataDir(_) | usage_local::StackError::Port(_)) => {
                tokio::task::yield_now().await
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_what_was_served_of_10_000_mixed_requests_with_the_service_restarted_in_the_middle() {
    let (data, spool) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let options = Options {
        data_dir: Some(data.path().to_owned()),
        ..Options::default()
    };
    let mut stack = stack_with(options.clone()).await;
    let service = Service::start(&stack.url(), spool.path());
    let mut load = Command::new(example("load"))
        .args(["--service", &service.url, "--users", &USERS.to_string()])
        .args(["--requests", "10000", "--half-time"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let said = BufReader::new(load.stderr.take().expect("its errors"));
    let half = tokio::task::spawn_blocking(|| said.lines().next());
    assert_eq!(half.await.expect("no panic").expect("a line").expect("text"), "half");
    let port = stack
        .url()
        .rsplit(':')
        .next()
        .expect("a port")
        .parse()
        .expect("a number");
    stack.stop().await;
    // The second half begins without the service.
    writeln!(load.stdin.take().expect("its input")).expect("it listens");
    stack = start_again(port, options).await;
    let report = report(load).await;
    service.end();

    let (mut handled, mut gone) = (0, 0);
    for (user, served) in &report {
        let counts = &served["counts"];
        handled += counts["handled"].as_u64().expect("a count");
        gone += counts["gone"].as_u64().unwrap_or(0);
        let documents = served["documents"].as_array().expect("documents").len().to_string();
        assert_eq!(
            used(&stack.url(), user, "api_calls").await.0,
            number(&counts["handled"]),
            "{user}: {counts}"
        );
        assert_eq!(
            used(&stack.url(), user, "document_processing").await.0,
            documents,
            "{user}"
        );
        assert_eq!(
            used(&stack.url(), user, "export_operations").await.0,
            number(&counts["exported"]),
            "{user}"
        );
        assert_eq!(
            used(&stack.url(), user, "ocr_operations").await.0,
            number(&served["scanned"]),
            "{user}"
        );
    }
    println!("{handled} served of 10000, {gone} without an answer");
    assert_eq!(gone, 0, "the service itself was always there");
    assert!(handled > 9_000, "{handled}");
}

/// The identities in a spool, read by its documented format.
fn spooled(folder: &Path) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "segment") {
            continue;
        }
        let bytes = std::fs::read(path).expect("a file");
        let mut rest = bytes.as_slice();
        while let Some((head, after)) = rest.split_at_checked(8) {
            let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
            let Some((body, next)) = after.split_at_checked(length) else {
                break;
            };
            let record: Value = serde_json::from_slice(body).expect("JSON");
            keys.insert(
                record["track"]["usage"]["idempotency_key"]
                    .as_str()
                    .expect("a key")
                    .to_owned(),
            );
            rest = next;
        }
    }
    keys
}

/// The identities that are counted of all users, each once, and how many the counters say.
async fn counted(base: &str, metric: &str) -> (BTreeSet<String>, u64) {
    let (mut keys, mut events_seen, mut total) = (BTreeSet::new(), 0, 0);
    for user in 0..USERS {
        let user = format!("u{user}");
        for event in events(base, &user, metric).await {
            keys.insert(event.idempotency_key.expect("a key"));
            events_seen += 1;
        }
        total += used(base, &user, metric).await.0.parse::<u64>().expect("a number");
    }
    assert_eq!(keys.len(), events_seen, "an identity is there once");
    (keys, total)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_handed_to_the_spool_is_lost_or_counted_twice_when_the_example_is_killed() {
    let (stack, spool) = (stack().await, tempfile::tempdir().expect("a folder"));
    let mut acknowledged = BTreeSet::new();
    for round in 1..=3 {
        let service = Service::start(&stack.url(), spool.path());
        let load = load(
            &service,
            &["--documents", "--at-once", "4", "--seed", &round.to_string()],
        );
        let before = counted(&stack.url(), "document_processing").await.1;
        while counted(&stack.url(), "document_processing").await.1 < before + 60 {
            tokio::task::yield_now().await;
        }
        drop(service);
        for served in report(load).await.values() {
            let documents = served["documents"].as_array().expect("documents").iter();
            acknowledged.extend(documents.map(|key| key.as_str().expect("a key").to_owned()));
        }
    }
    // What is told and what lies in the spool, of both metrics.
    let mut handed = spooled(spool.path());
    let left = handed.len();
    handed.extend(counted(&stack.url(), "document_processing").await.0);
    handed.extend(counted(&stack.url(), "api_calls").await.0);
    assert!(
        acknowledged.is_subset(&handed),
        "what was acknowledged was in the spool before"
    );

    Service::start(&stack.url(), spool.path()).end();
    let (documents, documents_total) = counted(&stack.url(), "document_processing").await;
    let (calls, calls_total) = counted(&stack.url(), "api_calls").await;
    assert_eq!(
        (documents.len() as u64, calls.len() as u64),
        (documents_total, calls_total)
    );
    assert!(
        acknowledged.is_subset(&documents),
        "everything that was acknowledged is counted"
    );
    let told: BTreeSet<String> = documents.union(&calls).cloned().collect();
    assert_eq!(
        told, handed,
        "everything that was handed over is counted, and nothing else"
    );
    println!(
        "{} acknowledged, {left} left in the spool by three kills, {} counted",
        acknowledged.len(),
        told.len()
    );
    assert_eq!(spooled(spool.path()), BTreeSet::new());
}
