//! Functions that put off work, their own and each other's, and those who wait for all to be done.

use std::{collections::BTreeMap, sync::OnceLock};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use metering_edge::aws::{Endpoint, dynamodb_client};

use super::*;

fn delayed(body: String) -> Outgoing {
    Outgoing {
        message_body: body,
        delay_seconds: Some(900),
        ..Outgoing::default()
    }
}

#[tokio::test]
async fn a_drain_ends_when_a_function_puts_itself_off_twice() {
    let known: Arc<OnceLock<Queues>> = Arc::default();
    let (queues, handed) = (Arc::clone(&known), Arc::default());
    let job = job(&handed, move |records| {
        let queues = queues.get().expect("the queues");
        for record in records {
            let times: u32 = record["body"].as_str().expect("a body").parse().expect("a number");
            if times < 2 {
                let again = delayed((times + 1).to_string());
                let queue = queues.find("Work").expect("a queue");
                queues.send(queue, &[&again]).expect("sent");
            }
        }
        Ok(String::new())
    });
    let rig = Rig::with(mapping(), job, handed);
    known.set(rig.queues.clone()).expect("once");
    rig.send(&["0"]);
    let delayed = Counts { delayed: 1, ..EMPTY };
    rig.until("Work", delayed).await;
    rig.drained().await;
    assert_eq!(rig.handed(), [vec!["0"], vec!["1"], vec!["2"]]);
    assert!(rig.bodies("Work").is_empty());
}

#[tokio::test]
async fn a_function_decides_when_its_message_comes_back() {
    let known: Arc<OnceLock<Queues>> = Arc::default();
    let (queues, handed) = (Arc::clone(&known), Arc::default());
    let job = job(&handed, move |records| {
        let queues = queues.get().expect("the queues");
        let (record, queue) = (&records[0], queues.find("Work").expect("a queue"));
        let handle = record["receiptHandle"].as_str().expect("a handle");
        let first = record["attributes"]["ApproximateReceiveCount"] == json!("1");
        queues.hide(queue, handle, Duration::from_secs(600)).expect("hidden");
        failing(records, |_| first)
    });
    let rig = Rig::with(mapping(), job, handed);
    known.set(rig.queues.clone()).expect("once");
    rig.send(&["a"]);
    rig.until("Work", in_flight(1)).await;
    rig.clock.advance(TimeDelta::seconds(300)).expect("moved");
    rig.until("Work", in_flight(1)).await;
    assert_eq!(rig.handed().len(), 1, "the queue's own 60 s are not what counts");
    rig.clock.advance(TimeDelta::seconds(301)).expect("moved");
    rig.until("Work", EMPTY).await;
    assert_eq!(rig.handed().len(), 2);
}

/// A function that a stream and a queue call.
const TEMPLATE: &str = "
Resources:
  Items:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      StreamSpecification: {StreamViewType: NEW_IMAGE}
  Work:
    Type: AWS::SQS::Queue
  Job:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 3
      Events:
        Changes:
          Type: DynamoDB
          Properties: {Stream: !GetAtt Items.StreamArn, StartingPosition: LATEST}
        Messages:
          Type: SQS
          Properties: {Queue: !GetAtt Work.Arn}
";

async fn put(client: Client, key: String) {
    let put = client.put_item().table_name("Items").item("pk", AttributeValue::S(key));
    put.send().await.expect("stored");
}

/// Hands each record on as a delayed message, and each message as an item with one step more.
fn passing_on(queues: Queues, client: Client, steps: usize) -> Invoke {
    Arc::new(move |event| {
        let (queues, client) = (queues.clone(), client.clone());
        Box::pin(async move {
            let event: Value = serde_json::from_str(&event).expect("an event");
            for record in event["Records"].as_array().expect("records") {
                if let Some(key) = record["dynamodb"]["Keys"]["pk"]["S"].as_str() {
                    let queue = queues.find("Work").expect("a queue");
                    queues.send(queue, &[&delayed(key.to_owned())]).expect("sent");
                } else {
                    let key = record["body"].as_str().expect("a body");
                    if key.matches('/').count() < steps {
                        put(client.clone(), format!("{key}/")).await;
                    }
                }
            }
            Ok(String::new())
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_what_streams_and_queues_bring_each_other() {
    const STEPS: usize = 3;
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(name);
    let clock = Clock::open(&file("clock.json")).expect("a clock");
    let template = Template::parse(TEMPLATE, &BTreeMap::new(), "http://queues").expect("understood");
    let engine = Engine::start(&file("dynamodb.sqlite"), &template.tables).expect("an engine");
    let streams = Streams::open(&file("dynamodb.sqlite"), &file("streams.db")).expect("streams");
    streams.begin(&template.triggers.streams).expect("begun");
    let queues = Queues::open(&file("queues.db"), &template.queues, &clock, "http://queues").expect("queues");
    let endpoint = Endpoint {
        url: engine.url(),
        region: "us-east-1".to_owned(),
        access_key_id: "local".to_owned(),
        secret_access_key: "local".to_owned(),
    };
    let client = dynamodb_client(&endpoint, Some(aws_smithy_http_client::Builder::new().build_http()));
    let functions = Functions::given([("Job", passing_on(queues.clone(), client.clone(), STEPS))]);
    let host = Host::start(&template, &queues, &streams, &functions, &clock, &Handle::current());
    let host = host.expect("started");
    let desk = host.desk();
    for round in 0..5 {
        put(client.clone(), round.to_string()).await;
        assert!(desk.drain(LIMIT).await.expect("drained"), "not drained in time");
        let last = format!("{round}{}", "/".repeat(STEPS));
        let get = client.get_item().table_name("Items").key("pk", AttributeValue::S(last));
        let found = get.send().await.expect("answered");
        assert!(found.item.is_some(), "round {round} was not over");
        let work = queues.counts(queues.find("Work").expect("a queue")).expect("counted");
        assert_eq!(work, EMPTY, "round {round}");
    }
}
