//! A run's world: the functions as processes, what calls them, and what stops them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::config::{retry::RetryPartition, timeout::TimeoutConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use chrono::{DateTime, TimeDelta, Utc};
use metering_edge::{
    App,
    aws::{Clients, Endpoint, Endpoints},
    config::Config,
    lambda::Invoke,
    webhook::{Reach, Webhooks},
};
use metering_store::Context;
use serde_json::{Value, json};
use usage_local::template::{EMBEDDED, Function, Template};

use crate::{
    dice::Dice,
    engine::{Engine, Position},
    fault::{Fault, Faults, Without},
    life::Life,
    mutation::{Bug, Mutation},
    queues::Queues,
    time::{Place, Time, sleep, sleep_ms},
    wire::{End, Wire},
};

/// The key of an administrator.
pub const ADMIN: &str = "mk_sim_admin";
/// The key of a service.
pub const SERVICE: &str = "mk_sim_service";
/// Functions that make files, since there is no bucket behind the wire, and those that nobody calls here.
const LEFT_OUT: [&str; 3] = ["ReportsApi", "ReportJob", "AccessLogJob"];
/// How many processes run each function.
const COPIES: usize = 2;
/// How far a process's clock may be off.
const SKEW_MS_MAX: u64 = 2_000;
/// As the clients of a function in AWS have it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// How often streams and queues are looked at: less and less while there is nothing,
const LOOK_MS: u64 = 50;
/// but at least once in so long.
const IDLE_MS_MAX: u64 = 800;
/// How long a function may work before it is stopped for good, if it is.
const KILLED_WITHIN_MS: u64 = 400;

/// The world of one run.
pub struct World {
    /// What all share.
    pub wire: Arc<Wire>,
    /// The time.
    pub time: Arc<Time>,
    dice: Dice,
    processes: BTreeMap<String, Vec<Invoke>>,
    template: Template,
    stop: AtomicBool,
    behind: AtomicU64,
}

/// Why a world cannot be made: a fault of this crate or of the template.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

impl World {
    /// A world in which nothing has happened yet, at `start`; no faults so far.
    pub async fn new(
        seed: u64,
        start: DateTime<Utc>,
        mutation: Option<Mutation>,
        without: Without,
    ) -> Result<Arc<Self>, Failure> {
        let dice = Dice::of(seed);
        let time = Time::from(start);
        let template = Template::parse(EMBEDDED, &BTreeMap::new(), "http://queues")?;
        let engine = Engine::new(&template.tables, Arc::clone(&time))?;
        let queues = Queues::new(&template.queues, Arc::clone(&time), dice.fork());
        let faults = Faults::new(dice.fork(), without);
        let mut wire = Wire::new(engine, Arc::clone(&time), faults, queues, dice.fork());
        wire.mutation = mutation;
        let wire = Arc::new(wire);
        // Whoever builds one reads all certificates of the machine.
        let webhooks = Webhooks::new(Reach::Public, None)?;
        let mut processes: BTreeMap<String, Vec<Invoke>> = BTreeMap::new();
        for function in template
            .functions
            .iter()
            .filter(|one| !LEFT_OUT.contains(&one.name.as_str()))
        {
            for copy in 0..COPIES {
                let invoke = process(function, copy, &wire, &time, &dice, &webhooks)?;
                processes.entry(function.name.clone()).or_default().push(invoke);
            }
        }
        keys(&wire, &time, &webhooks).await?;
        Ok(Arc::new(Self {
            wire,
            time,
            dice: dice.fork(),
            processes,
            template,
            stop: AtomicBool::new(false),
            behind: AtomicU64::new(0),
        }))
    }

    /// Starts what reads streams and queues.
    pub fn start(self: &Arc<Self>) -> Result<(), Failure> {
        for mapping in &self.template.triggers.streams {
            let position = self.wire.engine.stream(&mapping.table)?;
            let (world, table, function) = (Arc::clone(self), mapping.table.clone(), mapping.function.clone());
            tokio::spawn(async move { world.read(table, function, position).await });
        }
        for mapping in &self.template.triggers.queues {
            for _ in 0..COPIES {
                let (world, mapping) = (Arc::clone(self), mapping.clone());
                tokio::spawn(async move { world.poll(&mapping.queue, &mapping.function, mapping.batch_size).await });
            }
        }
        Ok(())
    }

    /// Stops them.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether a function is deployed.
    pub fn has(&self, function: &str) -> bool {
        self.processes.contains_key(function)
    }

