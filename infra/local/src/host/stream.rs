//! One mapping of a table's stream to a function: in order, one batch at a time, again and again
//! until it succeeds or is given up.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use metering_store::context::Source as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Orders, Work, verdict::failures};
use crate::{
    clock::Clock,
    queues::{Outgoing, Queues},
    streams::{Position, Record, StreamError, Streams},
    template::{ACCOUNT, REGION, StreamMapping, stream_arn},
};

/// Between two attempts at a batch: doubled from the first to the last.
const BACK_OFF: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(10);
/// Between two attempts at a file that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What reads a stream.
pub struct Reader {
    mapping: StreamMapping,
    streams: Streams,
    work: Work,
}

/// Records that are tried together.
struct Part {
    records: Vec<Record>,
    attempts: u64,
}

/// What became of a part.
enum Outcome {
    Done,
    /// All of it, or what follows the first so many.
    Failed {
        done: usize,
    },
}

impl Reader {
    /// A reader of `mapping`.
    pub fn new(mapping: StreamMapping, streams: Streams, work: Work) -> Self {
        Self { mapping, streams, work }
    }

    /// Reads until told to stop.
    pub async fn run(self) {
        let mut orders = self.work.orders.clone();
        let mut changes = self.streams.changes();
        while !orders.borrow_and_update().stop {
            changes.borrow_and_update();
            match self.step(&mut orders).await {
                Ok(true) => {}
                Ok(false) => tokio::select! {
                    _ = orders.wait_for(|orders| orders.stop) => {}
                    _ = changes.changed() => {}
                },
                Err(error) => {
                    tracing::error!(mapping = self.mapping.name, %error, "a stream cannot be read");
                    self.work.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    /// Handles the next batch; false if there is none.
    async fn step(&self, orders: &mut watch::Receiver<Orders>) -> Result<bool, StreamError> {
        let position = self.streams.position(&self.mapping)?;
        let read = || {
            self.streams
                .read(&self.mapping.table, position.after, self.mapping.batch_size)
        };
        let mut records = read()?;
        if records.is_empty() {
            return Ok(false);
        }
        if records.len() < self.mapping.batch_size && !self.mapping.window.is_zero() {
            tokio::select! {
                _ = orders.wait_for(|orders| orders.stop || orders.drains > 0) => {}
                () = self.work.clock.sleep(self.mapping.window) => records = read()?,
            }
        }
        self.handle(records, position, orders).await?;
        Ok(true)
    }

    /// Tries records until each of them succeeded or is given up.
    async fn handle(
        &self,
        mut records: Vec<Record>,
        position: Position,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<(), StreamError> {
        let Some(end) = records.last().map(|record| record.number) else {
            return Ok(());
        };
        let filters = &self.mapping.filters;
        records.retain(|record| {
            let event = self.record(record);
            filters.is_empty() || filters.iter().any(|filter| filter.fits(&event))
        });
        let mut parts = VecDeque::from([Part { records, attempts: 0 }]);
        while let Some(mut part) = parts.pop_front() {
            self.give_up_old(&mut part);
            let Some(last) = part.records.last().map(|record| record.number) else {
                continue;
            };
            match self.attempt(&part).await {
                Outcome::Done => self.streams.advance(&self.mapping, position, last)?,
                Outcome::Failed { done } => {
                    if let Some(last_done) = done.checked_sub(1).map(|index| part.records[index].number) {
                        self.streams.advance(&self.mapping, position, last_done)?;
                    }
                    part.records.drain(..done);
                    for again in self.again(part).into_iter().rev() {
                        parts.push_front(again);
                    }
                    let Some(first) = parts.front().filter(|part| part.attempts > 0) else {
                        continue;
                    };
                    self.pause(first.attempts, orders).await;
                }
            }
            if orders.borrow().stop {
                return Ok(());
            }
        }
        self.streams.advance(&self.mapping, position, end)
    }

    async fn attempt(&self, part: &Part) -> Outcome {
        let function = self.mapping.function.as_str();
        let records: Vec<Value> = part.records.iter().map(|record| self.record(record)).collect();
        let event = json!({"Records": records}).to_string();
        let numbers: Vec<String> = part.records.iter().map(Record::sequence_number).collect();
        let handed: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let failed = match self.work.functions.invoke(function, event).await {
            Ok(answer) if self.mapping.reports_failures => failures(&answer, &handed),
            Ok(_) => return Outcome::Done,
            Err(error) => {
                tracing::error!(function, %error, records = handed.len(), "a batch failed");
                return Outcome::Failed { done: 0 };
            }
        };
        match failed {
            Ok(failed) => match handed
                .iter()
                .position(|number| failed.iter().any(|failed| failed == number))
            {
                None => Outcome::Done,
                Some(done) => Outcome::Failed { done },
            },
            Err(error) => {
                tracing::error!(function, %error, "an answer says nothing: the whole batch failed");
                Outcome::Failed { done: 0 }
            }
        }
    }

    /// What is tried of a part that failed: its halves, itself, or nothing any more. Halving does
    /// not count as an attempt.
    fn again(&self, mut part: Part) -> Vec<Part> {
        if self.mapping.bisects && part.records.len() > 1 {
            let second = part.records.split_off(part.records.len() / 2);
            let attempts = part.attempts;
            let second = Part {
                records: second,
                attempts,
            };
            return vec![part, second];
        }
        part.attempts += 1;
        if self.mapping.retries_max.is_some_and(|most| part.attempts > most) {
            self.give_up(&part.records, "RetryAttemptsExhausted", part.attempts);
            return Vec::new();
        }
        vec![part]
    }

    fn give_up_old(&self, part: &mut Part) {
        let Some(age_max) = self.mapping.age_max.and_then(|age| TimeDelta::from_std(age).ok()) else {
            return;
        };
        let now = self.work.clock.now();
        let is_old = |record: &Record| now - self.work.clock.shown_at(record.created) > age_max;
        let (old, young) = part.records.drain(..).partition(is_old);
        part.records = young;
        self.give_up(&old, "RecordAgeExceeded", part.attempts);
    }

    /// Tells the destination, if there is one, where the records are that were given up.
    fn give_up(&self, records: &[Record], condition: &str, attempts: u64) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return;
        };
        let function = self.mapping.function.as_str();
        tracing::error!(function, condition, records = records.len(), "records are given up");
        let Some(queue) = &self.mapping.on_failure else {
            return;
        };
        let clock = &self.work.clock;
        let notice = json!({
            "requestContext": {
                "requestId": format!("{:032x}", clock.random()),
                "functionArn": format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"),
                "condition": condition,
                "approximateInvokeCount": attempts,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": millis(clock.now()),
            "DDBStreamBatchInfo": {
                "shardId": "shardId-00000001",
                "startSequenceNumber": first.sequence_number(),
                "endSequenceNumber": last.sequence_number(),
                "approximateArrivalOfFirstRecord": millis(clock.shown_at(first.created)),
                "approximateArrivalOfLastRecord": millis(clock.shown_at(last.created)),
                "batchSize": records.len(),
                "streamArn": stream_arn(&self.mapping.table),
            },
        });
        tell(&self.work.queues, queue, notice.to_string());
    }

    /// Waits before another attempt, but for a moment only if somebody waits for all to be done.
    async fn pause(&self, attempts: u64, orders: &mut watch::Receiver<Orders>) {
        self.work.clock.sleep(MOMENT).await;
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
        let pause = BACK_OFF.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
        tokio::select! {
            _ = orders.wait_for(|orders| orders.stop || orders.drains > 0) => {}
            () = self.work.clock.sleep(pause) => {}
        }
    }

    fn record(&self, record: &Record) -> Value {
        record.to_value(&self.mapping.table, &self.mapping.view, &self.work.clock)
    }
}

impl Record {
    /// The record as a function is handed it.
    pub fn to_value(&self, table: &str, view: &str, clock: &Clock) -> Value {
        let created = clock.shown_at(self.created);
        let mut change = json!({
            "ApproximateCreationDateTime": created.timestamp(),
            "Keys": self.keys,
            "SequenceNumber": self.sequence_number(),
            "SizeBytes": self.bytes,
            "StreamViewType": view,
        });
        if let Some(image) = &self.new_image {
            change["NewImage"] = image.clone();
        }
        if let Some(image) = &self.old_image {
            change["OldImage"] = image.clone();
        }
        json!({
            "eventID": self.id,
            "eventName": self.event_name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": REGION,
            "dynamodb": change,
            "eventSourceARN": stream_arn(table),
        })
    }
}

fn tell(queues: &Queues, queue: &str, body: String) {
    let message = Outgoing {
        message_body: body,
        ..Outgoing::default()
    };
    let sent = queues.find(queue).and_then(|queue| queues.send(queue, &[&message]));
    if let Err(error) = sent {
        tracing::error!(queue, %error, "a destination cannot be told");
    }
}

fn millis(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Looks for writes of the engine, which cannot say, and trims what is consumed.
pub async fn watch_engine(
    streams: Streams,
    mappings: Vec<StreamMapping>,
    clock: Clock,
    mut orders: watch::Receiver<Orders>,
) {
    const LOOK: Duration = Duration::from_millis(50);
    /// Looks between two trims: a minute.
    const TRIM: u32 = 1_200;
    let mut seen = 0;
    let mut looks = 0;
    loop {
        let looked = streams.version().and_then(|version| {
            if version != seen {
                seen = version;
                streams.changed();
            }
            if looks % TRIM == 0 {
                for mapping in &mappings {
                    streams.trim(&mapping.table, &mappings)?;
                }
            }
            Ok(())
        });
        if let Err(error) = looked {
            tracing::error!(%error, "the streams cannot be looked at");
        }
        looks = looks.wrapping_add(1);
        tokio::select! {
            _ = orders.wait_for(|orders| orders.stop) => return,
            () = clock.sleep(LOOK) => {}
        }
    }
}
