//! Usage from access logs: each request counts once, whatever is handed over how often.

use std::sync::atomic::{AtomicUsize, Ordering};

use metering_edge::logs::{self, Batch, Line};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    books::Books,
    erasure::erase_all,
    support::{ADMIN, Answer, Client, SERVICE},
    wire::{Call, Fate, Wire},
};

/// A line of an HTTP API's log.
fn line(user: &str, id: &str, bytes: u64) -> String {
    format!(
        r#"{{"user_id":"{user}","extendedRequestId":"{id}","requestTimeEpoch":"1773133200000","ip":"192.0.2.1","routeKey":"GET /documents/{{id}}","status":"200","responseLength":"{bytes}","responseLatency":"38"}}"#
    )
}

/// At the time of the lines.
async fn start() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T09:05:00Z"})).await;
    client
}

async fn hand_over(client: &Client, lines: &[String]) -> Answer {
    let url = client.stack.url();
    let text = lines.join("\n");
    client
        .send_to(&url, Method::POST, "/_local/logs", None, Some(text))
        .await
}

async fn letters(client: &Client) -> Vec<String> {
    let listed = client.get("/_local/queues/AccessLogDeadLetters/messages", "").await;
    let letters = listed.body["messages"].as_array().expect("messages").clone();
    letters
        .iter()
        .map(|one| one["body"].as_str().expect("a body").to_owned())
        .collect()
}

/// The event of such lines.
fn packed(lines: &[String]) -> String {
    let line = |text: &String| Line {
        id: "1".to_owned(),
        text: text.clone(),
    };
    let batch = Batch {
        group: "api".to_owned(),
        lines: lines.iter().map(line).collect(),
    };
    logs::event(&batch, "1", 0).expect("an event")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_a_call_and_bytes_once() {
    let client = start().await;
    let failed = line("u", "b", 0)
        .replace("\"200\"", "\"502\"")
        .replace("GET /documents/{id}", "POST /documents");
    let lines = [
        line("u", "a", 1_500),
        failed,
        line("v", "c", 2_000_000),
        line("-", "d", 9),
    ];
    for _ in 0..2 {
        let handed = hand_over(&client, &lines).await;
        assert_eq!((handed.status, &handed.body["lines"]), (202, &json!(4)), "{handed:?}");
        client.drain().await;
    }
    // Cut into other batches, and in another order.
    for one in [&lines[2], &lines[0]] {
        hand_over(&client, std::slice::from_ref(one)).await;
    }
    client.drain().await;
    for (user, metric, used) in [
        ("u", "api_calls", "2"),
        ("u", "bandwidth_usage", "0.0000015"),
        ("v", "api_calls", "1"),
        ("v", "bandwidth_usage", "0.002"),
    ] {
        assert_eq!(client.used(user, metric).await.to_string(), used, "{user} {metric}");
    }
    assert_eq!(letters(&client).await, Vec::<String>::new());
    Books::read(&client.stack).await.assert_exact();

    let path = "/api/v1/usage/admin/metrics?view=events&user_id=u&metric_type=api_calls&days=90";
    let mut events = client.all(path, "metrics").await;
    events.sort_by_key(|event| event["operation"].to_string());
    let said = |event: &Value| {
        [
            "operation",
            "endpoint",
            "response_time_ms",
            "error_occurred",
            "timestamp",
        ]
        .map(|name| event[name].clone())
    };
    let at = "2026-03-10T09:00:00Z";
    assert_eq!(
        events.iter().map(said).collect::<Vec<_>>(),
        [
            [
                json!("GET"),
                json!("/documents/{id}"),
                json!(38),
                json!(false),
                json!(at)
            ],
            [json!("POST"), json!("/documents"), json!(38), json!(true), json!(at)],
        ],
        "{events:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_off_is_put_aside_and_the_others_count() {
    let client = start().await;
    let whole = line("u", "cut", 7);
    let cut = whole[..whole.len() - 20].to_owned();
    hand_over(&client, &[line("u", "a", 1), cut.clone(), line("u", "b", 1)]).await;
    client.drain().await;
    assert_eq!(client.used("u", "api_calls").await, json!(2));
    let letters = letters(&client).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter: Value = serde_json::from_str(&letters[0]).expect("JSON");
    assert_eq!(letter["body"], json!(cut));
    let error = letter["dead_letter"]["errors"][0].to_string();
    assert!(
        error.contains("malformed_json") && error.contains("line 1, column"),
        "{error}"
    );
}

/// Of a busy API, more lines come at once than one message holds.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_lines_none_is_lost() {
    let client = start().await;
    let lines: Vec<String> = (0..1_000).map(|index| line("u", &format!("r{index}"), 1_000)).collect();
    hand_over(&client, &lines).await;
    client.drain().await;
    assert_eq!(client.used("u", "api_calls").await, json!(1_000));
    assert_eq!(client.used("u", "bandwidth_usage").await, json!(0.001));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_dies_half_way_is_called_again_and_counts_once() {
    let client = start().await;
    let mut lines: Vec<String> = (0..300).map(|index| line("u", &format!("r{index}"), 1)).collect();
    lines.push("no request".to_owned());
    let event = packed(&lines);
    // From the first request to a queue on, and from the second: what was read, and what was not.
    for first in 0..2 {
        for fate in [Fate::LoseRequest, Fate::LoseAnswer] {
            let sent = AtomicUsize::new(0);
            let script = move |call: &Call| match call.is_to_queue() && sent.fetch_add(1, Ordering::AcqRel) >= first {
                true => fate.clone(),
                false => Fate::Pass,
            };
            let wire = Wire::new(script);
            let dying = client.stack.instance(Some(wire.http_client())).expect("an instance");
            dying.invoke("AccessLogJob", event.clone()).await.expect_err("it dies");
        }
    }
    let again = client.stack.instance(None).expect("an instance");
    again.invoke("AccessLogJob", event).await.expect("an answer");
    client.drain().await;
    assert_eq!(client.used("u", "api_calls").await, json!(300));
    Books::read(&client.stack).await.assert_exact();
    assert!(
        letters(&client)
            .await
            .iter()
            .all(|letter| letter.contains("no request"))
    );
}

/// In a deployment that nobody has used yet.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_all_may_be_a_log() {
    let client = start().await;
    let functions = client.stack.instance(None).expect("an instance");
    let event = packed(&[line("u", "a", 1), line("u", "cut", 1)[..60].to_owned()]);
    let answer = functions.invoke("AccessLogJob", event).await.expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer, json!({"events": 2, "anonymous": 0, "unread": 1}));
    assert_eq!(letters(&client).await.len(), 1);
}

