//! How long `track` and `check-quota` take on the local stack, beside the engine doing the same
//! writes and reads without us. `cargo bench -p usage-local`; numbers are printed, never asserted.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use metering_edge::aws::dynamodb_client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use usage_local::{ADMIN_KEY, Options, SERVICE_KEY, Stack};

/// Before anything is measured: caches, connections, the branch predictor.
const WARM_UP: usize = 300;
/// How many calls one line is made from.
const CALLS: usize = 4_000;

/// Something called many times: the nth call of a worker.
trait Work: Send + Sync + 'static {
    fn call(&self, worker: usize, number: usize) -> impl Future<Output = ()> + Send;
}

/// The service over HTTP.
struct Service {
    http: reqwest::Client,
    base: String,
    path: &'static str,
    key: &'static str,
    body: Option<Value>,
}

impl Work for Service {
    async fn call(&self, _worker: usize, _number: usize) {
        let url = format!("{}{}", self.base, self.path);
        let request = match &self.body {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        let answer = request.bearer_auth(self.key).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await.expect("a body");
    }
}

/// The engine through the SDK: the two writes of a track, on copies of the service's own items.
struct Writes(Raw);
/// The engine through the SDK: the one read of a check.
struct Read(Raw);

type Item = HashMap<String, AttributeValue>;

#[derive(Clone)]
struct Raw {
    client: Client,
    events: String,
    state: String,
    event: Item,
}

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

impl Raw {
    /// Copies the counter of the service to a place of its own, and takes an event as the pattern.
    async fn of(stack: &Stack) -> Self {
        let client = dynamodb_client(&stack.dynamodb_endpoint(), None);
        let (events, state) = (stack.events_table().to_owned(), stack.state_table().to_owned());
        let found = client
            .scan()
            .table_name(&state)
            .send()
            .await
            .expect("a scan")
            .items
            .expect("items");
        let is_counter = |item: &Item| item["sk"].as_s().is_ok_and(|sk| sk.starts_with("CTR#"));
        let mut counter = found.into_iter().find(is_counter).expect("a counter");
        counter.insert("pk".to_owned(), s("RAW"));
        counter.insert("sk".to_owned(), s("RAW"));
        counter.insert("pending".to_owned(), AttributeValue::M(Item::new()));
        let put = client.put_item().table_name(&state).set_item(Some(counter));
        put.send().await.expect("stored");
        let found = client
            .scan()
            .table_name(&events)
            .send()
            .await
            .expect("a scan")
            .items
            .expect("items");
        let event = found.into_iter().next().expect("an event");
        Self {
            client,
            events,
            state,
            event,
        }
    }
}

impl Work for Writes {
    async fn call(&self, worker: usize, number: usize) {
        let Raw {
            client,
            events,
            state,
            event,
        } = &self.0;
        let entry = Item::from(
            [
                ("v", n(1)),
                ("t", n(1_700_000_000_000_u64)),
                ("e", s("0123456789abcdef")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let entry = AttributeValue::M(entry);
        let mut expression = "SET used = used + :v, remaining = remaining - :v, pending.#own = :entry".to_owned();
        let mut count = client.update_item().table_name(state);
        if number > 0 {
            expression.push_str(" REMOVE pending.#done");
            count = count.expression_attribute_names("#done", format!("{worker:04}-{:011}", number - 1));
        }
        count
            .key("pk", s("RAW"))
            .key("sk", s("RAW"))
            .update_expression(expression)
            .condition_expression("attribute_exists(pk) AND remaining >= :v")
            .expression_attribute_names("#own", format!("{worker:04}-{number:011}"))
            .expression_attribute_values(":v", n(1))
            .expression_attribute_values(":entry", entry)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .expect("counted");
        let id = format!("EVT#{worker}-{number}-{}", uniquely());
        let mut event = event.clone();
        event.insert("pk".to_owned(), s(&id));
        event.insert("ix_sk".to_owned(), s(id));
        client
            .put_item()
            .table_name(events)
            .set_item(Some(event))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await
            .expect("stored");
    }
}

impl Work for Read {
    async fn call(&self, _worker: usize, _number: usize) {
        let Raw { client, state, .. } = &self.0;
        let get = client
            .get_item()
            .table_name(state)
            .key("pk", s("RAW"))
            .key("sk", s("RAW"));
        let found = get.consistent_read(true).send().await.expect("read");
        assert!(found.item.is_some());
    }
}

fn uniquely() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What was measured.
struct Line {
    p50: Duration,
    p99: Duration,
    per_second: u128,
}

async fn measure(work: &Arc<impl Work>, connections: usize) -> Line {
    run(work, connections, WARM_UP).await;
    let began = Instant::now();
    let mut taken = run(work, connections, CALLS).await;
    let elapsed = began.elapsed();
    taken.sort_unstable();
    Line {
        p50: taken[taken.len() / 2],
        p99: taken[taken.len() * 99 / 100],
        per_second: taken.len() as u128 * 1_000_000 / elapsed.as_micros(),
    }
}

async fn run(work: &Arc<impl Work>, connections: usize, calls: usize) -> Vec<Duration> {
    let mut workers = JoinSet::new();
    for worker in 0..connections {
        let work = Arc::clone(work);
        workers.spawn(async move {
            let mut taken = Vec::new();
            for number in 0..calls / connections {
                let began = Instant::now();
                work.call(worker, number).await;
                taken.push(began.elapsed());
            }
            taken
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

fn ms(duration: Duration) -> String {
    let micros = duration.as_micros();
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}

fn print(what: &str, connections: usize, who: &str, line: &Line) {
    let (p50, p99, per_second) = (ms(line.p50), ms(line.p99), line.per_second);
    println!("{what:<12} {connections:>2} connections  {who:<8} p50 {p50:>6} ms  p99 {p99:>6} ms  {per_second:>6}/s");
}

async fn compare(what: &str, ours: &Arc<impl Work>, raw: &Arc<impl Work>) {
    for connections in [1, 16] {
        // Alternating, the better of two each, so that a busy moment of the machine hits both.
        let (first, second) = (measure(raw, connections).await, measure(ours, connections).await);
        let (third, fourth) = (measure(raw, connections).await, measure(ours, connections).await);
        let engine = if third.per_second > first.per_second {
            third
        } else {
            first
        };
        let service = if fourth.per_second > second.per_second {
            fourth
        } else {
            second
        };
        let share = service.per_second * 100 / engine.per_second;
        for (who, line) in [("engine", &engine), ("service", &service)] {
            print(what, connections, who, line);
        }
        println!("{what:<12} {connections:>2} connections  service / engine: {share} %");
    }
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options {
        data_dir: Some(dir.path().join("data")),
        ..Options::default()
    };
    let stack = Stack::start(options).await.expect("the stack starts");
    // What HTTP, the gateway and the function's boundary take without any store.
    let idle = Arc::new(Service {
        http: reqwest::Client::new(),
        base: stack.url(),
        path: "/health",
        key: SERVICE_KEY,
        body: None,
    });
    for connections in [1, 16] {
        print("health", connections, "service", &measure(&idle, connections).await);
    }
    let service = |path, key, body| {
        Arc::new(Service {
            http: reqwest::Client::new(),
            base: stack.url(),
            path,
            key,
            body,
        })
    };
    let subscription = json!({"id": "sub_u", "user_id": "u", "plan": "enterprise"});
    let subscribe = service("/api/v1/usage/admin/subscriptions", ADMIN_KEY, Some(subscription));
    subscribe.call(0, 0).await;
    let event = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1});
    let track = service("/api/v1/usage/track", SERVICE_KEY, Some(event));
    track.call(0, 0).await;
    let check = service("/api/v1/usage/check-quota/api_calls?user_id=u", SERVICE_KEY, None);
    let raw = Raw::of(&stack).await;
    compare("track", &track, &Arc::new(Writes(raw.clone()))).await;
    compare("check-quota", &check, &Arc::new(Read(raw))).await;
}
