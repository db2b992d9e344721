//! Reservations as a caller sees them; of leases, and how many there may be, `leases` tells.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{ADMIN, Answer, Client, SERVICE},
};

pub const OCR: &str = "ocr_operations";
const SESSIONS: &str = "user_sessions";
const STORAGE: &str = "storage_usage";
pub const PATH: &str = "/api/v1/usage/reservations";

pub async fn reserve(client: &Client, body: Value) -> Answer {
    let mut whole = json!({"user_id": "u", "metric_type": OCR, "quantity": 1});
    merge(&mut whole, body);
    client.post(PATH, SERVICE, whole).await
}

/// A reservation that is held, and its id.
pub async fn held(client: &Client, body: Value) -> String {
    let made = reserve(client, body).await;
    assert_eq!((made.status, &made.body["status"]), (201, &json!("held")), "{made:?}");
    made.body["id"].as_str().expect("an id").to_owned()
}

fn merge(whole: &mut Value, part: Value) {
    let fields = part.as_object().expect("an object").clone();
    whole.as_object_mut().expect("an object").extend(fields);
}

pub async fn step(client: &Client, id: &str, step: &str, body: Value) -> Answer {
    client.post(&format!("{PATH}/{id}/{step}"), SERVICE, body).await
}

pub async fn one(client: &Client, id: &str) -> Value {
    client.get(&format!("{PATH}/{id}"), SERVICE).await.body
}

/// Usage, and what is held, of a metric.
pub async fn standing(client: &Client, metric: &str) -> (Value, Value) {
    let quota = client.quota("u", metric).await;
    (quota["current_usage"].clone(), quota["held"].clone())
}

