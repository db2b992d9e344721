//! CloudEvents 1.0: what is read of them, what is refused, and where.

use cloudevents::Event as Oracle;
use serde_json::{Value, json};

use crate::support::{Answer, Client, SERVICE};

const EVENTS: &str = "/api/v1/events";
const ONE: &str = "application/cloudevents+json";
const MANY: &str = "application/cloudevents-batch+json";

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/tests", "type": "api_calls", "subject": "u"})
}

fn with(name: &str, value: Value) -> Value {
    let mut event = event("k");
    event[name] = value;
    event
}

async fn send(client: &Client, media_type: &str, body: &Value) -> Answer {
    let headers = [("content-type", media_type)];
    client
        .send_raw(&client.stack.url(), EVENTS, &headers, body.to_string().into())
        .await
}

/// Rows of a fault: the event, and pointer and code of the field in one event's body.
fn faults() -> Vec<(Value, &'static str, &'static str)> {
    let without = |name: &str| {
        let mut event = event("k");
        event.as_object_mut().expect("an object").remove(name);
        event
    };
    vec![
        (json!(1), "", "wrong_type"),
        (without("id"), "/id", "required"),
        (with("id", json!("")), "/id", "invalid_format"),
        (with("id", json!(7)), "/id", "wrong_type"),
        (with("id", json!("x".repeat(256))), "/id", "too_long"),
        (without("source"), "/source", "required"),
        (with("source", json!("")), "/source", "invalid_format"),
        (with("source", json!("a b")), "/source", "invalid_format"),
        (with("source", json!("/a%zz")), "/source", "invalid_format"),
        (with("source", json!("/a#b#c")), "/source", "invalid_format"),
        (without("specversion"), "/specversion", "required"),
        (with("specversion", json!("0.3")), "/specversion", "unknown_value"),
        (with("specversion", json!(1.0)), "/specversion", "wrong_type"),
        (without("type"), "/type", "required"),
        (with("type", json!("teapots")), "/type", "unknown_value"),
        (with("type", json!("user_sessions")), "/type", "not_allowed"),
        (without("subject"), "/subject", "required"),
        (with("subject", json!("a b")), "/subject", "invalid_format"),
        (with("time", json!("yesterday")), "/time", "invalid_format"),
        (with("time", json!("2026-01-01T00:00:00")), "/time", "invalid_format"),
        (with("time", json!("2001-01-01T00:00:00Z")), "/time", "out_of_range"),
        (
            with("datacontenttype", json!("text/plain")),
            "/datacontenttype",
            "unknown_value",
        ),
        (with("dataschema", json!("a b")), "/dataschema", "invalid_format"),
        (with("data", json!("text")), "/data", "wrong_type"),
        (with("data_base64", json!("e30=")), "/data_base64", "not_allowed"),
        (with("Extension", json!("x")), "/Extension", "unknown_field"),
        (with("ext_one", json!("x")), "/ext_one", "unknown_field"),
        (with("ext", json!({})), "/ext", "wrong_type"),
        (with("ext", json!(1.5)), "/ext", "wrong_type"),
        (with("ext", json!(3_000_000_000_u64)), "/ext", "wrong_type"),
        (with("data", json!({"value": -1})), "/data/value", "out_of_range"),
        (with("data", json!({"value": true})), "/data/value", "wrong_type"),
        (with("data", json!({"mode": "level"})), "/data/mode", "not_allowed"),
        (
            with("data", json!({"response_time_ms": -1})),
            "/data/response_time_ms",
            "out_of_range",
        ),
        (with("data", json!({"model": "x".repeat(512)})), "/data", "too_long"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_named_and_nothing_is_recorded() {
    let client = Client::start().await;
    for (event, pointer, code) in faults() {
        let good = self::event("good");
        for (media_type, body, prefix) in [
            (ONE, event.clone(), ""),
            ("application/json", event.clone(), ""),
            (MANY, json!([good, event]), "/1"),
        ] {
            let answer = send(&client, media_type, &body).await;
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (422, &json!("validation_failed")),
                "{event} {answer:?}"
            );
            let named =
                |error: &Value| error["pointer"] == json!(format!("{prefix}{pointer}")) && error["code"] == code;
            assert!(
                answer.body["errors"]
                    .as_array()
                    .is_some_and(|errors| errors.iter().any(named)),
                "{event} {answer:?}"
            );
        }
    }
    assert_eq!(client.used("u", "api_calls").await, json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_kept() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", "api_calls", 1).await;
    let at = client.now().to_rfc3339();
    let event = json!({"specversion": "1.0", "id": "ä-1", "source": "https://gateway.example/eu", "type": "api_calls",
        "subject": "u", "time": at, "datacontenttype": "application/json", "dataschema": "https://example.com/s",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "sampled": true, "hops": 3, "none": null,
        "data": {"value": "2.5", "endpoint": "/v1/things", "response_time_ms": 12, "error_occurred": true, "model": "m-1"}});
    assert_eq!(
        send(&client, "application/json; charset=utf-8", &event).await.status,
        204
    );
    assert_eq!(send(&client, ONE, &event).await.status, 204, "again is the same");
    let listed = client.get("/api/v1/usage/events?user_id=u", SERVICE).await.body;
    let events = listed["events"].as_array().expect("events");
    assert_eq!(events.len(), 1, "{listed}");
    let stored = &events[0];
    assert_eq!(
        (&stored["metric_value"], &stored["source"]),
        (&json!(2.5), &json!("cloudevents"))
    );
    assert_eq!(
        (&stored["idempotency_key"], &stored["endpoint"]),
        (&json!("ä-1"), &json!("/v1/things"))
    );
    assert_eq!(
        stored["metadata"],
        json!({"model": "m-1"}),
        "what is ours has its own field"
    );
    assert_eq!(
        (&stored["error_occurred"], &stored["over_limit"]),
        (&json!(true), &json!(true)),
        "never refused"
    );
    // Another source is another identity; without data it counts 1.
    let mut other = event.clone();
    other["source"] = json!("https://gateway.example/us");
    other.as_object_mut().expect("an object").remove("data");
    assert_eq!(send(&client, ONE, &other).await.status, 204);
    assert_eq!(client.used("u", "api_calls").await, json!(3.5));
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_named_and_the_others_recorded() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    assert_eq!(send(&client, ONE, &event("a")).await.status, 204);
    let mut conflict = event("a");
    conflict["data"] = json!({"value": 2});
    let answer = send(&client, MANY, &json!([event("b"), conflict, event("a"), event("c")])).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (409, &json!("idempotency_conflict"))
    );
    let errors = answer.body["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 1, "{answer:?}");
    assert_eq!(
        (&errors[0]["pointer"], &errors[0]["code"]),
        (&json!("/1/id"), &json!("idempotency_conflict"))
    );
    assert_eq!(client.used("u", "api_calls").await, json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_callers_and_subscriptions() {
    let client = Client::start().await;
    let mine = client.subscribe("u", "basic").await;
    assert_eq!(
        send(&client, ONE, &json!([event("a")])).await.status,
        422,
        "a list is no event"
    );
    assert_eq!(
        send(&client, MANY, &event("a")).await.status,
        422,
        "an event is no list"
    );
    assert_eq!(send(&client, MANY, &json!([])).await.status, 204, "nothing to do");
    assert_eq!(send(&client, MANY, &json!(vec![event("a"); 1_001])).await.status, 422);
    for media_type in ["text/plain", "application/xml", "application/cloudevents+avro"] {
        assert_eq!(send(&client, media_type, &event("a")).await.status, 415, "{media_type}");
    }
    let binary = [
        ("content-type", "application/json"),
        ("ce-id", "a"),
        ("ce-specversion", "1.0"),
    ];
    let answer = client
        .send_raw(&client.stack.url(), EVENTS, &binary, b"{}".to_vec())
        .await;
    assert_eq!(answer.status, 415, "binary mode");
    let user = client.token(json!({"user_id": "u"})).await;
    assert_eq!(
        client.post(EVENTS, &user, event("a")).await.status,
        403,
        "never unenforced"
    );
    let mut foreign = event("a");
    foreign["subject"] = json!("v");
    foreign["data"] = json!({"subscription_id": mine});
    assert_eq!(send(&client, MANY, &json!([event("b"), foreign])).await.status, 404);
    assert_eq!(
        client.used("u", "api_calls").await,
        json!(0),
        "nothing is recorded of a wrong request"
    );
}

/// What the CNCF's own SDK refuses, we refuse.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_sdk_rejects_is_rejected() {
    let client = Client::start().await;
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(""),
        json!(" "),
        json!("1.0"),
        json!("1.1"),
        json!("2026-11-24T00:00:00Z"),
        json!("2026-11-24 00:00:00"),
        json!("http://[::1"),
        json!("application/json"),
        json!({"a": 1}),
        json!(["a"]),
    ];
    let names = [
        "id",
        "source",
        "specversion",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "data",
        "data_base64",
        "ext",
    ];
    let (mut rejected, mut accepted) = (0, 0);
    for name in names {
        for value in &odd {
            let event = with(name, value.clone());
            let oracle = serde_json::from_value::<Oracle>(event.clone());
            let answer = send(&client, ONE, &event).await;
            match oracle {
                Err(error) => {
                    rejected += 1;
                    assert_eq!(answer.status, 422, "{event} the SDK says {error}");
                }
                Ok(_) => accepted += usize::from(answer.status == 204),
            }
        }
    }
    println!("{rejected} rejected by both, {accepted} accepted by both");
    assert!(rejected > 20 && accepted > 10);
}
