//! The host with functions made by hand on the real queues.

mod delays;
mod rules;
mod schedules;
mod streams;

use std::sync::{Mutex, atomic::AtomicUsize, atomic::Ordering};

use chrono::TimeDelta;
use metering_edge::lambda::Invoke;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    engine::Engine,
    queues::{Counts, Outgoing, Wish},
    template::{Queue, QueueMapping, Redrive},
};

/// Long enough for anything here that is right.
const LIMIT: Duration = Duration::from_secs(10);

/// A queue with a dead-letter queue, and one function that is handed its messages.
struct Rig {
    queues: Queues,
    clock: Clock,
    host: Host,
    desk: Desk,
    handed: Arc<Mutex<Vec<Vec<String>>>>,
    _dir: TempDir,
}

fn declared() -> [Queue; 2] {
    let dead = Queue {
        name: "Dead".to_owned(),
        visibility: Duration::from_secs(60),
        retention: Duration::from_secs(1_209_600),
        delay: Duration::ZERO,
        wait: Duration::ZERO,
        bytes_max: 1_048_576,
        redrive: None,
    };
    let work = Queue {
        name: "Work".to_owned(),
        redrive: Some(Redrive {
            queue: "Dead".to_owned(),
            receives_max: 3,
        }),
        ..dead.clone()
    };
    [work, dead]
}

fn mapping() -> QueueMapping {
    QueueMapping {
        function: "Job".to_owned(),
        queue: "Work".to_owned(),
        batch_size: 10,
        window: Duration::ZERO,
        reports_failures: true,
        concurrency: None,
    }
}

fn template(triggers: Triggers) -> Template {
    Template {
        functions: Vec::new(),
        triggers,
        tables: Vec::new(),
        queues: Vec::new(),
        buses: Vec::new(),
        buckets: Vec::new(),
    }
}

/// The streams of a database without tables.
fn no_streams(dir: &TempDir) -> Streams {
    let database = dir.path().join("dynamodb.sqlite");
    Engine::start(&database, &[]).expect("an engine");
    Streams::open(&database, &dir.path().join("streams.db")).expect("streams")
}

/// A function that notes what it is handed and answers what `answer` makes of the records.
fn job(
    handed: &Arc<Mutex<Vec<Vec<String>>>>,
    answer: impl Fn(&[Value]) -> Result<String, String> + Send + Sync + 'static,
) -> Invoke {
    let handed = Arc::clone(handed);
    Arc::new(move |event| {
        let event: Value = serde_json::from_str(&event).expect("an event");
        let records = event["Records"].as_array().expect("records");
        let bodies = records
            .iter()
            .map(|record| record["body"].as_str().expect("a body").to_owned());
        handed.lock().expect("no panic").push(bodies.collect());
        let answer = answer(records);
        Box::pin(async move { answer })
    })
}

impl Rig {
    fn new(mapping: QueueMapping, answer: impl Fn(&[Value]) -> Result<String, String> + Send + Sync + 'static) -> Self {
        let handed = Arc::default();
        let job = job(&handed, answer);
        Self::with(mapping, job, handed)
    }

    fn with(mapping: QueueMapping, job: Invoke, handed: Arc<Mutex<Vec<Vec<String>>>>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        let queues = Queues::open(&dir.path().join("queues.db"), &declared(), &clock, "http://queues");
        let queues = queues.expect("queues");
        let functions = Functions::given([("Job", job)]);
        let streams = no_streams(&dir);
        let template = template(Triggers {
            queues: vec![mapping],
            ..Triggers::default()
        });
        let host = Host::start(&template, &queues, &streams, &functions, &clock, &Handle::current()).expect("started");
        let desk = host.desk();
        Self {
            queues,
            clock,
            host,
            desk,
            handed,
            _dir: dir,
        }
    }

    fn send(&self, bodies: &[&str]) {
        let messages: Vec<Outgoing> = bodies
            .iter()
            .map(|body| Outgoing {
                message_body: (*body).to_owned(),
                ..Outgoing::default()
            })
            .collect();
        let queue = self.queues.find("Work").expect("a queue");
        self.queues
            .send(queue, &messages.iter().collect::<Vec<_>>())
            .expect("sent");
    }

    /// Waits until a queue is filled like this.
    async fn until(&self, queue: &str, expected: Counts) {
        let queue = self.queues.find(queue).expect("a queue");
        let mut changes = self.queues.changes();
        let reached = async {
            loop {
                changes.borrow_and_update();
                if self.queues.counts(queue).expect("counted") == expected {
                    return;
                }
                changes.changed().await.expect("queues");
            }
        };
        let reached = tokio::time::timeout(LIMIT, reached).await;
        let counts = self.queues.counts(queue).expect("counted");
        assert!(reached.is_ok(), "{} has {counts:?}, not {expected:?}", queue.name);
    }

