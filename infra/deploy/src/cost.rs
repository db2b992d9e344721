//! What a million calls come to at AWS's list prices, from the budgets of `budget.rs`.
//!
//! Prices: US East (N. Virginia), on demand, in USD, without free tiers, as of [`AS_OF`]. The
//! time of a function is an assumption, since nothing was measured in AWS; everything else that
//! goes in is counted.

use rust_decimal::{Decimal, RoundingStrategy};

use crate::budget::{self, BATCH_EVENTS, Budget};

const fn decimal(digits: u32, places: u32) -> Decimal {
    Decimal::from_parts(digits, 0, 0, false, places)
}

/// When the prices were looked up.
pub const AS_OF: &str = "2026-11-24";

/// DynamoDB, standard class: a million write request units.
pub const WRITE_UNITS: Decimal = decimal(625, 3);
/// DynamoDB, standard class: a million read request units.
pub const READ_UNITS: Decimal = decimal(125, 3);
/// API Gateway, HTTP APIs: a million requests of up to 512 KB.
pub const API_REQUESTS: Decimal = decimal(100, 2);
/// Lambda: a million calls.
pub const LAMBDA_CALLS: Decimal = decimal(20, 2);
/// Lambda, x86: a million GB-milliseconds. arm64 is a fifth cheaper.
pub const LAMBDA_GB_MS: Decimal = decimal(166_667, 7);
/// SQS, standard queues: a million requests; each of sending, receiving, deleting is one.
pub const QUEUE_REQUESTS: Decimal = decimal(40, 2);

/// CloudWatch: a GB of logs taken in; a million lines of 1 KB are one.
pub const LOGS_GB: Decimal = decimal(50, 2);
/// A line of a log, and how many there are for an event: of the API, of its function, and what
/// Lambda itself writes at a call's start and end.
const LOG_LINE_KB: Decimal = decimal(3, 1);
const LOG_LINES: Decimal = decimal(4, 0);

/// A function's memory, in MB.
pub const MEMORY_MB: u64 = 512;
/// The same in GB, as it is paid.
const MEMORY_GB: Decimal = decimal(5, 1);
const _: () = assert!(MEMORY_MB == 512, "MEMORY_GB is half");

/// A feature, and what one use of it takes.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// What is done.
    pub name: &'static str,
    /// Calls of the API.
    pub calls: u32,
    /// How long a function is assumed to work for it, in milliseconds: 3 of its own and 5 for
    /// each request to the store that waits for another.
    pub assumed_ms: u32,
    /// What it takes from the store.
    pub budget: Budget,
}

/// The features whose budgets are asserted.
pub const FEATURES: [Feature; 10] = [
    feature("track", 1, 13, budget::TRACK),
    feature("track with an idempotency key", 1, 18, budget::TRACK_IDENTIFIED),
    feature("the same again (duplicate)", 1, 13, budget::DUPLICATE),
    feature("denied", 1, 18, budget::DENIED),
    // One after another: read, count, settle; insertions, 32 at once.
    feature("batch of 250, with keys", 1, 60, budget::BATCH),
    feature("reserve and commit", 2, 31, budget::RESERVE_AND_COMMIT),
    feature("check-quota", 1, 8, budget::CHECK_QUOTA),
    feature("summary", 1, 8, budget::SUMMARY),
    feature("aggregations of 30 days, UTC", 1, 8, budget::AGGREGATIONS),
    feature("trend of 30 days", 1, 8, budget::TREND),
];

const fn feature(name: &'static str, calls: u32, assumed_ms: u32, budget: Budget) -> Feature {
    Feature {
        name,
        calls,
        assumed_ms,
        budget,
    }
}

/// What a million uses of a feature cost, in USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// API Gateway.
    pub api: Decimal,
    /// Lambda.
    pub lambda: Decimal,
    /// DynamoDB.
    pub store: Decimal,
}

impl Cost {
    /// All of it.
    pub fn total(&self) -> Decimal {
        self.api + self.lambda + self.store
    }
}

impl Feature {
    /// What a million uses cost.
    pub fn cost(&self) -> Cost {
        let calls = Decimal::from(self.calls);
        let gb_ms = Decimal::from(self.assumed_ms) * MEMORY_GB;
        let (written, read) = (self.budget.write_units, self.budget.read_units);
        Cost {
            api: calls * API_REQUESTS,
            lambda: calls * LAMBDA_CALLS + gb_ms * LAMBDA_GB_MS,
            store: Decimal::from(written) * WRITE_UNITS + Decimal::from(read) * READ_UNITS,
        }
    }
}

