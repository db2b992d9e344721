//! Aggregates and trends as callers see them: every field of every bucket against the test's own
//! calendar and sums, levels, cursors, what has no usage, whose usage it is.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use crate::support::{ADMIN, Client, SERVICE};

/// The stack's clock: a Thursday, four days after clocks changed in Berlin.
const NOW: &str = "2026-04-02T12:34:56Z";
const ZONES: [Tz; 4] = [
    Tz::UTC,
    chrono_tz::Europe::Berlin,
    chrono_tz::Asia::Kathmandu,
    chrono_tz::America::New_York,
];

/// When, how much, milliseconds if timed, whether it failed.
type Used = (&'static str, &'static str, Option<u32>, bool);

/// Around the change of clocks, the ends of days in different zones, weeks and a month, and now.
const CALLS: [Used; 14] = [
    ("2026-03-20T08:00:00Z", "7", Some(80), false),
    ("2026-03-27T23:10:00Z", "2", Some(99), true),
    ("2026-03-28T18:14:59.999Z", "1", None, false),
    ("2026-03-28T18:15:00Z", "1.05", Some(20), false),
    ("2026-03-28T22:59:59Z", "1", Some(10), false),
    ("2026-03-28T23:00:00Z", "1", Some(11), false),
    ("2026-03-29T00:59:59Z", "1", Some(12), false),
    ("2026-03-29T01:00:00Z", "3", Some(31), true),
    ("2026-03-29T22:30:00Z", "0", None, false),
    ("2026-03-31T22:00:00Z", "0.1", Some(5), false),
    ("2026-03-31T23:59:59.999Z", "0.2", Some(6), false),
    ("2026-04-01T00:00:00Z", "0.3", Some(7), true),
    ("2026-04-02T03:59:59Z", "10.25", Some(70), false),
    ("2026-04-02T12:34:00Z", "10.3", Some(71), false),
];
/// Of a metric that an administrator defined.
const POTS: [Used; 3] = [
    ("2026-03-28T23:30:00Z", "4", None, false),
    ("2026-03-30T12:00:00Z", "0.000000001", None, false),
    ("2026-04-02T12:00:00Z", "1000000000000", None, true),
];

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

fn text(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a number")
}

fn number(value: Decimal) -> Value {
    serde_json::from_str(&value.normalize().to_string()).expect("a number")
}

async fn start() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": NOW})).await;
    client
}

async fn report(client: &Client, user: &str, metric: &str, used: &[Used]) {
    let event = |(at, value, timed, error): &Used| {
        json!({"user_id": user, "metric_type": metric, "metric_value": value, "timestamp": at,
            "response_time_ms": timed, "error_occurred": error, "backfill": true})
    };
    let body = json!({"events": used.iter().map(event).collect::<Vec<_>>()});
    let sent = client.post("/api/v1/usage/track/batch", SERVICE, body).await;
    assert_eq!(sent.body["accepted"], json!(used.len()), "{sent:?}");
}

async fn aggregations(client: &Client, metric: &str, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/usage/aggregations/{metric}?{query}&limit=200");
    let listed = client.get(&path, SERVICE).await;
    assert_eq!(
        (listed.status, &listed.body["next_cursor"]),
        (200, &Value::Null),
        "{listed:?}"
    );
    listed.body["aggregations"].as_array().expect("a list").clone()
}

