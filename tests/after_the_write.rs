//! The functions behind the streams and queues, called by hand: stopped at each of their waits,
//! called again, and the stopped one going on last of all. None lost, none twice.

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use metering_edge::{
    aws::dynamodb_client,
    message::{AlertTask, Way},
};
use metering_store::void::{VoidOrder, Voided};
use serde_json::{Value, json};
use usage_local::{Instance, Options};

use crate::{
    support::{Client, SERVICE, TRACK},
    wire::{Call, Fate, Gate, Wire},
};

/// More waits than any call has.
const WAITS_MAX: usize = 60;
const DOCUMENTS: &str = "document_processing";

/// A stack whose functions are called by the test alone.
pub struct Idle {
    pub client: Client,
    /// Records of each table that the test has taken.
    taken: [usize; 2],
}

/// A call that was stopped.
pub struct Stopped {
    gate: Arc<Gate>,
    running: tokio::task::JoinHandle<()>,
    _instance: Arc<Instance>,
}

impl Idle {
    pub async fn start() -> Self {
        let options = Options {
            idle: true,
            ..Options::default()
        };
        Self {
            client: Client::start_with(options).await,
            taken: [0, 0],
        }
    }

    /// What the streams tell since this was last asked: of events, and of everything else.
    pub fn told(&mut self) -> [String; 2] {
        let tables = [self.client.stack.events_table(), self.client.stack.state_table()];
        let mut told = [String::new(), String::new()];
        for (index, table) in tables.into_iter().enumerate() {
            let records = self.client.stack.records(table).expect("the stream");
            told[index] = json!({"Records": records[self.taken[index]..]}).to_string();
            self.taken[index] = records.len();
        }
        told
    }

