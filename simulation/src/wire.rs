//! Between the functions' SDK and the engine: every request passes here, takes its time, and meets
//! what the seed has for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    dice::Dice,
    engine::{Answer, Engine, number, text},
    fault::{Fault, Faults},
    lag::Lag,
    life::Life,
    mutation::Mutation,
    queues::Queues,
    time::{Time, sleep_ms},
};

/// No process waits so long for an answer.
pub(crate) const NEVER_MS: u64 = 30_000;
/// The longest time for which an index shows nothing new.
const LAG_MS_MAX: u64 = 600_000;
/// After how long a request arrives whose sender gave it up.
const LATE_MS: (u64, u64) = (1_000, 20_000);
/// After how long one arrives whose sender died: what it left behind is stale by then.
const ORPHANED_MS: (u64, u64) = (61_000, 150_000);
/// Its two looks at an index are seconds apart: that it lags longer is beyond what it can see.
const SEES_ALL: &str = "ReconcileJob";
/// Where a pass of reconciliation notes what it found.
const RECONCILIATION: &str = "CFG#reconcile";

/// The key of an item: table, partition and sort key.
pub(crate) type Key = (String, String, String);

/// What all processes of a run share.
pub struct Wire {
    /// The engine.
    pub engine: Engine,
    /// The time.
    pub time: Arc<Time>,
    /// What goes wrong.
    pub faults: Faults,
    /// The queues.
    pub queues: Queues,
    /// What left: events on the bus and mails.
    pub outbox: Mutex<Vec<Value>>,
    /// A bug that was planted.
    pub mutation: Option<Mutation>,
    dice: Dice,
    log: Mutex<Log>,
    pub(crate) lag: Mutex<Lag>,
    watched: Mutex<Watched>,
    writes: AtomicU64,
}

/// The events of a run, one line each.
#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
}

/// Counters on which nothing but enforced usage is counted, and what was seen on them.
#[derive(Debug, Default)]
struct Watched {
    strict: BTreeSet<String>,
    /// By how much some were above their caps at most.
    above: BTreeMap<(String, String), Decimal>,
    /// What passes of reconciliation said to have found.
    drifts: BTreeSet<String>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// A wire over an engine.
    pub fn new(engine: Engine, time: Arc<Time>, faults: Faults, queues: Queues, dice: Dice) -> Self {
        Self {
            engine,
            time,
            faults,
            queues,
            outbox: Mutex::default(),
            mutation: None,
            dice,
            log: Mutex::default(),
            lag: Mutex::default(),
            watched: Mutex::default(),
            writes: AtomicU64::new(0),
        }
    }

    /// Notes something in the log.
    pub fn note(&self, line: &str) {
        let at = self.time.passed_ms();
        locked(&self.log).lines.push(format!("{at} {line}"));
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        locked(&self.log).lines.clone()
    }

    /// From now on nothing but enforced usage is counted on these partitions' counters of a metric.
    pub fn watch(&self, pk: &str, metric: &str) {
        locked(&self.watched).strict.insert(format!("{pk} {metric}"));
    }

    /// Counters that were above their caps, and by how much at most.
    pub fn above(&self) -> BTreeMap<(String, String), Decimal> {
        locked(&self.watched).above.clone()
    }

    /// Passes of reconciliation that found a counter that was not what its events say.
    pub fn drifts(&self) -> BTreeSet<String> {
        locked(&self.watched).drifts.clone()
    }