pub fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantity_is_held_and_then_used() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    client.limit("u", OCR, 10).await;
    client
        .track(json!({"user_id": "u", "metric_type": OCR, "metric_value": 2}))
        .await;

    let made = reserve(
        &client,
        json!({"quantity": "5.5", "resource_id": "r", "metadata": {"a": 1}}),
    )
    .await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().expect("an id");
    assert!(id.starts_with("rsv_"));
    let created = made.body["created_at"].as_str().expect("an instant");
    let expected = json!({
        "id": id, "user_id": "u", "subscription_id": subscription, "metric_type": OCR, "quantity": 5.5,
        "unit": "operations", "status": "held", "created_at": created, "expires_at": made.body["expires_at"],
        "committed_quantity": null, "usage_id": null, "over_limit": false, "duplicate": false,
        "resource_id": "r", "metadata": {"a": 1},
    });
    assert_eq!(made.body, expected);
    let quota = client.quota("u", OCR).await;
    assert_eq!(
        (&quota["current_usage"], &quota["held"], &quota["available"]),
        (&json!(2), &json!(5.5), &json!(2.5))
    );
    let refused = client
        .track(json!({"user_id": "u", "metric_type": OCR, "metric_value": 3}))
        .await;
    assert_eq!(code(&refused), (429, "quota_exceeded"), "what is held is taken");
    let refused = reserve(&client, json!({"quantity": 3})).await;
    assert_eq!(code(&refused), (429, "quota_exceeded"));
    assert_eq!(refused.body["quota_info"]["held"], json!(5.5));
    assert!(refused.headers.contains_key("retry-after"));

    let used =
        json!({"quantity": 4, "endpoint": "/ocr", "operation": "scan", "response_time_ms": 7, "error_occurred": true});
    let committed = step(&client, id, "commit", used.clone()).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    let mut expected = expected;
    merge(
        &mut expected,
        json!({"status": "committed", "committed_quantity": 4, "usage_id": committed.body["usage_id"]}),
    );
    assert_eq!(committed.body, expected);
    assert_eq!(one(&client, id).await, expected, "read again");
    assert_eq!(standing(&client, OCR).await, (json!(6), json!(0)));
    let event = committed.body["usage_id"].as_str().expect("an id");
    let event = client.get(&format!("/api/v1/usage/events/{event}"), SERVICE).await.body;
    let seen = [
        "metric_value",
        "timestamp",
        "source",
        "endpoint",
        "operation",
        "resource_id",
        "metadata",
        "error_occurred",
    ];
    let seen: Vec<&Value> = seen.iter().map(|name| &event[*name]).collect();
    let expected = [
        json!(4),
        json!(created),
        json!("reservation"),
        json!("/ocr"),
        json!("scan"),
        json!("r"),
        json!({"a": 1}),
        json!(true),
    ];
    assert_eq!(seen, expected.iter().collect::<Vec<_>>());

    for _ in 0..4 {
        let again = step(&client, id, "commit", used.clone()).await;
        assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)));
    }
    let other = step(&client, id, "commit", json!({"quantity": 5})).await;
    assert_eq!(code(&other), (409, "reservation_closed"));
    assert_eq!(
        code(&step(&client, id, "commit", json!({})).await),
        (409, "reservation_closed"),
        "5.5 is another"
    );
    assert_eq!(
        code(&step(&client, id, "release", json!({})).await),
        (409, "reservation_closed")
    );
    assert_eq!(
        code(&step(&client, id, "renew", json!({})).await),
        (409, "reservation_closed")
    );
    assert_eq!(standing(&client, OCR).await, (json!(6), json!(0)), "counted once");
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_released_or_expired_is_free_again() {
    let client = Client::start().await;
    client.limit("u", OCR, 10).await;
    let (released, expired) = (
        held(&client, json!({"quantity": 6})).await,
        held(&client, json!({"quantity": 4, "ttl_seconds": 60})).await,
    );
    for _ in 0..2 {
        let answer = step(&client, &released, "release", json!({})).await;
        assert_eq!(
            (answer.status, &answer.body["status"]),
            (200, &json!("released")),
            "{answer:?}"
        );
    }
    assert_eq!(
        code(&step(&client, &released, "commit", json!({})).await),
        (409, "reservation_closed")
    );
    assert_eq!(standing(&client, OCR).await, (json!(0), json!(4)));

    client.clock(json!({"advance_seconds": 60})).await;
    assert_eq!(
        standing(&client, OCR).await,
        (json!(0), json!(0)),
        "its instant is over, whoever has noted it"
    );
    assert_eq!(one(&client, &expired).await["status"], json!("expired"));
    let whole = client
        .track(json!({"user_id": "u", "metric_type": OCR, "metric_value": 10}))
        .await;
    assert_eq!(whole.status, 201, "it does not block: {whole:?}");
    assert_eq!(
        code(&step(&client, &expired, "commit", json!({})).await),
        (409, "reservation_expired")
    );
    assert_eq!(
        code(&step(&client, &expired, "renew", json!({})).await),
        (409, "reservation_expired")
    );
    let released = step(&client, &expired, "release", json!({})).await;
    assert_eq!((released.status, &released.body["status"]), (200, &json!("expired")));
    // The work has happened: it is recorded all the same.
    let body = json!({"user_id": "u", "metric_type": OCR, "metric_value": 4, "enforce": false});
    let recorded = client.track(body).await;
    assert_eq!((recorded.status, &recorded.body["over_limit"]), (201, &json!(true)));
    let books = Books::read(&client.stack).await;
    books.assert_exact();
    books.assert_unheld();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_a_gauge_get_the_room_of_expired_holds_in_order() {
    let client = Client::start().await;
    client.limit("u", OCR, 8).await;
    client.limit("u", STORAGE, 8).await;
    held(&client, json!({"quantity": 5, "ttl_seconds": 10})).await;
    held(
        &client,
        json!({"metric_type": STORAGE, "quantity": 5, "ttl_seconds": 10}),
    )
    .await;
    client.clock(json!({"advance_seconds": 10})).await;
    let event = |value| json!({"user_id": "u", "metric_type": OCR, "metric_value": value});
    let batch = json!({"events": [event(8), event(3)]});
    let answer = client.post("/api/v1/usage/track/batch", SERVICE, batch).await;
    let statuses: Vec<&Value> = answer.body["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|one| &one["status"])
        .collect();
    assert_eq!(statuses, [201, 429], "what comes first has the room: {answer:?}");
    let level = json!({"user_id": "u", "metric_type": STORAGE, "metric_value": 8, "mode": "level"});
    assert_eq!(client.track(level).await.status, 201);
    Books::read(&client.stack).await.assert_unheld();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_above_the_hold_counts_in_full_and_says_so() {
    let client = Client::start().await;
    client.limit("u", OCR, 10).await;
    let (fits, over, none) = (
        held(&client, json!({"quantity": 4})).await,
        held(&client, json!({"quantity": 4})).await,
        held(&client, json!({"quantity": 1})).await,
    );
    let fits = step(&client, &fits, "commit", json!({"quantity": 5})).await;
    assert_eq!((fits.status, &fits.body["over_limit"]), (200, &json!(false)));
    let over = step(&client, &over, "commit", json!({"quantity": 40})).await;
    assert_eq!((over.status, &over.body["over_limit"]), (200, &json!(true)));
    let none = step(&client, &none, "commit", json!({"quantity": 0})).await;
    assert_eq!((none.status, &none.body["committed_quantity"]), (200, &json!(0)));
    assert_eq!(standing(&client, OCR).await, (json!(45), json!(0)));
    let listed = client
        .get(&format!("{PATH}?user_id=u&status=committed"), SERVICE)
        .await
        .body;
    let flags: Vec<&Value> = listed["reservations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["over_limit"])
        .collect();
    assert_eq!(flags, [false, true, false], "newest first");
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gauge_is_raised_by_what_was_held_for_it() {
    let client = Client::start().await;
    client.limit("u", STORAGE, 10).await;
    client
        .track(json!({"user_id": "u", "metric_type": STORAGE, "metric_value": 3, "mode": "level"}))
        .await;
    let id = held(&client, json!({"metric_type": STORAGE, "quantity": 6})).await;
    let more = json!({"user_id": "u", "metric_type": STORAGE, "metric_value": 2, "mode": "delta"});
    assert_eq!(code(&client.track(more.clone()).await), (429, "quota_exceeded"));
    let committed = step(&client, &id, "commit", json!({"quantity": 5})).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    assert_eq!(
        step(&client, &id, "commit", json!({"quantity": 5})).await.body["duplicate"],
        json!(true)
    );
    assert_eq!(standing(&client, STORAGE).await, (json!(8), json!(0)));
    assert_eq!(client.track(more).await.status, 201);
    let books = Books::read(&client.stack).await;
    books.assert_exact();
    books.assert_unheld();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_made_once() {
    let client = Client::start().await;
    let send =
        async |path: &str, key: &str, body: Value| client.keyed(Method::POST, path, SERVICE, key, Some(body)).await;
    let body = json!({"user_id": "u", "metric_type": OCR, "quantity": 2});
    let first = send(PATH, "k", body.clone()).await;
    let again = send(PATH, "k", body.clone()).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let other = send(PATH, "k", json!({"user_id": "u", "metric_type": OCR, "quantity": 3})).await;
    assert_eq!(code(&other), (409, "idempotency_conflict"));
    assert_eq!(standing(&client, OCR).await.1, json!(2));

    let id = first.body["id"].as_str().expect("an id");
    let renew = format!("{PATH}/{id}/renew");
    let renewed = send(&renew, "r", json!({"ttl_seconds": 100})).await;
    client.clock(json!({"advance_seconds": 10})).await;
    let replayed = send(&renew, "r", json!({"ttl_seconds": 100})).await;
    assert_eq!(
        (replayed.status, &replayed.body["expires_at"]),
        (200, &renewed.body["expires_at"])
    );
    assert_eq!(replayed.headers["idempotent-replayed"], "true");

    let commit = format!("{PATH}/{id}/commit");
    let committed = send(&commit, "c", json!({"quantity": 1})).await;
    assert_eq!((committed.status, &committed.body["duplicate"]), (200, &json!(false)));
    let replayed = send(&commit, "c", json!({"quantity": 1})).await;
    assert_eq!((replayed.status, &replayed.body), (200, &committed.body));
    assert_eq!(replayed.headers["idempotent-replayed"], "true");
    assert_eq!(
        code(&send(&commit, "c", json!({"quantity": 2})).await),
        (409, "idempotency_conflict")
    );
    let repeated = send(&commit, "d", json!({"quantity": 1})).await;
    assert_eq!((repeated.status, &repeated.body["duplicate"]), (200, &json!(true)));
    let first_again = send(PATH, "k", body).await;
    assert_eq!(first_again.body, first.body, "the first answer, whatever became of it");

    let freed = held(&client, json!({})).await;
    let release = format!("{PATH}/{freed}/release");
    let released = client.keyed(Method::POST, &release, SERVICE, "f", None).await;
    let replayed = client.keyed(Method::POST, &release, SERVICE, "f", None).await;
    assert_eq!((replayed.status, &replayed.body), (200, &released.body));
    assert_eq!(replayed.headers["idempotent-replayed"], "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_touches_only_what_they_made() {
    let client = Client::start().await;
    let (user, other) = (
        client.token(json!({"user_id": "u"})).await,
        client.token(json!({"user_id": "v"})).await,
    );
    let services = held(&client, json!({})).await;
    let own = client
        .post(PATH, &user, json!({"metric_type": OCR, "quantity": 1}))
        .await;
    assert_eq!((own.status, &own.body["user_id"]), (201, &json!("u")));
    let own = own.body["id"].as_str().expect("an id").to_owned();
    for action in ["commit", "release", "renew"] {
        let path = |id: &str| format!("{PATH}/{id}/{action}");
        assert_eq!(
            code(&client.post(&path(&services), &user, json!({})).await),
            (403, "forbidden"),
            "{action}"
        );
        assert_eq!(
            code(&client.post(&path(&own), &other, json!({})).await),
            (404, "not_found"),
            "{action}"
        );
        assert_eq!(
            code(&client.post(&path("rsv_nobody"), &user, json!({})).await),
            (404, "not_found"),
            "{action}"
        );
    }
    assert_eq!(
        client.get(&format!("{PATH}/{services}"), &user).await.status,
        200,
        "it is theirs to see"
    );
    assert_eq!(client.get(&format!("{PATH}/{services}"), &other).await.status, 404);
    assert_eq!(
        client.get(&format!("{PATH}/{own}?user_id=v"), SERVICE).await.status,
        404
    );
    assert_eq!(client.get(&format!("{PATH}?user_id=u"), &other).await.status, 403);
    let gauge = json!({"metric_type": STORAGE, "quantity": 1});
    assert_eq!(code(&client.post(PATH, &user, gauge).await), (403, "forbidden"));
    let committed = client.post(&format!("{PATH}/{own}/commit"), &user, json!({})).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    assert_eq!(standing(&client, OCR).await, (json!(1), json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_are_listed_newest_first() {
    let client = Client::start().await;
    let mut ids = Vec::new();
    for index in 0..5 {
        let metric = if index % 2 == 0 { OCR } else { SESSIONS };
        ids.push(held(&client, json!({"metric_type": metric})).await);
        client.clock(json!({"advance_seconds": 1})).await;
    }
    step(&client, &ids[4], "release", json!({})).await;
    let listed = async |query: &str| {
        let page = client.get(&format!("{PATH}?user_id=u{query}"), SERVICE).await.body;
        let ids = page["reservations"].as_array().expect("a list").iter();
        let ids: Vec<String> = ids.map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
        (ids, page["next_cursor"].as_str().map(str::to_owned))
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(listed("").await, (newest_first.clone(), None));
    assert_eq!(
        listed("&metric_type=user_sessions").await.0,
        [ids[3].clone(), ids[1].clone()]
    );
    assert_eq!(
        listed("&status=held&metric_type=ocr_operations").await.0,
        [ids[2].clone(), ids[0].clone()]
    );
    assert_eq!(listed("&status=released").await.0, [ids[4].clone()]);
    assert_eq!(listed("&subscription_id=none").await.0, newest_first);
    let (first, cursor) = listed("&limit=2").await;
    let (second, cursor_2) = listed(&format!("&limit=2&cursor={}", cursor.expect("more"))).await;
    let (third, end) = listed(&format!("&limit=2&cursor={}", cursor_2.expect("more"))).await;
    assert_eq!([first, second, third].concat(), newest_first);
    assert_eq!(end, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ended_or_has_not_begun_holds_nothing() {
    let client = Client::start().await;
    let soon = (client.now() + Duration::from_secs(3_600)).to_rfc3339();
    let body = json!({"id": "sub_f", "user_id": "u", "plan": "basic", "starts_at": soon});
    assert_eq!(
        client
            .post("/api/v1/usage/admin/subscriptions", ADMIN, body)
            .await
            .status,
        201
    );
    assert_eq!(code(&reserve(&client, json!({})).await), (409, "subscription_inactive"));
    client.clock(json!({"advance_seconds": 3_600})).await;
    let id = held(&client, json!({"quantity": 3})).await;
    let session = held(&client, json!({"metric_type": SESSIONS})).await;
    let ended = client
        .post("/api/v1/usage/admin/subscriptions/sub_f/cancel", ADMIN, json!({}))
        .await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(code(&reserve(&client, json!({})).await), (409, "subscription_inactive"));
    assert_eq!(
        code(&reserve(&client, json!({"subscription_id": "sub_x"})).await),
        (404, "not_found")
    );
    // The work has happened: it is recorded where it can be.
    let committed = step(&client, &id, "commit", json!({})).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    let event = committed.body["usage_id"].as_str().expect("an id");
    let event = client.get(&format!("/api/v1/usage/events/{event}"), SERVICE).await.body;
    assert_eq!(event["subscription_id"], json!("none"));
    assert_eq!(step(&client, &session, "release", json!({})).await.status, 200);
    let books = Books::read(&client.stack).await;
    books.assert_exact();
    books.assert_unheld();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_after_a_renewal_of_the_subscription_counts_late() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    let id = held(&client, json!({"quantity": 3})).await;
    client.clock(json!({"advance_seconds": 5})).await;
    let renew = format!("/api/v1/usage/admin/subscriptions/{subscription}/renew");
    assert_eq!(client.post(&renew, ADMIN, json!({})).await.status, 200);
    assert_eq!(
        standing(&client, OCR).await,
        (json!(0), json!(0)),
        "the seal released it"
    );
    let committed = step(&client, &id, "commit", json!({})).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    assert_eq!(
        standing(&client, OCR).await,
        (json!(3), json!(0)),
        "on the counter that runs now"
    );
    let event = committed.body["usage_id"].as_str().expect("an id");
    let event = client.get(&format!("/api/v1/usage/events/{event}"), SERVICE).await.body;
    assert_eq!(
        (&event["late"], &event["timestamp"]),
        (&json!(true), &committed.body["created_at"])
    );
    let ledger = client
        .get("/api/v1/usage/admin/adjustments?user_id=u&kind=late", ADMIN)
        .await
        .body;
    assert_eq!(ledger["adjustments"][0]["usage_id"], committed.body["usage_id"]);
    Books::read(&client.stack).await.assert_exact();
}
