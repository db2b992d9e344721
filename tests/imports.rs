//! Subscriptions that exist elsewhere, brought in by lines.

use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Answer, Client, SERVICE},
    wire::{Fate, Wire},
};

const IMPORT: &str = "/api/v1/usage/admin/subscriptions/import";
const SUBSCRIPTIONS: &str = "/api/v1/usage/admin/subscriptions";

async fn import_at(client: &Client, base: &str, lines: &str, more: &[(&str, &str)]) -> Answer {
    let mut headers = vec![
        ("content-type", "application/x-ndjson"),
        ("authorization", "Bearer mk_dev_admin"),
    ];
    headers.extend(more);
    client.send_raw(base, IMPORT, &headers, lines.as_bytes().to_vec()).await
}

async fn import(client: &Client, lines: &str) -> Answer {
    import_at(client, &client.stack.url(), lines, &[]).await
}

fn counts(answer: &Answer) -> [&Value; 3] {
    ["created", "existing", "failed"].map(|name| &answer.body[name])
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_told_what_became_of_it_and_may_come_again() {
    let client = Client::start().await;
    let taken = json!({"id": "sub_taken", "user_id": "t", "plan": "basic"});
    assert_eq!(client.post(SUBSCRIPTIONS, ADMIN, taken).await.status, 201);
    let lines = [
        r#"{"id":"sub_a","user_id":"a","plan":"basic","billing_anchor":"2026-01-31T00:00:00Z","starts_at":"2026-01-31T00:00:00Z"}"#,
        "",
        r#"{"user_id":"a","plan":"professional"}"#,
        r#"{"id":"sub_taken","user_id":"t","plan":"basic"}"#,
        r#"{"id":"sub_taken","user_id":"t","plan":"enterprise"}"#,
        r#"{"user_id":"b","plan":"gold","period":"month"}"#,
        r#"{"user_id":"#,
        "[]",
        r#"{"id":"import","user_id":5,"plan":"basic"}"#,
    ];
    let file = format!("{}\r\n", lines.join("\r\n"));
    let first = import(&client, &file).await;
    assert_eq!(
        (first.status, counts(&first)),
        (200, [&json!(3), &json!(1), &json!(4)]),
        "{first:?}"
    );
    let results = first.body["results"].as_array().expect("results");
    let told: Vec<(u64, u64, &str)> = results
        .iter()
        .map(|result| {
            let number = |name: &str| result[name].as_u64().expect("a number");
            let code = result["error"]["code"].as_str().unwrap_or_default();
            assert_eq!(result["id"].is_null(), !code.is_empty(), "{result}");
            (number("line"), number("status"), code)
        })
        .collect();
    let expected = [
        (1, 201, ""),
        (3, 201, ""),
        (4, 200, ""),
        (5, 409, "conflict"),
        (6, 422, "validation_failed"),
        (7, 400, "malformed_json"),
        (8, 422, "validation_failed"),
        (9, 201, ""),
    ];
    assert_eq!(told, expected, "{first:?}");
    let pointers: Vec<&Value> = results[4]["error"]["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| &error["pointer"])
        .collect();
    assert_eq!(pointers, ["/plan", "/period"]);

    client.clock(json!({"advance_seconds": 3600})).await;
    let again = import(&client, &file).await;
    assert_eq!(counts(&again), [&json!(0), &json!(4), &json!(4)], "{again:?}");
    for (before, after) in results.iter().zip(again.body["results"].as_array().expect("results")) {
        assert_eq!(before["id"], after["id"]);
    }
    let of_a = client.get(&format!("{SUBSCRIPTIONS}?user_id=a"), ADMIN).await.body;
    assert_eq!(of_a["subscriptions"].as_array().map(Vec::len), Some(2), "{of_a}");
    // The lines of one user keep their order: the first is the default.
    let summary = client.get("/api/v1/usage/summary?user_id=a", SERVICE).await.body;
    assert_eq!(summary["subscription_id"], "sub_a");
    // A subscription may have the name of the endpoint.
    let named = client.get(&format!("{SUBSCRIPTIONS}/import"), ADMIN).await;
    assert_eq!((named.status, &named.body["user_id"]), (200, &json!("5")));
    let other = client.post(&format!("{SUBSCRIPTIONS}/sub_a"), ADMIN, json!({})).await;
    assert!(matches!(other.status, 404 | 405), "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_import_creates_nothing() {
    let client = Client::start().await;
    let line = r#"{"user_id":"u","plan":"basic"}"#;
    let too_many = format!("{line}\n").repeat(1001);
    let answer = import(&client, &too_many).await;
    assert_eq!(code(&answer), (422, "validation_failed"));
    assert_eq!(answer.body["errors"][0]["code"], "too_many_items");
    let blank = import(&client, "\n \n").await;
    assert_eq!(
        (code(&blank), &blank.body["errors"][0]["code"]),
        ((422, "validation_failed"), &json!("too_few_items"))
    );
    assert_eq!(code(&import(&client, "").await), (400, "malformed_json"));
    let url = client.stack.url();
    let send = async |media_type: &str, credentials: &str, body: Vec<u8>| {
        let headers = [("content-type", media_type), ("authorization", credentials)];
        client.send_raw(&url, IMPORT, &headers, body).await
    };
    let admin = "Bearer mk_dev_admin";
    let json = send("application/json", admin, line.into()).await;
    assert_eq!(code(&json), (415, "unsupported_media_type"));
    let bytes = send("application/x-ndjson", admin, b"{\"user_id\":\"\xff\"}".to_vec()).await;
    assert_eq!(code(&bytes), (400, "malformed_json"));
    let service = send("application/x-ndjson", "Bearer mk_dev_service", line.into()).await;
    assert_eq!(code(&service), (403, "forbidden"));
    let nobody = send("application/x-ndjson", "Bearer mk_unknown", line.into()).await;
    assert_eq!(code(&nobody), (401, "unauthenticated"));
    let all = client.get(SUBSCRIPTIONS, ADMIN).await.body;
    assert_eq!(all["subscriptions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_lines_are_one_import_and_answered_again_by_its_key() {
    let client = Client::start().await;
    let line = |index: usize| format!(r#"{{"user_id":"u{}","plan":"basic"}}"#, index / 2);
    let odd = |index: usize| format!(r#"{{"user_id":"u{}","plan":"professional"}}"#, index / 2);
    let lines: Vec<String> = (0..1000)
        .map(|index| if index % 2 == 0 { line(index) } else { odd(index) })
        .collect();
    let file = lines.join("\n");
    let url = client.stack.url();
    let key = [("idempotency-key", "k")];
    let first = import_at(&client, &url, &file, &key).await;
    assert_eq!(
        (first.status, counts(&first)),
        (200, [&json!(1000), &json!(0), &json!(0)])
    );
    let again = import_at(&client, &url, &file, &key).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = import_at(&client, &url, &lines[0], &key).await;
    assert_eq!(code(&other), (409, "idempotency_conflict"));
}

/// Requests lost on the way: what failed says so, and the same file creates the rest, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_off_is_sent_again() {
    let client = Client::start().await;
    let lines: Vec<String> = (0..40)
        .map(|index| {
            format!(
                r#"{{"user_id":"u{}","plan":"basic","starts_at":"2026-01-{:02}T00:00:00Z"}}"#,
                index % 10,
                1 + index / 10
            )
        })
        .collect();
    let file = lines.join("\n");
    // Every third transaction is written and its answer lost, others never arrive.
    let wire = Wire::new(|call| match (call.operation.as_str(), call.number % 6) {
        ("TransactWriteItems", 0) => Fate::LoseAnswer,
        ("TransactWriteItems", 3) => Fate::LoseRequest,
        _ => Fate::Pass,
    });
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    for _ in 0..3 {
        let answer = import_at(&client, &instance.url(), &file, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for result in answer.body["results"].as_array().expect("results") {
            assert!(matches!(result["status"].as_u64(), Some(200 | 201 | 503)), "{result}");
        }
    }
    let last = import(&client, &file).await;
    assert_eq!(last.body["failed"], json!(0), "{last:?}");
    let all = client.get(&format!("{SUBSCRIPTIONS}?limit=200"), ADMIN).await.body;
    assert_eq!(all["subscriptions"].as_array().map(Vec::len), Some(40));
}
