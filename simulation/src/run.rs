//! One run: a seed becomes a world, users, faults, and a verdict.

use std::{fmt, sync::Arc, time::Duration};

use chrono::TimeDelta;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    check::Tables,
    client::{Call, Client},
    dice::Dice,
    fault::{Fault, Fired, Without},
    ledger::Ledger,
    mutation::Mutation,
    workload::{DOCUMENTS, LOOSE, SESSIONS, STORAGE, STRICT, User, start},
    world::{Failure, World},
};

/// How many things each actor does.
const TURNS: u64 = 10;
/// How many runs in a thousand go on until all events are gone.
const EXPIRING: u64 = 250;
/// For how long events are kept.
const RETAINED_DAYS: i64 = 90;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// All that is wrong; nothing if the run is good.
    pub wrong: Vec<String>,
    /// How often each fault happened.
    pub fired: Fired,
    /// The event log.
    pub log: Vec<String>,
}

/// How a run differs from the plain one of its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A planted bug.
    pub mutation: Option<Mutation>,
    /// How many things each actor does, if fewer than usual: a failing run is shrunk by it.
    pub turns: Option<u64>,
    /// Faults that do not happen in it: a failing run is shrunk by them.
    pub without: Without,
}

/// Runs a seed.
pub fn run(seed: u64, options: Options) -> Result<Outcome, Failure> {
    // What the SDK draws: pauses between its tries, tokens of transactions.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(play(seed, options))
}

async fn play(seed: u64, options: Options) -> Result<Outcome, Failure> {
    let dice = Dice::of(seed ^ 0x5eed);
    let (start, zone) = start(dice.bits());
    let world = World::new(seed, start, options.mutation, options.without).await?;
    let client = Client {
        world: Arc::clone(&world),
        dice: dice.fork(),
        ledger: Arc::new(Ledger::default()),
    };
    world.start()?;
    let users = client.users(zone).await;
    world.wire.faults.switch(true);
    client.work(&users, options.turns.unwrap_or(TURNS)).await;
    world.wire.faults.switch(false);
    let mut wrong = Vec::new();
    rest(&client, &users, &mut wrong).await;
    world.stop();
    Ok(Outcome {
        seed,
        wrong,
        fired: world.wire.faults.fired(),
        log: world.wire.log(),
    })
}

/// Lets everything come to rest, and looks.
async fn rest(client: &Client, users: &[User], wrong: &mut Vec<String>) {
    let world = &client.world;
    // What was given up is stale by then, whoever's clock is asked, nothing of it lands any more, and
    // every hold has expired.
    world.wire.catch_up();
    world.pass(Duration::from_secs(90), TimeDelta::seconds(900)).await;
    if !world.settle().await {
        wrong.push("it does not come to rest".to_owned());
    }
    for user in users {
        let reply = client.persist(&Call::get(format!("/quotas?user_id={}", user.id))).await;
        if reply.status != 200 {
            wrong.push(format!("the quotas cannot be read: {reply:?}"));
        }
        room(client, user, wrong).await;
    }
    world.settle().await;
    let tables = Tables::read(world);
    wrong.extend(tables.above_without_reason(&world.wire.above()));
    wrong.extend(tables.faults(&client.ledger));
    for user in users {
        aggregates(client, user, &tables, wrong).await;
    }
    let letters = world.dead_letters();
    wrong.extend(
        letters
            .into_iter()
            .filter(|body| !body.contains("poison"))
            .map(|body| format!("a dead letter: {body}")),
    );
    published(client, &tables, wrong);
    reconciled(client, wrong).await;
    wrong.extend(
        world
            .wire
            .drifts()
            .into_iter()
            .map(|found| format!("drift was found: {found}")),
    );
    if client.dice.happens(EXPIRING) {
        expired(client, users, &tables, wrong).await;
    }
}

/// Reconciliation finds nothing.
async fn reconciled(client: &Client, wrong: &mut Vec<String>) {
    let found = client.world.invoke("ReconcileJob", &json!({})).await;
    client.world.settle().await;
    let is_good = |found: &Value| {
        let nothing = ["drifted", "aggregate_drifted", "thresholds_raised", "failed"];
        nothing.iter().all(|name| found[name] == json!(0)) && found["more"] == json!(false)
    };
    if !found.as_ref().is_ok_and(is_good) {
        wrong.push(format!("reconciliation found {found:?}"));
    }
}

