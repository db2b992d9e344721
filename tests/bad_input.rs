//! Bad input: the documented status, code and pointer; nothing counted, nothing leaked.

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Client, SERVICE, TRACK};

/// Bodies of `POST /usage/track`: the answer's status and code, then pointer and code of a field.
const TRACKED: &str = r##"
400 malformed_json                       | {
400 malformed_json                       |
400 malformed_json                       | {"user_id":"u",}
422 validation_failed - wrong_type       | []
422 validation_failed - wrong_type       | 1
422 validation_failed /user_id required       | {}
422 validation_failed /metric_type required   | {}
422 validation_failed /metric_value required  | {}
422 validation_failed /user_id wrong_type     | {"user_id":1.5,"metric_type":"api_calls","metric_value":1}
422 validation_failed /user_id wrong_type     | {"user_id":["u"],"metric_type":"api_calls","metric_value":1}
422 validation_failed /user_id invalid_format | {"user_id":"a b","metric_type":"api_calls","metric_value":1}
422 validation_failed /user_id invalid_format | {"user_id":"","metric_type":"api_calls","metric_value":1}
422 validation_failed /subscription_id invalid_format | {"user_id":"u","subscription_id":"#","metric_type":"api_calls","metric_value":1}
422 validation_failed /metric_type wrong_type    | {"user_id":"u","metric_type":5,"metric_value":1}
422 validation_failed /metric_type unknown_value | {"user_id":"u","metric_type":"teapots","metric_value":1}
422 validation_failed /metric_value required     | {"user_id":"u","metric_type":"api_calls","metric_value":null}
422 validation_failed /metric_value wrong_type   | {"user_id":"u","metric_type":"api_calls","metric_value":true}
422 validation_failed /metric_value wrong_type   | {"user_id":"u","metric_type":"api_calls","metric_value":[1]}
422 validation_failed /metric_value out_of_range | {"user_id":"u","metric_type":"api_calls","metric_value":-1}
422 validation_failed /metric_value out_of_range | {"user_id":"u","metric_type":"api_calls","metric_value":1e13}
422 validation_failed /metric_value out_of_range | {"user_id":"u","metric_type":"api_calls","metric_value":1e999999999}
422 validation_failed /metric_value out_of_range | {"user_id":"u","metric_type":"api_calls","metric_value":1000000000000.000000001}
422 validation_failed /metric_value too_precise  | {"user_id":"u","metric_type":"api_calls","metric_value":0.0000000001}
422 validation_failed /metric_value invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":"abc"}
422 validation_failed /metric_value invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":"NaN"}
422 validation_failed /metric_value invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":""}
422 validation_failed /mode not_allowed       | {"user_id":"u","metric_type":"api_calls","metric_value":1,"mode":"level"}
422 validation_failed /mode required          | {"user_id":"u","metric_type":"storage_usage","metric_value":1}
422 validation_failed /mode unknown_value     | {"user_id":"u","metric_type":"storage_usage","metric_value":1,"mode":"set"}
422 validation_failed /metric_value out_of_range | {"user_id":"u","metric_type":"storage_usage","metric_value":-1,"mode":"level"}
422 metric_kind_mismatch                      | {"user_id":"u","metric_type":"user_sessions","metric_value":1}
422 below_zero /metric_value out_of_range     | {"user_id":"u","metric_type":"storage_usage","metric_value":-1,"mode":"delta"}
422 validation_failed /timestamp wrong_type     | {"user_id":"u","metric_type":"api_calls","metric_value":1,"timestamp":1700000000}
422 validation_failed /timestamp invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":1,"timestamp":"yesterday"}
422 validation_failed /timestamp out_of_range   | {"user_id":"u","metric_type":"api_calls","metric_value":1,"timestamp":"2001-01-01T00:00:00Z"}
422 validation_failed /timestamp out_of_range   | {"user_id":"u","metric_type":"api_calls","metric_value":1,"timestamp":"2099-01-01T00:00:00Z"}
422 validation_failed /timestamp out_of_range   | {"user_id":"u","metric_type":"api_calls","metric_value":1,"backfill":true,"timestamp":"2099-01-01T00:00:00Z"}
422 validation_failed /resource_id invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":1,"resource_id":""}
422 validation_failed /endpoint invalid_format    | {"user_id":"u","metric_type":"api_calls","metric_value":1,"endpoint":"a\u0000b"}
422 validation_failed /operation wrong_type       | {"user_id":"u","metric_type":"api_calls","metric_value":1,"operation":{}}
422 validation_failed /response_time_ms out_of_range | {"user_id":"u","metric_type":"api_calls","metric_value":1,"response_time_ms":86400001}
422 validation_failed /response_time_ms wrong_type   | {"user_id":"u","metric_type":"api_calls","metric_value":1,"response_time_ms":"12"}
422 validation_failed /response_time_ms invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":1,"response_time_ms":1.5}
422 validation_failed /error_occurred wrong_type  | {"user_id":"u","metric_type":"api_calls","metric_value":1,"error_occurred":1}
422 validation_failed /enforce wrong_type         | {"user_id":"u","metric_type":"api_calls","metric_value":1,"enforce":"yes"}
422 validation_failed /enforce not_allowed        | {"user_id":"u","metric_type":"api_calls","metric_value":1,"backfill":true,"enforce":true}
422 validation_failed /metadata wrong_type        | {"user_id":"u","metric_type":"api_calls","metric_value":1,"metadata":"x"}
422 validation_failed /idempotency_key invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":1,"idempotency_key":""}
422 validation_failed /idempotency_key invalid_format | {"user_id":"u","metric_type":"api_calls","metric_value":1,"idempotency_key":"ä"}
422 validation_failed /nonsense unknown_field     | {"user_id":"u","metric_type":"api_calls","metric_value":1,"nonsense":1}
422 validation_failed /a~1b~0 unknown_field       | {"user_id":"u","metric_type":"api_calls","metric_value":1,"a/b~":1}
404 not_found                                     | {"user_id":"u","subscription_id":"sub_nobody","metric_type":"api_calls","metric_value":1}
404 not_found                                     | {"user_id":"v","subscription_id":"sub_u","metric_type":"api_calls","metric_value":1}
"##;

/// What comes without a body, by a service.
const READ: &str = include_str!("bad_input/reads.txt");

/// What an administrator sends: method, path and body.
const ADMINISTERED: &str = include_str!("bad_input/administered.txt");

/// What a service sends about alerts: method, path and body.
const ALERTED: &str = include_str!("bad_input/alerts.txt");

/// What a service sends about reservations: method, path and body.
const RESERVED: &str = include_str!("bad_input/reservations.txt");

/// A row: what is expected, and the columns of what is sent.
struct Row<'a> {
    status: u16,
    code: &'a str,
    field: Option<(&'a str, &'a str)>,
    sent: Vec<&'a str>,
}

fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        let (expected, sent) = line.split_once('|').expect("a column of what is sent");
        let mut words = expected.split_whitespace();
        let status = words.next().expect("a status").parse().expect("a number");
        Row {
            status,
            code: words.next().expect("a code"),
            field: words.next().zip(words.next()),
            sent: sent.split(" |").map(str::trim).collect(),
        }
    })
}

impl Row<'_> {
    fn assert_answered(&self, answer: &Answer) {
        let shown = format!("{:?}: {answer:?}", self.sent);
        assert_problem(answer, self.status, self.code, &shown);
        let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
        if let Some((pointer, code)) = self.field {
            let pointer = if pointer == "-" { "" } else { pointer };
            let named = |error: &Value| error["pointer"] == json!(pointer) && error["code"] == json!(code);
            assert!(errors.iter().any(named), "{shown}");
            let explained = |error: &Value| error["detail"].as_str().is_some_and(|detail| !detail.is_empty());
            assert!(errors.iter().all(explained), "{shown}");
        }
    }
}

/// A problem document as RFC 9457 and the contract have it, with nothing of the inside in it.
fn assert_problem(answer: &Answer, status: u16, code: &str, shown: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{shown}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{shown}");
    assert_eq!(answer.body["status"], json!(status), "{shown}");
    assert_eq!(
        answer.body["type"],
        json!(format!("urn:usage-metering:problem:{code}")),
        "{shown}"
    );
    assert_eq!(
        answer.body["request_id"].as_str(),
        answer.headers["x-request-id"].to_str().ok(),
        "{shown}"
    );
    for member in ["title", "detail", "instance"] {
        assert!(
            answer.body[member].as_str().is_some_and(|text| !text.is_empty()),
            "{member} {shown}"
        );
    }
    let text = answer.body.to_string().to_lowercase();
    for inside in [
        "dynamo",
        "serde",
        "expression",
        "panicked",
        "sdk",
        "#none",
        "sub#",
        "evt#",
    ] {
        assert!(!text.contains(inside), "{inside} is of the inside: {text}");
    }
}

