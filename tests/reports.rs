//! Reports from outside: made, opened again, fetched, expired; scheduled, made once, mailed once.

mod opened;
mod scheduled;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Client, SERVICE, count};

const GENERATE: &str = "/api/v1/usage/reports/generate";
const REPORTS: &str = "/api/v1/usage/reports";
const TYPES: [&str; 4] = ["summary", "detailed", "forecast", "anomaly"];
const FORMATS: [&str; 4] = ["pdf", "csv", "json", "excel"];
const NOW: &str = "2026-04-02T12:30:00Z";
/// A resource that a spreadsheet would take for a formula.
const FORMULA: &str = "=HYPERLINK(\"http://evil.example\")";

async fn start() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": NOW})).await;
    client
}

/// Three months of calls and documents, a little more each day; and a level.
async fn used(client: &Client, user: &str) {
    let now: DateTime<Utc> = NOW.parse().expect("an instant");
    let mut events = Vec::new();
    for back in 0..92_i64 {
        let at = now - TimeDelta::days(back) - TimeDelta::hours(2);
        for (metric, value) in [("api_calls", 120 - back), ("document_processing", 1 + back % 3)] {
            events.push(json!({"user_id": user, "metric_type": metric, "metric_value": value, "timestamp": at,
                "backfill": true, "resource_id": FORMULA, "endpoint": format!("/e{}", back % 2), "response_time_ms": 20 + back}));
        }
    }
    let levels = [(80, 1.25), (40, 3.5), (3, 2.75)].map(|(back, level)| {
        let at = now - TimeDelta::days(back);
        json!({"user_id": user, "metric_type": "storage_usage", "metric_value": level, "mode": "level", "timestamp": at,
            "backfill": true})
    });
    events.extend(levels);
    for chunk in events.chunks(250) {
        let body = json!({"events": chunk, "enforce": false});
        let tracked = client.post("/api/v1/usage/track/batch", SERVICE, body).await;
        assert_eq!(tracked.body["accepted"], json!(chunk.len()), "{tracked:?}");
    }
    client.drain().await;
}

async fn generate(client: &Client, body: Value) -> Answer {
    client.post(GENERATE, SERVICE, body).await
}

