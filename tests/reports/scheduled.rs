//! Reports on schedule: one for each occurrence, mailed once, whatever happens to the job.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::period::instant_text;
use serde_json::{Value, json};
use usage_local::Options;

use super::{NOW, REPORTS, fetched, start, used};
use crate::{
    support::{ADMIN, Client, SERVICE},
    wire::Wire,
};

const SCHEDULES: &str = "/api/v1/usage/report-schedules";
/// More waits than the job has.
const WAITS_MAX: usize = 120;
/// Longer than a claim.
const CLAIM_S: i64 = 400;

async fn schedule(client: &Client, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({"user_id": "u", "report_type": "summary", "report_format": "json", "frequency": "daily",
        "time": "06:00", "recipients": ["finance@example.com"]});
    change(&mut body);
    let made = client.post(SCHEDULES, ADMIN, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

async fn run(client: &Client) -> Value {
    let ran = client.post("/_local/run/ReportJob", "", json!({})).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    match &ran.body["result"] {
        Value::String(text) => serde_json::from_str(text).expect("JSON"),
        other => other.clone(),
    }
}

async fn mails(client: &Client) -> Vec<Value> {
    let mut mails = client.outbox().await["emails"].as_array().expect("mails").clone();
    mails.retain(|mail| mail.to_string().contains("finance@example.com"));
    mails
}

async fn reports(client: &Client, user: &str) -> Vec<Value> {
    client.all(&format!("{REPORTS}?user_id={user}"), "reports").await
}

async fn at(client: &Client, now: &str) {
    client.clock(json!({"now": now})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_made_and_mailed_once() {
    let client = start().await;
    used(&client, "u").await;
    let detailed = |body: &mut Value| {
        body["report_type"] = json!("detailed");
        body["compare_to_previous"] = json!(true);
    };
    let made = schedule(&client, detailed).await;
    assert_eq!(made["next_run_at"], "2026-04-03T06:00:00Z");
    assert_eq!((&made["last_run_at"], &made["user_ids"]), (&Value::Null, &json!([])));
    at(&client, "2026-04-03T05:59:00Z").await;
    assert_eq!(run(&client).await["made"], 0);
    at(&client, "2026-04-03T06:00:00Z").await;
    let (one, two) = tokio::join!(run(&client), run(&client));
    assert_eq!(
        one["made"].as_u64().expect("a count") + two["made"].as_u64().expect("a count"),
        1
    );
    assert_eq!(run(&client).await["made"], 0);
    let all = reports(&client, "u").await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (&all[0]["period_start"], &all[0]["period_end"], &all[0]["schedule_id"]),
        (
            &json!("2026-04-02T00:00:00Z"),
            &json!("2026-04-03T00:00:00Z"),
            &made["id"]
        )
    );
    let sent = mails(&client).await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    let text = sent[0]["text"].as_str().expect("a text");
    let link = format!(
        "{}{}",
        client.stack.url(),
        all[0]["file_url"].as_str().expect("an address")
    );
    assert!(
        text.contains(&link) && sent[0].to_string().contains("finance@example.com"),
        "{sent:?}"
    );
    let whole: Value = serde_json::from_slice(&fetched(&client, &all[0]).await).expect("JSON");
    assert_eq!(whole["granularity"], "hourly");
    let comparison = &whole["accounts"][0]["comparison"];
    let mut calls = comparison.as_array().expect("lines").iter();
    let calls = calls.find(|line| line["metric_type"] == "api_calls").expect("calls");
    assert_eq!(
        (&calls["current_value"], &calls["previous_value"], &calls["difference"]),
        (&json!(120), &json!(119), &json!(1))
    );
    let after = client
        .get(&format!("{SCHEDULES}/{}", made["id"].as_str().expect("an id")), SERVICE)
        .await;
    assert_eq!(after.body["next_run_at"], "2026-04-04T06:00:00Z");
    assert_eq!(after.body["last_report_id"], all[0]["id"]);
    let ran = after.body["last_run_at"].as_str().expect("an instant");
    assert!(ran.starts_with("2026-04-03T06:00:0"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_made_up_for_once() {
    let client = start().await;
    let weekly = |body: &mut Value| {
        body["frequency"] = json!("weekly");
        body["timezone"] = json!("Europe/Berlin");
    };
    let made = schedule(&client, weekly).await;
    assert_eq!(made["next_run_at"], "2026-04-06T04:00:00Z");
    // Three Mondays later.
    at(&client, "2026-04-21T12:00:00Z").await;
    assert_eq!(run(&client).await["made"], 1);
    assert_eq!(run(&client).await["made"], 0);
    let all = reports(&client, "u").await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (&all[0]["period_start"], &all[0]["period_end"]),
        (&json!("2026-04-12T22:00:00Z"), &json!("2026-04-19T22:00:00Z"))
    );
    assert_eq!(mails(&client).await.len(), 1);
    let listed = client.all(&format!("{SCHEDULES}?user_id=u"), "report_schedules").await;
    assert_eq!(listed[0]["next_run_at"], "2026-04-27T04:00:00Z");
}

/// Runs the job until this wait, where it stops for good; whether it came so far.
async fn dies_at(client: &Client, wait: usize) -> bool {
    let (wire, gate) = Wire::stopping(wait);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let event = json!({"detail-type": "Scheduled Event"}).to_string();
    tokio::select! {
        answer = instance.invoke("ReportJob", event) => {
            let answer = answer.expect("an answer");
            assert!(answer.contains(r#""failed":0"#), "{answer}");
            false
        }
        () = gate.reached() => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_yields_one_report_and_one_mail() {
    // Nobody calls the job but this test.
    let options = Options {
        idle: true,
        ..Options::default()
    };
    let client = Client::start_with(options).await;
    client.clock(json!({"now": NOW})).await;
    schedule(&client, |_| {}).await;
    let mut now: DateTime<Utc> = "2026-04-03T06:00:00Z".parse().expect("an instant");
    let mut stops = 0;
    for wait in 0..WAITS_MAX {
        client.clock(json!({"now": now})).await;
        let died = dies_at(&client, wait).await;
        client.clock(json!({"advance_seconds": CLAIM_S})).await;
        let instance = client.stack.instance(None).expect("an instance");
        let event = json!({"detail-type": "Scheduled Event"}).to_string();
        instance.invoke("ReportJob", event.clone()).await.expect("an answer");
        let again = instance.invoke("ReportJob", event).await.expect("an answer");
        assert!(again.contains(r#""made":0"#), "wait {wait}: {again}");
        let day = json!(instant_text(now - TimeDelta::hours(6)));
        let of_the_day = reports(&client, "u")
            .await
            .into_iter()
            .filter(|one| one["period_end"] == day);
        assert_eq!(of_the_day.count(), 1, "wait {wait}");
        if !died {
            break;
        }
        stops += 1;
        now += TimeDelta::days(1);
    }
    assert!((10..WAITS_MAX).contains(&stops), "{stops} waits");
    // Each day's is mailed; twice only where the job stopped between its last look and the note that it mailed, where
    // it may have mailed, or mails when it goes on: SES knows no repetition.
    let mut mailed: BTreeMap<String, usize> = BTreeMap::new();
    for mail in mails(&client).await {
        *mailed.entry(mail["subject"].to_string()).or_default() += 1;
    }
    assert_eq!(mailed.len(), stops + 1, "{mailed:?}");
    let twice = mailed.values().filter(|times| **times > 1).count();
    assert!(twice <= 4 && mailed.values().all(|times| *times <= 2), "{mailed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_have_reports_of_several_users() {
    let client = start().await;
    used(&client, "u").await;
    used(&client, "v").await;
    client.limit("v", "api_calls", 10).await;
    let several = |body: &mut Value| {
        body["user_ids"] = json!(["u", "v", "nobody_yet"]);
        body["frequency"] = json!("monthly");
        body["metric_types"] = json!(["api_calls"]);
    };
    let made = schedule(&client, several).await;
    assert_eq!(made["next_run_at"], "2026-05-01T06:00:00Z");
    at(&client, "2026-05-01T06:03:00Z").await;
    assert_eq!(run(&client).await["made"], 1);
    let all = client.get(&format!("{REPORTS}?user_id=u"), SERVICE).await;
    assert_eq!(all.body["reports"], json!([]), "whoever is no administrator sees none");
    let all = client.get(&format!("{REPORTS}?user_id=u"), ADMIN).await.body["reports"].clone();
    let report = &all[0];
    let path = report["file_url"].as_str().expect("an address");
    let own = client.token(json!({"user_id": "u"})).await;
    for credentials in [own.as_str(), SERVICE] {
        assert_eq!(client.get(path, credentials).await.status, 404);
        let id = made["id"].as_str().expect("an id");
        assert_eq!(client.get(&format!("{SCHEDULES}/{id}"), credentials).await.status, 404);
    }
    let link = client.get(path, ADMIN).await.headers["location"]
        .to_str()
        .expect("a link")
        .to_owned();
    let file = reqwest::get(link)
        .await
        .expect("an answer")
        .bytes()
        .await
        .expect("a file");
    let whole: Value = serde_json::from_slice(&file).expect("JSON");
    let users: Vec<&Value> = whole["accounts"]
        .as_array()
        .expect("accounts")
        .iter()
        .map(|one| &one["user_id"])
        .collect();
    assert_eq!(users, ["u", "v", "nobody_yet"]);
    assert_eq!(
        whole["overall"]["metrics"][0]["metric_type"], "api_calls",
        "{}",
        whole["overall"]
    );
    assert!(
        mails(&client).await[0]["subject"]
            .as_str()
            .is_some_and(|subject| subject.contains("3 users"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sends_reports_to_the_own_address_only() {
    let client = start().await;
    let own = client.token(json!({"user_id": "u"})).await;
    let body = json!({"report_type": "summary", "report_format": "csv", "frequency": "daily", "recipients": ["u@example.com"]});
    assert_eq!(client.post(SCHEDULES, &own, body.clone()).await.status, 403);
    let settings = json!({"user_id": "u", "email": "u@example.com"});
    assert_eq!(
        client.put("/api/v1/usage/notification-settings", settings).await.status,
        200
    );
    let made = client.post(SCHEDULES, &own, body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut others = body;
    others["recipients"] = json!(["u@example.com", "v@example.com"]);
    assert_eq!(client.post(SCHEDULES, &own, others).await.status, 403);
    let id = made.body["id"].as_str().expect("an id");
    let url = format!("{SCHEDULES}/{id}");
    let base = client.stack.url();
    let delete = || client.send_to(&base, reqwest::Method::DELETE, &url, Some(&own), None);
    assert_eq!((delete().await.status, delete().await.status), (204, 404));
    at(&client, "2026-04-04T12:00:00Z").await;
    assert_eq!(run(&client).await["made"], 0);
}
