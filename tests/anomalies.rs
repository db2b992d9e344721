//! Anomalies from outside: found once however often they are looked for, told to administrators once, reviewed.

mod interrupted;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Client, SERVICE, count};

const DETECT: &str = "/api/v1/usage/anomalies/detect";
const ANOMALIES: &str = "/api/v1/usage/anomalies";
const BATCH: &str = "/api/v1/usage/track/batch";
const METRIC: &str = "api_calls";
/// Half past an hour, so that hours end when a test expects it.
const NOW: &str = "2026-03-10T12:30:00Z";

/// The hour that is running.
fn hour() -> DateTime<Utc> {
    "2026-03-10T12:00:00Z".parse().expect("an instant")
}

async fn start() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": NOW})).await;
    client
}

/// Usage of the hours before the running one, the last value in the last of them, and of the running one.
async fn used(client: &Client, user: &str, hours: &[u32], running: u32) {
    let hours = hours.iter().rev().enumerate();
    let all = hours.map(|(back, value)| (i64::try_from(back).expect("small") + 1, *value));
    let events: Vec<Value> = std::iter::once((0, running))
        .chain(all)
        .filter(|(_, value)| *value > 0)
        .map(|(back, value)| {
            let at = hour() - TimeDelta::hours(back) + TimeDelta::minutes(7);
            json!({"user_id": user, "metric_type": METRIC, "metric_value": value, "timestamp": at.to_rfc3339(),
                "backfill": true, "idempotency_key": format!("{user}-{back}")})
        })
        .collect();
    let tracked = client
        .post(BATCH, SERVICE, json!({"events": events, "enforce": false}))
        .await;
    assert_eq!(tracked.body["accepted"], json!(events.len()), "{tracked:?}");
}

async fn detect(client: &Client, user: &str, query: &str) -> Answer {
    let path = format!("{DETECT}?user_id={user}&metric_type={METRIC}{query}");
    client
        .send_to(&client.stack.url(), Method::POST, &path, Some(SERVICE), None)
        .await
}

