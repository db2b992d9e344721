//! Twelve weeks of believable usage, told to the API day by day with the clock in the past, as it
//! would have come. The same days give the same usage, so that telling them twice changes nothing.

use chrono::{DateTime, Datelike as _, NaiveTime, TimeDelta, Utc};
use metering_store::context::Source as _;
use serde_json::{Value, json};

use crate::{ADMIN_KEY, SERVICE_KEY, Stack, clock::ClockError};

/// How many days are told, the present one included: less than the 90 that events are kept.
pub const DAYS: i64 = 84;
/// The date since which storage grows, by a megabyte a day.
const GROWING_SINCE: u64 = 739_000;
/// How many events one batch takes.
const BATCH: usize = 500;

/// Why the demonstration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The stack does not answer.
    #[error("the stack does not answer")]
    Http(#[from] reqwest::Error),
    /// It refuses.
    #[error("the stack refuses {what}: {answer}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        answer: Value,
    },
    /// The clock cannot be moved.
    #[error("the clock cannot be moved")]
    Clock(#[from] ClockError),
}

/// A customer: what it has and how much it does on a usual working day.
struct Customer {
    user: &'static str,
    plan: &'static str,
    timezone: &'static str,
    /// Metric, events a day, the usual value of each in thousandths.
    habits: &'static [(&'static str, u64, u64)],
    /// Growth a week, in percent.
    growth: u64,
    /// A day, counted back, on which its calls are eightfold.
    spike: Option<i64>,
}

const CUSTOMERS: [Customer; 4] = [
    Customer {
        user: "acme",
        plan: "enterprise",
        timezone: "Europe/Berlin",
        habits: &[
            ("document_processing", 24, 3_000),
            ("api_calls", 48, 9_000),
            ("ocr_operations", 12, 2_000),
            ("bandwidth_usage", 12, 120),
        ],
        growth: 2,
        spike: None,
    },
    Customer {
        user: "globex",
        plan: "professional",
        timezone: "America/New_York",
        habits: &[
            ("document_processing", 12, 1_000),
            ("api_calls", 36, 4_000),
            ("llm_operations", 12, 1_000),
        ],
        growth: 4,
        spike: Some(9),
    },
    Customer {
        user: "initech",
        plan: "basic",
        timezone: "UTC",
        habits: &[("document_processing", 4, 1_000), ("api_calls", 12, 2_000)],
        growth: 0,
        spike: None,
    },
    Customer {
        user: "hooli",
        plan: "professional",
        timezone: "Asia/Kolkata",
        habits: &[
            ("export_operations", 3, 1_000),
            ("api_calls", 24, 3_000),
            ("database_queries", 24, 5_000),
        ],
        growth: 1,
        spike: None,
    },
];

/// How busy each hour of a working day is, in percent of the busiest.
const HOURS: [u64; 24] = [
    4, 3, 2, 2, 3, 6, 15, 35, 65, 90, 100, 95, 70, 80, 95, 98, 85, 60, 40, 28, 20, 14, 9, 6,
];

/// Tells the stack the last `days`, at most [`DAYS`]; `progress` hears of each day done, and how many there are. Leaves
/// the clock at the present.
pub async fn load(stack: &Stack, days: i64, mut progress: impl FnMut(i64, i64)) -> Result<(), DemoError> {
    let teller = Teller {
        http: reqwest::Client::new(),
        base: stack.url(),
    };
    stack.clock().set(None)?;
    let now = stack.clock().now();
    let first = (now - TimeDelta::days(days - 1))
        .date_naive()
        .and_time(NaiveTime::MIN)
        .and_utc();
    for customer in &CUSTOMERS {
        teller.subscribe(customer, first).await?;
    }
    for told in 0..days {
        let day = DAYS - days + told;
        let start = first + TimeDelta::days(told);
        let end = (start + TimeDelta::days(1) - TimeDelta::seconds(1)).min(now);
        stack.clock().set(Some(end))?;
        let events: Vec<Value> = CUSTOMERS
            .iter()
            .flat_map(|customer| events_of(customer, day, start, end))
            .collect();
        for chunk in events.chunks(BATCH) {
            teller.tell(chunk).await?;
        }
        if (told + 1) % DAYS_BEHIND_MAX == 0 {
            teller
                .control("drain", &json!({"timeout_seconds": DRAIN_SECONDS}))
                .await?;
        }
        progress(told + 1, days);
    }
    stack.clock().set(None)?;
    teller
        .control("drain", &json!({"timeout_seconds": DRAIN_SECONDS}))
        .await?;
    // What is over has its statements.
    teller.control("run/LifecycleJob", &json!({})).await
}

