//! The audit log: every change an administrator makes is in it once, with who, what, from what to
//! what and from where; and it is found again.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    callers::{self, Made, Needs},
    support::{ADMIN, Answer, Client, SERVICE},
};

const LOG: &str = "/api/v1/usage/admin/audit-log";

/// Changes of settings, which services make, too.
const SETTINGS: [&str; 3] = ["/thresholds", "/notification-settings", "/webhook-endpoints"];

async fn send(client: &Client, line: &str, body: &Value, made: &Made) -> Answer {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let media_type = if path.ends_with("/import") {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let headers = [("authorization", "Bearer mk_dev_admin"), ("content-type", media_type)];
    let url = format!("{}{}", client.stack.url(), made.named(path));
    // What is changed must differ from what was made.
    let text = body.to_string().replace("CALLER", "boss");
    let text = match method {
        "PUT" => text.replace(r#""threshold_value":1"#, r#""threshold_value":2"#),
        _ => text,
    };
    let body = (!body.is_null()).then(|| text.into_bytes());
    client
        .send_with(method.parse().expect("a method"), url, &headers, body)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_once() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let body = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1});
    let event = client.track(body).await;
    let spare = json!({"name": "spare", "scopes": ["usage:read"]});
    let spare = client.post("/api/v1/usage/admin/api-keys", ADMIN, spare).await;
    let teapots = json!({"metric_type": "teapots", "kind": "sum", "unit": "kettles"});
    client.post("/api/v1/usage/admin/metric-types", ADMIN, teapots).await;
    let keys = client.all("/api/v1/usage/admin/api-keys", "api_keys").await;
    let is_admin = |key: &&Value| {
        key["scopes"]
            .as_array()
            .is_some_and(|all| all.contains(&json!("usage:admin")))
    };
    let boss = keys.iter().find(is_admin);
    let boss = &boss.expect("the administrator's key")["id"];
    let mut made = Made::start(&client).await;
    let (event, spare) = (&event.body["usage_id"], &spare.body["id"]);
    let endpoints = callers::endpoints(event.as_str().expect("an id"), spare.as_str().expect("an id"));
    let mut told = client.audit().await.len();
    let mut changes = 0;
    for (needs, line, body) in &endpoints {
        let is_change = needs == &Needs::Admin || SETTINGS.iter().any(|path| line.contains(path));
        // To reconcile changes nothing unless it repairs: see tests/reconcile.
        if line.starts_with("GET ") || line.ends_with("/reconcile") || !is_change {
            continue;
        }
        // What is reset must have been used.
        let body_of_event = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1});
        client.track(body_of_event).await;
        let answer = send(&client, line, body, &made).await;
        assert!((200..300).contains(&answer.status), "{line}: {answer:?}");
        let entries = client.audit().await;
        assert_eq!(entries.len(), told + 1, "{line}: {entries:?}");
        assert_entry(entries.last().expect("an entry"), line, &answer, boss);
        made.after(&client, line, &answer).await;
        told = client.audit().await.len();
        changes += 1;
    }
    println!("{changes} changes");
    assert!(changes > 20, "{changes}");
}

fn assert_entry(entry: &Value, line: &str, answer: &Answer, boss: &Value) {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    assert!(text("id").starts_with("aud_"), "{line}: {entry}");
    assert_eq!(entry["actor"], json!({"type": "api_key", "id": boss}), "{line}: who");
    assert!(
        text("action").contains('.') && !text("target").is_empty(),
        "{line}: what: {entry}"
    );
    // No secret is in the log, not even as a change.
    let is_secret = line.ends_with("/rotate-secret");
    assert_eq!(
        entry["before"] == entry["after"],
        is_secret,
        "{line}: what changed: {entry}"
    );
    assert!(entry["ip"].is_string(), "{line}: from where: {entry}");
    let request = answer.headers["x-request-id"].to_str().expect("a text");
    assert_eq!(text("request_id"), request, "{line}: in which request");
    assert!(text("at").parse::<DateTime<Utc>>().is_ok(), "{line}: when: {entry}");
    let fields = entry.as_object().expect("an object").len();
    assert_eq!(fields, 10, "{line}: {entry}");
}