/// The table in `COST.md`.
pub fn table() -> String {
    let mut lines = vec![
        "| a million of | API Gateway | Lambda | DynamoDB | together |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for feature in FEATURES {
        lines.push(row(feature.name, &feature.cost(), Decimal::ONE));
        if feature.budget == budget::BATCH {
            let events = Decimal::from(BATCH_EVENTS);
            lines.push(row("events in such batches", &feature.cost(), events));
        }
    }
    lines.join("\n")
}

/// An amount, to the cent.
fn cents(amount: Decimal) -> String {
    let rounded = amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
    format!("{rounded:.2}")
}

fn row(name: &str, cost: &Cost, shared_by: Decimal) -> String {
    let amount = |amount: Decimal| cents(amount / shared_by);
    format!(
        "| {name} | {} | {} | {} | **{}** |",
        amount(cost.api),
        amount(cost.lambda),
        amount(cost.store),
        amount(cost.total())
    )
}

/// What follows a million events, each alone in its hour: lines of the table in `COST.md`.
pub fn following() -> String {
    let call = |assumed_ms: u32, budget: Budget| {
        let cost = feature("", 1, assumed_ms, budget).cost();
        cost.lambda + cost.store
    };
    let hours = Decimal::TWO * call(33, budget::AGGREGATE);
    let relayed = call(8, budget::RELAY_EVENT) + call(8, budget::RELAY_COUNTER);
    // Ten milliseconds of them are the judgement.
    let looked = call(68, budget::LOOK_AT_A_MONTH);
    // Sent, received, deleted: once when the hour changes, once when it is settled, once for the look.
    let messages = decimal(9, 0) * QUEUE_REQUESTS;
    let logged = LOG_LINE_KB * LOG_LINES * LOGS_GB;
    let lines = [
        ("RelayJob, called for the event and for its counter", relayed),
        (
            "two messages to AggregationQueue, one to AnomalyQueue, three requests each",
            messages,
        ),
        ("AggregateJob, twice", hours),
        ("AnomalyJob, for a series of a month that is used at all hours", looked),
        ("logs: 4 lines of 0.3 KB", logged),
    ];
    let total: Decimal = lines.iter().map(|(_, amount)| *amount).sum();
    let mut table = vec!["| after a million events | USD |".to_owned(), "|---|---|".to_owned()];
    table.extend(
        lines
            .iter()
            .map(|(what, amount)| format!("| {what} | {} |", cents(*amount))),
    );
    table.push(format!("| together | **{}** |", cents(total)));
    table.join("\n")
}

/// What runs although nobody calls, in requests a month of 730 hours.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Queues that functions read.
    pub queues: u32,
    /// Alarms.
    pub alarms: u32,
    /// Measures of our own.
    pub measures: u32,
    /// Runs of schedules in a month.
    pub runs: u32,
}

/// Alarms at standard resolution, each, a month.
const ALARM: Decimal = decimal(10, 2);
/// Custom measures, each, a month.
const MEASURE: Decimal = decimal(30, 2);
/// A dashboard, a month; an account's first three are free.
const DASHBOARD: Decimal = decimal(300, 2);
/// Lambda looks at an idle queue with five pollers that wait 20 s each.
const POLLS_OF_A_QUEUE: u32 = 5 * 3 * 60 * 730;
/// How long a run with nothing to do is assumed to take, in milliseconds.
const RUN_MS: u32 = 20;

impl Idle {
    /// Lines of the table in `COST.md`, and what a month comes to.
    pub fn lines(&self) -> (Vec<(String, Decimal)>, Decimal) {
        let million = decimal(1_000_000, 0);
        let polls = self.queues * POLLS_OF_A_QUEUE;
        let gb_ms = Decimal::from(self.runs * RUN_MS) * MEMORY_GB;
        let runs = Decimal::from(self.runs) * LAMBDA_CALLS + gb_ms * LAMBDA_GB_MS;
        let lines = vec![
            (
                format!("polling {} queues: {polls} requests", self.queues),
                Decimal::from(polls) * QUEUE_REQUESTS / million,
            ),
            (format!("{} alarms", self.alarms), Decimal::from(self.alarms) * ALARM),
            ("1 dashboard".to_owned(), DASHBOARD),
            (
                format!("{} measures", self.measures),
                Decimal::from(self.measures) * MEASURE,
            ),
            (format!("{} runs of schedules", self.runs), runs / million),
        ];
        let total = lines.iter().map(|(_, amount)| *amount).sum();
        (lines, total)
    }

    /// The table in `COST.md`.
    pub fn table(&self) -> String {
        let (lines, total) = self.lines();
        let mut table = vec!["| a month of nothing | USD |".to_owned(), "|---|---|".to_owned()];
        let rows = lines
            .iter()
            .map(|(what, amount)| format!("| {what} | {} |", cents(*amount)));
        table.extend(rows);
        table.push(format!("| together | **{}** |", cents(total)));
        table.join("\n")
    }
}
