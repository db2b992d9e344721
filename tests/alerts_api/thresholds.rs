//! Custom thresholds: made, read, replaced, deleted, by those who may.

use metering_store::notification::{CustomThreshold, THRESHOLDS_MAX};
use reqwest::Method;
use serde_json::{Value, json};

use super::{THRESHOLDS, all, code, fault, is_replayed, send};
use crate::support::{ADMIN, Client, SERVICE};

fn percentage(value: u32) -> Value {
    json!({"user_id": "u", "metric_type": "document_processing", "threshold_type": "percentage", "threshold_value": value})
}

async fn stored(client: &Client, id: &str) -> CustomThreshold {
    let settings = client.store().notification_get(Some("u")).await.expect("a read");
    settings.thresholds[id].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_lives() {
    let client = Client::start().await;
    let made = client.post(THRESHOLDS, SERVICE, percentage(70)).await;
    let id = made.body["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("thr_"), "{id}");
    let expected = json!({"id": id, "scope": "user", "user_id": "u", "subscription_id": null,
        "metric_type": "document_processing", "threshold_type": "percentage", "threshold_value": 70,
        "notification_channels": ["email"], "cooldown_minutes": 60, "severity": "medium", "enabled": true,
        "created_at": made.body["created_at"]});
    assert_eq!((made.status, &made.body), (201, &expected));
    let path = format!("{THRESHOLDS}/{id}");
    assert_eq!(client.get(&path, SERVICE).await.body, expected);

    client.clock(json!({"advance_seconds": 60})).await;
    let other = json!({"metric_type": "api_calls", "threshold_type": "rate", "threshold_value": "12.50",
        "notification_channels": ["webhook", "sms"], "cooldown_minutes": 0, "severity": "critical", "enabled": false});
    let put = send(&client, &format!("PUT {path}"), SERVICE, Some(other.clone())).await;
    let mut expected = expected;
    for (name, value) in other.as_object().expect("fields") {
        expected[name] = value.clone();
    }
    expected["threshold_value"] = json!(12.5);
    assert_eq!(
        (put.status, &put.body),
        (200, &expected),
        "whose it is and when it was made stay"
    );
    assert_eq!(client.get(&path, SERVICE).await.body, expected);

    let deleted = send(&client, &format!("DELETE {path}"), SERVICE, None).await;
    assert_eq!((deleted.status, &deleted.body), (204, &Value::Null));
    for line in [format!("GET {path}"), format!("DELETE {path}")] {
        assert_eq!(
            code(&send(&client, &line, SERVICE, None).await),
            (404, "not_found"),
            "{line}"
        );
    }
    let put = send(&client, &format!("PUT {path}"), SERVICE, Some(other)).await;
    assert_eq!(code(&put), (404, "not_found"));
    assert_eq!(
        all(&client, &format!("{THRESHOLDS}?user_id=u"), SERVICE, "thresholds", "id").await,
        [""; 0]
    );
}

/// What it watches, or enabling it, arms it anew; how it is told does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_is_watched_arms_it_anew() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    let made = client.post(THRESHOLDS, SERVICE, percentage(70)).await;
    let id = made.body["id"].as_str().expect("an id").to_owned();
    let mut body = percentage(70);
    let mut before = stored(&client, &id).await;
    let steps = [
        ("severity", json!("high"), false),
        ("notification_channels", json!(["sms"]), false),
        ("cooldown_minutes", json!(5), false),
        ("enabled", json!(false), false),
        ("enabled", json!(true), true),
        ("threshold_value", json!(71), true),
        ("threshold_value", json!("71.0"), false),
        ("threshold_type", json!("absolute"), true),
        ("metric_type", json!("api_calls"), true),
    ];
    for (name, value, anew) in steps {
        client.clock(json!({"advance_seconds": 1})).await;
        body[name] = value;
        let put = send(&client, &format!("PUT {THRESHOLDS}/{id}"), SERVICE, Some(body.clone())).await;
        assert_eq!(put.status, 200, "{body}: {put:?}");
        let after = stored(&client, &id).await;
        assert_eq!(after.revision, before.revision + u64::from(anew), "{body}");
        assert_eq!(after.since > before.since, anew, "{body}");
        assert_eq!(after.created_at, before.created_at);
        before = after;
    }
    // Its scope stays.
    let named = |name: &str, value: &str| {
        let mut body = percentage(70);
        body[name] = json!(value);
        body
    };
    for (name, body) in [
        ("/scope", named("scope", "global")),
        ("/scope", named("scope", "subscription")),
        ("/subscription_id", named("subscription_id", &subscription)),
    ] {
        let put = send(&client, &format!("PUT {THRESHOLDS}/{id}"), ADMIN, Some(body)).await;
        assert_eq!(fault(&put), (422, name, "not_allowed"), "{put:?}");
    }
    let foreign = send(
        &client,
        &format!("PUT {THRESHOLDS}/{id}"),
        SERVICE,
        Some(named("user_id", "v")),
    )
    .await;
    assert_eq!(code(&foreign), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_says_whose_usage_is_watched() {
    let client = Client::start().await;
    let (first, second) = (
        client.subscribe("u", "basic").await,
        client.subscribe("u", "basic").await,
    );
    let with = |fields: Value| {
        let mut body = percentage(70);
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        body
    };
    let made = client
        .post(THRESHOLDS, SERVICE, with(json!({"subscription_id": first})))
        .await;
    assert_eq!(
        (made.status, &made.body["scope"], &made.body["subscription_id"]),
        (201, &json!("subscription"), &json!(first))
    );
    let id = made.body["id"].as_str().expect("an id");
    // Another one of the same user, and left out the same as before.
    for (fields, expected) in [(json!({"subscription_id": second}), &second), (json!({}), &second)] {
        let put = send(&client, &format!("PUT {THRESHOLDS}/{id}"), SERVICE, Some(with(fields))).await;
        assert_eq!(
            (put.status, &put.body["subscription_id"]),
            (200, &json!(expected)),
            "{put:?}"
        );
    }
    assert_eq!(stored(&client, id).await.revision, 1);
    let foreign = send(
        &client,
        &format!("PUT {THRESHOLDS}/{id}"),
        SERVICE,
        Some(with(json!({"subscription_id": "sub_x"}))),
    )
    .await;
    assert_eq!(code(&foreign), (404, "not_found"));

    let refused = [
        (
            json!({"scope": "user", "subscription_id": first}),
            "/subscription_id",
            "not_allowed",
        ),
        (json!({"scope": "subscription"}), "/subscription_id", "required"),
        (json!({"scope": "global"}), "/user_id", "not_allowed"),
        (
            json!({"scope": "global", "user_id": null, "subscription_id": first}),
            "/subscription_id",
            "not_allowed",
        ),
    ];
    for (fields, pointer, code) in refused {
        let answer = client.post(THRESHOLDS, ADMIN, with(fields.clone())).await;
        assert_eq!(fault(&answer), (422, pointer, code), "{fields}");
    }
    let foreign = client
        .post(
            THRESHOLDS,
            SERVICE,
            with(json!({"user_id": "v", "subscription_id": first})),
        )
        .await;
    assert_eq!(code(&foreign), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_everybody_is_the_administrators() {
    let client = Client::start().await;
    let user = client.token(json!({"user_id": "u"})).await;
    let boss = client.token(json!({"user_id": "u", "admin": true})).await;
    let global = json!({"scope": "global", "metric_type": "api_calls", "threshold_type": "rate", "threshold_value": 5});
    for credentials in [SERVICE, &user] {
        assert_eq!(
            code(&client.post(THRESHOLDS, credentials, global.clone()).await),
            (403, "forbidden")
        );
    }
    let own = client
        .post(
            THRESHOLDS,
            &user,
            json!({"metric_type": "user_sessions", "threshold_type": "absolute", "threshold_value": 2}),
        )
        .await;
    assert_eq!((own.status, &own.body["user_id"]), (201, &json!("u")), "{own:?}");
    client.clock(json!({"advance_seconds": 1})).await;
    let made = client.post(THRESHOLDS, &boss, global.clone()).await;
    assert_eq!(
        (made.status, &made.body["scope"], &made.body["user_id"]),
        (201, &json!("global"), &Value::Null)
    );
    let (own, id) = (
        own.body["id"].as_str().expect("an id"),
        made.body["id"].as_str().expect("an id"),
    );
    let ids = async |query: &str, credentials: &str| {
        all(
            &client,
            &format!("{THRESHOLDS}?limit=1{query}"),
            credentials,
            "thresholds",
            "id",
        )
        .await
    };
    assert_eq!(ids("", &user).await, [own]);
    assert_eq!(ids("&user_id=u", SERVICE).await, [own]);
    assert_eq!(ids("", &boss).await, [id, own]);
    assert_eq!(ids("&user_id=v", ADMIN).await, [id]);
    let path = format!("{THRESHOLDS}/{id}");
    let disabled =
        json!({"metric_type": "api_calls", "threshold_type": "rate", "threshold_value": 5, "enabled": false});
    for credentials in [SERVICE, &user] {
        for (line, body) in [
            (format!("GET {path}"), None),
            (format!("PUT {path}"), Some(disabled.clone())),
            (format!("DELETE {path}"), None),
        ] {
            let answer = send(&client, &line, credentials, body).await;
            assert_eq!(code(&answer), (404, "not_found"), "{line}");
        }
    }
    let put = send(&client, &format!("PUT {path}"), ADMIN, Some(disabled)).await;
    assert_eq!((put.status, &put.body["enabled"]), (200, &json!(false)));
    assert_eq!(send(&client, &format!("DELETE {path}"), ADMIN, None).await.status, 204);
    let other = client.token(json!({"user_id": "v"})).await;
    let foreign = client.get(&format!("{THRESHOLDS}/{own}"), &other).await;
    assert_eq!(code(&foreign), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let client = Client::start().await;
    for metric in ["storage_usage", "user_sessions"] {
        let body = json!({"user_id": "u", "metric_type": metric, "threshold_type": "rate", "threshold_value": 1});
        let answer = client.post(THRESHOLDS, SERVICE, body).await;
        assert_eq!(fault(&answer), (422, "/threshold_type", "not_allowed"), "{metric}");
    }
    let bare = client.post(THRESHOLDS, SERVICE, json!({})).await;
    let errors = bare.body["errors"].as_array().expect("errors");
    let pointers: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
    assert_eq!(
        pointers,
        ["/user_id", "/metric_type", "/threshold_type", "/threshold_value"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_with_a_key_is_done_once() {
    let client = Client::start().await;
    let make = async |value: u32| {
        client
            .keyed(Method::POST, THRESHOLDS, SERVICE, "k", Some(percentage(value)))
            .await
    };
    let first = make(70).await;
    let again = make(70).await;
    assert_eq!(
        (again.status, is_replayed(&again), &again.body),
        (201, true, &first.body)
    );
    assert_eq!(code(&make(71).await), (409, "idempotency_conflict"));
    // At once: one of them made it.
    let sends = (0..6).map(|_| client.keyed(Method::POST, THRESHOLDS, SERVICE, "l", Some(percentage(80))));
    let answers = futures::future::join_all(sends).await;
    let made = answers.iter().filter(|answer| !is_replayed(answer)).count();
    assert_eq!(made, 1, "{answers:?}");
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 201 && answer.body == answers[0].body)
    );
    let path = format!("{THRESHOLDS}/{}", first.body["id"].as_str().expect("an id"));
    for replayed in [false, true] {
        let put = client
            .keyed(Method::PUT, &path, SERVICE, "k", Some(percentage(75)))
            .await;
        assert_eq!(
            (put.status, is_replayed(&put), &put.body["threshold_value"]),
            (200, replayed, &json!(75))
        );
    }
    for replayed in [false, true] {
        let deleted = client.keyed(Method::DELETE, &path, SERVICE, "k", None).await;
        assert_eq!((deleted.status, is_replayed(&deleted)), (204, replayed));
    }
    assert_eq!(
        all(&client, &format!("{THRESHOLDS}?user_id=u"), SERVICE, "thresholds", "id")
            .await
            .len(),
        1
    );
    let entries = client.audit().await;
    let actions: Vec<&str> = entries.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(
        actions
            .iter()
            .filter(|action| action.starts_with("threshold."))
            .collect::<Vec<_>>(),
        [
            &"threshold.create",
            &"threshold.create",
            &"threshold.change",
            &"threshold.delete"
        ]
    );
}

/// Many at once, up to the bound, which holds; a list is walked while its elements go away.
#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_and_no_more() {
    let client = Client::start().await;
    for _ in 0..THRESHOLDS_MAX / 5 {
        let sends = (0..5).map(|_| client.post(THRESHOLDS, SERVICE, percentage(70)));
        for made in futures::future::join_all(sends).await {
            assert_eq!(made.status, 201, "{made:?}");
        }
    }
    assert_eq!(
        code(&client.post(THRESHOLDS, SERVICE, percentage(70)).await),
        (409, "conflict")
    );
    let path = format!("{THRESHOLDS}?user_id=u&limit=20");
    let page = client.get(&path, SERVICE).await.body;
    let ids: Vec<&str> = page["thresholds"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    let last = send(&client, &format!("DELETE {THRESHOLDS}/{}", ids[19]), SERVICE, None).await;
    assert_eq!(last.status, 204);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = client.get(&format!("{path}&cursor={cursor}"), SERVICE).await.body;
    let next = next["thresholds"].as_array().expect("a list");
    assert!(
        next.iter()
            .all(|one| !ids.contains(&one["id"].as_str().expect("an id"))),
        "nothing comes twice"
    );
    assert_eq!(next.len(), 20);
    assert_eq!(
        client.post(THRESHOLDS, SERVICE, percentage(70)).await.status,
        201,
        "there is a place again"
    );
}
