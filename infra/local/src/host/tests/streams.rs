//! Streams of real tables, from the template's text to the function.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use metering_edge::aws::{Endpoint, dynamodb_client};

use super::*;
use crate::template::Template;

/// A table with a stream and a function that is handed it.
const TEMPLATE: &str = r#"
Resources:
  Items:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
  Dead:
    Type: AWS::SQS::Queue
  Job:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 3
      Events:
        Changes:
          Type: DynamoDB
          Properties: {Stream: !GetAtt Items.StreamArn, StartingPosition: START, MORE}
"#;

/// A stack of engine, streams, queues and host.
struct Streamed {
    client: Client,
    clock: Clock,
    queues: Queues,
    desk: Desk,
    host: Host,
    handed: Handed,
    _engine: Engine,
    dir: Arc<TempDir>,
}

/// The events that the function was handed.
type Handed = Arc<Mutex<Vec<Vec<Value>>>>;
type Answer = Arc<dyn Fn(&[Value]) -> Result<String, String> + Send + Sync>;

impl Streamed {
    fn new(more: &str, answer: impl Fn(&[Value]) -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self::over(Arc::new(tempfile::tempdir().expect("a folder")), more, Arc::new(answer))
    }

    fn over(dir: Arc<TempDir>, more: &str, answer: Answer) -> Self {
        Self::starting(dir, "TRIM_HORIZON", more, answer)
    }

    fn starting(dir: Arc<TempDir>, start: &str, more: &str, answer: Answer) -> Self {
        let file = |name: &str| dir.path().join(name);
        let clock = Clock::open(&file("clock.json")).expect("a clock");
        let text = TEMPLATE.replace("START", start).replace("MORE", more);
        let template = Template::parse(&text, &BTreeMap::new(), "http://queues").expect("understood");
        let engine = Engine::start(&file("dynamodb.sqlite"), &template.tables).expect("an engine");
        let streams = Streams::open(&file("dynamodb.sqlite"), &file("streams.db")).expect("streams");
        streams.begin(&template.triggers.streams).expect("begun");
        let queues = Queues::open(&file("queues.db"), &template.queues, &clock, "http://queues").expect("queues");
        let handed = Handed::default();
        let note = Arc::clone(&handed);
        let job: Invoke = Arc::new(move |event| {
            let event: Value = serde_json::from_str(&event).expect("an event");
            let records = event["Records"].as_array().expect("records").clone();
            let answer = answer(&records);
            note.lock().expect("no panic").push(records);
            Box::pin(async { answer })
        });
        let functions = Functions::given([("Job", job)]);
        let host = Host::start(&template, &queues, &streams, &functions, &clock, &Handle::current());
        let host = host.expect("started");
        let endpoint = Endpoint {
            url: engine.url(),
            region: "us-east-1".to_owned(),
            access_key_id: "local".to_owned(),
            secret_access_key: "local".to_owned(),
        };
        Self {
            client: dynamodb_client(&endpoint, Some(aws_smithy_http_client::Builder::new().build_http())),
            clock,
            queues,
            desk: host.desk(),
            host,
            handed,
            _engine: engine,
            dir,
        }
    }

    async fn put(&self, key: &str, value: &str) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let put = self.client.put_item().table_name("Items");
        let put = put.item("pk", text(key)).item("v", text(value)).send().await;
        put.expect("stored");
    }

    async fn drained(&self) {
        assert!(self.desk.drain(LIMIT).await.expect("drained"), "not drained in time");
    }

    /// The keys of the records in each batch.
    fn keys(&self) -> Vec<Vec<String>> {
        let handed = self.handed.lock().expect("no panic");
        let keys = |records: &Vec<Value>| records.iter().map(|record| key(record).to_owned()).collect();
        handed.iter().map(keys).collect()
    }

    fn notices(&self) -> Vec<Value> {
        let kept = self
            .queues
            .list(self.queues.find("Dead").expect("a queue"), 100)
            .expect("listed");
        kept.iter()
            .map(|message| serde_json::from_str(&message.body).expect("JSON"))
            .collect()
    }
}