    pub async fn call(&self, function: &str, event: &str) -> Value {
        let instance = self.client.stack.instance(None).expect("an instance");
        let answer = instance.invoke(function, event.to_owned()).await.expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Calls a function that is stopped before (even) or after (odd) one of its requests; none if it
    /// ended before.
    pub async fn stopped(&self, function: &'static str, event: &str, wait: usize) -> Option<Stopped> {
        let (wire, gate) = Wire::stopping(wait);
        let instance = Arc::new(
            self.client
                .stack
                .instance(Some(wire.http_client()))
                .expect("an instance"),
        );
        let (own, event) = (instance.clone(), event.to_owned());
        let mut running = tokio::spawn(async move {
            // What it answers when it goes on last matters to nobody.
            let _ = own.invoke(function, event).await;
        });
        tokio::select! {
            () = gate.reached() => Some(Stopped { gate, running, _instance: instance }),
            ended = &mut running => {
                ended.expect("it does not panic");
                None
            }
        }
    }

    /// What waits on a queue.
    pub async fn waiting(&self, queue: &str) -> Vec<Value> {
        let path = format!("/_local/queues/{queue}/messages");
        let listed = self.client.get(&path, "").await;
        let messages = listed.body["messages"].as_array().expect("messages").iter();
        let body = |message: &Value| match &message["body"] {
            Value::String(text) => serde_json::from_str(text).expect("JSON"),
            body => body.clone(),
        };
        messages.map(body).collect()
    }

    async fn alerts(&self, user: &str) -> Vec<Value> {
        let path = format!("/api/v1/usage/alerts?user_id={user}");
        let listed = self.client.get(&path, SERVICE).await;
        listed.body["alerts"].as_array().expect("alerts").clone()
    }
}

impl Stopped {
    /// Lets it go on, to its end.
    pub async fn go_on(self) {
        self.gate.open();
        self.running.await.expect("it does not panic");
    }
}

/// An event of a queue with these messages.
pub fn queued(bodies: &[Value]) -> String {
    let record = |(index, body): (usize, &Value)| {
        json!({
            "messageId": format!("m{index}"), "receiptHandle": "r", "body": body.to_string(),
            "attributes": {"SentTimestamp": "1", "ApproximateReceiveCount": "1"},
        })
    };
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_relay_stops_each_threshold_fires_once() {
    let mut idle = Idle::start().await;
    let mut waits = 0;
    for wait in 0..WAITS_MAX * 2 {
        let user = format!("u{wait}");
        let subscription = idle.client.subscribe(&user, "basic").await;
        let body = json!({"user_id": user, "metric_type": DOCUMENTS, "metric_value": 101, "metadata": {"pages": 3}});
        assert_eq!(idle.client.track(body).await.status, 201);
        let [events, state] = idle.told();
        // In turns, the one or the other is stopped.
        let event = if wait % 4 < 2 { &events } else { &state };
        let wait = wait / 4 * 2 + wait % 2;
        let Some(stopped) = idle.stopped("RelayJob", event, wait).await else {
            assert!(wait > 6, "a relay has more waits than {wait}");
            break;
        };
        waits += 1;
        for event in [&events, &state] {
            let answer = idle.call("RelayJob", event).await;
            assert_eq!(answer, json!({"batchItemFailures": []}));
        }
        stopped.go_on().await;
        let mut types: Vec<Value> = idle
            .alerts(&user)
            .await
            .iter()
            .map(|alert| alert["alert_type"].clone())
            .collect();
        types.sort_by_key(Value::to_string);
        assert_eq!(
            types,
            [
                "approaching_limit",
                "hard_limit_reached",
                "overage_usage",
                "soft_limit_reached"
            ],
            "stopped at {wait}"
        );
        assert_eq!(idle.client.used(&user, "document_pages").await, 3, "stopped at {wait}");
        // Each new alert is one message for each of its ways, whoever passes it on.
        let [events, state] = idle.told();
        for event in [&events, &state] {
            idle.call("RelayJob", event).await;
        }
        let waiting = idle.waiting("AlertQueue").await;
        let own = waiting.iter().filter(|task| task["deliver"]["user_id"] == json!(user));
        assert_eq!(own.count(), 4, "{waiting:?}");
        let hours = idle.waiting("AggregationQueue").await;
        let own = |hour: &&Value| hour["owner"] == json!(format!("SUB#{subscription}"));
        let asks = |metric: &str| hours.iter().filter(own).any(|hour| hour["metric_type"] == metric);
        assert!(asks(DOCUMENTS) && asks("document_pages"), "{hours:?}");
    }
    println!("{waits} stopped relays");
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_delivery_stops_it_arrives_and_is_noted() {
    let mut idle = Idle::start().await;
    let mut waits = 0;
    for wait in 0..WAITS_MAX * 2 {
        let (user, address) = (format!("u{wait}"), format!("u{wait}@example.com"));
        idle.client.subscribe(&user, "basic").await;
        let settings = json!({"user_id": user, "email": address, "notification_channels": ["email"]});
        idle.client.put("/api/v1/usage/notification-settings", settings).await;
        let body = json!({"user_id": user, "metric_type": DOCUMENTS, "metric_value": 80});
        idle.client.track(body).await;
        for event in idle.told() {
            idle.call("RelayJob", &event).await;
        }
        idle.told();
        let alert = idle.alerts(&user).await.remove(0);
        let sk = metering_store::keys::by_instant(
            alert["created_at"]
                .as_str()
                .expect("an instant")
                .parse()
                .expect("an instant"),
            alert["id"].as_str().expect("an id"),
        );
        let ways = [Way::Email, Way::Bus];
        let tasks = ways.map(|way| AlertTask::Deliver {
            user_id: user.clone(),
            sk: sk.clone(),
            way,
        });
        let tasks: Vec<Value> = tasks
            .iter()
            .map(|task| serde_json::to_value(task).expect("JSON"))
            .collect();
        let event = queued(&tasks);
        let Some(stopped) = idle.stopped("AlertJob", &event, wait).await else {
            assert!(wait > 8, "a delivery has more waits than {wait}");
            break;
        };
        waits += 1;
        let answer = idle.call("AlertJob", &event).await;
        assert_eq!(answer, json!({"batchItemFailures": []}), "stopped at {wait}");
        let noted = idle.alerts(&user).await.remove(0);
        assert_eq!(noted["status"], "sent", "stopped at {wait}");
        stopped.go_on().await;
        let outbox = idle.client.outbox().await;
        let mails = outbox["emails"].as_array().expect("mails").iter();
        let mails = mails.filter(|mail| mail["to"] == json!(address)).count();
        assert!((1..=2).contains(&mails), "stopped at {wait}: {mails} mails");
        let on_bus = outbox["bus"].as_array().expect("events").iter();
        let on_bus: Vec<_> = on_bus
            .filter(|event| event["detail"]["user_id"] == json!(user))
            .collect();
        assert!(!on_bus.is_empty(), "stopped at {wait}");
        assert!(on_bus.iter().all(|event| event["detail"]["event_id"] == alert["id"]));
    }
    println!("{waits} stopped deliveries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_or_finishes_last_takes_no_aggregate_back() {
    let mut idle = Idle::start().await;
    let mut waits = 0;
    for wait in 0..WAITS_MAX * 2 {
        let user = format!("u{wait}");
        let owner = format!("SUB#{}", idle.client.subscribe(&user, "enterprise").await);
        let track = async |value: u32| {
            let body = json!({"user_id": user, "metric_type": "api_calls", "metric_value": value});
            assert_eq!(idle.client.track(body).await.status, 201);
        };
        let hours = async |idle: &Idle| {
            let own = |hour: &Value| hour["owner"] == json!(owner);
            let mut hours = idle.waiting("AggregationQueue").await;
            hours.retain(own);
            hours
        };
        track(3).await;
        track(5).await;
        let [events, _] = idle.told();
        idle.call("RelayJob", &events).await;
        let first = queued(&hours(&idle).await);
        let Some(stopped) = idle.stopped("AggregateJob", &first, wait).await else {
            assert!(wait > 8, "an aggregation has more waits than {wait}");
            break;
        };
        waits += 1;
        // One more event, computed by another worker; the stopped one knows only two.
        let track = async |value: u32| {
            let body = json!({"user_id": user, "metric_type": "api_calls", "metric_value": value});
            assert_eq!(idle.client.track(body).await.status, 201);
        };
        track(7).await;
        let [events, _] = idle.told();
        idle.call("RelayJob", &events).await;
        let all = queued(&hours(&idle).await);
        assert_eq!(idle.call("AggregateJob", &all).await, json!({"batchItemFailures": []}));
        stopped.go_on().await;
        for granularity in ["hourly", "monthly"] {
            let path = format!("/api/v1/usage/aggregations/api_calls?user_id={user}&granularity={granularity}");
            let told = idle.client.get(&path, SERVICE).await;
            let bucket = &told.body["aggregations"][0];
            assert_eq!(
                (&bucket["total_value"], &bucket["event_count"]),
                (&json!(15), &json!(3)),
                "{granularity}, stopped at {wait}"
            );
        }
    }
    println!("{waits} stopped aggregations");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_does_not_show_yet_is_asked_for_again() {
    let mut idle = Idle::start().await;
    idle.client.subscribe("u", "enterprise").await;
    let total = async |idle: &Idle| {
        let path = "/api/v1/usage/aggregations/api_calls?user_id=u";
        let told = idle.client.get(path, SERVICE).await;
        told.body["aggregations"][0]["total_value"].clone()
    };
    let lagging = Wire::new(|call: &Call| {
        if call.operation == "Query" && call.touches("by_time") {
            Fate::Answer(json!({"Items": [], "Count": 0, "ScannedCount": 0}))
        } else {
            Fate::Pass
        }
    });
    for (value, sum) in [(3, 3), (4, 7)] {
        let body = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": value});
        assert_eq!(idle.client.track(body).await.status, 201);
        let before = total(&idle).await;
        let [events, _] = idle.told();
        idle.call("RelayJob", &events).await;
        let hours = queued(&idle.waiting("AggregationQueue").await);
        // Ten minutes long the index shows nothing of it.
        for _ in 0..3 {
            let instance = idle
                .client
                .stack
                .instance(Some(lagging.http_client()))
                .expect("an instance");
            let answer = instance.invoke("AggregateJob", hours.clone()).await.expect("an answer");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            assert_ne!(answer["batchItemFailures"], json!([]), "the message comes again");
            assert_eq!(total(&idle).await, before, "nothing is taken back");
            idle.client.clock(json!({"advance_seconds": 200})).await;
        }
        let answer = idle.call("AggregateJob", &hours).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
        assert_eq!(total(&idle).await, json!(sum));
    }
}

impl Idle {
    /// Hands the relay all that the streams tell.
    async fn relay(&mut self) {
        for event in self.told() {
            self.call("RelayJob", &event).await;
        }
    }

    /// A document of a user, stopped between its count and its confirmation.
    async fn counted(&self, user: &str, key: &str) -> (Arc<Gate>, Arc<Instance>, tokio::task::JoinHandle<u16>) {
        let gate = Arc::new(Gate::default());
        let held = gate.clone();
        let wire = Wire::new(move |call: &Call| match call.operation.as_str() {
            "PutItem" if call.touches("EVT#") => Fate::HoldBefore(held.clone()),
            _ => Fate::Pass,
        });
        let instance = Arc::new(
            self.client
                .stack
                .instance(Some(wire.http_client()))
                .expect("an instance"),
        );
        let body = json!({"user_id": user, "metric_type": DOCUMENTS, "metric_value": 1, "idempotency_key": key});
        let sent = reqwest::Client::new()
            .post(format!("{}{TRACK}", instance.url()))
            .bearer_auth(SERVICE)
            .json(&body)
            .send();
        let sending = tokio::spawn(async move { sent.await.expect("an answer").status().as_u16() });
        gate.reached().await;
        (gate, instance, sending)
    }

    async fn documents(&self, user: &str, value: u32, key: &str) {
        let body = json!({"user_id": user, "metric_type": DOCUMENTS, "metric_value": value, "idempotency_key": key});
        assert_eq!(self.client.track(body).await.status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pending_reaches_nothing_until_its_event_is_there() {
    let mut idle = Idle::start().await;
    for user in ["twice", "slow", "dead"] {
        idle.client.subscribe(user, "basic").await;
        idle.documents(user, if user == "twice" { 78 } else { 79 }, "first")
            .await;
    }
    // The 79th document is sent twice at once: one of the two is on the counter and will go.
    let (gate, _instance, sending) = idle.counted("twice", "the 79th").await;
    idle.documents("twice", 1, "the 79th").await;
    idle.relay().await;
    assert_eq!(idle.alerts("twice").await, [] as [Value; 0]);
    gate.open();
    assert_eq!(sending.await.expect("no panic"), 200, "a duplicate");
    idle.documents("twice", 1, "the 80th").await;
    idle.relay().await;
    assert_eq!(idle.alerts("twice").await.len(), 1);

    // The 80th is counted and its event comes later: that tells.
    let (gate, _instance, sending) = idle.counted("slow", "the 80th").await;
    idle.relay().await;
    assert_eq!(idle.alerts("slow").await, [] as [Value; 0]);
    gate.open();
    assert_eq!(sending.await.expect("no panic"), 201);
    idle.relay().await;
    assert_eq!(idle.alerts("slow").await.len(), 1);

    // Its writer died: what could not be decided is looked at again, and was nothing.
    let (_gate, _instance, _sending) = idle.counted("dead", "the 80th").await;
    idle.relay().await;
    let mut again = idle.waiting("AlertQueue").await;
    again.retain(|task| task["judge"]["user_id"] == "dead");
    assert_eq!(again.len(), 1, "it comes back");
    idle.client.clock(json!({"advance_seconds": 90})).await;
    let answer = idle.call("AlertJob", &queued(&again)).await;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(idle.alerts("dead").await, [] as [Value; 0]);
    assert_eq!(idle.client.used("dead", DOCUMENTS).await, 79);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_whose_events_begin_to_expire_stays_as_it_is() {
    let mut idle = Idle::start().await;
    idle.client.clock(json!({"now": "2026-01-10T12:30:00Z"})).await;
    idle.client.subscribe("u", "enterprise").await;
    let report = async |client: &Client, value: u32| {
        let body = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": value, "timestamp": "2026-01-10T12:10:00Z", "backfill": true});
        let tracked = client.track(body).await;
        assert_eq!(tracked.status, 201, "{tracked:?}");
        tracked.body["usage_id"].as_str().expect("an id").to_owned()
    };
    report(&idle.client, 3).await;
    idle.client.clock(json!({"advance_seconds": 10 * 86_400})).await;
    let second = report(&idle.client, 4).await;
    idle.relay().await;
    let hours = queued(&idle.waiting("AggregationQueue").await);
    idle.call("AggregateJob", &hours).await;
    let told = async |client: &Client| {
        let path = "/api/v1/usage/aggregations/api_calls?user_id=u&from=2026-01-10T00:00:00Z";
        client.get(path, SERVICE).await.body["aggregations"][0]["total_value"].clone()
    };
    assert_eq!(told(&idle.client).await, 7);

    // The first has expired. Taking back the second comes too late.
    idle.client.clock(json!({"advance_seconds": 81 * 86_400})).await;
    let order = VoidOrder {
        id: second.clone(),
        reason: "a test".to_owned(),
        actor: "test".to_owned(),
    };
    let store = idle.client.store();
    let voided = store.event_void(&order, idle.client.now()).await.expect("an answer");
    assert!(matches!(voided, Voided::TooOld), "{voided:?}");
    // Even if it had been taken back in time and that were heard of only now.
    let client = dynamodb_client(&idle.client.stack.dynamodb_endpoint(), None);
    let flag = client
        .update_item()
        .table_name(idle.client.stack.events_table())
        .key("pk", AttributeValue::S(metering_store::keys::event(&second)))
        .update_expression("SET rev = :rev ADD flags :flag")
        .expression_attribute_values(":rev", AttributeValue::N("2".to_owned()))
        .expression_attribute_values(":flag", AttributeValue::Ss(vec!["voided".to_owned()]));
    flag.send().await.expect("a write");
    idle.relay().await;
    let hours = queued(&idle.waiting("AggregationQueue").await);
    assert_eq!(
        idle.call("AggregateJob", &hours).await,
        json!({"batchItemFailures": []})
    );
    assert_eq!(told(&idle.client).await, 7);
}