/// A reset without anything to reset, the same override again, an import sent again with its key:
/// nothing new is told of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_is_not_told() {
    let client = Client::start().await;
    let line = json!({"id": "sub_u", "user_id": "u", "plan": "basic"}).to_string();
    let headers = [
        ("authorization", "Bearer mk_dev_admin"),
        ("content-type", "application/x-ndjson"),
        ("idempotency-key", "k"),
    ];
    for _ in 0..2 {
        let url = format!("{}/api/v1/usage/admin/subscriptions/import", client.stack.url());
        let imported = client
            .send_with(Method::POST, url, &headers, Some(line.clone().into_bytes()))
            .await;
        assert_eq!(imported.status, 200, "{imported:?}");
    }
    let reset = "/api/v1/usage/admin/quotas/reset?user_id=u";
    let reset = client.keyed(Method::POST, reset, ADMIN, "r", None).await;
    assert_eq!((reset.status, &reset.body["reset"]), (200, &json!([])));
    let actions = client.audit().await;
    let actions: Vec<&str> = actions.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions, ["subscription.create"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_over_the_days_newest_first() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-01T23:59:50Z"})).await;
    let mut names = Vec::new();
    let first: DateTime<Utc> = "2026-03-01T23:59:50Z".parse().expect("an instant");
    for (days, users) in [(0, 3), (1, 0), (2, 2), (45, 4), (46, 1)] {
        let day = first + TimeDelta::days(days);
        client.clock(json!({"now": day.to_rfc3339()})).await;
        for user in 0..users {
            let user = format!("{}-{user}", day.format("%d"));
            client.subscribe(&user, "basic").await;
            names.push(user);
        }
    }
    let users = |entries: &[Value]| -> Vec<String> {
        let user = |entry: &Value| entry["after"]["user_id"].as_str().map(str::to_owned);
        entries.iter().filter_map(user).collect()
    };
    names.reverse();
    // By default of the last 30 days.
    let recent = client.all(LOG, "entries").await;
    assert_eq!(users(&recent), names[..5]);
    // In pages of any size, over all days.
    for limit in [1, 2, 3, 200] {
        let path = format!("{LOG}?from=2026-01-01T00:00:00Z&limit={limit}");
        assert_eq!(users(&client.all(&path, "entries").await), names, "limit {limit}");
    }
    // One call looks through so many days and no more; then its cursor goes on.
    let first = client
        .get(&format!("{LOG}?from=1990-01-01T00:00:00Z&action=no.such"), ADMIN)
        .await;
    assert_eq!(first.body["entries"], json!([]));
    assert!(first.body["next_cursor"].is_string(), "{first:?}");

    let between = format!("{LOG}?from=2026-03-03T00:00:00Z&to=2026-03-04T00:00:00Z");
    assert_eq!(users(&client.all(&between, "entries").await), names[5..7]);
    let newest = &recent[0];
    let at = newest["at"].as_str().expect("an instant");
    let of = |filter: &str| format!("{LOG}?from=2026-01-01T00:00:00Z&{filter}");
    assert_eq!(
        client.all(&of(&format!("to={at}")), "entries").await.len(),
        names.len() - 1,
        "exclusive"
    );
    assert_eq!(
        client.all(&format!("{LOG}?from={at}"), "entries").await.len(),
        1,
        "inclusive"
    );
    let target = newest["target"].as_str().expect("a target");
    assert_eq!(
        client.all(&of(&format!("target={target}")), "entries").await,
        std::slice::from_ref(newest)
    );
    let actor = newest["actor"]["id"].as_str().expect("an id");
    assert_eq!(
        client.all(&of(&format!("actor={actor}")), "entries").await.len(),
        names.len()
    );
    assert_eq!(client.all(&of("actor=key_nobody"), "entries").await.len(), 0);
    assert_eq!(client.all(&of("action=quota.override"), "entries").await.len(), 0);
    let refused = client.get(LOG, SERVICE).await;
    assert_eq!(refused.status, 403);
}