fn key(record: &Value) -> &str {
    record["dynamodb"]["Keys"]["pk"]["S"].as_str().expect("a key")
}

fn fine(_: &[Value]) -> Result<String, String> {
    Ok(String::new())
}

#[tokio::test]
async fn changes_come_in_order_as_dynamodb_makes_them() {
    let rig = Streamed::new("BatchSize: 2", fine);
    rig.put("a", "1").await;
    rig.put("a", "2").await;
    let delete = rig
        .client
        .delete_item()
        .table_name("Items")
        .key("pk", AttributeValue::S("a".to_owned()));
    delete.send().await.expect("deleted");
    rig.drained().await;
    let records: Vec<Value> = rig.handed.lock().expect("no panic").concat();
    let names: Vec<&str> = records
        .iter()
        .filter_map(|record| record["eventName"].as_str())
        .collect();
    assert_eq!(names, ["INSERT", "MODIFY", "REMOVE"]);
    let modified = &records[1];
    for (pointer, expected) in [
        ("/eventSource", "aws:dynamodb"),
        ("/eventVersion", "1.1"),
        ("/awsRegion", "us-east-1"),
        (
            "/eventSourceARN",
            "arn:aws:dynamodb:us-east-1:000000000000:table/Items/stream/local",
        ),
        ("/dynamodb/StreamViewType", "NEW_AND_OLD_IMAGES"),
        ("/dynamodb/OldImage/v/S", "1"),
        ("/dynamodb/NewImage/v/S", "2"),
    ] {
        assert_eq!(
            modified.pointer(pointer).and_then(Value::as_str),
            Some(expected),
            "{pointer} of {modified}"
        );
    }
    let numbers: Vec<&str> = records
        .iter()
        .filter_map(|record| record["dynamodb"]["SequenceNumber"].as_str())
        .collect();
    assert!(numbers.is_sorted() && numbers.len() == 3, "{numbers:?}");
    let at = modified["dynamodb"]["ApproximateCreationDateTime"]
        .as_i64()
        .expect("seconds");
    assert!((rig.clock.now().timestamp() - at).abs() < 10);
}

#[tokio::test]
async fn a_filter_leaves_out_what_does_not_fit_it() {
    let filter =
        r#"FilterCriteria: {Filters: [{Pattern: '{"dynamodb":{"NewImage":{"v":{"S":[{"prefix":"yes"}]}}}}'}]}"#;
    let rig = Streamed::new(filter, fine);
    for (key, value) in [("a", "no"), ("b", "yes 1"), ("c", "no"), ("d", "yes 2"), ("e", "no")] {
        rig.put(key, value).await;
    }
    rig.drained().await;
    assert_eq!(rig.keys().concat(), ["b", "d"]);
}

#[tokio::test]
async fn a_bad_record_is_found_by_halving_and_given_up_and_the_others_pass() {
    let more = "BatchSize: 8, BisectBatchOnFunctionError: true, MaximumRetryAttempts: 1, \
        DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Dead.Arn}}";
    let fails = |records: &[Value]| match records.iter().any(|record| key(record) == "bad") {
        true => Err("broken".to_owned()),
        false => Ok(String::new()),
    };
    let rig = Streamed::new(more, fails);
    let keys = ["a", "b", "bad", "c", "d"];
    for key in keys {
        rig.put(key, "v").await;
    }
    rig.drained().await;
    let handed = rig.keys();
    let passed: Vec<&String> = handed
        .iter()
        .filter(|batch| !batch.iter().any(|key| key == "bad"))
        .flatten()
        .collect();
    assert_eq!(passed, ["a", "b", "c", "d"], "{handed:?}");
    let alone = handed.iter().filter(|batch| **batch == ["bad"]).count();
    assert_eq!(alone, 2, "once, and once again: {handed:?}");
    let notices = rig.notices();
    assert_eq!(notices.len(), 1);
    assert_eq!(
        notices[0]["requestContext"]["condition"],
        json!("RetryAttemptsExhausted")
    );
    assert_eq!(notices[0]["DDBStreamBatchInfo"]["batchSize"], json!(1));
}

