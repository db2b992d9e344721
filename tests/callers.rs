//! Who may do what: every endpoint by every kind of caller.

mod made;

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

pub use made::Made;

use crate::support::{ADMIN, Answer, Client, SERVICE, TRACK};

const API_KEYS: &str = "/api/v1/usage/admin/api-keys";

/// What an endpoint asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// To read a user's data.
    Read,
    /// To read one object: that of another user is not there.
    ReadOne,
    /// To report a user's usage.
    Write,
    /// To report the usage of anybody that each of many events names, answered one by one.
    WriteEach,
    /// To change one object: that of another user is not there.
    WriteOne,
    /// To read what a user's token may not.
    ReadByService,
    /// To report or change what a user's token may not.
    WriteByService,
    /// To administer.
    Admin,
}

impl Needs {
    /// The scope of an API key that has it.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Read | Self::ReadOne | Self::ReadByService => "usage:read",
            Self::Write | Self::WriteEach | Self::WriteOne | Self::WriteByService => "usage:write",
            Self::Admin => "usage:admin",
        }
    }
}

/// Every endpoint, about user `u`: what it needs, its method and path, a body. Words in capitals in
/// a path are ids that whoever sends it knows.
pub fn endpoints(event: &str, key: &str) -> Vec<(Needs, String, Value)> {
    let usage = |needs, line: &str, body| {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        (needs, format!("{method} /api/v1/usage/{path}"), body)
    };
    let (read, admin) = (Needs::Read, Needs::Admin);
    let event_body = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1});
    let quota = json!({"user_id": "u", "metric_type": "api_calls", "quota_limit": 100_000});
    let threshold =
        json!({"user_id": "u", "metric_type": "api_calls", "threshold_type": "absolute", "threshold_value": 1});
    let reservation = json!({"user_id": "u", "metric_type": "api_calls", "quantity": 1});
    let endpoint = json!({"user_id": "u", "url": "https://9.9.9.9/usage"});
    let cloud_event = json!({"specversion": "1.0", "id": "k", "source": "/", "type": "api_calls", "subject": "u"});
    let teapots = json!({"metric_type": "teapots", "kind": "sum", "unit": "pots"});
    let gold = json!({"name": "Gold", "currency": "EUR", "quotas": {}});
    let by_caller = json!({"metric_type": "pots_CALLER", "kind": "sum", "unit": "pots"});
    vec![
        (Needs::Nothing, "GET /".to_owned(), Value::Null),
        (Needs::Nothing, "GET /health".to_owned(), Value::Null),
        (Needs::Nothing, "GET /api/v1/openapi.json".to_owned(), Value::Null),
        (Needs::Nothing, "GET /api/v1/docs".to_owned(), Value::Null),
        (Needs::WriteByService, "POST /api/v1/events".to_owned(), cloud_event),
        usage(Needs::WriteEach, "POST track/batch", json!({"events": [event_body]})),
        usage(Needs::Write, "POST track", event_body),
        usage(read, "GET summary?user_id=u", Value::Null),
        usage(read, "GET quotas?user_id=u", Value::Null),
        usage(read, "GET check-quota/api_calls?user_id=u", Value::Null),
        usage(read, "GET events?user_id=u", Value::Null),
        usage(read, "GET aggregations/api_calls?user_id=u", Value::Null),
        usage(read, "GET trends/api_calls?user_id=u", Value::Null),
        usage(
            read,
            "POST forecast",
            json!({"user_id": "u", "metric_type": "api_calls"}),
        ),
        usage(read, "GET forecasts?user_id=u", Value::Null),
        usage(
            read,
            "POST anomalies/detect?user_id=u&metric_type=api_calls",
            Value::Null,
        ),
        usage(read, "GET anomalies?user_id=u", Value::Null),
        usage(admin, "PATCH anomalies/ANOMALY", json!({"status": "investigating"})),
        usage(
            Needs::Write,
            "POST reports/generate",
            json!({"user_id": "u", "report_format": "json"}),
        ),
        usage(read, "GET reports?user_id=u", Value::Null),
        usage(Needs::ReadOne, "GET reports/REPORT", Value::Null),
        usage(
            Needs::ReadOne,
            "GET reports/download/REPORT.json?redirect=false",
            Value::Null,
        ),
        usage(Needs::WriteOne, "DELETE reports/REPORT", Value::Null),
        usage(Needs::Write, "POST report-schedules", schedule()),
        usage(read, "GET report-schedules?user_id=u", Value::Null),
        usage(Needs::ReadOne, "GET report-schedules/SCHEDULE", Value::Null),
        usage(Needs::WriteOne, "DELETE report-schedules/SCHEDULE", Value::Null),
        usage(Needs::ReadOne, &format!("GET events/{event}"), Value::Null),
        usage(Needs::Write, "POST reservations", reservation),
        usage(read, "GET reservations?user_id=u", Value::Null),
        usage(Needs::ReadOne, "GET reservations/HELD", Value::Null),
        usage(Needs::WriteOne, "POST reservations/HELD/renew", json!({})),
        usage(Needs::WriteOne, "POST reservations/USED/commit", json!({})),
        usage(Needs::WriteOne, "POST reservations/FREED/release", Value::Null),
        usage(
            admin,
            &format!("POST events/{event}/void"),
            json!({"reason": "a mistake"}),
        ),
        usage(read, "GET alerts?user_id=u", Value::Null),
        usage(Needs::WriteOne, "PATCH alerts/alr_u/acknowledge", Value::Null),
        usage(Needs::WriteOne, "PATCH alerts/alr_u/resolve", Value::Null),
        usage(Needs::Write, "POST thresholds", threshold.clone()),
        usage(read, "GET thresholds?user_id=u", Value::Null),
        usage(Needs::ReadOne, "GET thresholds/THRESHOLD", Value::Null),
        usage(Needs::Write, "PUT thresholds/THRESHOLD", threshold),
        usage(Needs::WriteOne, "DELETE thresholds/THRESHOLD", Value::Null),
        usage(read, "GET notification-settings?user_id=u", Value::Null),
        usage(
            Needs::Write,
            "PUT notification-settings",
            json!({"user_id": "u", "notification_channels": ["sms"]}),
        ),
        usage(Needs::WriteByService, "POST webhook-endpoints", endpoint),
        usage(Needs::ReadByService, "GET webhook-endpoints?user_id=u", Value::Null),
        usage(
            Needs::WriteByService,
            "POST webhook-endpoints/ENDPOINT/rotate-secret",
            Value::Null,
        ),
        usage(Needs::WriteByService, "DELETE webhook-endpoints/ENDPOINT", Value::Null),
        usage(
            admin,
            "POST admin/subscriptions",
            json!({"user_id": "w", "plan": "basic", "id": "w"}),
        ),
        usage(admin, "GET admin/subscriptions", Value::Null),
        usage(admin, "GET admin/subscriptions/w", Value::Null),
        usage(admin, "PATCH admin/subscriptions/w", json!({"plan": "professional"})),
        usage(
            admin,
            "POST admin/subscriptions/import",
            json!({"user_id": "x", "plan": "basic"}),
        ),
        usage(admin, "POST admin/subscriptions/w/renew", json!({})),
        usage(
            admin,
            "POST admin/subscriptions/w/cancel",
            json!({"at_period_end": true}),
        ),
        usage(admin, "PUT admin/quotas", quota),
        usage(
            admin,
            "DELETE admin/quotas?user_id=u&metric_type=api_calls",
            Value::Null,
        ),
        usage(
            admin,
            "POST admin/quotas/reset?user_id=u&metric_type=api_calls",
            Value::Null,
        ),
        usage(admin, "GET admin/adjustments?user_id=u", Value::Null),
        usage(admin, "GET admin/statements", Value::Null),
        usage(admin, "GET admin/audit-log", Value::Null),
        usage(admin, "GET admin/metrics", Value::Null),
        usage(admin, "GET admin/users", Value::Null),
        usage(admin, "DELETE admin/users/nobody_CALLER", Value::Null),
        usage(admin, "POST admin/reconcile", json!({"user_id": "u"})),
        usage(admin, "GET admin/plans", Value::Null),
        usage(admin, "GET admin/plans/basic", Value::Null),
        usage(admin, "PUT admin/plans/gold", gold),
        usage(admin, "GET admin/metric-types", Value::Null),
        usage(admin, "POST admin/metric-types", by_caller),
        usage(admin, "PUT admin/metric-types/teapots", teapots),
        usage(
            admin,
            "POST admin/api-keys",
            json!({"name": "n", "scopes": ["usage:read"]}),
        ),
        usage(admin, "GET admin/api-keys", Value::Null),
        usage(admin, &format!("DELETE admin/api-keys/{key}"), Value::Null),
    ]
}

