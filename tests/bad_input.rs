//! Bad input: the documented status, code and pointer; nothing counted, nothing leaked.

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, SERVICE};

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_named_where_it_is() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let long = "x".repeat(600);
    let with = |more: &str| format!(r#"{{"user_id":"u","metric_type":"api_calls","metric_value":1{more}}}"#);
    let metadata = with(&format!(r#","metadata":{{"a":"{long}"}}"#));
    let value = |value: &str| format!(r#"{{"user_id":"u","metric_type":"api_calls","metric_value":{value}}}"#);
    let deep = "[".repeat(500);
    let huge = format!(r#"{{"user_id":"u","x":"{}"}}"#, "y".repeat(2 * 1024 * 1024));
    let cases: Vec<(String, u16, &str, &str, &str)> = vec![
        (String::new(), 400, "malformed_json", "", ""),
        ("{".into(), 400, "malformed_json", "", ""),
        (deep, 400, "malformed_json", "", ""),
        (huge, 413, "payload_too_large", "", ""),
        ("[]".into(), 422, "validation_failed", "", "wrong_type"),
        ("{}".into(), 422, "validation_failed", "/user_id", "required"),
        (value("-1"), 422, "validation_failed", "/metric_value", "out_of_range"),
        (value("1e13"), 422, "validation_failed", "/metric_value", "out_of_range"),
        (
            value("1e999999999"),
            422,
            "validation_failed",
            "/metric_value",
            "out_of_range",
        ),
        (
            value("0.0000000001"),
            422,
            "validation_failed",
            "/metric_value",
            "too_precise",
        ),
        (
            value("\"abc\""),
            422,
            "validation_failed",
            "/metric_value",
            "invalid_format",
        ),
        (value("true"), 422, "validation_failed", "/metric_value", "wrong_type"),
        (
            with(r#","mode":"level""#),
            422,
            "validation_failed",
            "/mode",
            "not_allowed",
        ),
        (
            with(r#","timestamp":"yesterday""#),
            422,
            "validation_failed",
            "/timestamp",
            "invalid_format",
        ),
        (
            with(r#","timestamp":"2001-01-01T00:00:00Z""#),
            422,
            "validation_failed",
            "/timestamp",
            "out_of_range",
        ),
        (
            with(r#","timestamp":"2999-01-01T00:00:00Z""#),
            422,
            "validation_failed",
            "/timestamp",
            "out_of_range",
        ),
        (
            with(r#","response_time_ms":86400001"#),
            422,
            "validation_failed",
            "/response_time_ms",
            "out_of_range",
        ),
        (
            with(r#","enforce":"yes""#),
            422,
            "validation_failed",
            "/enforce",
            "wrong_type",
        ),
        (
            with(r#","idempotency_key":"""#),
            422,
            "validation_failed",
            "/idempotency_key",
            "invalid_format",
        ),
        (
            with(r#","nonsense":1"#),
            422,
            "validation_failed",
            "/nonsense",
            "unknown_field",
        ),
        (metadata, 422, "validation_failed", "/metadata", "too_long"),
        (with(r#","subscription_id":"sub_nobody""#), 404, "not_found", "", ""),
        (
            r#"{"user_id":"a b","metric_type":"api_calls","metric_value":1}"#.into(),
            422,
            "validation_failed",
            "/user_id",
            "invalid_format",
        ),
        (
            r#"{"user_id":"u","metric_type":"storage_usage","metric_value":1}"#.into(),
            422,
            "validation_failed",
            "/mode",
            "required",
        ),
        (
            r#"{"user_id":"u","metric_type":"user_sessions","metric_value":1}"#.into(),
            422,
            "metric_kind_mismatch",
            "",
            "",
        ),
        (
            r#"{"user_id":"u","metric_type":"teapots","metric_value":1}"#.into(),
            422,
            "validation_failed",
            "/metric_type",
            "unknown_value",
        ),
    ];
    for (body, status, code, pointer, field_code) in cases {
        let shown: String = body.chars().take(80).collect();
        let answer = client
            .send_to(
                &client.stack.url(),
                Method::POST,
                "/api/v1/usage/track",
                Some(SERVICE),
                Some(body),
            )
            .await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (status, &json!(code)),
            "{shown}: {answer:?}"
        );
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        if !field_code.is_empty() {
            let errors = answer.body["errors"].as_array().expect("errors");
            let named =
                |error: &&serde_json::Value| error["pointer"] == json!(pointer) && error["code"] == json!(field_code);
            assert!(errors.iter().any(|error| named(&error)), "{shown}: {errors:?}");
        }
    }
    assert_eq!(client.used("u", "api_calls").await, json!(0), "nothing was counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_cursors_and_paths() {
    let client = Client::start().await;
    let cases = [
        ("/api/v1/usage/check-quota/teapots?user_id=u", 404),
        ("/api/v1/usage/check-quota/api_calls", 422),
        (
            "/api/v1/usage/check-quota/api_calls?user_id=u&required_quantity=-1",
            422,
        ),
        ("/api/v1/usage/summary?user_id=u&foo=1", 422),
        ("/api/v1/usage/events?user_id=u&limit=201", 422),
        ("/api/v1/usage/events?user_id=u&cursor=abc", 400),
        (
            "/api/v1/usage/events/evt_00000000000000000000000000000000?user_id=u",
            404,
        ),
        ("/api/v1/usage/nothing", 404),
    ];
    for (path, status) in cases {
        assert_eq!(client.get(path, SERVICE).await.status, status, "{path}");
    }
}
