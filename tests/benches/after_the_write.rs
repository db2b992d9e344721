//! How long it takes from an answer to the people who must know, and from events to their sums:
//! `cargo bench -p metering-tests`. Times are printed and judged by nobody.

#[path = "../support.rs"]
#[expect(dead_code, reason = "what tests need besides")]
mod support;
#[path = "../wire.rs"]
#[expect(dead_code, reason = "what tests need besides")]
mod wire;

use std::{
    fs,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{
    aggregate::Granularity,
    alert::{AlertStatus, AlertType, Severity},
    ids::{event_id_from_bits, fingerprint},
    metric::find_built_in,
};
use metering_store::{
    Store,
    aggregation::BucketQuery,
    alert::{Alert, alert_id},
    event::{Details, Draft, Source},
    hour::Series,
    keys::Owner,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use usage_local::Options;

use crate::{
    support::Client,
    wire::{Fate, Wire},
};

const DOCUMENTS: &str = "document_processing";
const ALERTS: usize = 200;
const EVENTS: u32 = 100_000;
const DAYS: u32 = 30;

#[tokio::main]
async fn main() {
    let client = Client::start().await;
    told(&client).await;
    raised(&client).await;
    drop(client);
    summed().await;
}

/// From the answer that reached a threshold to the event on the bus and the mail.
async fn told(client: &Client) {
    let mut times = Vec::new();
    for index in 0..ALERTS {
        let user = format!("u{index}");
        client.subscribe(&user, "basic").await;
        let settings = json!({"user_id": user, "email": format!("{user}@example.com")});
        client.put("/api/v1/usage/notification-settings", settings).await;
        let body = json!({"user_id": user, "metric_type": DOCUMENTS, "metric_value": 80});
        client.track(body).await;
        let answered = Instant::now();
        while !is_mailed(&client.outbox().await, &format!("{user}@example.com")) {
            assert!(answered.elapsed() < Duration::from_secs(30), "the mail does not come");
        }
        times.push(answered.elapsed());
    }
    print("from the answer of track to the mail in the outbox", times);
}

fn is_mailed(outbox: &Value, address: &str) -> bool {
    let mails = outbox["emails"].as_array().expect("mails");
    mails.iter().rev().any(|mail| mail["to"] == json!(address))
}

/// The creation of an alert alone.
async fn raised(client: &Client) {
    let store = client.store();
    let mut times = Vec::new();
    for index in 0..ALERTS {
        let alert = alert(&index.to_string(), client.now());
        let start = Instant::now();
        assert!(store.alert_raise(&alert).await.expect("it is raised"));
        times.push(start.elapsed());
    }
    print("the creation of an alert", times);
}

fn alert(name: &str, now: DateTime<Utc>) -> Alert {
    Alert {
        id: alert_id(&[name]),
        user_id: "nobody".to_owned(),
        subscription_id: "none".to_owned(),
        metric_type: DOCUMENTS.to_owned(),
        alert_type: AlertType::ApproachingLimit,
        severity: Severity::Medium,
        status: AlertStatus::Pending,
        threshold_id: None,
        threshold_value: Some(Decimal::from(80)),
        quota_percentage: Some(Decimal::from(80)),
        quota_limit: Some(Decimal::from(100)),
        current_usage: Decimal::from(80),
        action_taken: None,
        title: "80 % of the document_processing quota is used".to_owned(),
        message: "80 of 100 documents (80 %) are used.".to_owned(),
        period_start: now,
        period_end: now,
        anomaly_id: None,
        created_at: now,
        sent_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        resolved_at: None,
        deliveries: Vec::new(),
        channels: None,
        published_at: None,
        cooldown_minutes: 0,
    }
}

/// One user's month with 100,000 events: each hour, each day, and what a reader asks for.
async fn summed() {
    let idle = Options {
        idle: true,
        ..Options::default()
    };
    let client = Client::start_with(idle).await;
    let first: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().expect("an instant");
    client.clock(json!({"now": "2026-03-31T00:00:00Z"})).await;
    load(&client.store(), first, client.now()).await;

    let wire = Wire::new(|_| Fate::Pass);
    let store = client.store_over(Some(wire.http_client()));
    let series = Series {
        owner: Owner::of("u", "none"),
        metric_type: "api_calls".to_owned(),
        gauge: false,
    };
    let memory_before = memory_peak();
    let mut times = Vec::new();
    for hour in 0..DAYS * 24 {
        let start = first + TimeDelta::hours(i64::from(hour));
        let began = Instant::now();
        let hour = store.hour_get(&series, start).await.expect("a read");
        store
            .hour_compute(&series, &hour, &[], true, None)
            .await
            .expect("an hour");
        times.push(began.elapsed());
    }
    let all: Duration = times.iter().sum();
    print("an hour of 139 events", times);
    println!(
        "all 720 hours of 100,000 events, one after the other: {all:.2?}; {}",
        spent(&wire)
    );
    let began = Instant::now();
    for day in 0..DAYS {
        let start = first + TimeDelta::days(i64::from(day));
        store.day_compute(&series, start).await.expect("a day");
    }
    println!("all 30 days: {:.2?}; {}", began.elapsed(), spent(&wire));
    println!("memory: {} MiB more at most", (memory_peak() - memory_before) / 1_024);
    for (granularity, zone) in [
        (Granularity::Daily, chrono_tz::UTC),
        (Granularity::Daily, chrono_tz::Asia::Kolkata),
        (Granularity::Monthly, chrono_tz::UTC),
        (Granularity::Hourly, chrono_tz::UTC),
    ] {
        let query = BucketQuery {
            series: series.clone(),
            granularity,
            zone,
            from: first,
            to: first + TimeDelta::days(i64::from(DAYS)),
            after: None,
            limit: 1_000,
        };
        let began = Instant::now();
        let (buckets, _) = store.bucket_list(&query, client.now()).await.expect("buckets");
        let took = began.elapsed();
        println!(
            "{} {zone}: {} buckets in {took:.2?}; {}",
            granularity.as_str(),
            buckets.len(),
            spent(&wire)
        );
    }
}

/// Events all over a month.
async fn load(store: &Store, first: DateTime<Utc>, now: DateTime<Utc>) {
    let metric = find_built_in("api_calls").expect("a metric");
    let seconds = i64::from(DAYS) * 86_400;
    let draft = |index: u32| {
        let offset = i64::from(index) * seconds * 1_000 / i64::from(EVENTS);
        Draft {
            id: event_id_from_bits(u128::from(index) + 1),
            identified: true,
            fingerprint: fingerprint("api_calls", Decimal::ONE, None, None),
            user_id: "u".to_owned(),
            subscription_id: None,
            metric: metric.clone(),
            value: Decimal::ONE,
            mode: None,
            timestamp: first + TimeDelta::milliseconds(offset),
            received_at: now,
            now,
            enforce: false,
            source: Source::Batch,
            hold: None,
            details: Details {
                response_time_ms: Some(index * 7_919 % 900),
                ..Details::default()
            },
        }
    };
    for chunk in (0..EVENTS).collect::<Vec<_>>().chunks(1_000) {
        let drafts: Vec<Draft> = chunk.iter().map(|index| draft(*index)).collect();
        let outcomes = store.track_batch(&drafts).await;
        assert!(outcomes.iter().all(Result::is_ok));
        eprint!("\rloading events: {} of {EVENTS}", chunk.last().expect("some") + 1);
    }
    eprintln!();
}

/// Capacity since this was last asked.
fn spent(wire: &Wire) -> String {
    let (mut read, mut written) = (Decimal::ZERO, Decimal::ZERO);
    for passed in wire.passed() {
        let units = passed.units.unwrap_or_default();
        if passed.call.reads() {
            read += units;
        } else {
            written += units;
        }
    }
    format!("{read} read units, {written} write units")
}

/// The most memory this process has had, in KiB (Linux; elsewhere 0).
fn memory_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!("{what}: p50 {:.2?}, p99 {:.2?} of {}", at(50), at(99), times.len());
}
