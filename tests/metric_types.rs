//! Metrics that administrators define: known wherever a built-in one is.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{ADMIN, Answer, Client, SERVICE, TRACK},
    wire::{Fate, Wire},
};

const TYPES: &str = "/api/v1/usage/admin/metric-types";

fn teapots(kind: &str) -> Value {
    json!({"metric_type": "teapots", "kind": kind, "unit": "pots"})
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

fn event(metric: &str, value: u32) -> Value {
    json!({"user_id": "u", "metric_type": metric, "metric_value": value})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_listed_changed_and_never_made_twice() {
    let client = Client::start().await;
    let made = client.post(TYPES, ADMIN, teapots("sum")).await;
    let expected =
        json!({"metric_type": "teapots", "kind": "sum", "unit": "pots", "description": null, "built_in": false});
    assert_eq!((made.status, &made.body), (201, &expected));
    for taken in [
        teapots("sum"),
        json!({"metric_type": "api_calls", "kind": "sum", "unit": "calls"}),
    ] {
        assert_eq!(code(&client.post(TYPES, ADMIN, taken).await), (409, "conflict"));
    }
    let path = format!("{TYPES}/teapots");
    let described =
        json!({"metric_type": "teapots", "kind": "sum", "unit": "teapots", "description": "Short and stout"});
    let put = client.put(&path, described).await;
    assert_eq!((put.status, &put.body["description"]), (200, &json!("Short and stout")));
    assert_eq!(code(&client.put(&path, teapots("gauge")).await), (409, "conflict"));
    let built_in = json!({"metric_type": "api_calls", "kind": "sum", "unit": "pots"});
    let put = client.put(&format!("{TYPES}/api_calls"), built_in).await;
    assert_eq!(code(&put), (409, "conflict"));
    let unknown = json!({"metric_type": "kettles", "kind": "sum", "unit": "pots"});
    let put = client.put(&format!("{TYPES}/kettles"), unknown).await;
    assert_eq!(code(&put), (404, "not_found"));
    let listed = client.get(TYPES, ADMIN).await.body;
    let types = listed["metric_types"].as_array().expect("types");
    assert_eq!((types.len(), &types[0]["unit"]), (12, &json!("teapots")), "{listed}");
    assert_eq!(
        (&types[1]["metric_type"], &types[1]["built_in"]),
        (&json!("document_processing"), &json!(true))
    );
    let plain = client.put(&path, teapots("sum")).await;
    assert_eq!(plain.body["description"], Value::Null, "left out is taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_where_it_stopped() {
    let client = Client::start().await;
    for number in 0..3 {
        let body = json!({"metric_type": format!("m{number}"), "kind": "gauge", "unit": "things"});
        assert_eq!(client.post(TYPES, ADMIN, body).await.status, 201);
        client.clock(json!({"advance_seconds": 1})).await;
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{TYPES}?limit=5{cursor}"), ADMIN).await.body;
        let types = page["metric_types"].as_array().expect("types");
        names.extend(
            types
                .iter()
                .map(|one| one["metric_type"].as_str().expect("a name").to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names.len(), 14);
    assert_eq!(names[..4], ["m2", "m1", "m0", "document_processing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defined_metric_is_known_wherever_a_built_in_one_is() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    // This instance has looked at the catalogue before there was anything in it.
    let other = client.stack.instance(None).expect("an instance");
    let early = client.track_at(&other.url(), event("teapots", 1)).await;
    assert_eq!(early.body["errors"][0]["code"], "unknown_value", "{early:?}");
    assert_eq!(client.post(TYPES, ADMIN, teapots("sum")).await.status, 201);

    let first = client.track_at(&other.url(), event("teapots", 2)).await;
    assert_eq!((first.status, &first.body["unit"]), (201, &json!("pots")), "{first:?}");
    let limited = client.limit("u", "teapots", 3).await;
    assert_eq!(
        (&limited["current_usage"], &limited["unit"]),
        (&json!(2), &json!("pots"))
    );
    let check = "/api/v1/usage/check-quota/teapots?user_id=u&required_quantity=2";
    assert_eq!(client.get(check, SERVICE).await.body["is_available"], json!(false));
    assert_eq!(client.track(event("teapots", 2)).await.status, 429);
    let summary = client.get("/api/v1/usage/summary?user_id=u", SERVICE).await.body;
    let quotas = summary["quotas"].as_array().expect("quotas");
    assert!(
        quotas
            .iter()
            .any(|quota| quota["metric_type"] == "teapots" && quota["current_usage"] == json!(2))
    );
    let events = client.get("/api/v1/usage/events?user_id=u", SERVICE).await.body;
    assert_eq!(events["events"][0]["metric_type"], "teapots", "{events}");
    let reset = "/api/v1/usage/admin/quotas/reset?user_id=u";
    let reset = client
        .send_to(&client.stack.url(), Method::POST, reset, Some(ADMIN), None)
        .await;
    assert_eq!(reset.body["reset"][0]["metric_type"], "teapots", "{reset:?}");
    let books = Books::of(&client.stack, "u", &subscription).await;
    books.assert_exact();
    assert_eq!(books.events(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_behaves_as_its_kind() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    for (name, kind) in [("levels", "gauge"), ("seats", "lease")] {
        let body = json!({"metric_type": name, "kind": kind, "unit": "things"});
        assert_eq!(client.post(TYPES, ADMIN, body).await.status, 201);
    }
    let mut level = event("levels", 4);
    assert_eq!(client.track(level.clone()).await.body["errors"][0]["pointer"], "/mode");
    level["mode"] = json!("level");
    let set = client.track(level).await;
    assert_eq!((set.status, &set.body["quota"]["peak"]), (201, &json!(4)));
    assert_eq!(
        code(&client.track(event("seats", 1)).await),
        (422, "metric_kind_mismatch")
    );
}

/// A summary shows a limit on a metric that this instance never heard of.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_a_metric_just_defined_is_shown_by_all_instances() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    let other = client.stack.instance(None).expect("an instance");
    let summary = "/api/v1/usage/summary?user_id=u";
    let shown = async || {
        let answer = client
            .send_to(&other.url(), Method::GET, summary, Some(SERVICE), None)
            .await;
        answer.body["quotas"].as_array().map_or(0, Vec::len)
    };
    let before = shown().await;
    client.post(TYPES, ADMIN, teapots("sum")).await;
    client.limit("u", "teapots", 3).await;
    assert_eq!(shown().await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_metric_costs_no_request_for_a_minute() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.post(TYPES, ADMIN, teapots("sum")).await;
    let wire = Wire::new(|_| Fate::Pass);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let call = async |method: Method, path: &str, body: Option<String>| {
        wire.passed();
        let answer = client.send_to(&instance.url(), method, path, Some(SERVICE), body).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        wire.passed().len()
    };
    let track = async |metric: &str| call(Method::POST, TRACK, Some(event(metric, 1).to_string())).await;
    for metric in ["teapots", "api_calls"] {
        track(metric).await;
        assert_eq!(track(metric).await, 2, "{metric}");
        let check = format!("/api/v1/usage/check-quota/{metric}?user_id=u");
        assert_eq!(call(Method::GET, &check, None).await, 1, "{metric}");
    }
    client.clock(json!({"advance_seconds": 60})).await;
    // The key, the subscription, the catalogue, and the two of tracking.
    assert!(track("teapots").await > track("teapots").await);
}

/// Many define the same at once: one does.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_definitions_of_one_name_one_holds() {
    let client = Client::start().await;
    let sends = (0..8).map(|number| {
        let kind = if number % 2 == 0 { "sum" } else { "gauge" };
        client.post(TYPES, ADMIN, teapots(kind))
    });
    let answers = futures::future::join_all(sends).await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    let listed = client.get(TYPES, ADMIN).await.body;
    assert_eq!(listed["metric_types"][0]["kind"], made[0].body["kind"]);
}
