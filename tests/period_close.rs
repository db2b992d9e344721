//! The period close as callers see it: one statement per period, exact, published, listed.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    books::Books,
    renewals::SUBSCRIPTIONS,
    support::{ADMIN, Client, SERVICE},
};

pub const STATEMENTS: &str = "/api/v1/usage/admin/statements";
const API_CALLS: &str = "api_calls";
const DOCUMENTS: &str = "document_processing";
const STORAGE: &str = "storage_usage";

/// The tenth of March, noon.
async fn in_march() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T12:00:00Z"})).await;
    client
}

pub async fn now(client: &Client, now: &str) {
    client.clock(json!({"now": now})).await;
}

async fn track(client: &Client, user: &str, more: Value) -> (u16, Value) {
    let mut event = json!({"user_id": user, "metric_type": API_CALLS, "metric_value": 1, "enforce": false});
    let fields = more.as_object().cloned().unwrap_or_default();
    event.as_object_mut().expect("an object").extend(fields);
    let answer = client.track(event).await;
    (answer.status, answer.body)
}

/// Statements as listed, newest first.
pub async fn statements(client: &Client, query: &str) -> Vec<Value> {
    let listed = client.get(&format!("{STATEMENTS}?{query}"), ADMIN).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.body["statements"].as_array().expect("statements").clone()
}

pub fn line<'a>(statement: &'a Value, metric: &str) -> &'a Value {
    let lines = statement["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["metric_type"] == metric);
    line.unwrap_or(&Value::Null)
}

/// What was put on the bus about closed periods, once all is done.
pub async fn published(client: &Client) -> Vec<Value> {
    client.drain().await;
    let outbox = client.outbox().await;
    let bus = outbox["bus"].as_array().expect("a bus").clone();
    let closed = |event: &Value| event["detail-type"] == "usage.period_closed";
    bus.into_iter()
        .filter(closed)
        .map(|event| event["detail"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_costs_what_the_requirements_say() {
    let client = in_march().await;
    let id = client.subscribe("u", "basic").await;
    track(&client, "u", json!({"metric_type": DOCUMENTS, "metric_value": 112})).await;
    track(&client, "u", json!({"metric_value": 1011})).await;
    track(
        &client,
        "u",
        json!({"metric_type": STORAGE, "metric_value": 5.1, "mode": "level"}),
    )
    .await;
    track(
        &client,
        "u",
        json!({"metric_type": STORAGE, "metric_value": 3, "mode": "level"}),
    )
    .await;
    now(&client, "2026-04-01T23:59:00Z").await;
    assert!(
        statements(&client, "user_id=u").await.is_empty(),
        "a day is left for what comes late"
    );
    now(&client, "2026-04-02T00:00:00Z").await;
    let all = statements(&client, "user_id=u").await;
    assert_eq!(all.len(), 1, "{all:?}");
    let statement = &all[0];
    let expected = json!({"user_id": "u", "subscription_id": id, "plan": "basic", "currency": "EUR",
        "period_start": "2026-03-01T00:00:00Z", "period_end": "2026-04-01T00:00:00Z", "total_cost": 6.22});
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(statement[name], *value, "{name}: {statement}");
    }
    assert_eq!(
        *line(statement, DOCUMENTS),
        json!({"metric_type": DOCUMENTS, "kind": "sum", "unit": "documents", "used": 112, "peak": null, "quota_limit": 100,
            "overage": 12, "blocks": null, "overage_price": 0.5, "block_size": null, "cost": 6})
    );
    assert_eq!(
        *line(statement, API_CALLS),
        json!({"metric_type": API_CALLS, "kind": "sum", "unit": "calls", "used": 1011, "peak": null, "quota_limit": 1000,
            "overage": 11, "blocks": 2, "overage_price": 0.01, "block_size": 10, "cost": 0.02})
    );
    assert_eq!(
        *line(statement, STORAGE),
        json!({"metric_type": STORAGE, "kind": "gauge", "unit": "GB", "used": 3, "peak": 5.1, "quota_limit": 5,
            "overage": 0.1, "blocks": null, "overage_price": 2, "block_size": null, "cost": 0.2})
    );
    let told = published(&client).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["event_id"], &told[0]["statement"]),
        (&statement["id"], statement)
    );
    // Nothing happens twice.
    let run = client.post("/_local/run/LifecycleJob", "", json!({})).await;
    assert_eq!(
        run.body["result"],
        json!({"closed": 0, "failed": 0, "more": false}),
        "{run:?}"
    );
    now(&client, "2026-04-20T00:00:00Z").await;
    assert_eq!(statements(&client, "").await, all);
    // What was stored on the first of April is April's peak, though nothing happened in it.
    now(&client, "2026-05-02T00:00:00Z").await;
    let april = &statements(&client, "user_id=u").await[0];
    assert_eq!(april["period_start"], json!("2026-04-01T00:00:00Z"));
    assert_eq!(april["lines"].as_array().map(Vec::len), Some(1), "{april}");
    assert_eq!(
        (&line(april, STORAGE)["peak"], &april["total_cost"]),
        (&json!(3), &json!(0))
    );
}