/// One customer's day.
fn events_of(customer: &Customer, day: i64, start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Value> {
    let mut events = vec![storage(customer, start)];
    for (metric, count, value) in customer.habits {
        for number in 0..volume(customer, metric, day, start, *count) {
            let drawn = draw(&[customer.user, metric], date_number(start), number);
            let at = start + TimeDelta::hours(busy_hour(drawn)) + TimeDelta::seconds(drawn_up_to(drawn, 3_600));
            events.push(json!({
                "user_id": customer.user, "metric_type": metric, "timestamp": at.to_rfc3339(),
                "metric_value": amount(metric, *value, drawn),
                "endpoint": format!("/api/v1/{metric}"), "response_time_ms": 40 + drawn / 11 % 360,
                "error_occurred": (drawn / 13).is_multiple_of(50),
                "idempotency_key": format!("demo-{}-{metric}-{number}", start.date_naive()),
            }));
        }
    }
    events.retain(|event| {
        event["timestamp"]
            .as_str()
            .is_some_and(|at| at <= end.to_rfc3339().as_str())
    });
    events
}

/// A date as a number. What an event says depends on its date, not on how long ago that is, so that
/// tomorrow tells the same of today.
fn date_number(start: DateTime<Utc>) -> u64 {
    u64::try_from(start.num_days_from_ce()).unwrap_or(0)
}

/// A level each morning that grows by a little.
fn storage(customer: &Customer, start: DateTime<Utc>) -> Value {
    let date = date_number(start);
    let drawn = draw(&[customer.user, "storage_usage"], date, 0);
    let level = 900 + date.saturating_sub(GROWING_SINCE) + drawn % 40;
    json!({
        "user_id": customer.user, "metric_type": "storage_usage", "mode": "level", "metric_value": thousandths(level),
        "timestamp": (start + TimeDelta::hours(5)).to_rfc3339(),
        "idempotency_key": format!("demo-{}-storage", start.date_naive()),
    })
}

/// How many events a day has: fewer at weekends, more as time goes by.
fn volume(customer: &Customer, metric: &str, day: i64, start: DateTime<Utc>, usual: u64) -> u64 {
    let weekend = if start.weekday().number_from_monday() > 5 {
        30
    } else {
        100
    };
    let grown = 100 + customer.growth * u64::try_from(day / 7).unwrap_or(0);
    let noise = 85 + draw(&[customer.user, metric, "volume"], date_number(start), 0) % 31;
    let spike = if metric == "api_calls" && customer.spike == Some(DAYS - 1 - day) {
        8
    } else {
        1
    };
    (usual * weekend * grown * noise * spike / 1_000_000).max(1)
}

/// An hour, the busy ones more often.
fn busy_hour(drawn: u64) -> i64 {
    let total: u64 = HOURS.iter().sum();
    let mut left = drawn / 17 % total;
    let found = HOURS.iter().position(|share| {
        let here = left < *share;
        left = left.saturating_sub(*share);
        here
    });
    found.and_then(|hour| i64::try_from(hour).ok()).unwrap_or(12)
}

fn drawn_up_to(drawn: u64, most: u64) -> i64 {
    i64::try_from(drawn / 19 % most).unwrap_or(0)
}

/// Around the usual: whole numbers but for gigabytes.
fn amount(metric: &str, usual: u64, drawn: u64) -> String {
    let value = usual * (50 + drawn / 7 % 100) / 100;
    if metric == "bandwidth_usage" {
        thousandths(value)
    } else {
        (value / 1_000).max(1).to_string()
    }
}

fn thousandths(value: u64) -> String {
    format!("{}.{:03}", value / 1_000, value % 1_000)
}

/// A number that depends on nothing but what it is for (FNV-1a, 64 bits).
fn draw(names: &[&str], day: u64, number: u64) -> u64 {
    let text = format!("{names:?}{day}/{number}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The upper bits are the better mixed ones.
    hash >> 16
}

/// After so many days what follows from them is waited for: a message of the queues lives four, and hours that
/// are never computed are missing from every chart.
const DAYS_BEHIND_MAX: i64 = 2;
/// How long it is waited for at most.
const DRAIN_SECONDS: u32 = 300;

struct Teller {
    http: reqwest::Client,
    base: String,
}

impl Teller {
    /// Has the stack itself do something.
    async fn control(&self, what: &str, body: &Value) -> Result<(), DemoError> {
        let sent = self
            .http
            .post(format!("{}/_local/{what}", self.base))
            .json(body)
            .send()
            .await?;
        match sent.status().is_success() {
            true => Ok(()),
            false => Err(DemoError::Refused {
                what: what.to_owned(),
                answer: sent.json().await?,
            }),
        }
    }

    async fn subscribe(&self, customer: &Customer, starts_at: DateTime<Utc>) -> Result<(), DemoError> {
        let body = json!({
            "id": format!("sub_{}", customer.user), "user_id": customer.user, "plan": customer.plan,
            "timezone": customer.timezone, "starts_at": starts_at.to_rfc3339(),
        });
        let url = format!("{}/api/v1/usage/admin/subscriptions", self.base);
        let sent = self.http.post(url).bearer_auth(ADMIN_KEY).json(&body).send().await?;
        match sent.status().as_u16() {
            // On data that an earlier day's demonstration left, the subscription started then.
            200 | 201 | 409 => Ok(()),
            _ => Err(DemoError::Refused {
                what: format!("the subscription of {}", customer.user),
                answer: sent.json().await?,
            }),
        }
    }

    async fn tell(&self, events: &[Value]) -> Result<(), DemoError> {
        let url = format!("{}/api/v1/usage/track/batch", self.base);
        let body = json!({"events": events, "enforce": false});
        let sent = self.http.post(url).bearer_auth(SERVICE_KEY).json(&body).send().await?;
        let answer: Value = sent.json().await?;
        if answer["failed"] == json!(0) {
            return Ok(());
        }
        let what = "a day's usage".to_owned();
        Err(DemoError::Refused { what, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    async fn events(stack: &Stack, user: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/usage/events?user_id={user}&limit=200", stack.url());
        let sent = reqwest::Client::new().get(url).bearer_auth(SERVICE_KEY).send().await;
        let answer: Value = sent.expect("an answer").json().await.expect("JSON");
        answer["events"].as_array().cloned().expect("events")
    }

    #[test]
    fn tomorrow_tells_the_same_of_today() {
        let start = "2026-11-24T00:00:00Z".parse().expect("an instant");
        let end = start + TimeDelta::days(1);
        for customer in &CUSTOMERS {
            let (today, tomorrow) = (events_of(customer, 83, start, end), events_of(customer, 82, start, end));
            let key = |event: &Value| event["idempotency_key"].clone();
            for event in &today {
                let same = tomorrow.iter().find(|other| key(other) == key(event));
                assert!(same.is_none_or(|same| same == event), "{event}");
            }
        }
    }

    /// How much of what was computed is not what the events say.
    async fn drifted(stack: &Stack, user: &str) -> Value {
        let url = format!("{}/api/v1/usage/admin/reconcile", stack.url());
        let asked = reqwest::Client::new().post(url).bearer_auth(ADMIN_KEY);
        let sent = asked.json(&json!({"user_id": user})).send().await.expect("an answer");
        sent.json::<Value>().await.expect("JSON")["drifted"].clone()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_customer_has_its_days_and_told_twice_they_are_the_same() {
        let stack = Stack::start(Options::default()).await.expect("started");
        let mut days = Vec::new();
        load(&stack, 2, |day, of| days.push((day, of))).await.expect("loaded");
        assert_eq!(days, [(1, 2), (2, 2)]);
        for customer in &CUSTOMERS {
            let told = events(&stack, customer.user).await;
            assert!(told.len() > customer.habits.len(), "{}: {}", customer.user, told.len());
            assert!(told.iter().all(|event| event["late"] == json!(false)));
            assert_eq!(drifted(&stack, customer.user).await, json!(0), "{}", customer.user);
        }
        let before = events(&stack, "globex").await;
        load(&stack, 2, |_, _| {}).await.expect("loaded again");
        assert_eq!(events(&stack, "globex").await.len(), before.len());
        let apart = (stack.clock().now() - metering_store::context::System.now()).abs();
        assert!(apart < TimeDelta::seconds(5), "the clock is back at the present");
    }
}
