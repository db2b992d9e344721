//! The bus, from a rule in the template to the function and its dead-letter queue.

use std::collections::BTreeMap;

use super::*;
use crate::{
    bus::{Bus, Event, inboxes},
    outbox::Outbox,
    template::Template,
};

const TEMPLATE: &str = r#"
Resources:
  Usage:
    Type: AWS::Events::EventBus
    Properties: {Name: usage}
  Dead:
    Type: AWS::SQS::Queue
  Job:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 3
      EventInvokeConfig: {MaximumRetryAttempts: 1}
      DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Dead.Arn}
      Events:
        Subscriptions:
          Type: EventBridgeRule
          Properties:
            EventBusName: !Ref Usage
            Pattern: {detail-type: [{prefix: subscription.}]}
"#;

struct Bussed {
    queues: Queues,
    bus: Bus,
    desk: Desk,
    handed: Arc<Mutex<Vec<Value>>>,
    _host: Host,
    _dir: TempDir,
}

impl Bussed {
    fn new(answer: fn(&Value) -> Result<String, String>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        let template = Template::parse(TEMPLATE, &BTreeMap::new(), "http://queues").expect("understood");
        let kept = [template.queues.clone(), inboxes(&template)].concat();
        let queues = Queues::open(&dir.path().join("queues.db"), &kept, &clock, "http://queues").expect("queues");
        let bus = Bus::new(&template, &queues, &clock, &Outbox::new(&clock));
        let handed: Arc<Mutex<Vec<Value>>> = Arc::default();
        let note = Arc::clone(&handed);
        let job: Invoke = Arc::new(move |event| {
            let event: Value = serde_json::from_str(&event).expect("an event");
            let answer = answer(&event);
            note.lock().expect("no panic").push(event);
            Box::pin(async { answer })
        });
        let functions = Functions::given([("Job", job)]);
        let streams = no_streams(&dir);
        let host = Host::start(&template, &queues, &streams, &functions, &clock, &Handle::current());
        let host = host.expect("started");
        Self {
            queues,
            bus,
            desk: host.desk(),
            handed,
            _host: host,
            _dir: dir,
        }
    }

    fn put(&self, bus: &str, detail_type: &str) {
        let event = Event {
            bus: bus.to_owned(),
            id: Some("evt".to_owned()),
            source: "billing".to_owned(),
            detail_type: detail_type.to_owned(),
            detail: json!({"plan": "basic"}),
            time: None,
            resources: Vec::new(),
        };
        self.bus.take(&event).expect("taken");
    }

    async fn drained(&self) {
        assert!(self.desk.drain(LIMIT).await.expect("drained"), "not drained in time");
    }
}

#[tokio::test]
async fn a_function_is_handed_the_events_that_fit_its_rule() {
    let rig = Bussed::new(|_| Ok(String::new()));
    rig.put("Usage", "subscription.created");
    rig.put("Usage", "usage.period_closed");
    rig.put("default", "subscription.created");
    rig.drained().await;
    let handed = rig.handed.lock().expect("no panic").clone();
    assert_eq!(handed.len(), 1, "{handed:?}");
    for (name, expected) in [
        ("id", "evt"),
        ("version", "0"),
        ("source", "billing"),
        ("detail-type", "subscription.created"),
        ("account", "000000000000"),
        ("region", "us-east-1"),
    ] {
        assert_eq!(handed[0][name], json!(expected), "{name}");
    }
    assert_eq!(handed[0]["detail"], json!({"plan": "basic"}));
    assert_eq!(rig.bus.main(), "Usage");
}

#[tokio::test]
async fn an_event_that_fails_is_tried_again_and_dead_lettered() {
    let rig = Bussed::new(|_| Err("unknown subscription".to_owned()));
    rig.put("Usage", "subscription.renewed");
    rig.drained().await;
    assert_eq!(rig.handed.lock().expect("no panic").len(), 2, "once, and once again");
    let dead = rig
        .queues
        .list(rig.queues.find("Dead").expect("a queue"), 10)
        .expect("listed");
    let event: Value = serde_json::from_str(&dead[0].body).expect("JSON");
    assert_eq!((dead.len(), &event["detail-type"]), (1, &json!("subscription.renewed")));
}