/// 160 documents, one by one: the 151st is denied, and the statement charges 50.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_not_billed() {
    let client = in_march().await;
    client.subscribe("u", "basic").await;
    for number in 1..=160 {
        let (status, _) = track(&client, "u", json!({"metric_type": DOCUMENTS, "enforce": true})).await;
        assert_eq!(status, if number <= 150 { 201 } else { 429 }, "document {number}");
    }
    now(&client, "2026-04-02T00:00:00Z").await;
    let statement = &statements(&client, "user_id=u").await[0];
    let documents = line(statement, DOCUMENTS);
    assert_eq!(
        (&documents["used"], &documents["overage"], &documents["cost"]),
        (&json!(150), &json!(50), &json!(25))
    );
}

/// Every period has its statement, used or not, and they lie side by side; what is late is in the next.
#[tokio::test(flavor = "multi_thread")]
async fn late_usage_is_in_exactly_one_statement() {
    let client = in_march().await;
    client.subscribe("u", "basic").await;
    track(&client, "u", json!({"metric_value": 5})).await;
    // A day is left: this one belongs to March.
    now(&client, "2026-04-01T12:00:00Z").await;
    let (_, in_time) = track(
        &client,
        "u",
        json!({"metric_value": 7, "timestamp": "2026-03-31T23:00:00Z"}),
    )
    .await;
    assert_eq!(in_time["late"], json!(false));
    now(&client, "2026-04-03T00:00:00Z").await;
    let event = json!({"metric_value": 11, "timestamp": "2026-03-31T23:00:00Z", "idempotency_key": "k"});
    let (status, late) = track(&client, "u", event.clone()).await;
    assert_eq!((status, &late["late"]), (201, &json!(true)), "{late}");
    let (status, again) = track(&client, "u", event).await;
    assert_eq!((status, &again["usage_id"]), (200, &late["usage_id"]));
    now(&client, "2026-05-02T00:00:00Z").await;
    Books::read(&client.stack).await.assert_exact();
    now(&client, "2026-07-02T00:00:00Z").await;
    let mut all = statements(&client, "user_id=u").await;
    all.reverse();
    let used: Vec<&Value> = all.iter().map(|one| &line(one, API_CALLS)["used"]).collect();
    assert_eq!(used, [&json!(12), &json!(11), &Value::Null, &Value::Null], "{all:?}");
    for pair in all.windows(2) {
        assert_eq!(pair[0]["period_end"], pair[1]["period_start"]);
    }
    assert_eq!(all[3]["lines"], json!([]));
    assert_eq!(published(&client).await.len(), 4);
}