/// What is found by a method.
async fn found(client: &Client, user: &str, method: &str) -> Vec<Value> {
    let answer = detect(client, user, &format!("&detection_method={method}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let anomalies = answer.body["anomalies"].as_array().expect("anomalies").clone();
    assert_eq!(answer.body["anomalies_detected"], json!(anomalies.len()));
    anomalies
}

async fn listed(client: &Client, query: &str) -> Vec<Value> {
    client.all(&format!("{ANOMALIES}?{query}"), "anomalies").await
}

/// Administrators' alerts about anomalies.
async fn alerts(client: &Client) -> Vec<Value> {
    let mut alerts = client.all("/api/v1/usage/alerts?limit=200", "alerts").await;
    alerts.retain(|alert| alert["alert_type"] == "unusual_pattern");
    alerts
}

/// What is on the bus, or in the mails, about anomalies.
async fn told(client: &Client) -> (Vec<Value>, Vec<Value>) {
    let outbox = client.outbox().await;
    let all = |name: &str| outbox[name].as_array().expect("a list").clone();
    let (mut bus, mut mails) = (all("bus"), all("emails"));
    bus.retain(|event| event["detail-type"] == "usage.anomaly_detected");
    mails.retain(|mail| mail.to_string().contains("administrators@localhost.example"));
    (bus, mails)
}

fn hundred(last: u32) -> Vec<u32> {
    let mut values = [80, 120].repeat(20);
    values.push(last);
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn three_deviations_over_http() {
    let client = start().await;
    for (user, last, wanted) in [("a", 161, 1), ("b", 160, 0), ("c", 39, 1), ("d", 40, 0)] {
        used(&client, user, &hundred(last), 0).await;
        client.drain().await;
        let anomalies = found(&client, user, "statistical").await;
        assert_eq!(anomalies.len(), wanted, "{user}: {anomalies:?}");
        for one in anomalies {
            assert_eq!(one["expected_value"], 100);
            assert_eq!(
                (&one["expected_lower"], &one["expected_upper"]),
                (&json!(40), &json!(160))
            );
            assert_eq!(one["observed_value"], last);
            assert_eq!(one["reasons"][0]["points"], 70);
            assert!(one["risk_score"].as_u64() >= Some(70), "hourly events are regular, too");
            assert_eq!(one["window_start"], "2026-03-10T11:00:00Z");
            assert_eq!(one["anomaly_type"], if last > 100 { "spike" } else { "drop" });
        }
    }
}

/// The requirements' example: 10 to 15 documents a day, then 100 in an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_jump_is_told_to_administrators_once() {
    let client = start().await;
    let mut hours = vec![0; 24 * 20];
    for (day, total) in (10..=15).cycle().take(20).enumerate() {
        hours[24 * day + 9] = total;
    }
    used(&client, "u", &hours, 100).await;
    client.drain().await;
    let anomalies = found(&client, "u", "velocity").await;
    assert_eq!(anomalies.len(), 1, "{anomalies:?}");
    let one = &anomalies[0];
    assert_eq!(one["anomaly_type"], "velocity_spike");
    assert_eq!(
        (&one["is_fraud_suspect"], &one["requires_review"]),
        (&json!(true), &json!(true))
    );
    // Looked for again, and all that was told once more.
    found(&client, "u", "all").await;
    let replayed = client.post("/_local/streams/replay", "", json!({})).await;
    assert_eq!(replayed.status, 202);
    client.drain().await;

    let recorded = listed(&client, "user_id=u").await;
    let grave = recorded.iter().filter(|one| one["risk_score"].as_u64() >= Some(50));
    let raised = alerts(&client).await;
    assert_eq!(raised.len(), grave.count(), "{raised:?}");
    let alert = raised.iter().find(|alert| alert["anomaly_id"] == one["id"]);
    let alert = alert.expect("an alert about it");
    assert_eq!(
        (&alert["severity"], &alert["status"]),
        (&json!("critical"), &json!("sent"))
    );
    let (bus, mails) = told(&client).await;
    assert_eq!(mails.len(), raised.len(), "{mails:?}");
    let mut ids: Vec<&Value> = bus.iter().map(|event| &event["detail"]["event_id"]).collect();
    ids.sort_by_key(|id| id.to_string());
    ids.dedup();
    assert_eq!(ids.len(), recorded.len(), "each is published, under its id");
    let event = bus.iter().find(|event| event["detail"]["event_id"] == one["id"]);
    assert_eq!(event.expect("an event")["detail"]["anomaly"]["id"], one["id"]);

    // The user sees the anomaly, and is told nothing.
    assert_eq!(client.alerts("u").await, Vec::<Value>::new());
    let user = client.token(json!({"user_id": "u"})).await;
    let own = client.get(ANOMALIES, &user).await;
    assert_eq!(own.body["anomalies"].as_array().map(Vec::len), Some(recorded.len()));
    let acknowledge = format!(
        "/api/v1/usage/alerts/{}/acknowledge",
        alert["id"].as_str().expect("an id")
    );
    let refused = client
        .send_to(&client.stack.url(), Method::PATCH, &acknowledge, Some(&user), None)
        .await;
    assert_eq!(refused.status, 404);
    let summary = client.get("/api/v1/usage/summary", &user).await;
    assert_eq!(summary.body["alerts_count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn found_in_parallel_it_is_one_record() {
    let client = start().await;
    used(&client, "u", &hundred(900), 0).await;
    client.drain().await;
    detect(&client, "u", "").await;
    let before = listed(&client, "").await;
    let answers = join_all((0..8).map(|_| detect(&client, "u", ""))).await;
    assert_eq!(count(&answers, 200), 8, "{answers:?}");
    for answer in &answers {
        assert_eq!(answer.body["anomalies"], answers[0].body["anomalies"]);
    }
    let found = answers[0].body["anomalies"].as_array().expect("anomalies").len();
    assert!(found >= 2, "a spike and a jump");
    assert_eq!(before.len(), found, "what the job found is the same");
    assert_eq!(listed(&client, "").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_young_a_history_is_said() {
    let client = start().await;
    used(&client, "u", &[10; 9], 0).await;
    client.drain().await;
    let answer = detect(&client, "u", "").await;
    let skipped = answer.body["skipped"].as_array().expect("methods");
    assert_eq!((answer.status, skipped.len()), (200, 3), "{answer:?}");
    assert!(skipped.iter().all(|one| one["code"] == "insufficient_data"));
    for method in ["statistical", "velocity", "pattern"] {
        let answer = detect(&client, "u", &format!("&detection_method={method}")).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (422, &json!("insufficient_data")),
            "{answer:?}"
        );
    }
    let nobody = detect(&client, "nobody", "").await;
    assert_eq!((nobody.status, &nobody.body["anomalies"]), (200, &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_are_named() {
    let client = start().await;
    let url = client.stack.url();
    for (query, pointer, code) in [
        ("?user_id=u", "?metric_type", "required"),
        ("?metric_type=api_calls", "?user_id", "required"),
        ("?user_id=u&metric_type=teapots", "?metric_type", "unknown_value"),
        (
            "?user_id=u&metric_type=api_calls&detection_method=magic",
            "?detection_method",
            "unknown_value",
        ),
        ("?user_id=u&metric_type=api_calls&days=0", "?days", "out_of_range"),
        ("?user_id=u&metric_type=api_calls&days=91", "?days", "out_of_range"),
        ("?user_id=u&metric_type=api_calls&hours=3", "?hours", "unknown_field"),
    ] {
        let path = format!("{DETECT}{query}");
        let answer = client.send_to(&url, Method::POST, &path, Some(SERVICE), None).await;
        assert_eq!(answer.status, 422, "{query}: {answer:?}");
        let error = &answer.body["errors"][0];
        assert_eq!(
            (&error["pointer"], &error["code"]),
            (&json!(pointer), &json!(code)),
            "{query}"
        );
    }
    let lease = format!("{DETECT}?user_id=u&metric_type=user_sessions");
    let answer = client.send_to(&url, Method::POST, &lease, Some(SERVICE), None).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (422, &json!("metric_kind_mismatch"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_goes_forward_and_ends() {
    let client = start().await;
    used(&client, "u", &hundred(500), 0).await;
    client.drain().await;
    let one = found(&client, "u", "statistical").await.remove(0);
    let path = format!("{ANOMALIES}/{}", one["id"].as_str().expect("an id"));
    let steps = [
        (json!({"status": "investigating"}), 200, json!(null)),
        (
            json!({"status": "investigating", "note": "who is that?"}),
            200,
            json!("who is that?"),
        ),
        (json!({"status": "false_positive"}), 200, json!("who is that?")),
        // Again is the same, anything else is too late.
        (json!({"status": "false_positive"}), 200, json!("who is that?")),
        (json!({"status": "resolved"}), 409, json!(null)),
        (json!({"status": "investigating"}), 409, json!(null)),
        (json!({"status": "false_positive", "note": "other"}), 409, json!(null)),
        (json!({"status": "detected"}), 422, json!(null)),
        (json!({}), 422, json!(null)),
    ];
    for (body, status, note) in steps {
        let answer = client.patch(&path, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        if status == 200 {
            assert_eq!((&answer.body["status"], &answer.body["note"]), (&body["status"], &note));
        }
    }
    assert_eq!(
        client.audited(one["id"].as_str()).await.len(),
        3,
        "three steps changed something"
    );
    // Found again, it stays what it was made.
    let again = found(&client, "u", "statistical").await.remove(0);
    assert_eq!((&again["id"], &again["status"]), (&one["id"], &json!("false_positive")));
    let missing = client
        .patch(&format!("{ANOMALIES}/ano_0"), json!({"status": "resolved"}))
        .await;
    assert_eq!(missing.status, 404);
    for caller in [SERVICE.to_owned(), client.token(json!({"user_id": "u"})).await] {
        let body = Some(json!({"status": "resolved"}).to_string());
        let refused = client
            .send_to(&client.stack.url(), Method::PATCH, &path, Some(&caller), body)
            .await;
        assert_eq!(refused.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_turns_out_worse_rises_until_somebody_looks() {
    let client = start().await;
    for (risk, wanted) in [(40, 40), (60, 60), (55, 60)] {
        client.anomaly("u", risk).await;
        client.drain().await;
        assert_eq!(listed(&client, "user_id=u").await[0]["risk_score"], wanted);
        assert_eq!(alerts(&client).await.len(), usize::from(risk > 50 || wanted == 60));
    }
    let id = client.anomaly("u", 60).await;
    let reviewed = client
        .patch(&format!("{ANOMALIES}/{id}"), json!({"status": "investigating"}))
        .await;
    assert_eq!(reviewed.status, 200, "{reviewed:?}");
    client.anomaly("u", 90).await;
    client.drain().await;
    assert_eq!(listed(&client, "user_id=u").await[0]["risk_score"], 60);
    assert_eq!(alerts(&client).await.len(), 1);
    assert_eq!(told(&client).await.1.len(), 1);
}

/// The job raises what was found with a lower risk.
#[tokio::test(flavor = "multi_thread")]
async fn the_job_raises_what_turns_out_worse() {
    let client = start().await;
    let id = client.anomaly("u", 10).await;
    let mut hours = [80, 120].repeat(32);
    // The hour that it is about.
    hours[64 - 24] = 900;
    used(&client, "u", &hours, 0).await;
    client.drain().await;
    let recorded = listed(&client, "user_id=u").await;
    let raised = recorded.iter().find(|one| one["id"] == id.as_str());
    assert!(
        raised.is_some_and(|one| one["risk_score"].as_u64() >= Some(70)),
        "{id} in {recorded:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_filters_and_pages_and_are_ones_own() {
    let client = start().await;
    for user in ["a", "b"] {
        used(&client, user, &hundred(900), 0).await;
    }
    client.drain().await;
    for user in ["a", "b"] {
        found(&client, user, "all").await;
    }
    let all = listed(&client, "").await;
    let own = listed(&client, "user_id=a").await;
    assert_eq!(all.len(), own.len() + listed(&client, "user_id=b").await.len());
    assert!(own.len() >= 2 && own.iter().all(|one| one["user_id"] == "a"));
    let by_page = listed(&client, "limit=1").await;
    assert_eq!(by_page.len(), all.len(), "every page of one");
    for (query, wanted) in [
        ("user_id=a&status=detected", own.len()),
        ("user_id=a&status=resolved", 0),
        ("user_id=a&severity=low", 0),
        (
            "user_id=a&severity=critical",
            own.iter().filter(|one| one["severity"] == "critical").count(),
        ),
        ("user_id=a&metric_type=api_calls&subscription_id=none", own.len()),
        ("user_id=a&metric_type=ocr_operations", 0),
    ] {
        assert_eq!(listed(&client, query).await.len(), wanted, "{query}");
    }
    // Found long ago.
    client.clock(json!({"advance_seconds": 86_400 * 31})).await;
    assert_eq!(listed(&client, "user_id=a").await.len(), 0);
    assert_eq!(listed(&client, "user_id=a&days=32").await.len(), own.len());
    let other = client.token(json!({"user_id": "c"})).await;
    let refused = client.get(&format!("{ANOMALIES}?user_id=a"), &other).await;
    assert_eq!(refused.status, 403);
    assert_eq!(client.get(ANOMALIES, &other).await.body["anomalies"], json!([]));
    assert_eq!(client.get(ANOMALIES, ADMIN).await.status, 200);
    assert_eq!(client.get(ANOMALIES, SERVICE).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_country_is_noted_and_alarms_nobody() {
    let client = start().await;
    for (index, country) in ["de", "DE", "DE"]
        .iter()
        .cycle()
        .take(14)
        .chain(["au"].iter())
        .enumerate()
    {
        let index = i64::try_from(index).expect("small");
        let at = hour() - TimeDelta::minutes(60 * (15 - index) + index * index % 7);
        let body = json!({"user_id": "u", "metric_type": METRIC, "metric_value": 1, "timestamp": at.to_rfc3339(),
            "enforce": false, "metadata": {"country": country}});
        assert_eq!(client.track(body).await.status, 201);
    }
    client.drain().await;
    let anomalies = found(&client, "u", "pattern").await;
    assert_eq!(anomalies.len(), 1, "{anomalies:?}");
    assert_eq!(anomalies[0]["reasons"][0]["code"], "new_country");
    assert_eq!(
        (&anomalies[0]["risk_score"], &anomalies[0]["severity"]),
        (&json!(40), &json!("medium"))
    );
    client.drain().await;
    assert_eq!(alerts(&client).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_same_answer() {
    let client = start().await;
    used(&client, "u", &hundred(500), 0).await;
    client.drain().await;
    let path = format!("{DETECT}?user_id=u&metric_type={METRIC}");
    let first = client.keyed(Method::POST, &path, SERVICE, "k", None).await;
    client
        .patch(
            &format!(
                "{ANOMALIES}/{}",
                first.body["anomalies"][0]["id"].as_str().expect("an id")
            ),
            json!({"status": "resolved"}),
        )
        .await;
    let again = client.keyed(Method::POST, &path, SERVICE, "k", None).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = client
        .keyed(Method::POST, &format!("{path}&days=7"), SERVICE, "k", None)
        .await;
    assert_eq!(
        (other.status, &other.body["code"]),
        (409, &json!("idempotency_conflict"))
    );
}