/// The file behind a report's address.
async fn fetched(client: &Client, report: &Value) -> Vec<u8> {
    let path = report["file_url"].as_str().expect("an address");
    let answer = client.get(path, SERVICE).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    let link = answer.headers["location"].to_str().expect("a link");
    let file = reqwest::get(link).await.expect("the bucket answers");
    assert_eq!(file.status().as_u16(), 200);
    let disposition = file.headers()["content-disposition"].to_str().expect("a header");
    assert!(
        disposition.contains(report["id"].as_str().expect("an id")),
        "{disposition}"
    );
    file.bytes().await.expect("a file").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_files_say_what_the_api_answers() {
    let client = start().await;
    let user = "zoe@example.com";
    client.subscribe(user, "basic").await;
    used(&client, user).await;
    let (from, to) = ("2026-03-01T00:00:00", "2026-03-31T23:59:59");
    for report_type in TYPES {
        let mut files = Vec::new();
        for format in FORMATS {
            let body = json!({"user_id": user, "report_type": report_type, "report_format": format,
                "period_start": from, "period_end": to, "metric_types": [], "filters": {}});
            let made = generate(&client, body).await;
            assert_eq!(made.status, 201, "{made:?}");
            let report = &made.body;
            assert_eq!(
                (&report["status"], &report["download_count"], &report["metric_types"]),
                (&json!("completed"), &json!(0), &Value::Null)
            );
            assert_eq!(
                (&report["period_start"], &report["period_end"]),
                (&json!("2026-03-01T00:00:00Z"), &json!("2026-03-31T23:59:59Z"))
            );
            let file = fetched(&client, report).await;
            assert_eq!(report["file_size_bytes"], json!(file.len()));
            files.push(file);
        }
        let [pdf, csv, json, excel] = files.try_into().expect("four files");
        opened::compare(report_type, &pdf, &csv, &json, &excel);
        let whole: Value = serde_json::from_slice(&json).expect("JSON");
        assert_told_as_answered(&client, user, &whole).await;
    }
    assert_eq!(
        client
            .all(&format!("{REPORTS}?user_id={user}&limit=5"), "reports")
            .await
            .len(),
        16
    );
    let forecasts = client
        .all(&format!("{REPORTS}?user_id={user}&report_type=forecast"), "reports")
        .await;
    assert_eq!(forecasts.len(), 4);
}

/// The totals of a report are those of the aggregations, the quotas those of the summary.
async fn assert_told_as_answered(client: &Client, user: &str, report: &Value) {
    let account = &report["accounts"][0];
    for line in account["usage"].as_array().expect("usage") {
        let metric = line["metric_type"].as_str().expect("a metric");
        let path = format!(
            "/api/v1/usage/aggregations/{metric}?user_id={user}&from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z&limit=200"
        );
        let days = client.all(&path, "aggregations").await;
        let mut values = days
            .iter()
            .map(|day| day["total_value"].to_string().parse::<Decimal>().expect("a number"));
        let told = line["total_value"].to_string().parse::<Decimal>().expect("a number");
        let expected = if line["kind"] == "gauge" {
            values.next_back()
        } else {
            Some(values.sum())
        };
        assert_eq!(Some(told), expected, "{metric}");
    }
    let quotas = account["quotas"].as_array().expect("quotas");
    for line in quotas {
        let metric = line["metric_type"].as_str().expect("a metric");
        let answered = client.quota(user, metric).await;
        for name in ["current_usage", "quota_limit", "usage_percentage", "overage_cost"] {
            assert_eq!(line[name], answered[name], "{metric} {name}");
        }
    }
    assert!(report["report_type"] == "anomaly" || quotas.len() >= 3, "{quotas:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reported_has_a_defined_answer() {
    let client = start().await;
    // Nobody has used anything: a report says so.
    let empty = generate(&client, json!({"user_id": "nobody_yet", "report_format": "json"})).await;
    assert_eq!(empty.status, 201, "{empty:?}");
    for (name, wanted) in [("period_start", "2026-03-03T12:30"), ("period_end", "2026-04-02T12:30")] {
        let said = empty.body[name].as_str().expect("an instant");
        assert!(said.starts_with(wanted), "{said}");
    }
    let whole: Value = serde_json::from_slice(&fetched(&client, &empty.body).await).expect("JSON");
    let account = &whole["accounts"][0];
    assert_eq!((&account["usage"], &account["series"]), (&json!([]), &json!([])));
    assert!(
        account["notes"][0]
            .as_str()
            .is_some_and(|note| note.contains("no usage")),
        "{account}"
    );
    for (body, pointer, code) in [
        (
            json!({"period_start": "2026-04-03"}),
            "/period_start",
            "validation_failed",
        ),
        (
            json!({"period_start": "2026-03-02", "period_end": "2026-03-01"}),
            "/period_end",
            "validation_failed",
        ),
        (
            json!({"metric_types": ["api_calls", "teapots"]}),
            "/metric_types/1",
            "validation_failed",
        ),
        (
            json!({"filters": {"mood": "good"}}),
            "/filters/mood",
            "validation_failed",
        ),
        (
            json!({"filters": {"granularity": "weekly"}}),
            "/filters/granularity",
            "validation_failed",
        ),
        (
            json!({"period_start": "2024-01-01", "period_end": "2026-01-01"}),
            "",
            "report_too_large",
        ),
    ] {
        let mut body = body;
        body["user_id"] = json!("u");
        let refused = generate(&client, body.clone()).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (422, &json!(code)),
            "{body} {refused:?}"
        );
        if !pointer.is_empty() {
            assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{refused:?}");
        } else {
            let detail = refused.body["detail"].as_str().expect("a detail");
            assert!(detail.contains("ask for"), "{detail}");
        }
    }
    assert_eq!(client.all(&format!("{REPORTS}?user_id=u"), "reports").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_usage_of_an_endpoint_counts() {
    let client = start().await;
    used(&client, "u").await;
    let body = json!({"user_id": "u", "report_type": "detailed", "report_format": "json", "metric_types": ["api_calls"],
        "period_start": "2026-03-20", "period_end": "2026-03-29", "filters": {"endpoint": "/e0"}});
    let made = generate(&client, body).await;
    assert_eq!(made.body["filters"], json!({"endpoint": "/e0"}));
    let whole: Value = serde_json::from_slice(&fetched(&client, &made.body).await).expect("JSON");
    // 4 to 13 days ago, those of an even number.
    let expected: i64 = (4..14).filter(|back| back % 2 == 0).map(|back| 120 - back).sum();
    assert_eq!(whole["accounts"][0]["usage"][0]["total_value"], json!(expected));
    assert_eq!(
        whole["accounts"][0]["resources"][0]["total_value"],
        json!(expected),
        "{whole}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_fetched_by_its_owner_until_it_expires() {
    let client = start().await;
    let own = client.token(json!({"user_id": "u"})).await;
    let other = client.token(json!({"user_id": "v"})).await;
    let made = client.post(GENERATE, &own, json!({"report_format": "csv"})).await;
    assert_eq!(
        (made.status, &made.body["generated_by"]),
        (201, &json!("u")),
        "{made:?}"
    );
    let path = made.body["file_url"].as_str().expect("an address").to_owned();
    let id = made.body["id"].as_str().expect("an id").to_owned();
    for url in [path.clone(), format!("{REPORTS}/{id}")] {
        assert_eq!(client.get(&url, &other).await.status, 404, "{url}");
        let named = format!("{url}?user_id=v");
        assert_eq!(client.get(&named, SERVICE).await.status, 404, "{named}");
    }
    assert_eq!(client.get(&path.replace(".csv", ".pdf"), &own).await.status, 404);

    // Twenty at once are twenty.
    let all = join_all((0..20).map(|_| client.get(&path, &own))).await;
    assert_eq!(count(&all, 302), 20, "{all:?}");
    let link = client.get(&format!("{path}?redirect=false"), &own).await;
    assert_eq!(link.status, 200);
    let read = client.get(&format!("{REPORTS}/{id}"), &own).await;
    assert_eq!(read.body["download_count"], 21);

    // A link is good for minutes, the file for a week, its record for a month more.
    let url = link.body["url"].as_str().expect("a link").to_owned();
    assert_eq!(reqwest::get(&url).await.expect("an answer").status().as_u16(), 200);
    client.clock(json!({"advance_seconds": 301})).await;
    assert_eq!(reqwest::get(&url).await.expect("an answer").status().as_u16(), 403);
    client.clock(json!({"advance_seconds": 7 * 86_400})).await;
    let own = client.token(json!({"user_id": "u"})).await;
    let gone = client.get(&path, &own).await;
    assert_eq!((gone.status, &gone.body["code"]), (410, &json!("gone")), "{gone:?}");
    assert_eq!(
        client.get(&format!("{REPORTS}/{id}"), &own).await.body["status"],
        "expired"
    );
    client.clock(json!({"advance_seconds": 30 * 86_400})).await;
    let own = client.token(json!({"user_id": "u"})).await;
    assert_eq!(client.get(&path, &own).await.status, 404);
    assert_eq!(client.all(&format!("{REPORTS}?user_id=u"), "reports").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_makes_one_report() {
    let client = start().await;
    let body = json!({"user_id": "u", "report_format": "json"});
    let again = || client.keyed(Method::POST, GENERATE, SERVICE, "k", Some(body.clone()));
    let all = join_all((0..8).map(|_| again())).await;
    assert_eq!(count(&all, 201), 8, "{all:?}");
    assert!(all.iter().all(|answer| answer.body == all[0].body), "{all:?}");
    let listed = client.all(&format!("{REPORTS}?user_id=u"), "reports").await;
    assert_eq!(listed.len(), 1);
    let whole = fetched(&client, &listed[0]).await;
    assert_eq!(json!(whole.len()), listed[0]["file_size_bytes"]);

    // What is deleted cannot be fetched.
    let id = listed[0]["id"].as_str().expect("an id");
    let path = listed[0]["file_url"].as_str().expect("an address");
    let link = client.get(path, ADMIN).await.headers["location"]
        .to_str()
        .expect("a link")
        .to_owned();
    let url = format!("{REPORTS}/{id}");
    let deleted = client
        .send_to(&client.stack.url(), Method::DELETE, &url, Some(SERVICE), None)
        .await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    // S3 tells nobody who may not list what is not there.
    assert_eq!(reqwest::get(&link).await.expect("an answer").status().as_u16(), 403);
    assert_eq!(client.get(path, SERVICE).await.status, 404);
}