/// The terms are those at the period's end: a plan and a limit changed in the day after it do not count,
/// for sums nor for what stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_uses_what_was_in_force_at_the_periods_end() {
    let client = in_march().await;
    let id = client.subscribe("u", "basic").await;
    track(&client, "u", json!({"metric_type": DOCUMENTS, "metric_value": 600})).await;
    track(
        &client,
        "u",
        json!({"metric_type": STORAGE, "metric_value": 60, "mode": "level"}),
    )
    .await;
    now(&client, "2026-03-20T00:00:00Z").await;
    let path = format!("{SUBSCRIPTIONS}/{id}");
    client.patch(&path, json!({"plan": "professional"})).await;
    now(&client, "2026-04-01T12:00:00Z").await;
    client.patch(&path, json!({"plan": "enterprise"})).await;
    client.limit("u", STORAGE, 1).await;
    for limit in 0..30 {
        client.limit("u", API_CALLS, limit).await;
    }
    // The counter that stands is under the new terms.
    track(
        &client,
        "u",
        json!({"metric_type": STORAGE, "metric_value": 61, "mode": "level"}),
    )
    .await;
    now(&client, "2026-04-02T00:00:00Z").await;
    let march = statements(&client, "user_id=u").await.remove(0);
    assert_eq!(march["plan"], json!("professional"));
    let (documents, storage) = (line(&march, DOCUMENTS), line(&march, STORAGE));
    assert_eq!(
        (&documents["quota_limit"], &documents["cost"]),
        (&json!(500), &json!(40))
    );
    assert_eq!(
        (&storage["peak"], &storage["quota_limit"], &storage["cost"]),
        (&json!(60), &json!(50), &json!(15))
    );
    now(&client, "2026-05-02T00:00:00Z").await;
    let april = statements(&client, "user_id=u").await.remove(0);
    let storage = line(&april, STORAGE);
    assert_eq!(april["plan"], json!("enterprise"));
    assert_eq!(
        (&storage["peak"], &storage["quota_limit"], &storage["cost"]),
        (&json!(61), &json!(1), &json!(0))
    );
}

/// What a renewal or a cancellation ends is billed before it is answered, on the running period's own
/// day; the period before it keeps its day of patience.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_early_is_billed_at_once() {
    let client = in_march().await;
    let id = client.subscribe("u", "basic").await;
    track(&client, "u", json!({"metric_value": 3})).await;
    now(&client, "2026-04-01T10:00:00Z").await;
    track(&client, "u", json!({"metric_value": 5})).await;
    let renewed = client
        .post(&format!("{SUBSCRIPTIONS}/{id}/renew"), ADMIN, json!({}))
        .await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let at = renewed.body["current_period_start"].clone();
    let cut = statements(&client, "user_id=u").await;
    assert_eq!(cut.len(), 1, "{cut:?}");
    assert_eq!(
        (&cut[0]["period_start"], &cut[0]["period_end"]),
        (&json!("2026-04-01T00:00:00Z"), &at)
    );
    assert_eq!(line(&cut[0], API_CALLS)["used"], json!(5));
    // March is open still.
    let (_, march) = track(
        &client,
        "u",
        json!({"metric_value": 7, "timestamp": "2026-03-30T00:00:00Z"}),
    )
    .await;
    assert_eq!(march["late"], json!(false), "{march}");
    // What belongs to the period that was cut is charged to the one that began.
    let (_, late) = track(
        &client,
        "u",
        json!({"metric_value": 2, "timestamp": "2026-04-01T09:00:00Z"}),
    )
    .await;
    assert_eq!(late["late"], json!(true), "{late}");
    now(&client, "2026-04-02T00:00:00Z").await;
    let two = statements(&client, "user_id=u").await;
    assert_eq!(
        (two.len(), &line(&two[1], API_CALLS)["used"]),
        (2, &json!(10)),
        "{two:?}"
    );
    assert_eq!(two[0], cut[0]);
    // Cancelled: nothing more is taken, so nothing is waited for.
    now(&client, "2026-05-01T08:00:00Z").await;
    let cancelled = client
        .post(&format!("{SUBSCRIPTIONS}/{id}/cancel"), ADMIN, json!({}))
        .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let last = &statements(&client, "user_id=u").await[0];
    assert_eq!(
        (&last["period_start"], &last["period_end"]),
        (&at, &cancelled.body["cancelled_at"])
    );
    assert_eq!(line(last, API_CALLS)["used"], json!(2));
    now(&client, "2027-01-01T00:00:00Z").await;
    let all = statements(&client, "user_id=u").await;
    assert_eq!(all.len(), 3, "{all:?}");
    let told = published(&client).await;
    let mut ids: Vec<&Value> = told.iter().map(|one| &one["event_id"]).collect();
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 3, "{told:?}");
}