    async fn drained(&self) {
        assert!(self.desk.drain(LIMIT).await.expect("drained"), "not drained in time");
    }

    fn handed(&self) -> Vec<Vec<String>> {
        self.handed.lock().expect("no panic").clone()
    }

    fn bodies(&self, queue: &str) -> Vec<String> {
        let queue = self.queues.find(queue).expect("a queue");
        let kept = self.queues.list(queue, 100).expect("listed");
        kept.into_iter().map(|message| message.body).collect()
    }
}

const EMPTY: Counts = Counts {
    visible: 0,
    in_flight: 0,
    delayed: 0,
};

fn in_flight(count: u64) -> Counts {
    Counts {
        in_flight: count,
        ..EMPTY
    }
}

fn failing(records: &[Value], which: impl Fn(&str) -> bool) -> Result<String, String> {
    let failed = records
        .iter()
        .filter(|record| which(record["body"].as_str().unwrap_or_default()));
    let failed: Vec<Value> = failed
        .map(|record| json!({"itemIdentifier": record["messageId"]}))
        .collect();
    Ok(json!({"batchItemFailures": failed}).to_string())
}

#[tokio::test]
async fn what_succeeds_is_deleted_and_what_fails_comes_back_after_its_time() {
    let times = AtomicUsize::new(0);
    let rig = Rig::new(mapping(), move |records| {
        let first = times.fetch_add(1, Ordering::SeqCst) == 0;
        failing(records, |body| first && body == "b")
    });
    rig.send(&["a", "b", "c"]);
    rig.until("Work", in_flight(1)).await;
    assert_eq!(rig.bodies("Work"), ["b"]);
    rig.clock.advance(TimeDelta::seconds(61)).expect("moved");
    rig.until("Work", EMPTY).await;
    assert_eq!(rig.handed(), [vec!["a", "b", "c"], vec!["b"]]);
}

#[tokio::test]
async fn poison_ends_in_the_dead_letters_and_nothing_else_does() {
    let rig = Rig::new(mapping(), |records| failing(records, |body| body.starts_with("bad")));
    rig.send(&["bad 1", "good", "bad 2"]);
    rig.drained().await;
    assert_eq!(rig.bodies("Dead"), ["bad 1", "bad 2"]);
    assert!(rig.bodies("Work").is_empty());
    let deliveries: Vec<String> = rig.handed().into_iter().flatten().collect();
    for (body, times) in [("bad 1", 3), ("bad 2", 3), ("good", 1)] {
        let delivered = deliveries.iter().filter(|delivered| *delivered == body).count();
        assert_eq!(delivered, times, "{body}");
    }
}

