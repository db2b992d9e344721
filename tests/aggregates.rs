//! Aggregates against the test's own sums: real traffic and a year of three metrics, every
//! granularity, several calendars; after everything came twice and in another order, late or
//! voided, and after the events are gone.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_store::void::{VoidOrder, Voided};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use crate::{
    series,
    support::{Client, SERVICE},
};

const ZONES: [Tz; 4] = [
    Tz::UTC,
    chrono_tz::Europe::Berlin,
    chrono_tz::Asia::Kolkata,
    chrono_tz::Asia::Kathmandu,
];
const GRANULARITIES: [&str; 4] = ["hourly", "daily", "weekly", "monthly"];

/// An event as the test knows it.
#[derive(Debug, Clone)]
pub struct Known {
    pub at: DateTime<Utc>,
    pub value: Decimal,
    pub error: bool,
}

/// What a bucket must say.
#[derive(Debug, Default, Clone, PartialEq)]
struct Expected {
    total: Decimal,
    count: u64,
    errors: u64,
    min: Option<Decimal>,
    max: Option<Decimal>,
}

/// The bucket of an instant, named by its local start as people write it: the test's own calendar.
fn bucket(granularity: &str, zone: Tz, at: DateTime<Utc>) -> String {
    let local = at.with_timezone(&zone);
    let date = local.date_naive();
    let midnight = |date: NaiveDate| date.format("%Y-%m-%dT00:00:00").to_string();
    match granularity {
        "hourly" => local.format("%Y-%m-%dT%H:00:00%:z").to_string(),
        "daily" => midnight(date),
        "weekly" => midnight(date - TimeDelta::days(i64::from(local.weekday().num_days_from_monday()))),
        _ => midnight(date.with_day(1).expect("a month begins")),
    }
}

fn expected(granularity: &str, zone: Tz, events: &[Known]) -> BTreeMap<String, Expected> {
    let mut buckets: BTreeMap<String, Expected> = BTreeMap::new();
    for event in events {
        let one = buckets.entry(bucket(granularity, zone, event.at)).or_default();
        one.total += event.value;
        one.count += 1;
        one.errors += u64::from(event.error);
        one.min = Some(one.min.map_or(event.value, |min| min.min(event.value)));
        one.max = Some(one.max.map_or(event.value, |max| max.max(event.value)));
    }
    buckets
}

fn decimal(value: &Value) -> Decimal {
    value.to_string().parse().expect("a number")
}