#[tokio::test]
async fn a_report_begins_again_at_the_first_that_failed() {
    let tries = AtomicUsize::new(0);
    let rig = Streamed::new("FunctionResponseTypes: [ReportBatchItemFailures]", move |records| {
        let failing = records.iter().find(|record| key(record) == "b");
        match failing.filter(|_| tries.fetch_add(1, Ordering::SeqCst) < 2) {
            Some(record) => {
                let number = &record["dynamodb"]["SequenceNumber"];
                Ok(json!({"batchItemFailures": [{"itemIdentifier": number}]}).to_string())
            }
            None => Ok(String::new()),
        }
    });
    for key in ["a", "b", "c"] {
        rig.put(key, "v").await;
    }
    rig.drained().await;
    let handed = rig.keys().concat();
    assert_eq!(handed.iter().filter(|key| *key == "a").count(), 1, "{handed:?}");
    assert_eq!(handed.iter().filter(|key| *key == "b").count(), 3, "{handed:?}");
    assert_eq!(handed.last().map(String::as_str), Some("c"));
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_a_replay_begins_again() {
    let mut rig = Streamed::new("BatchSize: 10", fine);
    rig.put("a", "v").await;
    rig.drained().await;
    rig.host.stop().await;
    rig.put("b", "v").await;
    let dir = Arc::clone(&rig.dir);
    drop(rig);
    let rig = Streamed::over(dir, "BatchSize: 10", Arc::new(fine));
    rig.drained().await;
    assert_eq!(rig.keys().concat(), ["b"]);
    rig.desk.replay().expect("replayed");
    rig.drained().await;
    assert_eq!(rig.keys().concat(), ["b", "a", "b"]);
}

/// A folder with a table and one item in it, made when nobody was handed the table's stream.
async fn folder_without_stream() -> Arc<TempDir> {
    let dir = Arc::new(tempfile::tempdir().expect("a folder"));
    let rig = Streamed::over(Arc::clone(&dir), "Enabled: false", Arc::new(fine));
    rig.put("before", "v").await;
    rig.drained().await;
    assert!(rig.keys().is_empty());
    dir
}

#[tokio::test]
async fn a_stream_turned_on_later_begins_with_what_is_written_from_then_on() {
    for start in ["TRIM_HORIZON", "LATEST"] {
        let rig = Streamed::starting(folder_without_stream().await, start, "", Arc::new(fine));
        rig.put("after", "v").await;
        rig.drained().await;
        assert_eq!(
            rig.keys().concat(),
            ["after"],
            "{start}: there is no record of the item before"
        );
    }
}

#[tokio::test]
async fn a_mapping_added_to_a_stream_begins_at_its_end_or_with_what_is_kept() {
    let again = "}
        Again:
          Type: DynamoDB
          Properties: {Stream: !GetAtt Items.StreamArn, StartingPosition: ";
    for (start, expected) in [
        ("TRIM_HORIZON", vec!["after", "after", "before"]),
        ("LATEST", vec!["after", "after"]),
    ] {
        let dir = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut rig = Streamed::over(Arc::clone(&dir), "BatchSize: 10", Arc::new(fine));
        rig.put("before", "v").await;
        rig.drained().await;
        rig.host.stop().await;
        drop(rig);
        let more = format!("BatchSize: 10{again}{start}");
        let rig = Streamed::over(dir, &more, Arc::new(fine));
        rig.put("after", "v").await;
        rig.drained().await;
        let mut keys = rig.keys().concat();
        keys.sort();
        assert_eq!(keys, expected, "{start}");
    }
}