#[tokio::test]
async fn an_error_a_panic_a_timeout_and_a_wrong_answer_fail_the_whole_batch() {
    type Answer = fn(&[Value]) -> Result<String, String>;
    let wrong: [Answer; 4] = [
        |_| Err("broken".to_owned()),
        |_| panic!("in a test"),
        |_| Ok(r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#.to_owned()),
        |records| {
            let known = &records[0]["messageId"];
            Ok(json!({"batchItemFailures": [{"itemIdentifier": known}, {"itemIdentifier": "other"}]}).to_string())
        },
    ];
    for answer in wrong {
        let rig = Rig::new(mapping(), answer);
        rig.send(&["a", "b"]);
        rig.drained().await;
        assert_eq!(rig.bodies("Dead"), ["a", "b"]);
    }
    let never: Invoke = Arc::new(|_| Box::pin(std::future::pending()));
    let rig = Rig::with(mapping(), never, Arc::default());
    rig.send(&["a", "b"]);
    rig.drained().await;
    assert_eq!(rig.bodies("Dead"), ["a", "b"]);
}

#[tokio::test]
async fn without_reports_an_answer_is_not_read() {
    let mapping = QueueMapping {
        reports_failures: false,
        ..mapping()
    };
    let rig = Rig::new(mapping, |records| failing(records, |_| true));
    rig.send(&["a", "b"]);
    rig.until("Work", EMPTY).await;
    assert!(rig.bodies("Dead").is_empty());
}

#[tokio::test]
async fn batches_are_filled_in_order_up_to_their_size() {
    let mapping = QueueMapping {
        batch_size: 4,
        window: Duration::from_millis(300),
        ..mapping()
    };
    let rig = Rig::new(mapping, |_| Ok(String::new()));
    rig.send(&["1", "2"]);
    rig.send(&["3"]);
    rig.send(&["4", "5", "6"]);
    rig.until("Work", EMPTY).await;
    assert_eq!(rig.handed(), [vec!["1", "2", "3", "4"], vec!["5", "6"]]);
}

#[tokio::test]
async fn a_drain_ends_windows_and_delays() {
    let mapping = QueueMapping {
        window: Duration::from_secs(300),
        ..mapping()
    };
    let rig = Rig::new(mapping, |_| Ok(String::new()));
    rig.send(&["now"]);
    let queue = rig.queues.find("Work").expect("a queue");
    let delayed = Outgoing {
        message_body: "later".to_owned(),
        delay_seconds: Some(900),
        ..Outgoing::default()
    };
    rig.queues.send(queue, &[&delayed]).expect("sent");
    rig.drained().await;
    let handed: Vec<String> = rig.handed().into_iter().flatten().collect();
    assert_eq!(handed, ["now", "later"]);
}

#[tokio::test]
async fn a_drain_that_cannot_end_says_so() {
    let never: Invoke = Arc::new(|_| Box::pin(std::future::pending()));
    let rig = Rig::with(mapping(), never, Arc::default());
    rig.send(&["a"]);
    let drained = rig.desk.drain(Duration::from_millis(50)).await;
    assert!(!drained.expect("asked"));
}

#[tokio::test]
async fn a_batch_under_way_is_nobody_elses_whatever_the_clock_does() {
    let (started, mut starts) = watch::channel(0_usize);
    let go = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&go);
    let job: Invoke = Arc::new(move |_| {
        started.send_modify(|starts| *starts += 1);
        let wait = Arc::clone(&wait);
        Box::pin(async move {
            wait.notified().await;
            Ok(String::new())
        })
    });
    let rig = Rig::with(mapping(), job, Arc::default());
    rig.send(&["a"]);
    starts.wait_for(|starts| *starts == 1).await.expect("started");
    rig.clock.advance(TimeDelta::days(1)).expect("moved");
    let queue = rig.queues.find("Work").expect("a queue");
    let wish = Wish {
        count: 10,
        bytes: 1_000,
        hidden: Duration::ZERO,
        hold: false,
    };
    assert!(rig.queues.receive(queue, wish).expect("received").is_empty());
    rig.until("Work", in_flight(1)).await;
    go.notify_one();
    rig.until("Work", EMPTY).await;
    assert_eq!(*starts.borrow(), 1);
}

#[tokio::test]
async fn a_host_that_stops_ends_what_it_began_and_takes_nothing_new() {
    let mut rig = Rig::new(mapping(), |_| Ok(String::new()));
    rig.send(&["a"]);
    rig.until("Work", EMPTY).await;
    rig.host.stop().await;
    rig.send(&["b"]);
    assert_eq!(rig.bodies("Work"), ["b"]);
    assert_eq!(rig.handed(), [vec!["a"]]);
}

#[tokio::test]
async fn a_record_looks_as_lambda_makes_it() {
    let seen: Arc<Mutex<Value>> = Arc::default();
    let note = Arc::clone(&seen);
    let rig = Rig::new(mapping(), move |records| {
        *note.lock().expect("no panic") = records[0].clone();
        Ok(String::new())
    });
    let queue = rig.queues.find("Work").expect("a queue");
    let message: Outgoing = serde_json::from_value(json!({
        "MessageBody": "{}",
        "MessageAttributes": {"kind": {"DataType": "String", "StringValue": "v"}},
        "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}},
    }))
    .expect("a message");
    let ids = rig.queues.send(queue, &[&message]).expect("sent");
    rig.drained().await;
    let record = seen.lock().expect("no panic").clone();
    for (pointer, expected) in [
        ("/messageId", ids[0].as_str()),
        ("/body", "{}"),
        ("/md5OfBody", "99914b932bd37a50b983c5e7c90ae93b"),
        ("/attributes/ApproximateReceiveCount", "1"),
        ("/attributes/SenderId", "000000000000"),
        ("/attributes/AWSTraceHeader", "Root=1"),
        ("/messageAttributes/kind/stringValue", "v"),
        ("/messageAttributes/kind/dataType", "String"),
        ("/eventSource", "aws:sqs"),
        ("/eventSourceARN", "arn:aws:sqs:us-east-1:000000000000:Work"),
        ("/awsRegion", "us-east-1"),
    ] {
        assert_eq!(
            record.pointer(pointer).and_then(Value::as_str),
            Some(expected),
            "{pointer} of {record}"
        );
    }
    for pointer in [
        "/receiptHandle",
        "/attributes/SentTimestamp",
        "/attributes/ApproximateFirstReceiveTimestamp",
    ] {
        assert!(
            record.pointer(pointer).is_some_and(Value::is_string),
            "{pointer} of {record}"
        );
    }
}
