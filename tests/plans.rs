//! Plans in versions: an edit binds each subscription from its next period on.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{ADMIN, Client, SERVICE, TRACK, count},
    wire::{Fate, Wire},
};

const PLANS: &str = "/api/v1/usage/admin/plans";
const SUBSCRIPTIONS: &str = "/api/v1/usage/admin/subscriptions";
const API_CALLS: &str = "api_calls";
const STORAGE: &str = "storage_usage";

/// A plan that grants so many calls, and nothing above.
fn calls(limit: u32) -> Value {
    strict(API_CALLS, limit)
}

fn strict(metric: &str, limit: u32) -> Value {
    json!({"name": "Basic", "currency": "EUR", "quotas": {metric: {"quota_limit": limit, "allow_overage": false}}})
}

fn basic() -> String {
    format!("{PLANS}/basic")
}

async fn edit(client: &Client, id: &str, body: Value) -> Value {
    let put = client.put(&format!("{PLANS}/{id}"), body).await;
    assert_eq!(put.status, 200, "{put:?}");
    put.body["version"].clone()
}

/// The tenth of March; a Basic subscription since the first of January.
async fn in_march() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T12:00:00Z"})).await;
    let body = json!({"id": "sub_u", "user_id": "u", "plan": "basic", "starts_at": "2026-01-01T00:00:00Z"});
    let created = client.post(SUBSCRIPTIONS, ADMIN, body).await;
    assert_eq!(created.status, 201, "{created:?}");
    client
}

async fn limit(client: &Client, metric: &str) -> Value {
    client.quota("u", metric).await["quota_limit"].clone()
}