/// Three months later all events are gone. Whatever asks for their aggregates again then, and whatever
/// is due, takes nothing away.
async fn expired(client: &Client, users: &[User], tables: &Tables, wrong: &mut Vec<String>) {
    let world = &client.world;
    let mut before = Vec::new();
    for user in users {
        before.push(aggregated(client, user).await);
    }
    world
        .pass(Duration::from_secs(1), TimeDelta::days(RETAINED_DAYS + 5))
        .await;
    if let Err(error) = world.wire.engine.sweep() {
        wrong.push(format!("nothing expires: {error}"));
    }
    for body in world.wire.queues.sent("AggregationQueue") {
        world.wire.queues.send("AggregationQueue", &body, 0, &world.wire.faults);
    }
    let closed = world.invoke("LifecycleJob", &Value::Null).await;
    if let Err(error) = closed {
        wrong.push(format!("periods are not closed after three months: {error}"));
    }
    world.settle().await;
    let after = Tables::read(world);
    let left = after.events_left(tables);
    if left > 0 {
        wrong.push(format!("{left} events stay after three months"));
    }
    for (user, before) in users.iter().zip(before) {
        let now = aggregated(client, user).await;
        if now != before {
            wrong.push(format!("{}: aggregates were {before:?}, now {now:?}", user.id));
        }
    }
    wrong.extend(after.statements_changed(tables));
}

/// Whatever is left can be reserved: no hold that expired is in the way.
async fn room(client: &Client, user: &User, wrong: &mut Vec<String>) {
    for metric in [STRICT, STORAGE, SESSIONS] {
        let path = format!("/quotas?user_id={}&metric_type={metric}", user.id);
        let quota = client.persist(&Call::get(path)).await.body["quotas"][0].clone();
        let left: Decimal = quota["available"].to_string().parse().unwrap_or_default();
        if left == Decimal::ZERO {
            continue;
        }
        let body = json!({"user_id": user.id, "metric_type": metric, "quantity": left.to_string()});
        let made = client.persist(&Call::post("/reservations", body)).await;
        if made.status != 201 {
            wrong.push(format!("{left} of {metric} is left and cannot be had: {made:?}"));
            continue;
        }
        let id = made.body["id"].as_str().unwrap_or_default().to_owned();
        client
            .persist(&Call::post(format!("/reservations/{id}/release"), json!({})))
            .await;
    }
}

/// Aggregates are what the events say.
async fn aggregates(client: &Client, user: &User, tables: &Tables, wrong: &mut Vec<String>) {
    for (metric, said) in aggregated(client, user).await {
        let true_total = tables.total(&user.id, &user.subscription, metric);
        if said != true_total {
            wrong.push(format!(
                "{metric} of {}: aggregates say {said}, events {true_total}",
                user.id
            ));
        }
    }
}

/// What aggregates say of a user's metrics in all.
async fn aggregated(client: &Client, user: &User) -> Vec<(&'static str, Decimal)> {
    let now = client.world.time.now();
    let text = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (from, to) = (text(now - TimeDelta::days(170)), text(now + TimeDelta::days(2)));
    let mut all = Vec::new();
    for metric in [STRICT, LOOSE, DOCUMENTS, "document_pages", STORAGE] {
        let path = format!(
            "/aggregations/{metric}?user_id={}&subscription_id={}&from={from}&to={to}&limit=200",
            user.id, user.subscription
        );
        let page = client.persist(&Call::get(path)).await.body;
        let buckets = page["aggregations"].as_array().cloned().unwrap_or_default();
        let value = |bucket: &Value| bucket["total_value"].to_string().parse::<Decimal>().unwrap_or_default();
        let said: Decimal = match metric {
            STORAGE => buckets.last().map(value).unwrap_or_default(),
            _ => buckets.iter().map(value).sum(),
        };
        all.push((metric, said));
    }
    all
}

/// Every statement was published.
fn published(client: &Client, tables: &Tables, wrong: &mut Vec<String>) {
    let outbox = client
        .world
        .wire
        .outbox
        .lock()
        .map(|sent| sent.clone())
        .unwrap_or_default();
    for id in tables.statement_ids() {
        let told = |event: &Value| event["Detail"].as_str().is_some_and(|detail| detail.contains(&id));
        if !outbox.iter().any(told) {
            wrong.push(format!("the statement {id} was not published"));
        }
    }
}

/// How little it takes for a seed to fail.
#[derive(Debug)]
pub struct Shrunk {
    /// How many things each actor does.
    pub turns: u64,
    /// The faults that it takes.
    pub faults: Vec<Fault>,
    /// The options that say so.
    pub options: Options,
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} turns and these faults are enough: {:?}", self.turns, self.faults)
    }
}

/// Shrinks a failing seed: first to the fewest turns, then to the faults without any of which it is good.
pub fn shrink(seed: u64, options: Options) -> Result<Shrunk, Failure> {
    let fails = |options: Options| -> Result<bool, Failure> { Ok(!run(seed, options)?.wrong.is_empty()) };
    let mut least = options;
    for turns in 1..TURNS {
        let fewer = Options {
            turns: Some(turns),
            ..options
        };
        if fails(fewer)? {
            least = fewer;
            break;
        }
    }
    let mut faults = Vec::new();
    for fault in Fault::ALL {
        let fewer = Options {
            without: least.without.and(fault),
            ..least
        };
        if fails(fewer)? {
            least = fewer;
        } else {
            faults.push(fault);
        }
    }
    Ok(Shrunk {
        turns: least.turns.unwrap_or(TURNS),
        faults,
        options: least,
    })
}