    /// How many writes there were: while it stays, no stream has anything new.
    pub fn written(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// One request of a process.
    async fn carry(self: Arc<Self>, who: &str, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let bytes = request.body().bytes().unwrap_or_default();
        let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        sleep_ms(self.dice.between(1, 8)).await;
        let operation = target.rsplit('.').next().unwrap_or_default();
        let (answer, fault) = match target.split_once('_').or_else(|| target.split_once('.')) {
            Some(("DynamoDB", _)) => Self::dynamodb(&self, who, operation, body.clone()).await,
            _ => self.elsewhere(&target, request.uri(), &body).await,
        };
        let fault = fault.map_or_else(String::new, |fault| format!("{fault:?}"));
        let seen = match &answer {
            Ok(answer) => format!("{} {}", answer.status, digest(&answer.body)),
            Err(_) => "broken".to_owned(),
        };
        self.note(&format!("{who} {operation} {} {fault} {seen}", digest(&body)));
        sleep_ms(self.dice.between(1, 8)).await;
        let answer = answer?;
        let status = StatusCode::try_from(answer.status).map_err(|error| ConnectorError::other(error.into(), None))?;
        let mut response = HttpResponse::new(status, SdkBody::from(answer.body.to_string()));
        response
            .headers_mut()
            .insert("content-type", "application/x-amz-json-1.0");
        Ok(response)
    }

    async fn dynamodb(
        self: &Arc<Self>,
        who: &str,
        operation: &str,
        body: Value,
    ) -> (Result<Answer, ConnectorError>, Option<Fault>) {
        let sees_all = who.starts_with(SEES_ALL);
        let mut chances = vec![
            Fault::Throttled,
            Fault::ServerError,
            Fault::Reset,
            Fault::Timeout,
            Fault::AnswerLost,
            Fault::AnswerDelayed,
        ];
        match operation {
            "PutItem" | "UpdateItem" => {
                chances.extend([Fault::Doubled, Fault::LandsLate, Fault::TransactionConflict]);
            }
            "TransactWriteItems" => chances.extend([
                Fault::Doubled,
                Fault::LandsLate,
                Fault::TransactionConflict,
                Fault::TransactionInProgress,
            ]),
            "BatchGetItem" => chances.push(Fault::PartialBatch),
            "Query" if is_of_index(operation, &body) && !sees_all && !self.lags() => chances.push(Fault::IndexLag),
            _ => {}
        }
        if Life::is_here() && matches!(operation, "PutItem" | "UpdateItem" | "TransactWriteItems") {
            chances.push(Fault::Orphaned);
        }
        let fault = self.faults.first(&chances);
        let broken = || ConnectorError::io("the connection broke".into());
        let answer = match fault {
            None => {
                let mut answer = self.commit(operation, &body);
                if is_of_index(operation, &body) && !sees_all && self.lags() {
                    self.behind(&body, &mut answer);
                }
                Ok(answer)
            }
            Some(Fault::Throttled) => Ok(Answer::error(400, "ProvisionedThroughputExceededException")),
            Some(Fault::ServerError) => Ok(Answer::error(500, "InternalServerError")),
            Some(Fault::Reset) => Err(broken()),
            Some(Fault::Timeout) => {
                sleep_ms(NEVER_MS).await;
                Err(broken())
            }
            Some(Fault::AnswerLost) => {
                self.commit(operation, &body);
                Err(broken())
            }
            Some(Fault::AnswerDelayed) => {
                self.commit(operation, &body);
                sleep_ms(NEVER_MS).await;
                Err(broken())
            }
            Some(Fault::Doubled) => {
                let (first, second) = (self.commit(operation, &body), self.commit(operation, &body));
                Ok(if self.dice.happens(500) { first } else { second })
            }
            Some(Fault::TransactionConflict) if operation == "TransactWriteItems" => Ok(conflict(&body)),
            Some(Fault::TransactionConflict) => Ok(Answer::error(400, "TransactionConflictException")),
            Some(Fault::TransactionInProgress) => {
                self.commit(operation, &body);
                Ok(Answer::error(400, "TransactionInProgressException"))
            }
            Some(Fault::PartialBatch) => Ok(self.in_part(&body)),
            Some(Fault::IndexLag) => {
                let until = self.time.passed_ms() + u128::from(self.dice.below(LAG_MS_MAX));
                *locked(&self.lag) = Lag {
                    until_ms: until,
                    before: BTreeMap::new(),
                };
                Ok(self.commit(operation, &body))
            }
            Some(Fault::LandsLate) => {
                self.lands(operation, body, LATE_MS);
                sleep_ms(NEVER_MS).await;
                Err(broken())
            }
            Some(Fault::Orphaned) => {
                self.lands(operation, body, ORPHANED_MS);
                Life::end();
                sleep_ms(NEVER_MS).await;
                Err(broken())
            }
            Some(_) => Err(broken()),
        };
        (answer, fault)
    }

    /// Lets a request arrive later, when nobody waits for its answer.
    fn lands(self: &Arc<Self>, operation: &str, body: Value, (from_ms, to_ms): (u64, u64)) {
        let (wire, operation) = (Arc::clone(self), operation.to_owned());
        tokio::spawn(async move {
            sleep_ms(wire.dice.between(from_ms, to_ms)).await;
            let landed = wire.commit(&operation, &body);
            wire.note(&format!("late {operation} {} {}", digest(&body), landed.status));
        });
    }

    /// Lets indexes show what there is.
    pub fn catch_up(&self) {
        *locked(&self.lag) = Lag::default();
    }

    /// What the engine does with a request.
    pub fn commit(&self, operation: &str, body: &Value) -> Answer {
        if self.lags() {
            self.remember(operation, body);
        }
        let planted = self.mutation.as_ref();
        let mut answer = match planted.and_then(|planted| planted.instead(&self.engine, operation, body)) {
            Some(answer) => answer,
            None => self.engine.call(operation, body),
        };
        if operation == "TransactWriteItems" && answer.status == 400 {
            self.conflict_beside(&mut answer);
        }
        if !matches!(operation, "GetItem" | "Query" | "BatchGetItem") {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        if answer.status == 200 {
            self.look(operation, body);
        }
        answer
    }

    /// An item as it is; null if there is none.
    pub fn item(&self, table: &str, pk: &str, sk: &str) -> Value {
        let mut key = json!({"pk": {"S": pk}});
        if !sk.is_empty() {
            key["sk"] = json!({"S": sk});
        }
        let request = json!({"TableName": table, "Key": key, "ConsistentRead": true});
        self.engine.call("GetItem", &request).body["Item"].clone()
    }

    /// Beside an unmet condition, another transaction may be in the way of another item.
    fn conflict_beside(&self, answer: &mut Answer) {
        let Some(reasons) = answer.body["CancellationReasons"].as_array_mut() else {
            return;
        };
        let other = reasons.iter_mut().find(|reason| reason["Code"] == json!("None"));
        if let Some(other) = other
            && self.faults.happens(Fault::ConflictBesideCondition)
        {
            *other = json!({"Code": "TransactionConflict", "Message": "simulated"});
        }
    }

    /// Answers a part of a batch, and names the rest.
    fn in_part(&self, body: &Value) -> Answer {
        let mut asked = body.clone();
        let mut left = json!({});
        if let Some(tables) = asked["RequestItems"].as_object_mut() {
            for (table, wanted) in tables {
                let keys = wanted["Keys"].as_array().cloned().unwrap_or_default();
                let kept = usize::try_from(self.dice.below(keys.len().max(1) as u64))
                    .unwrap_or(0)
                    .max(1);
                let (now, later) = keys.split_at(kept.min(keys.len()));
                wanted["Keys"] = json!(now);
                if !later.is_empty() {
                    left[table] = wanted.clone();
                    left[table]["Keys"] = json!(later);
                }
            }
        }
        let mut answer = self.engine.call("BatchGetItem", &asked);
        answer.body["UnprocessedKeys"] = left;
        answer
    }

    /// Looks at what a pass of reconciliation found so far.
    fn look_at_pass(&self, pass: &Value) {
        let totals: Value = serde_json::from_str(text(pass, "totals")).unwrap_or_default();
        if totals["drifted"] != json!(0) {
            let found = format!("{} {}: {totals}", text(pass, "id"), text(pass, "began_at"));
            locked(&self.watched).drifts.insert(found);
        }
    }

    /// Looks at the counters that were written: what nobody may pass, nobody passed.
    fn look(&self, operation: &str, body: &Value) {
        for (table, pk, sk) in written(operation, body) {
            if pk == RECONCILIATION {
                self.look_at_pass(&self.item(&table, &pk, &sk));
            }
            let Some((_, metric)) = sk.strip_prefix("CTR#").and_then(|rest| rest.split_once('#')) else {
                continue;
            };
            let mut watched = locked(&self.watched);
            if !watched.strict.contains(&format!("{pk} {metric}")) {
                continue;
            }
            let counter = self.item(&table, &pk, &sk);
            let taken = number(&counter, "used") + held(&counter);
            // A commit that two carry out is there twice until its event is.
            let above = taken - committing(&counter) - number(&counter, "cap");
            if above > Decimal::ZERO {
                let most = watched.above.entry((pk, sk)).or_default();
                *most = above.max(*most);
            }
        }
    }
}

/// Whether a request reads an index.
fn is_of_index(operation: &str, body: &Value) -> bool {
    operation == "Query" && body.get("IndexName").is_some()
}

/// A transaction that met another one on its first item.
fn conflict(body: &Value) -> Answer {
    let items = body["TransactItems"].as_array().map_or(1, Vec::len);
    let mut reasons = vec![json!({"Code": "None"}); items];
    reasons[0] = json!({"Code": "TransactionConflict", "Message": "simulated"});
    let mut answer = Answer::error(400, "TransactionCanceledException");
    answer.body["CancellationReasons"] = json!(reasons);
    answer
}

/// What entries of commits count.
fn committing(counter: &Value) -> Decimal {
    let entries = counter["pending"]["M"].as_object().into_iter().flatten();
    let entries = entries
        .map(|(_, entry)| &entry["M"])
        .filter(|entry| entry.get("r").is_some());
    entries.map(|entry| number(entry, "v")).sum()
}

/// What the holds on a counter take.
pub fn held(counter: &Value) -> Decimal {
    let holds = counter["holds"]["M"].as_object();
    let quantities = holds.into_iter().flatten().map(|(_, hold)| number(&hold["M"], "q"));
    quantities.sum()
}

/// The keys that a request writes.
pub(crate) fn written(operation: &str, body: &Value) -> Vec<Key> {
    let key = |table: &Value, of: &Value| {
        let table = table.as_str().unwrap_or_default().to_owned();
        (table, text(of, "pk").to_owned(), text(of, "sk").to_owned())
    };
    let one = |body: &Value, name: &str| key(&body["TableName"], &body[name]);
    match operation {
        "PutItem" => vec![one(body, "Item")],
        "UpdateItem" | "DeleteItem" => vec![one(body, "Key")],
        "TransactWriteItems" => {
            let items = body["TransactItems"].as_array().cloned().unwrap_or_default();
            let of = |item: &Value| match (item.get("Put"), item.get("Update"), item.get("Delete")) {
                (Some(put), _, _) => Some(one(put, "Item")),
                (_, Some(update), _) => Some(one(update, "Key")),
                (_, _, Some(delete)) => Some(one(delete, "Key")),
                _ => None,
            };
            items.iter().filter_map(of).collect()
        }
        _ => Vec::new(),
    }
}

/// Eight hexadecimal digits that two equal values have in common, whatever the order of their keys.
fn digest(value: &Value) -> String {
    fn add(hash: &mut Sha256, value: &Value) {
        match value {
            Value::Object(fields) => {
                let mut names: Vec<&String> = fields.keys().collect();
                names.sort_unstable();
                for name in names {
                    hash.update(name.as_bytes());
                    add(hash, &fields[name]);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| add(hash, value)),
            other => hash.update(other.to_string().as_bytes()),
        }
        hash.update([0]);
    }
    let mut hash = Sha256::new();
    add(&mut hash, value);
    hash.finalize()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A process's end of the wire.
#[derive(Clone)]
pub struct End {
    /// The wire.
    pub wire: Arc<Wire>,
    /// The process, in the log.
    pub who: Arc<str>,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "End({})", self.who)
    }
}

impl HttpClient for End {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for End {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let End { wire, who } = self.clone();
        HttpConnectorFuture::new(async move { wire.carry(&who, request).await })
    }
}