async fn start() -> Client {
    let client = Client::start().await;
    let body = json!({"id": "sub_u", "user_id": "u", "plan": "basic"});
    let created = client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    assert_eq!(created.status, 201);
    client
}

async fn assert_nothing_counted(client: &Client) {
    for user in ["u", "v"] {
        let events = client
            .get(&format!("/api/v1/usage/events?user_id={user}"), SERVICE)
            .await;
        assert_eq!(events.body["events"], json!([]), "{user}");
        assert_eq!(client.used(user, "api_calls").await, json!(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_an_event_is_named_where_it_is() {
    let client = start().await;
    for row in rows(TRACKED) {
        let body = Some(row.sent[0].to_owned());
        let url = client.stack.url();
        let answer = client.send_to(&url, Method::POST, TRACK, Some(SERVICE), body).await;
        row.assert_answered(&answer);
    }
    assert_nothing_counted(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_query_is_named_where_it_is() {
    let client = start().await;
    for row in rows(READ) {
        let (method, path) = row.sent[0].split_once(' ').expect("a method and a path");
        let method = method.parse().expect("a method");
        let answer = client
            .send_to(&client.stack.url(), method, path, Some(SERVICE), None)
            .await;
        row.assert_answered(&answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_an_administrator_is_named_where_it_is() {
    let client = start().await;
    let list = async || client.get("/api/v1/usage/admin/subscriptions", ADMIN).await.body;
    let before = list().await;
    for row in rows(ADMINISTERED) {
        let (method, path) = row.sent[0].split_once(' ').expect("a method and a path");
        let path = format!("/api/v1/usage/admin/{path}");
        // A body is sent where there is one, and where one is needed and missing.
        let body = row.sent[1];
        let body = (!body.is_empty() || row.code == "malformed_json").then(|| body.to_owned());
        let method = method.parse().expect("a method");
        let answer = client
            .send_to(&client.stack.url(), method, &path, Some(ADMIN), body)
            .await;
        row.assert_answered(&answer);
    }
    assert_eq!(list().await, before, "nothing was changed");
    let keys = client.get("/api/v1/usage/admin/api-keys", ADMIN).await.body;
    assert_eq!(
        keys["api_keys"].as_array().map(Vec::len),
        Some(2),
        "the two of the stack"
    );
}

/// Sends each row's method, path and body as a service; it is answered as the row says.
async fn send_each(client: &Client, table: &str) {
    for row in rows(table) {
        let (method, path) = row.sent[0].split_once(' ').expect("a method and a path");
        let path = format!("/api/v1/usage/{path}");
        let body = row.sent[1];
        let body = (!body.is_empty() || row.code == "malformed_json").then(|| body.to_owned());
        let method = method.parse().expect("a method");
        let answer = client
            .send_to(&client.stack.url(), method, &path, Some(SERVICE), body)
            .await;
        row.assert_answered(&answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_about_alerts_is_named_where_it_is() {
    let client = start().await;
    send_each(&client, ALERTED).await;
    for (path, name) in [("thresholds", "thresholds"), ("webhook-endpoints", "webhook_endpoints")] {
        let listed = client.get(&format!("/api/v1/usage/{path}?user_id=u"), SERVICE).await;
        assert_eq!(listed.body[name], json!([]), "nothing was made");
    }
    let settings = client
        .get("/api/v1/usage/notification-settings?user_id=u", SERVICE)
        .await;
    assert_eq!(settings.body["email"], Value::Null, "nothing was set");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_in_a_table() {
    let client = start().await;
    let url = client.stack.url();
    let event = |field: &str, value: Value| {
        let mut event = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1});
        event[field] = value;
        event.to_string().into_bytes()
    };
    let keys: serde_json::Map<String, Value> = (0..51).map(|index| (format!("{index}"), json!(1))).collect();
    let cases: [(&str, Vec<u8>, u16, &str, &str); 9] = [
        ("too deep", b"[".repeat(500), 400, "malformed_json", ""),
        (
            "bad UTF-8",
            b"{\"user_id\":\"\xff\"}".to_vec(),
            400,
            "malformed_json",
            "",
        ),
        (
            "above 2 MiB",
            vec![b' '; 2 * 1024 * 1024 + 1],
            413,
            "payload_too_large",
            "",
        ),
        (
            "a long id",
            event("user_id", json!("x".repeat(129))),
            422,
            "/user_id",
            "too_long",
        ),
        (
            "a long resource",
            event("resource_id", json!("x".repeat(257))),
            422,
            "/resource_id",
            "too_long",
        ),
        (
            "a long operation",
            event("operation", json!("x".repeat(129))),
            422,
            "/operation",
            "too_long",
        ),
        (
            "a long key",
            event("idempotency_key", json!("x".repeat(256))),
            422,
            "/idempotency_key",
            "too_long",
        ),
        (
            "much metadata",
            event("metadata", json!({"a": "x".repeat(512)})),
            422,
            "/metadata",
            "too_long",
        ),
        (
            "many keys",
            event("metadata", json!(keys)),
            422,
            "/metadata",
            "too_many_items",
        ),
    ];
    for (what, body, status, pointer_or_code, field_code) in cases {
        let answer = client
            .send_raw(&url, TRACK, &[("content-type", "application/json")], body)
            .await;
        if status == 422 {
            assert_problem(&answer, status, "validation_failed", what);
            let error = &answer.body["errors"][0];
            assert_eq!(
                (&error["pointer"], &error["code"]),
                (&json!(pointer_or_code), &json!(field_code)),
                "{what}"
            );
        } else {
            assert_problem(&answer, status, pointer_or_code, what);
        }
    }
    // All wrong fields at once.
    let many = br#"{"metric_type":"teapots","metric_value":-1,"enforce":1,"x":2}"#.to_vec();
    let answer = client
        .send_raw(&url, TRACK, &[("content-type", "application/json")], many)
        .await;
    assert_eq!(answer.body["errors"].as_array().map(Vec::len), Some(5), "{answer:?}");
    assert_nothing_counted(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_judged_too() {
    let client = start().await;
    let url = client.stack.url();
    let event = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1, "idempotency_key": "a"});
    let send = async |headers: &[(&str, &str)]| client.send_raw(&url, TRACK, headers, event.to_string().into()).await;
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""] {
        let answer = send(&[("content-type", media_type)]).await;
        assert_problem(&answer, 415, "unsupported_media_type", media_type);
    }
    let json = ("content-type", "application/json; charset=utf-8");
    let differs = send(&[json, ("idempotency-key", "b")]).await;
    assert_problem(&differs, 422, "validation_failed", "header and body differ");
    assert_eq!(differs.body["errors"][0]["code"], "idempotency_conflict");
    assert_eq!(differs.body["errors"][0]["pointer"], "/idempotency_key");
    let empty = send(&[json, ("idempotency-key", "")]).await;
    assert_problem(&empty, 422, "validation_failed", "an empty key");
    assert_nothing_counted(&client).await;
    let alike = send(&[json, ("idempotency-key", "a")]).await;
    assert_eq!(alike.status, 201, "{alike:?}");
    assert_eq!(send(&[json]).await.status, 200, "the same identity by the body alone");
    let traced = send(&[
        json,
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ])
    .await;
    assert_eq!(traced.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_with_a_key_is_answered_again() {
    let client = start().await;
    let url = client.stack.url();
    let path = "/api/v1/usage/admin/api-keys";
    let send = async |body: Value, key: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", "Bearer mk_dev_admin"),
            ("idempotency-key", key),
        ];
        client.send_raw(&url, path, &headers, body.to_string().into()).await
    };
    let replayed = |headers: &HeaderMap| headers.get("idempotent-replayed").is_some_and(|value| value == "true");
    let body = json!({"name": "n", "scopes": ["usage:read"]});
    let first = send(body.clone(), "k").await;
    assert_eq!((first.status, replayed(&first.headers)), (201, false));
    let again = send(body.clone(), "k").await;
    assert_eq!((again.status, replayed(&again.headers)), (201, true));
    assert_eq!(
        (&again.body["id"], &again.body["key"]),
        (&first.body["id"], &Value::Null),
        "no secret twice"
    );
    let other = send(json!({"name": "m", "scopes": ["usage:read"]}), "k").await;
    assert_problem(&other, 409, "idempotency_conflict", "another body");
    let another = send(body.clone(), "l").await;
    assert_ne!(another.body["id"], first.body["id"]);
    client.clock(json!({"advance_seconds": 24 * 3600})).await;
    let later = send(body, "k").await;
    assert_ne!(later.body["id"], first.body["id"], "a key is good for a day");
}

/// Names that no key of a table can hold are names of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn endless_names_name_nothing() {
    let client = start().await;
    let (url, endless) = (client.stack.url(), "x".repeat(3_000));
    let admin = |rest: &str| format!("/api/v1/usage/admin/{rest}");
    for (method, path, body) in [
        (Method::GET, admin(&format!("subscriptions/{endless}")), None),
        (
            Method::PATCH,
            admin(&format!("subscriptions/{endless}")),
            Some(json!({"plan": "basic"})),
        ),
        (
            Method::POST,
            admin(&format!("subscriptions/{endless}/renew")),
            Some(json!({})),
        ),
        (
            Method::POST,
            admin(&format!("subscriptions/{endless}/cancel")),
            Some(json!({})),
        ),
        (Method::GET, admin(&format!("plans/{endless}")), None),
        (Method::DELETE, admin(&format!("api-keys/{endless}")), None),
        (Method::GET, format!("/api/v1/usage/events/{endless}"), None),
        (Method::GET, format!("/api/v1/usage/thresholds/{endless}"), None),
        (
            Method::PATCH,
            format!("/api/v1/usage/alerts/{endless}/acknowledge"),
            None,
        ),
        (
            Method::DELETE,
            format!("/api/v1/usage/webhook-endpoints/{endless}"),
            None,
        ),
        (
            Method::GET,
            format!("/api/v1/usage/check-quota/{endless}?user_id=u"),
            None,
        ),
    ] {
        let answer = client
            .send_to(
                &url,
                method.clone(),
                &path,
                Some(ADMIN),
                body.map(|body| body.to_string()),
            )
            .await;
        assert_problem(&answer, 404, "not_found", &format!("{method} {}", &path[..40]));
    }
    for (method, path) in [
        (Method::POST, admin("subscriptions")),
        (Method::PATCH, admin("subscriptions/sub_u")),
    ] {
        let mut body = json!({"plan": endless});
        if method == Method::POST {
            body["user_id"] = json!("u");
        }
        let answer = client
            .send_to(&url, method, &path, Some(ADMIN), Some(body.to_string()))
            .await;
        assert_problem(&answer, 422, "validation_failed", "an endless plan");
    }
    for path in [TRACK, "/api/v1/usage/track/batch", "/api/v1/events"] {
        let body = Some(json!({}).to_string());
        let answer = client
            .send_to(&url, Method::POST, &format!("{path}?nonsense=1"), Some(SERVICE), body)
            .await;
        assert_problem(&answer, 422, "validation_failed", path);
        assert_eq!(answer.body["errors"][0]["pointer"], json!("?nonsense"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_about_reservations_is_named_where_it_is() {
    let client = start().await;
    send_each(&client, RESERVED).await;
    let listed = client.get("/api/v1/usage/reservations?user_id=u", SERVICE).await.body;
    assert_eq!(listed["reservations"], json!([]), "nothing was held");
}