/// One that ends with its period is billed at that moment; what was counted ahead of the end, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ends_with_its_period_is_billed_then() {
    let client = in_march().await;
    let id = client.subscribe("u", "basic").await;
    now(&client, "2026-03-31T23:57:00Z").await;
    track(&client, "u", json!({"metric_value": 3})).await;
    let (status, _) = track(
        &client,
        "u",
        json!({"metric_value": 4, "timestamp": "2026-04-01T00:00:30Z"}),
    )
    .await;
    assert_eq!(status, 201);
    let body = json!({"at_period_end": true});
    client.post(&format!("{SUBSCRIPTIONS}/{id}/cancel"), ADMIN, body).await;
    assert!(statements(&client, "user_id=u").await.is_empty());
    now(&client, "2026-04-01T00:00:00Z").await;
    let all = statements(&client, "user_id=u").await;
    let used: Vec<&Value> = all.iter().map(|one| &line(one, API_CALLS)["used"]).collect();
    assert_eq!(used, [&json!(4), &json!(3)], "{all:?}");
    now(&client, "2026-06-01T00:00:00Z").await;
    assert_eq!(statements(&client, "user_id=u").await, all);
}

/// Of what was over before a subscription was created, only periods to which something was charged have
/// statements: the others were billed elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_over_before_the_creation_is_billed_if_used() {
    let client = in_march().await;
    let body = json!({"id": "sub_u", "user_id": "u", "plan": "basic", "starts_at": "2016-01-05T00:00:00Z", "period_length": "day"});
    client.post(SUBSCRIPTIONS, ADMIN, body).await;
    for day in ["2026-02-20", "2020-02-29"] {
        let (status, _) = track(
            &client,
            "u",
            json!({"timestamp": format!("{day}T12:00:00Z"), "backfill": true}),
        )
        .await;
        assert_eq!(status, 201);
    }
    // What is brought along has a day for it.
    now(&client, "2026-03-11T11:59:00Z").await;
    let (_, brought) = track(&client, "u", json!({"timestamp": "2026-02-20T13:00:00Z"})).await;
    assert_eq!(brought["late"], json!(false), "{brought}");
    now(&client, "2026-03-12T00:30:00Z").await;
    let all = statements(&client, "subscription_id=sub_u").await;
    let starts: Vec<&Value> = all.iter().map(|one| &one["period_start"]).collect();
    assert_eq!(line(&all[1], API_CALLS)["used"], json!(2));
    let expected = ["2026-03-10T00:00:00Z", "2026-02-20T00:00:00Z", "2020-02-29T00:00:00Z"];
    assert_eq!(
        starts,
        expected.map(|start| json!(start)).iter().collect::<Vec<_>>(),
        "{all:?}"
    );
    let (_, late) = track(
        &client,
        "u",
        json!({"timestamp": "2021-01-01T00:00:00Z", "backfill": true}),
    )
    .await;
    assert_eq!(late["late"], json!(true), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_listed_by_user_subscription_and_period() {
    let client = in_march().await;
    for (id, user) in [("sub_a", "u"), ("sub_b", "u"), ("sub_c", "v")] {
        let body = json!({"id": id, "user_id": user, "plan": "basic"});
        assert_eq!(client.post(SUBSCRIPTIONS, ADMIN, body).await.status, 201);
    }
    now(&client, "2026-06-02T00:00:00Z").await;
    let named = |all: &[Value]| -> Vec<(String, String)> {
        let text = |one: &Value, name: &str| one[name].as_str().expect("a text").to_owned();
        all.iter()
            .map(|one| (text(one, "period_start")[..7].to_owned(), text(one, "subscription_id")))
            .collect()
    };
    let all = statements(&client, "").await;
    assert_eq!(all.len(), 9);
    let months: Vec<String> = named(&all).into_iter().map(|(month, _)| month).collect();
    assert!(months.is_sorted_by(|a, b| a >= b), "newest first: {months:?}");
    for query in [
        "user_id=u",
        "subscription_id=sub_a",
        "user_id=v&subscription_id=sub_c",
        "",
    ] {
        // Page by page it is the same list.
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("{STATEMENTS}?{query}&limit=2{cursor}").replace("?&", "?");
            let page = client.get(&path, ADMIN).await;
            assert_eq!(page.status, 200, "{page:?}");
            paged.extend(page.body["statements"].as_array().expect("statements").clone());
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, statements(&client, query).await, "{query}");
    }
    assert_eq!(statements(&client, "user_id=u").await.len(), 6);
    assert_eq!(statements(&client, "subscription_id=sub_c").await.len(), 3);
    let ranged = "subscription_id=sub_c&from=2026-04-01T00:00:00Z&to=2026-05-01T00:00:00Z";
    let ranged = named(&statements(&client, ranged).await);
    assert_eq!(ranged, [("2026-04".to_owned(), "sub_c".to_owned())]);
    assert_eq!(statements(&client, "to=2026-04-01T00:00:00Z").await.len(), 3);
    assert_eq!(statements(&client, "from=2026-05-01T00:00:00Z").await.len(), 3);
    assert!(statements(&client, "user_id=nobody").await.is_empty());
    assert!(statements(&client, "user_id=u&subscription_id=none").await.is_empty());
    for query in ["subscription_id=sub_nobody", "user_id=v&subscription_id=sub_a"] {
        assert_eq!(
            client.get(&format!("{STATEMENTS}?{query}"), ADMIN).await.status,
            404,
            "{query}"
        );
    }
    assert_eq!(client.get(STATEMENTS, SERVICE).await.status, 403);
}