    /// Calls a function as Lambda does; it may be stopped for good wherever it waits.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value, String> {
        let Some(copies) = self.processes.get(function) else {
            return Err(format!("there is no function {function}"));
        };
        let invoke = Arc::clone(self.dice.pick(copies));
        let deployed = self.template.functions.iter().find(|one| one.name == function);
        let mut patience = deployed.map_or(Duration::ZERO, |one| one.timeout);
        if self.wire.faults.happens(Fault::Killed) {
            patience = Duration::from_millis(self.dice.between(1, KILLED_WITHIN_MS));
        }
        let life = Life::default();
        let mut running = tokio::spawn(life.clone().of(invoke(event.to_string())));
        let answered = tokio::select! {
            biased;
            () = life.ended() => None,
            ended = &mut running => Some(ended),
            () = sleep(patience) => None,
        };
        match answered {
            Some(Ok(Ok(answer))) => serde_json::from_str(&answer).map_err(|error| error.to_string()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.to_string()),
            None => {
                running.abort();
                Err("it was stopped".to_owned())
            }
        }
    }

    /// Reads a table's stream in order: a batch again and again until it is done.
    async fn read(&self, table: String, function: String, mut position: Position) {
        let mut waiting: VecDeque<Value> = VecDeque::new();
        let (mut seen, mut idle) = (0, LOOK_MS);
        while !self.stop.load(Ordering::Relaxed) {
            let written = self.wire.written();
            if seen != written {
                match self.wire.engine.records(&table, &mut position) {
                    Ok(records) if records.is_empty() => seen = written,
                    Ok(records) => waiting.extend(records),
                    Err(error) => self
                        .wire
                        .note(&format!("the stream of {table} cannot be read: {error}")),
                }
            }
            if waiting.is_empty() {
                sleep_ms(idle).await;
                idle = (2 * idle).min(IDLE_MS_MAX);
                continue;
            }
            idle = LOOK_MS;
            self.behind.fetch_add(1, Ordering::Relaxed);
            self.hand_over(&function, &mut waiting).await;
            self.behind.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn hand_over(&self, function: &str, waiting: &mut VecDeque<Value>) {
        let faults = &self.wire.faults;
        let mut count = waiting.len().min(100);
        let mut is_again = false;
        while count > 0 {
            if is_again && count > 1 && faults.happens(Fault::BatchCutAnew) {
                count = usize::try_from(self.dice.between(1, count as u64 - 1)).unwrap_or(1);
            }
            let batch: Vec<&Value> = waiting.iter().take(count).collect();
            let answer = self.invoke(function, &json!({"Records": batch})).await;
            let done = match &answer {
                _ if self.has_bug(|bug| matches!(bug, Bug::RecordsLost)) => count,
                Ok(answer) => done(answer, &batch),
                Err(_) => 0,
            };
            if done == count && faults.happens(Fault::RecordsRepeated) {
                is_again = true;
                continue;
            }
            waiting.drain(..done);
            count -= done;
            is_again = true;
            if count > 0 {
                sleep_ms(self.dice.between(100, 2_000)).await;
            }
        }
    }

    fn has_bug(&self, is: impl Fn(&Bug) -> bool) -> bool {
        self.wire.mutation.as_ref().is_some_and(|planted| is(&planted.bug))
    }

    /// Takes messages off a queue, and deletes what was handled.
    async fn poll(&self, queue: &str, function: &str, batch_size: usize) {
        let mut idle = LOOK_MS;
        while !self.stop.load(Ordering::Relaxed) {
            let messages = self.wire.queues.receive(queue, batch_size, &self.wire.faults);
            if messages.is_empty() {
                sleep_ms(idle).await;
                idle = (2 * idle).min(IDLE_MS_MAX);
                continue;
            }
            idle = LOOK_MS;
            self.behind.fetch_add(1, Ordering::Relaxed);
            let records: Vec<Value> = messages.iter().map(|message| message.event(queue)).collect();
            let mut answer = self.invoke(function, &json!({"Records": records})).await;
            if self.has_bug(|bug| matches!(bug, Bug::MessagesLost)) {
                answer = Ok(Value::Null);
            }
            if let Ok(answer) = answer {
                let failed = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
                let failed = |id: &str| failed.iter().any(|one| one["itemIdentifier"] == json!(id));
                for message in messages.iter().filter(|message| !failed(message.id())) {
                    self.wire.queues.delete(queue, message.handle());
                }
            }
            self.behind.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Waits until streams are read and queues are empty, dead letters apart. Faults must be off.
    pub async fn settle(&self) -> bool {
        let mut quiet = 0;
        for _ in 0..4_000 {
            sleep_ms(IDLE_MS_MAX).await;
            self.wire.queues.hurry();
            let queues = self.template.triggers.queues.iter();
            let left = queues
                .map(|mapping| self.wire.queues.bodies(&mapping.queue).len())
                .sum::<usize>();
            let busy = self.behind.load(Ordering::Relaxed) > 0 || left > 0;
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 5 {
                return true;
            }
        }
        false
    }

    /// What lies in dead-letter queues.
    pub fn dead_letters(&self) -> Vec<String> {
        let targets = self.template.queues.iter().filter_map(|queue| queue.redrive.as_ref());
        let mut names: Vec<&str> = targets.map(|redrive| redrive.queue.as_str()).collect();
        names.extend(
            self.template
                .triggers
                .streams
                .iter()
                .filter_map(|one| one.on_failure.as_deref()),
        );
        names.sort_unstable();
        names.dedup();
        names.iter().flat_map(|name| self.wire.queues.bodies(name)).collect()
    }

    /// Waits so long; clocks jump besides by `jump`.
    pub async fn pass(&self, wait: Duration, jump: TimeDelta) {
        self.time.jump(jump);
        sleep(wait).await;
    }
}

/// How many of a batch's records are done.
fn done(answer: &Value, batch: &[&Value]) -> usize {
    let first = answer["batchItemFailures"][0]["itemIdentifier"].as_str();
    let place = first.and_then(|first| {
        let mut numbers = batch.iter().map(|record| record["dynamodb"]["SequenceNumber"].as_str());
        numbers.position(|number| number == Some(first))
    });
    place.unwrap_or(batch.len())
}

/// One process of a function, with a clock, caches and connections of its own.
fn process(
    function: &Function,
    copy: usize,
    wire: &Arc<Wire>,
    time: &Arc<Time>,
    dice: &Dice,
    webhooks: &Webhooks,
) -> Result<Invoke, Failure> {
    let who = format!("{}/{copy}", function.name);
    let skewed = dice.happens(700);
    let skew = if skewed {
        dice.between(0, 2 * SKEW_MS_MAX)
    } else {
        SKEW_MS_MAX
    };
    if skewed {
        wire.faults.count(Fault::ClockSkew);
    }
    let skew = i64::try_from(skew)? - i64::try_from(SKEW_MS_MAX)?;
    let place = Place {
        time: Arc::clone(time),
        skew: TimeDelta::milliseconds(skew),
        dice: dice.fork(),
    };
    let end = End {
        wire: Arc::clone(wire),
        who: who.as_str().into(),
    };
    let lookup = |name: &str| function.environment.get(name).cloned();
    let app = App::new(
        Config::from_lookup(&lookup)?,
        Context::new(Arc::new(place)),
        clients(end, &who, webhooks),
    );
    let linked = usage_local::linked(&function.name, app);
    Ok(linked.ok_or_else(|| format!("{} is not linked", function.name))??)
}

/// The clients of a process: as in AWS, but for the connector.
fn clients(end: End, who: &str, webhooks: &Webhooks) -> Clients {
    let endpoint = Endpoint {
        url: "http://aws".to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: "sim".to_owned(),
        secret_access_key: "sim".to_owned(),
    };
    let endpoints = Endpoints {
        dynamodb: endpoint.clone(),
        sqs: endpoint.clone(),
        sesv2: endpoint.clone(),
        sns: endpoint.clone(),
        events: endpoint.clone(),
        s3: endpoint,
    };
    let clients = Clients::of(&endpoints, Some(SharedHttpClient::new(end)), webhooks.clone());
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    // With tries of its own: those of a named partition are the whole program's, and what one run used
    // up would be missing in another.
    let partition = RetryPartition::custom(who.to_owned()).build();
    let dynamodb = clients.dynamodb.config().to_builder();
    let sqs = clients.sqs.config().to_builder();
    let sesv2 = clients.sesv2.config().to_builder();
    let events = clients.events.config().to_builder();
    Clients {
        dynamodb: aws_sdk_dynamodb::Client::from_conf(
            dynamodb
                .timeout_config(timeouts.clone())
                .retry_partition(partition.clone())
                .build(),
        ),
        sqs: aws_sdk_sqs::Client::from_conf(
            sqs.timeout_config(timeouts.clone())
                .retry_partition(partition.clone())
                .build(),
        ),
        sesv2: aws_sdk_sesv2::Client::from_conf(
            sesv2
                .timeout_config(timeouts.clone())
                .retry_partition(partition.clone())
                .build(),
        ),
        events: aws_sdk_eventbridge::Client::from_conf(
            events.timeout_config(timeouts).retry_partition(partition).build(),
        ),
        ..clients
    }
}

/// The keys that clients use.
async fn keys(wire: &Arc<Wire>, time: &Time, webhooks: &Webhooks) -> Result<(), Failure> {
    let end = End {
        wire: Arc::clone(wire),
        who: "setup".into(),
    };
    let client = clients(end, "setup", webhooks).dynamodb;
    let scopes: [(&str, &[&str]); 2] = [(ADMIN, &["usage:admin"]), (SERVICE, &["usage:read", "usage:write"])];
    for (key, scopes) in scopes {
        metering_store::dev::api_key_put(&client, "State", key, key, scopes, time.now()).await?;
    }
    Ok(())
}