/// What fails comes again, and is kept in the end: the host does that, as for events of the bus.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_fails_and_nothing_is_no_log() {
    let client = start().await;
    let functions = client.stack.instance(None).expect("an instance");
    for wrong in ["{}", "{\"awslogs\":{\"data\":\"AAAA\"}}"] {
        functions
            .invoke("AccessLogJob", wrong.to_owned())
            .await
            .expect_err("no batch");
    }
    let url = client.stack.url();
    let empty = client
        .send_to(&url, Method::POST, "/_local/logs", None, Some("\n".to_owned()))
        .await;
    assert_eq!(empty.status, 422, "{empty:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_user_is_kept() {
    let client = start().await;
    client
        .track(json!({"user_id": "gone", "metric_type": "api_calls", "metric_value": 1}))
        .await;
    let cut = |user: &str| line(user, "cut", 1)[..60].to_owned();
    let both = packed(&[line("gone", "a", 1), line("stays", "b", 1)]);
    let own = packed(&[line("gone", "a", 1)]);
    let path = "/_local/queues/AccessLogDeadLetters";
    for body in [both, own] {
        assert_eq!(client.post(path, "", json!({"body": body})).await.status, 202);
    }
    hand_over(&client, &[cut("gone"), cut("stays")]).await;
    client.drain().await;
    assert_eq!(letters(&client).await.len(), 4);

    erase_all(&client, &["gone"]).await;
    let kept = letters(&client).await;
    let lines: Vec<String> = kept
        .iter()
        .flat_map(|letter| match logs::batch(letter) {
            Ok(batch) => batch.lines.into_iter().map(|line| line.text).collect(),
            Err(_) => vec![letter.clone()],
        })
        .collect();
    assert_eq!((kept.len(), lines.len()), (2, 2), "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains("stays") && !line.contains("gone")),
        "{lines:?}"
    );

    // What comes afterwards neither counts nor is kept.
    hand_over(&client, &[cut("gone"), line("gone", "c", 1)]).await;
    client.drain().await;
    assert_eq!(letters(&client).await.len(), 2);
    let counted = client.get("/api/v1/usage/summary?user_id=gone", SERVICE).await;
    assert_eq!(counted.status, 410, "{counted:?}");
    let users = client.get("/api/v1/usage/admin/users", ADMIN).await;
    assert!(!users.body.to_string().contains("gone"), "{users:?}");
}