/// What one token says, signed as another.
fn forged(says: &str, signed: &str) -> String {
    let content = says.rsplit_once('.').expect("a token").0;
    let signature = signed.rsplit_once('.').expect("a token").1;
    format!("{content}.{signature}")
}

/// Every kind of caller.
async fn callers(client: &Client) -> BTreeMap<&'static str, Option<String>> {
    let key = async |scopes: &[&str]| {
        let body = json!({"name": "k", "scopes": scopes});
        let made = client.post(API_KEYS, ADMIN, body).await;
        let text = made.body["key"].as_str().expect("a key").to_owned();
        (made.body["id"].as_str().expect("an id").to_owned(), text)
    };
    let (revoked_id, revoked) = key(&["usage:admin"]).await;
    let path = format!("{API_KEYS}/{revoked_id}");
    let revoke = client
        .send_to(&client.stack.url(), Method::DELETE, &path, Some(ADMIN), None)
        .await;
    assert_eq!(revoke.status, 204, "{revoke:?}");
    let soon = (client.now() + std::time::Duration::from_secs(30)).to_rfc3339();
    let body = json!({"name": "k", "scopes": ["usage:admin"], "expires_at": soon});
    let expired_key = client.post(API_KEYS, ADMIN, body).await.body["key"]
        .as_str()
        .map(str::to_owned);
    assert!(expired_key.is_some());
    client.clock(json!({"advance_seconds": 31})).await;
    let token = async |body: Value| Some(client.token(body).await);
    let user = token(json!({"user_id": "u"})).await;
    let other = token(json!({"user_id": "v"})).await;
    let forged = user
        .as_deref()
        .zip(other.as_deref())
        .map(|(user, other)| forged(user, other));
    BTreeMap::from([
        ("nobody", None),
        ("no token", Some("nonsense".to_owned())),
        ("forged token", forged),
        (
            "expired token",
            token(json!({"user_id": "u", "expires_in_seconds": -1})).await,
        ),
        ("unknown key", Some("mk_unknown".to_owned())),
        ("revoked key", Some(revoked)),
        ("expired key", expired_key),
        ("user", user),
        ("other user", other),
        ("reading key", Some(key(&["usage:read"]).await.1)),
        ("writing key", Some(key(&["usage:write"]).await.1)),
        ("service", Some(SERVICE.to_owned())),
        ("administering key", Some(key(&["usage:admin"]).await.1)),
        (
            "administrator's token",
            token(json!({"user_id": "boss", "admin": true})).await,
        ),
    ])
}