/// One subscription that cannot be read fails the run, and keeps no other from being billed.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_keeps_no_other() {
    let client = in_march().await;
    for number in 0..12 {
        client.subscribe(&format!("u{number}"), "basic").await;
    }
    let broken = client.subscribe("broken", "basic").await;
    let engine = metering_edge::aws::dynamodb_client(&client.stack.dynamodb_endpoint(), None);
    let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
    let spoil = async |zone: &str| {
        let update = engine.update_item().table_name(client.stack.state_table());
        let update = update
            .key("pk", text(format!("SUB#{broken}")))
            .key("sk", text("SUB".to_owned()));
        let update = update.update_expression("SET #zone = :zone");
        let update = update.expression_attribute_names("#zone", "timezone");
        let update = update.expression_attribute_values(":zone", text(zone.to_owned()));
        update.send().await.expect("a write");
    };
    spoil("Mars/Olympus").await;
    now(&client, "2026-04-02T00:00:00Z").await;
    assert_eq!(statements(&client, "").await.len(), 12);
    let run = client.post("/_local/run/LifecycleJob", "", json!({})).await;
    assert_eq!(run.status, 500, "{run:?}");
    assert!(
        run.body["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("\"failed\":1")),
        "{run:?}"
    );
    spoil("UTC").await;
    let run = client.post("/_local/run/LifecycleJob", "", json!({})).await;
    assert_eq!(
        run.body["result"],
        json!({"closed": 1, "failed": 0, "more": false}),
        "{run:?}"
    );
    assert_eq!(statements(&client, "").await.len(), 13);
}

/// A long time away: more than one visit closes, and all is closed in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_time_is_closed_period_by_period() {
    let client = in_march().await;
    let body = json!({"id": "sub_u", "user_id": "u", "plan": "basic", "period_length": "day", "timezone": "Australia/Lord_Howe"});
    client.post(SUBSCRIPTIONS, ADMIN, body).await;
    track(&client, "u", json!({"metric_value": 9})).await;
    // Events stay for 90 days: what is pending is decided before.
    now(&client, "2026-05-20T00:00:00Z").await;
    now(&client, "2026-06-20T00:00:00Z").await;
    let mut all = statements(&client, "user_id=u&limit=200").await;
    all.reverse();
    assert!(all.len() > 99, "{}", all.len());
    for pair in all.windows(2) {
        assert_eq!(pair[0]["period_end"], pair[1]["period_start"]);
    }
    let used: Decimal = all
        .iter()
        .map(|one| line(one, API_CALLS)["used"].as_i64().unwrap_or(0))
        .map(Decimal::from)
        .sum();
    assert_eq!(used, 9.into());
}