/// Everything the API says of a metric, page by page, under the same names.
async fn told(
    client: &Client,
    user: &str,
    metric: &str,
    granularity: &str,
    zone: Tz,
    range: &(String, String),
) -> BTreeMap<String, Expected> {
    let mut buckets = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!(
            "/api/v1/usage/aggregations/{metric}?user_id={user}&granularity={granularity}&timezone={zone}\
             &from={}&to={}&limit=200{cursor}",
            range.0, range.1
        );
        let page = client.get(&path, SERVICE).await;
        assert_eq!(page.status, 200, "{page:?}");
        for one in page.body["aggregations"].as_array().expect("a list") {
            let start = one["local_start"].as_str().expect("a start");
            let count = one["event_count"].as_u64().expect("a count");
            let total = decimal(&one["total_value"]);
            let average = (total / Decimal::from(count))
                .round_dp_with_strategy(9, RoundingStrategy::MidpointNearestEven)
                .normalize();
            assert_eq!(decimal(&one["average_value"]), average, "{one}");
            let name = if granularity == "hourly" { start } else { &start[..19] };
            let bucket = Expected {
                total,
                count,
                errors: one["error_count"].as_u64().expect("a count"),
                min: Some(decimal(&one["min_value"])),
                max: Some(decimal(&one["max_value"])),
            };
            assert_eq!(buckets.insert(name.to_owned(), bucket), None, "a bucket comes once");
        }
        match page.body["next_cursor"].as_str() {
            None => return buckets,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

/// All four granularities on all calendars.
async fn assert_told(client: &Client, user: &str, metric: &str, events: &[Known], when: &str) {
    let first = events.iter().map(|event| event.at).min().expect("events");
    let last = events.iter().map(|event| event.at).max().expect("events");
    let text = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let range = (text(first), text(last + TimeDelta::seconds(1)));
    for zone in ZONES {
        for granularity in GRANULARITIES {
            let told = told(client, user, metric, granularity, zone, &range).await;
            let expected = expected(granularity, zone, events);
            assert_eq!(told.len(), expected.len(), "{when}: {metric} {granularity} {zone}");
            for (name, bucket) in expected {
                assert_eq!(
                    told.get(&name),
                    Some(&bucket),
                    "{when}: {metric} {granularity} {zone} {name}"
                );
            }
        }
    }
}

fn body(user: &str, metric: &str, event: &Known) -> Value {
    json!({
        "user_id": user, "metric_type": metric, "metric_value": event.value.to_string(),
        "timestamp": event.at.to_rfc3339(), "error_occurred": event.error, "backfill": true,
        "idempotency_key": format!("{metric}/{}", event.at.timestamp_millis()),
    })
}

async fn report(client: &Client, user: &str, metric: &str, events: &[Known]) {
    for chunk in events.chunks(1_000) {
        let bodies: Vec<Value> = chunk.iter().map(|event| body(user, metric, event)).collect();
        let sent = client
            .post(
                "/api/v1/usage/track/batch",
                SERVICE,
                json!({"events": bodies, "enforce": false}),
            )
            .await;
        assert_eq!(sent.body["failed"], 0, "{:?}", sent.body);
        let stored = sent.body["accepted"].as_u64().unwrap_or(0) + sent.body["duplicates"].as_u64().unwrap_or(0);
        assert_eq!(stored, chunk.len() as u64);
    }
}

fn traffic() -> Vec<Known> {
    let (rows, _) = series::rows();
    let known = |(at, value): &(String, u64)| Known {
        at: at.parse().expect("an instant"),
        value: Decimal::from(*value),
        error: value % 17 == 0,
    };
    rows.iter().map(known).collect()
}

/// A year's events: at odd times, and in the first year in each quarter of the two days on which
/// Berlin's clocks change.
fn year(salt: u64) -> Vec<Known> {
    let start: DateTime<Utc> = "2025-01-01T00:00:00Z".parse().expect("an instant");
    let mut state = salt;
    let mut next = move || {
        // Knuth's MMIX generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut events = Vec::new();
    let mut at = start;
    while at.year() == 2025 {
        events.push(Known {
            at,
            value: Decimal::new(i64::try_from(next() % 1_000_000).expect("small"), 4),
            error: next() % 9 == 0,
        });
        at += TimeDelta::seconds(i64::try_from(600 + next() % 260_000).expect("small"));
    }
    let changes = if salt == 1 {
        ["2025-03-29T22:07:00Z", "2025-10-25T21:08:00Z"].as_slice()
    } else {
        &[]
    };
    for day in changes {
        let day: DateTime<Utc> = day.parse().expect("an instant");
        for quarter in 0..104 {
            events.push(Known {
                at: day + TimeDelta::minutes(15 * quarter),
                value: Decimal::from(quarter),
                error: false,
            });
        }
    }
    events.sort_by_key(|event| event.at);
    events.dedup_by_key(|event| event.at);
    events
}

/// Takes some events back, and out of what the test knows; those.
async fn void_some(client: &Client, known: &mut Vec<Known>) -> Vec<Known> {
    let path = "/api/v1/usage/events?user_id=elb&metric_type=api_calls&from=2014-01-01T00:00:00Z&limit=5";
    let listed = client.get(path, SERVICE).await;
    let mut voided = Vec::new();
    for event in listed.body["events"].as_array().expect("events") {
        let order = VoidOrder {
            id: event["id"].as_str().expect("an id").to_owned(),
            reason: "a test".to_owned(),
            actor: "test".to_owned(),
        };
        let done = client.store().event_void(&order, client.now()).await.expect("a write");
        assert!(matches!(done, Voided::Done { already: false, .. }), "{done:?}");
        let at: DateTime<Utc> = event["timestamp"].as_str().expect("a time").parse().expect("a time");
        let place = known.iter().position(|one| one.at == at).expect("it is known");
        voided.push(known.remove(place));
    }
    assert_eq!(voided.len(), 5);
    voided
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bucket_of_a_year_and_of_real_traffic_is_the_tests_own_sum() {
    let client = Client::start().await;
    let metrics = ["document_processing", "bandwidth_usage", "ocr_operations"];
    let years: Vec<Vec<Known>> = (1..).take(3).map(year).collect();
    for (metric, events) in metrics.iter().zip(&years) {
        // The newest first: every one after that is late.
        let mut backwards = events.clone();
        backwards.reverse();
        report(&client, "year", metric, &backwards).await;
    }
    let mut traffic = traffic();
    report(&client, "elb", "api_calls", &traffic).await;
    client.drain().await;
    for (metric, events) in metrics.iter().zip(&years) {
        assert_told(&client, "year", metric, events, "at first").await;
    }
    assert_told(&client, "elb", "api_calls", &traffic, "at first").await;

    // A few are taken back.
    let voided = void_some(&client, &mut traffic).await;
    client.drain().await;
    assert_told(&client, "elb", "api_calls", &traffic, "after voids").await;

    // Everything again, and what the stream told again.
    report(&client, "elb", "api_calls", &[traffic.clone(), voided].concat()).await;
    let replayed = client.post("/_local/streams/replay", "", json!({})).await;
    assert_eq!(replayed.status, 202);
    client.drain().await;
    assert_told(&client, "elb", "api_calls", &traffic, "twice").await;
    assert_told(&client, "year", metrics[0], &years[0], "twice").await;

    // 91 days on: the events are gone, what was computed from them is not.
    client.clock(json!({"advance_seconds": 91 * 86_400})).await;
    let replayed = client.post("/_local/streams/replay", "", json!({})).await;
    assert_eq!(replayed.status, 202);
    client.drain().await;
    let gone = client
        .get("/api/v1/usage/events?user_id=elb&from=2014-01-01T00:00:00Z", SERVICE)
        .await;
    assert_eq!(gone.body["events"], json!([]), "the events expired");
    assert_told(&client, "elb", "api_calls", &traffic, "after the events expired").await;
    assert_told(&client, "year", metrics[1], &years[1], "after the events expired").await;

    // Their hours are final.
    let late = Known {
        at: traffic[7].at + TimeDelta::seconds(1),
        ..traffic[7].clone()
    };
    let refused = client.track(body("elb", "api_calls", &late)).await;
    assert_eq!(
        (refused.status, refused.body["code"].as_str()),
        (422, Some("sealed")),
        "{refused:?}"
    );
}