/// The documented answer; `Ok` is any success.
fn expected(needs: Needs, caller: &str) -> Result<(), u16> {
    match (needs, caller) {
        (Needs::Nothing, _) => Ok(()),
        (_, "nobody" | "no token" | "forged token" | "expired token") => Err(401),
        (_, "unknown key" | "revoked key" | "expired key") => Err(401),
        (_, "administering key" | "administrator's token") => Ok(()),
        (Needs::Admin, _) => Err(403),
        (Needs::ReadByService | Needs::WriteByService, "user" | "other user") => Err(403),
        (_, "user" | "service") => Ok(()),
        (Needs::WriteEach, "other user") => Ok(()),
        (Needs::ReadOne | Needs::WriteOne, "other user") => Err(404),
        (_, "other user") => Err(403),
        (Needs::Read | Needs::ReadOne | Needs::ReadByService, "reading key") => Ok(()),
        (Needs::Write | Needs::WriteEach | Needs::WriteOne | Needs::WriteByService, "writing key") => Ok(()),
        (_, "reading key" | "writing key") => Err(403),
        (_, other) => panic!("{other} is in no table"),
    }
}

fn assert_answered(answer: &Answer, expected: Result<(), u16>, what: &str) {
    assert!(answer.headers.contains_key("x-request-id"), "{what}");
    match expected {
        Ok(()) => assert!(matches!(answer.status, 200..=204), "{what}: {answer:?}"),
        Err(status) => {
            assert_eq!(answer.status, status, "{what}: {answer:?}");
            let codes = [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found")];
            let code = codes.into_iter().find(|(of, _)| *of == status).map(|(_, code)| code);
            assert_eq!(answer.body["code"].as_str(), code, "{what}");
            assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{what}");
        }
    }
}

fn schedule() -> Value {
    json!({"user_id": "u", "report_type": "summary", "report_format": "csv", "frequency": "daily",
        "recipients": ["u@example.com"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_by_every_caller() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let body = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1});
    let event = client.track(body).await.body["usage_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let spare = client
        .post(API_KEYS, ADMIN, json!({"name": "spare", "scopes": ["usage:read"]}))
        .await;
    let spare = spare.body["id"].as_str().expect("an id");
    let teapots = json!({"metric_type": "teapots", "kind": "sum", "unit": "pots"});
    let made = client.post("/api/v1/usage/admin/metric-types", ADMIN, teapots).await;
    assert_eq!(made.status, 201, "{made:?}");
    client.raise("alr_u", "u", |_| {}).await;
    let callers = callers(&client).await;
    let endpoints = endpoints(&event, spare);
    let mut made = Made::start(&client).await;
    for (needs, line, body) in &endpoints {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        for (caller, credentials) in &callers {
            // What may be made only once has the caller in its name.
            let own = caller.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            let body = (!body.is_null()).then(|| body.to_string().replace("CALLER", &own));
            let method = method.parse().expect("a method");
            // One line is a file of lines.
            let is_import = path.ends_with("/import");
            let media_type = if is_import {
                "application/x-ndjson"
            } else {
                "application/json"
            };
            let bearer = credentials
                .as_deref()
                .map(|credentials| format!("Bearer {credentials}"));
            let headers = [("authorization", bearer.as_deref()), ("content-type", Some(media_type))];
            let headers: Vec<_> = headers
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let url = format!("{}{}", client.stack.url(), made.named(path));
            let body = body.map(String::into_bytes);
            let answer = client.send_with(method, url, &headers, body).await;
            made.after(&client, line, &answer).await;
            assert_answered(&answer, expected(*needs, caller), &format!("{line} by {caller}"));
        }
    }
    println!("{} endpoints, {} callers", endpoints.len(), callers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_token_only_adds_to_sums_now() {
    let client = Client::start().await;
    let user = client.token(json!({"user_id": "u"})).await;
    let an_hour_ago = (client.now() - std::time::Duration::from_secs(3600)).to_rfc3339();
    let refused = [
        json!({"metric_type": "storage_usage", "metric_value": 1, "mode": "level"}),
        json!({"metric_type": "storage_usage", "metric_value": 1, "mode": "delta"}),
        json!({"metric_type": "api_calls", "metric_value": 1, "enforce": false}),
        json!({"metric_type": "api_calls", "metric_value": 1, "backfill": true}),
        json!({"metric_type": "api_calls", "metric_value": 0}),
        json!({"metric_type": "api_calls", "metric_value": 1, "timestamp": an_hour_ago}),
    ];
    for body in refused {
        assert_eq!(client.post(TRACK, &user, body.clone()).await.status, 403, "{body}");
    }
    assert_eq!(client.used("u", "api_calls").await, json!(0), "nothing was counted");
    let body = json!({"metric_type": "api_calls", "metric_value": 1, "idempotency_key": "k"});
    let own = client.post(TRACK, &user, body.clone()).await;
    assert_eq!(own.status, 201);
    // A service's event of the same name is another.
    let mut service = body;
    service["user_id"] = json!("u");
    let other = client.track(service).await;
    assert_eq!(other.status, 201);
    assert_ne!(own.body["usage_id"], other.body["usage_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_its_callers_and_its_querys() {
    let client = Client::start().await;
    for _ in 0..3 {
        client
            .track(json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1}))
            .await;
    }
    let page = client.get("/api/v1/usage/events?user_id=u&limit=2", SERVICE).await;
    let cursor = page.body["next_cursor"].as_str().expect("a cursor").to_owned();
    let with = |query: &str| format!("/api/v1/usage/events?{query}&cursor={cursor}");
    let rest = client.get(&with("user_id=u&limit=5"), SERVICE).await;
    assert_eq!(
        (rest.status, rest.body["events"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    assert_eq!(rest.body["next_cursor"], Value::Null);
    assert_eq!(
        client.get(&with("user_id=v"), SERVICE).await.status,
        400,
        "another query"
    );
    assert_eq!(
        client.get(&with("user_id=u"), ADMIN).await.status,
        400,
        "another caller"
    );
    let user = client.token(json!({"user_id": "u"})).await;
    assert_eq!(client.get(&with("user_id=u"), &user).await.status, 400, "a user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_lives_a_minute_at_most() {
    let client = Client::start().await;
    let made = client
        .post(API_KEYS, ADMIN, json!({"name": "k", "scopes": ["usage:read"]}))
        .await;
    let key = made.body["key"].as_str().expect("a key").to_owned();
    let read = async || client.get("/api/v1/usage/summary?user_id=u", &key).await.status;
    assert_eq!(read().await, 200);
    let path = format!("{API_KEYS}/{}", made.body["id"].as_str().expect("an id"));
    for _ in 0..2 {
        let revoked = client
            .send_to(&client.stack.url(), Method::DELETE, &path, Some(ADMIN), None)
            .await;
        assert_eq!(revoked.status, 204, "twice is the same");
    }
    client.clock(json!({"advance_seconds": 60})).await;
    assert_eq!(read().await, 401);
    let keys = client.get(API_KEYS, ADMIN).await.body;
    let listed = keys["api_keys"]
        .as_array()
        .expect("keys")
        .iter()
        .find(|key| key["id"] == made.body["id"]);
    let listed = listed.expect("it stays listed");
    assert_eq!(listed["key"], Value::Null, "no list shows a key");
    assert!(
        listed["revoked_at"].is_string() && listed["last_used_at"].is_string(),
        "{listed}"
    );
}