async fn trend(client: &Client, metric: &str, query: &str) -> Value {
    let answer = client
        .get(&format!("/api/v1/usage/trends/{metric}?{query}"), SERVICE)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The first instant of a local date.
fn midnight(zone: Tz, date: NaiveDate) -> DateTime<Utc> {
    let local = date.and_hms_opt(0, 0, 0).expect("a time");
    zone.from_local_datetime(&local)
        .earliest()
        .expect("no midnight is skipped")
        .to_utc()
}

/// From when to when the bucket of an instant lasts.
fn bucket(granularity: &str, zone: Tz, at: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    let local = at.with_timezone(&zone);
    let date = local.date_naive();
    let dates = |first: NaiveDate, next: NaiveDate| (midnight(zone, first), midnight(zone, next));
    match granularity {
        "hourly" => {
            let start = local
                .with_minute(0)
                .and_then(|at| at.with_second(0))
                .and_then(|at| at.with_nanosecond(0));
            let start = start.expect("a full hour").to_utc();
            (start, start + TimeDelta::hours(1))
        }
        "daily" => dates(date, date + TimeDelta::days(1)),
        "weekly" => {
            let monday = date - TimeDelta::days(i64::from(date.weekday().num_days_from_monday()));
            dates(monday, monday + TimeDelta::days(7))
        }
        _ => {
            let first = date.with_day(1).expect("a month begins");
            let next = (first + TimeDelta::days(31)).with_day(1).expect("the next one, too");
            dates(first, next)
        }
    }
}

/// The value that so many percent do not exceed; all are below 100 ms, where answers are exact.
fn percentile(timed: &[u32], percent: usize) -> Value {
    let rank = (timed.len() * percent).div_ceil(100).max(1);
    timed.get(rank - 1).map_or(Value::Null, |value| json!(value))
}

fn change(before: Decimal, after: Decimal) -> (Value, &'static str) {
    let five = Decimal::new(5, 2);
    let trend = match after - before {
        change if change > before * five => "increasing",
        change if change < -before * five => "decreasing",
        _ => "stable",
    };
    if before.is_zero() {
        return (Value::Null, trend);
    }
    let percent = (after - before) / before * Decimal::ONE_HUNDRED;
    let rounded = percent.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
    (number(rounded), trend)
}

/// All buckets of a metric, as answers must show them.
fn expected(metric: (&str, &str), granularity: &str, zone: Tz, used: &[Used]) -> Vec<Value> {
    let mut buckets: BTreeMap<_, Vec<&Used>> = BTreeMap::new();
    for one in used {
        buckets
            .entry(bucket(granularity, zone, instant(one.0)))
            .or_default()
            .push(one);
    }
    let total = |used: &Vec<&Used>| used.iter().map(|one| decimal(one.1)).sum::<Decimal>();
    let mut all = Vec::new();
    for (&(start, end), used) in &buckets {
        let before = buckets.iter().find(|(other, _)| other.1 == start);
        let before = before.map_or(Decimal::ZERO, |(_, used)| total(used));
        let (change, trend) = change(before, total(used));
        let values = || used.iter().map(|one| decimal(one.1));
        let average = total(used) / Decimal::from(used.len());
        let mut timed: Vec<u32> = used.iter().filter_map(|one| one.2).collect();
        timed.sort_unstable();
        all.push(json!({
            "metric_type": metric.0, "aggregation_type": granularity, "aggregation_date": text(start),
            "period_end": text(end),
            "local_start": start.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            "unit": metric.1, "total_value": number(total(used)), "event_count": used.len(),
            "average_value": number(average.round_dp_with_strategy(9, RoundingStrategy::MidpointNearestEven)),
            "min_value": number(values().min().expect("events")), "max_value": number(values().max().expect("events")),
            "error_count": used.iter().filter(|one| one.3).count(),
            "response_time_ms": {"p50": percentile(&timed, 50), "p95": percentile(&timed, 95), "p99": percentile(&timed, 99)},
            "previous_period_value": number(before), "change_percentage": change, "trend": trend,
        }));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_every_bucket_is_what_its_events_say() {
    let client = start().await;
    let teapots = json!({"metric_type": "teapots", "kind": "sum", "unit": "pots"});
    let made = client.post("/api/v1/usage/admin/metric-types", ADMIN, teapots).await;
    assert_eq!(made.status, 201, "{made:?}");
    report(&client, "u", "api_calls", &CALLS).await;
    report(&client, "u", "teapots", &POTS).await;
    client.drain().await;
    for (metric, used) in [(("api_calls", "calls"), &CALLS[..]), (("teapots", "pots"), &POTS[..])] {
        for zone in ZONES {
            for granularity in ["hourly", "daily", "weekly", "monthly"] {
                let query = format!("user_id=u&granularity={granularity}&timezone={zone}");
                let told = aggregations(&client, metric.0, &query).await;
                let expected = expected(metric, granularity, zone, used);
                assert_eq!(told, expected, "{metric:?} {granularity} {zone}");
            }
        }
    }
    let defaults = aggregations(&client, "api_calls", "user_id=u").await;
    assert_eq!(defaults, expected(("api_calls", "calls"), "daily", Tz::UTC, &CALLS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_has_whole_buckets_and_pages_go_through_it() {
    let client = start().await;
    report(&client, "u", "api_calls", &CALLS).await;
    client.drain().await;
    let zone = chrono_tz::Europe::Berlin;
    let all = expected(("api_calls", "calls"), "daily", zone, &CALLS);
    // Within the days of the third and the fourth bucket: both are there, whole, and the first knows
    // what was before it.
    let query = "user_id=u&timezone=Europe/Berlin&from=2026-03-29T00:59:59Z&to=2026-04-01T00:00:00%2B02:00";
    let inside = aggregations(&client, "api_calls", query).await;
    assert_eq!(inside, all[2..4], "{inside:#?}");
    assert_eq!(inside[0]["previous_period_value"], json!(5.05));
    let later = query.replace("%2B02:00", "Z");
    assert_eq!(aggregations(&client, "api_calls", &later).await, all[2..5]);
    let query = "user_id=u&timezone=Europe/Berlin";
    for limit in 1..=3 {
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        for _ in &all {
            let path = format!("/api/v1/usage/aggregations/api_calls?{query}&limit={limit}{cursor}");
            let page = client.get(&path, SERVICE).await;
            let buckets = page.body["aggregations"].as_array().expect("a list");
            assert!((1..=limit).contains(&buckets.len()), "{page:?}");
            paged.extend(buckets.clone());
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, all, "pages of {limit}");
    }
    // Ten years are a range, and the future is empty.
    let years = "user_id=u&granularity=monthly&from=2026-03-01T00:00:00Z&to=2036-03-01T00:00:00Z";
    assert_eq!(
        aggregations(&client, "api_calls", years).await,
        expected(("api_calls", "calls"), "monthly", Tz::UTC, &CALLS)
    );
    let future = "user_id=u&from=2026-04-03T00:00:00Z&to=2026-05-01T00:00:00Z";
    assert_eq!(aggregations(&client, "api_calls", future).await, [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_that_of_one_subscription() {
    let client = start().await;
    report(&client, "u", "api_calls", &CALLS[..2]).await;
    let body = json!({"id": "sub_1", "user_id": "u", "plan": "basic"});
    client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    report(&client, "u", "api_calls", &CALLS[2..3]).await;
    report(&client, "v", "api_calls", &CALLS[3..4]).await;
    client.drain().await;
    let of = |used| expected(("api_calls", "calls"), "daily", Tz::UTC, used);
    let user = client.token(json!({"user_id": "u"})).await;
    let own = client.get("/api/v1/usage/aggregations/api_calls", &user).await;
    assert_eq!(
        own.body["aggregations"],
        json!(of(&CALLS[2..3])),
        "the default subscription"
    );
    for (query, used) in [
        ("user_id=u&subscription_id=sub_1", &CALLS[2..3]),
        ("user_id=u&subscription_id=none", &CALLS[..2]),
        ("user_id=v", &CALLS[3..4]),
        ("user_id=w", &[]),
    ] {
        assert_eq!(aggregations(&client, "api_calls", query).await, of(used), "{query}");
    }
    assert_eq!(
        aggregations(&client, "ocr_operations", "user_id=u").await,
        [Value::Null; 0]
    );
}

/// Levels of storage: set, changed twice on a day, changed today.
async fn levels(client: &Client) {
    let body = json!({"user_id": "u", "plan": "enterprise", "starts_at": "2025-01-01T00:00:00Z"});
    client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    for (at, mode, value) in [
        ("2026-03-29T06:00:00Z", "level", 4),
        ("2026-03-31T12:00:00Z", "delta", 2),
        ("2026-03-31T18:00:00Z", "level", 3),
        ("2026-04-02T06:00:00Z", "delta", 1),
    ] {
        let body = json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": value, "mode": mode,
            "timestamp": at});
        assert_eq!(client.track(body).await.status, 201, "{at}");
    }
    client.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_carried_in_and_weighted_by_time() {
    let client = start().await;
    levels(&client).await;
    let fields = [
        "total_value",
        "average_value",
        "min_value",
        "max_value",
        "event_count",
        "previous_period_value",
    ];
    let told = async |query: &str| -> Vec<Vec<Value>> {
        let buckets = aggregations(&client, "storage_usage", query).await;
        let more = ["change_percentage", "trend"];
        let row = |one: &Value| fields.iter().chain(&more).map(|name| one[*name].clone()).collect();
        buckets.iter().map(row).collect()
    };
    let mut days = told("user_id=u").await;
    // The running day is weighed until now: from midnight 3 for six hours, 4 since.
    let so_far = (instant(NOW) - instant("2026-04-02T06:00:00Z")).num_seconds();
    let least = Decimal::from(6 * 3_600 * 3 + so_far * 4) / Decimal::from(6 * 3_600 + so_far);
    let average = decimal(&std::mem::take(&mut days[2][1]).to_string());
    assert!(
        average >= least.round_dp(9) && average - least < Decimal::new(1, 2),
        "{average} {least}"
    );
    assert_eq!(
        days,
        [
            // 4 for 18 of 24 hours; 4 for twelve, 6 and 3 for six each.
            vec![
                json!(4),
                json!(3),
                json!(0),
                json!(4),
                json!(1),
                json!(0),
                Value::Null,
                json!("increasing")
            ],
            vec![
                json!(3),
                json!(4.25),
                json!(3),
                json!(6),
                json!(2),
                json!(4),
                json!(-25),
                json!("decreasing")
            ],
            vec![
                json!(4),
                Value::Null,
                json!(3),
                json!(4),
                json!(1),
                json!(3),
                json!(33.33),
                json!("increasing")
            ],
        ]
    );
    // From the middle on, and by pages, the level carried in is the same.
    let later = told("user_id=u&from=2026-03-31T15:00:00Z&to=2026-04-01T00:00:00Z").await;
    assert_eq!(later, days[1..2]);
    let page = "/api/v1/usage/aggregations/storage_usage?user_id=u&limit=1";
    let first = client.get(page, SERVICE).await.body;
    let next = first["next_cursor"].as_str().expect("a cursor");
    let second = client.get(&format!("{page}&cursor={next}"), SERVICE).await.body;
    assert_eq!(second["aggregations"][0]["average_value"], json!(4.25));
    // Half past is a boundary in India: 4 for half an hour before six, 6 for the other.
    let hour =
        told("user_id=u&granularity=hourly&timezone=Asia/Kolkata&from=2026-03-31T11:00:00Z&to=2026-03-31T12:30:00Z");
    let raised = [
        json!(6),
        json!(5),
        json!(4),
        json!(6),
        json!(1),
        json!(4),
        json!(50),
        json!("increasing"),
    ];
    assert_eq!(hour.await, [raised]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trend_of_levels_is_that_of_the_ends_of_days() {
    let client = start().await;
    levels(&client).await;
    let whole = trend(&client, "storage_usage", "user_id=u&days=5").await;
    assert_eq!(whole["dates"], json!(["2026-03-29", "2026-03-31", "2026-04-02"]));
    assert_eq!(whole["values"], json!([4, 3, 4]));
    assert_eq!(
        (&whole["total"], &whole["change_percentage"]),
        (&json!(4), &Value::Null),
        "from 0"
    );
    assert_eq!(whole["average"], json!(3.666666667));
    let later = trend(&client, "storage_usage", "user_id=u&days=3").await;
    assert_eq!(later["values"], json!([3, 4]));
    assert_eq!(
        (&later["total"], &later["change_percentage"]),
        (&json!(4), &json!(0)),
        "from 4"
    );
    assert_eq!(later["trend_test"], json!("none"), "one day is over");
}

/// Two weeks of documents: 2 a day in the first, then rising; the running day has just begun.
async fn fortnight(client: &Client) {
    let used = [
        ("2026-03-20T12:00:00Z", "2"),
        ("2026-03-25T12:00:00Z", "2.5"),
        ("2026-03-27T12:00:00Z", "4"),
        ("2026-03-28T01:00:00Z", "3"),
        ("2026-03-28T23:30:00Z", "2.5"),
        ("2026-03-29T12:00:00Z", "6"),
        ("2026-03-30T12:00:00Z", "7"),
        ("2026-03-31T12:00:00Z", "8"),
        ("2026-04-01T12:00:00Z", "9.5"),
        ("2026-04-02T12:00:00Z", "1"),
    ];
    let used = used.map(|(at, value)| (at, value, None, false));
    report(client, "u", "document_processing", &used).await;
    client.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trend_is_judged_on_days_that_are_over() {
    let client = start().await;
    fortnight(&client).await;
    let told = trend(&client, "document_processing", "user_id=u&days=7").await;
    // Six rising days: 2 of the 720 orders are as extreme. 41 against 4.5 in the week before.
    assert_eq!(
        told,
        json!({
            "metric_type": "document_processing", "unit": "documents", "period_days": 7, "data_points": 7,
            "total": 41, "average": 5.857142857, "median": 6, "min": 1, "max": 9.5, "std_dev": 2.779602575,
            "trend": "increasing", "trend_test": "mann_kendall_exact", "p_value": 0.002777778,
            "change_percentage": 811.11,
            "dates": ["2026-03-27", "2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31", "2026-04-01", "2026-04-02"],
            "values": [4, 5.5, 6, 7, 8, 9.5, 1],
        })
    );
    // In Berlin half past eleven is the next day's, and days without usage are left out.
    let berlin = trend(
        &client,
        "document_processing",
        "user_id=u&days=14&timezone=Europe/Berlin",
    )
    .await;
    assert_eq!(berlin["values"], json!([2, 2.5, 4, 3, 8.5, 7, 8, 9.5, 1]));
    assert_eq!(berlin["dates"][1], json!("2026-03-25"));
    assert_eq!((&berlin["data_points"], &berlin["total"]), (&json!(9), &json!(45.5)));
    assert_eq!(berlin["change_percentage"], Value::Null, "nothing before");
    let today = trend(&client, "document_processing", "user_id=u&days=1").await;
    assert_eq!((&today["values"], &today["trend"]), (&json!([1]), &json!("stable")));
    assert_eq!(
        (&today["trend_test"], &today["p_value"]),
        (&json!("none"), &Value::Null)
    );
    assert_eq!(today["change_percentage"], json!(-89.47), "against yesterday's 9.5");
    let month = trend(&client, "document_processing", "user_id=u").await;
    assert_eq!((&month["period_days"], &month["total"]), (&json!(30), &json!(45.5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_usage_there_are_zeros_and_no_verdict() {
    let client = start().await;
    fortnight(&client).await;
    for (metric, unit) in [("api_calls", "calls"), ("storage_usage", "GB")] {
        let told = trend(&client, metric, "user_id=u&days=365").await;
        assert_eq!(
            told,
            json!({"metric_type": metric, "unit": unit, "period_days": 365, "data_points": 0, "total": 0, "average": 0,
                "median": 0, "min": 0, "max": 0, "std_dev": 0, "trend": "stable", "trend_test": "none", "p_value": null,
                "change_percentage": null, "dates": [], "values": []})
        );
    }
    client.clock(json!({"now": "2026-04-07T12:00:00Z"})).await;
    let ended = trend(&client, "document_processing", "user_id=u&days=4").await;
    assert_eq!((&ended["data_points"], &ended["total"]), (&json!(0), &json!(0)));
    assert_eq!(ended["change_percentage"], json!(-100), "there was usage before");
}
