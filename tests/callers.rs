//! Who may do what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN, Client, SERVICE};

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_gets_the_documented_answer() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let user = client.token(json!({"user_id": "u"})).await;
    let other = client.token(json!({"user_id": "v"})).await;
    let admin = client.token(json!({"user_id": "boss", "admin": true})).await;
    let expired = client.token(json!({"user_id": "u", "expires_in_seconds": -1})).await;
    let reader = client
        .post(
            "/api/v1/usage/admin/api-keys",
            ADMIN,
            json!({"name": "r", "scopes": ["usage:read"]}),
        )
        .await;
    let reader = reader.body["key"].as_str().expect("a key").to_owned();
    let track = Some(json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1}));
    let subscribe = Some(json!({"user_id": "w", "plan": "basic", "id": "w"}));
    // none, wrong, expired, user, other user, read, write, admin key, admin token
    let cases: [(Method, &str, Option<Value>, [u16; 9]); 7] = [
        (
            Method::POST,
            "/api/v1/usage/track",
            track,
            [401, 401, 401, 201, 403, 403, 201, 201, 201],
        ),
        (
            Method::GET,
            "/api/v1/usage/summary?user_id=u",
            None,
            [401, 401, 401, 200, 403, 200, 200, 200, 200],
        ),
        (
            Method::GET,
            "/api/v1/usage/quotas?user_id=u",
            None,
            [401, 401, 401, 200, 403, 200, 200, 200, 200],
        ),
        (
            Method::GET,
            "/api/v1/usage/check-quota/api_calls?user_id=u",
            None,
            [401, 401, 401, 200, 403, 200, 200, 200, 200],
        ),
        (
            Method::GET,
            "/api/v1/usage/events?user_id=u",
            None,
            [401, 401, 401, 200, 403, 200, 200, 200, 200],
        ),
        (
            Method::POST,
            "/api/v1/usage/admin/subscriptions",
            subscribe,
            [401, 401, 401, 403, 403, 403, 403, 201, 200],
        ),
        (
            Method::GET,
            "/api/v1/usage/admin/api-keys",
            None,
            [401, 401, 401, 403, 403, 403, 403, 200, 200],
        ),
    ];
    let callers: [Option<&str>; 9] = [
        None,
        Some("mk_wrong"),
        Some(&expired),
        Some(&user),
        Some(&other),
        Some(&reader),
        Some(SERVICE),
        Some(ADMIN),
        Some(&admin),
    ];
    for (method, path, body, expected) in cases {
        for (caller, expected) in callers.iter().zip(expected) {
            let body = body.as_ref().map(Value::to_string);
            let answer = client
                .send_to(&client.stack.url(), method.clone(), path, *caller, body)
                .await;
            assert_eq!(answer.status, expected, "{method} {path} by {caller:?}: {answer:?}");
            assert!(answer.headers.contains_key("x-request-id"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_token_only_adds_to_sums_now() {
    let client = Client::start().await;
    let user = client.token(json!({"user_id": "u"})).await;
    let refused = [
        json!({"metric_type": "storage_usage", "metric_value": 1, "mode": "level"}),
        json!({"metric_type": "api_calls", "metric_value": 1, "enforce": false}),
        json!({"metric_type": "api_calls", "metric_value": 1, "backfill": true}),
        json!({"metric_type": "api_calls", "metric_value": 0}),
    ];
    for body in refused {
        assert_eq!(
            client.post("/api/v1/usage/track", &user, body.clone()).await.status,
            403,
            "{body}"
        );
    }
    assert_eq!(client.used("u", "api_calls").await, json!(0), "nothing was counted");
}
