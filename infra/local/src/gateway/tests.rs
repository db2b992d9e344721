//! Events and answers, compared with what API Gateway makes of the same requests.

use axum::body::to_bytes;
use serde_json::{Value, json};

use super::*;

fn event_of(method: &Method, target: &str, given: &[(&str, &str)], body: &[u8]) -> Value {
    let uri: Uri = target.parse().expect("a target");
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    let path = path(&uri);
    let route = Match {
        function: "Thing",
        key: "GET /things/{id}",
        parameters: BTreeMap::from([("id", "7")]),
    };
    let request = Request {
        method,
        uri: &uri,
        headers: &headers,
        body,
        peer: "127.0.0.1:4711".parse().expect("an address"),
        domain: "127.0.0.1:3000",
        id: "req-1",
        at: DateTime::from_timestamp_millis(1_398_384_000_123).expect("an instant"),
    };
    serde_json::from_str(&event(&request, &path, &route)).expect("JSON")
}

#[test]
fn a_request_becomes_an_event_of_format_2() {
    let event = event_of(
        &Method::POST,
        "/things/7?a=1&b=x%20y&a=2",
        &[
            ("Content-Type", "application/json"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("Cookie", "a=b; c=d"),
            ("User-Agent", "curl"),
            ("Host", "evil example"),
        ],
        br#"{"n":1}"#,
    );
    let expected = json!({
        "version": "2.0",
        "routeKey": "GET /things/{id}",
        "rawPath": "/things/7",
        "rawQueryString": "a=1&b=x%20y&a=2",
        "cookies": ["a=b", "c=d"],
        "headers": {
            "content-type": "application/json",
            "host": "127.0.0.1:3000",
            "user-agent": "curl",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "3000",
            "x-forwarded-proto": "http",
            "x-twice": "1,2",
        },
        "queryStringParameters": {"a": "1,2", "b": "x y"},
        "pathParameters": {"id": "7"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "127.0.0.1:3000",
            "domainPrefix": "local",
            "http": {
                "method": "POST",
                "path": "/things/7",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "curl",
            },
            "requestId": "req-1",
            "routeKey": "GET /things/{id}",
            "stage": "$default",
            "time": "25/Apr/2014:00:00:00 +0000",
            "timeEpoch": 1_398_384_000_123_i64,
        },
        "body": "{\"n\":1}",
        "isBase64Encoded": false,
    });
    assert_eq!(event, expected);
}

#[test]
fn what_is_absent_is_left_out() {
    let event = event_of(&Method::GET, "/", &[], b"");
    for absent in ["cookies", "queryStringParameters", "body"] {
        assert_eq!(event.get(absent), None, "{absent}");
    }
    assert_eq!(event["rawQueryString"], "");
}

#[test]
fn a_body_that_is_no_text_is_encoded() {
    let event = event_of(&Method::POST, "/", &[], &[0xff, 0x00]);
    assert_eq!(event["body"], "/wA=");
    assert_eq!(event["isBase64Encoded"], true);
}

#[test]
fn paths_are_decoded_once_and_cut_at_a_question_mark() {
    for (sent, seen) in [
        ("/a/auth0%7C1", "/a/auth0|1"),
        ("/a/x%2Fy", "/a/x/y"),
        ("/a/x%252Fy", "/a/x%2Fy"),
        ("/a/b%3Fadmin=1?c=d", "/a/b"),
        ("/a+b", "/a+b"),
        ("/%ff", "/\u{fffd}"),
    ] {
        assert_eq!(path(&sent.parse().expect("a target")), seen);
    }
}

#[test]
fn hops_are_kept() {
    let event = event_of(&Method::GET, "/", &[("X-Forwarded-For", "10.0.0.1")], b"");
    assert_eq!(event["headers"]["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
}

#[tokio::test]
async fn an_answer_becomes_a_response() {
    let response = response(
        &json!({
            "statusCode": 201,
            "headers": {"content-type": "text/plain", "content-length": "99"},
            "multiValueHeaders": {"x-many": ["1", "2"]},
            "cookies": ["a=b"],
            "body": "aGk=",
            "isBase64Encoded": true,
        })
        .to_string(),
    );
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(response.headers().get_all("x-many").iter().count(), 2);
    assert_eq!(response.headers()["set-cookie"], "a=b");
    assert_eq!(response.headers().get("content-length"), None);
    let body = to_bytes(response.into_body(), 10).await.expect("a body");
    assert_eq!(body, "hi");
}

#[tokio::test]
async fn what_is_no_answer_is_an_internal_error() {
    for answer in [
        "",
        "{}",
        r#"{"statusCode": 99}"#,
        r#"{"statusCode":200,"headers":{"a b":""}}"#,
    ] {
        let response = response(answer);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
        let body = to_bytes(response.into_body(), 100).await.expect("a body");
        assert_eq!(body, r#"{"message":"Internal Server Error"}"#);
    }
}