async fn track(client: &Client, timestamp: &str) -> Value {
    let event = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 1, "timestamp": timestamp});
    let tracked = client.track(event).await;
    assert_eq!(tracked.status, 201, "{tracked:?}");
    tracked.body["quota"]["quota_limit"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_plans_are_there_and_an_edit_is_a_version() {
    let client = Client::start().await;
    let listed = client.get(PLANS, ADMIN).await.body;
    let ids: Vec<&Value> = listed["plans"]
        .as_array()
        .expect("plans")
        .iter()
        .map(|plan| &plan["id"])
        .collect();
    assert_eq!(ids, ["basic", "professional", "enterprise"]);
    let printed = json!({"quota_limit": 100, "allow_overage": true, "overage_price": 0.5, "block_size": null, "overage_limit": 50});
    assert_eq!(listed["plans"][0]["quotas"]["document_processing"], printed);
    let first = client.get(&basic(), ADMIN).await.body;
    assert_eq!((&first["version"], &first["currency"]), (&json!(1), &json!("EUR")));

    // What was read may be sent back: it says the same and makes no version.
    let same = client.put(&basic(), first.clone()).await;
    assert_eq!((same.status, &same.body), (200, &first));
    let mut edited = first.clone();
    edited["quotas"]["document_processing"]["quota_limit"] = json!(150);
    let put = client.put(&basic(), edited.clone()).await;
    edited["version"] = json!(2);
    assert_eq!((put.status, &put.body), (200, &edited));
    assert_eq!(client.get(&basic(), ADMIN).await.body, edited);
    assert_eq!(client.put(&basic(), edited.clone()).await.body["version"], json!(2));
    assert_eq!(
        client.put(&basic(), first).await.body["version"],
        json!(3),
        "back is another version"
    );

    let gold = json!({"id": "gold", "name": "Gold", "currency": "USD", "version": 9, "quotas": {}});
    let put = client.put(&format!("{PLANS}/gold"), gold).await;
    assert_eq!((put.status, &put.body["version"]), (200, &json!(1)));
    assert_eq!(client.get(&format!("{PLANS}/silver"), ADMIN).await.status, 404);
    let page = client.get(&format!("{PLANS}?limit=3"), ADMIN).await.body;
    assert_eq!(page["plans"][0]["id"], "gold", "newest first: {page}");
    let next = page["next_cursor"].as_str().expect("a cursor");
    let rest = client.get(&format!("{PLANS}?limit=3&cursor={next}"), ADMIN).await.body;
    assert_eq!(
        (&rest["plans"][0]["id"], &rest["next_cursor"]),
        (&json!("enterprise"), &Value::Null)
    );

    let body = json!({"user_id": "u", "plan": "silver"});
    let unknown = client.post(SUBSCRIPTIONS, ADMIN, body).await.body["errors"][0].clone();
    assert_eq!(
        (&unknown["pointer"], &unknown["code"]),
        (&json!("/plan"), &json!("unknown_value"))
    );
    assert!(
        unknown["detail"].as_str().expect("a sentence").contains("gold"),
        "{unknown}"
    );
    client.subscribe("u", "gold").await;
    let summary = client.get("/api/v1/usage/summary?user_id=u", SERVICE).await.body;
    assert_eq!((&summary["plan"], &summary["quotas"]), (&json!("gold"), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_binds_from_the_next_period_on() {
    let client = in_march().await;
    assert_eq!(track(&client, "2026-03-10T12:00:00Z").await, json!(1000));
    assert_eq!(edit(&client, "basic", calls(7)).await, json!(2));
    assert_eq!(limit(&client, API_CALLS).await, json!(1000), "a counter that is there");
    let documents = limit(&client, "document_processing").await;
    assert_eq!(documents, json!(100), "one that is not born yet");
    let other = client.stack.instance(None).expect("an instance");
    let event = json!({"user_id": "u", "metric_type": "document_processing", "metric_value": 1});
    let born = client.track_at(&other.url(), event).await;
    assert_eq!(born.body["quota"]["quota_limit"], json!(100), "born after the edit");
    // An override is laid over the version that binds, and taken off it again.
    client
        .put(
            "/api/v1/usage/admin/quotas",
            json!({"user_id": "u", "metric_type": API_CALLS, "quota_limit": 5}),
        )
        .await;
    let path = "/api/v1/usage/admin/quotas?user_id=u&metric_type=api_calls";
    client
        .send_to(&client.stack.url(), Method::DELETE, path, Some(ADMIN), None)
        .await;
    assert_eq!(limit(&client, API_CALLS).await, json!(1000));

    client.clock(json!({"now": "2026-04-01T00:00:00Z"})).await;
    assert_eq!(limit(&client, API_CALLS).await, json!(7));
    assert_eq!(track(&client, "2026-04-01T00:00:00Z").await, json!(7));
    assert_eq!(
        limit(&client, "document_processing").await,
        Value::Null,
        "no row any more"
    );
    // A first event of a period that is over is under what was in force then.
    let late = json!({"user_id": "u", "metric_type": "ocr_operations", "metric_value": 1, "timestamp": "2026-03-31T00:00:00Z"});
    assert_eq!(client.track(late).await.status, 201);
    edit(&client, "basic", calls(9)).await;
    assert_eq!(limit(&client, API_CALLS).await, json!(7));
    client.clock(json!({"now": "2026-05-01T00:00:00Z"})).await;
    assert_eq!(limit(&client, API_CALLS).await, json!(9));
    assert_eq!(
        track(&client, "2026-04-20T00:00:00Z").await,
        json!(7),
        "April's counter"
    );
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_onto_a_plan_takes_its_newest_version() {
    let client = in_march().await;
    edit(&client, "basic", calls(7)).await;
    edit(&client, "professional", calls(20)).await;
    let path = format!("{SUBSCRIPTIONS}/sub_u");
    // To stay is no move.
    assert_eq!(client.patch(&path, json!({"plan": "basic"})).await.status, 200);
    assert_eq!(limit(&client, API_CALLS).await, json!(1000));
    assert_eq!(track(&client, "2026-03-10T12:00:00Z").await, json!(1000));
    let moved = client.patch(&path, json!({"plan": "professional"})).await;
    assert_eq!((moved.status, &moved.body["plan"]), (200, &json!("professional")));
    assert_eq!(limit(&client, API_CALLS).await, json!(20), "the very next event");
    edit(&client, "professional", calls(30)).await;
    assert_eq!(limit(&client, API_CALLS).await, json!(20));
    client.clock(json!({"advance_seconds": 1})).await;
    client.patch(&path, json!({"plan": "basic"})).await;
    assert_eq!(limit(&client, API_CALLS).await, json!(7));
    // And who begins, too.
    client.subscribe("v", "professional").await;
    assert_eq!(client.quota("v", API_CALLS).await["quota_limit"], json!(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_new_version_holds_at_its_first_event() {
    let client = in_march().await;
    edit(&client, "basic", calls(7)).await;
    client.clock(json!({"now": "2026-04-01T00:00:00Z"})).await;
    let event = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 1});
    let other = client.stack.instance(None).expect("an instance");
    let answers = client
        .track_all(&[client.stack.url(), other.url()], vec![event; 20], 20)
        .await;
    assert_eq!((count(&answers, 201), count(&answers, 429)), (7, 13));
    Books::read(&client.stack).await.assert_exact();
}

/// A gauge's counter is not born anew: it takes the version with its first change, and is shown
/// under it before.
#[tokio::test(flavor = "multi_thread")]
async fn a_standing_counter_takes_a_version_in_its_next_period() {
    let client = in_march().await;
    let level = |value: u32| json!({"user_id": "u", "metric_type": STORAGE, "metric_value": value, "mode": "level"});
    assert_eq!(client.track(level(4)).await.body["quota"]["quota_limit"], json!(5));
    edit(&client, "basic", strict(STORAGE, 6)).await;
    assert_eq!(client.track(level(5)).await.body["quota"]["quota_limit"], json!(5));
    client.clock(json!({"now": "2026-04-01T00:00:00Z"})).await;
    assert_eq!(limit(&client, STORAGE).await, json!(6));
    let check = format!("/api/v1/usage/check-quota/{STORAGE}?user_id=u&required_quantity=2");
    assert_eq!(client.get(&check, SERVICE).await.body["is_available"], json!(false));
    let more = client.track(level(7)).await;
    assert_eq!(
        (more.status, &more.body["quota_info"]["quota_limit"]),
        (429, &json!(6)),
        "{more:?}"
    );
    let most = client.track(level(6)).await;
    assert_eq!((most.status, &most.body["quota"]["current_usage"]), (201, &json!(6)));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_edits_at_once_each_that_is_answered_is_a_version() {
    let client = Client::start().await;
    let path = basic();
    let edits = (0..6_u32).map(|number| client.put(&path, calls(number + 1)));
    let answers = futures::future::join_all(edits).await;
    let mut versions: Vec<u64> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body["version"].as_u64().expect("a version"))
        .collect();
    versions.sort_unstable();
    let expected: Vec<u64> = (2..).take(versions.len()).collect();
    assert_eq!(versions, expected, "{answers:?}");
    assert!(versions.len() > 1);
    let newest = client.get(&path, ADMIN).await.body["version"].as_u64();
    assert_eq!(newest, versions.last().copied());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_cost_a_warm_instance_nothing() {
    let client = Client::start().await;
    edit(&client, "basic", calls(70)).await;
    client.subscribe("u", "basic").await;
    let wire = Wire::new(|_| Fate::Pass);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let call = async |method: Method, path: &str, body: Option<String>| {
        wire.passed();
        let answer = client.send_to(&instance.url(), method, path, Some(SERVICE), body).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        wire.passed().len()
    };
    let event = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 1}).to_string();
    call(Method::POST, TRACK, Some(event.clone())).await;
    assert_eq!(call(Method::POST, TRACK, Some(event)).await, 2);
    assert_eq!(
        call(Method::GET, "/api/v1/usage/check-quota/api_calls?user_id=u", None).await,
        1
    );
    assert_eq!(call(Method::GET, "/api/v1/usage/summary?user_id=u", None).await, 2);
}
