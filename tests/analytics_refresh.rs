//! The daily refresh: every series in use gets its forecast, once a day however often the job runs, and what cannot
//! be forecast keeps nobody else from theirs.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{ADMIN, Client, SERVICE};

const REFRESH: &str = "/_local/run/AnalyticsRefreshJob";

async fn report(client: &Client, user: &str, days: i64, until: i64) {
    let event = |back: i64| {
        let at = client.now() - TimeDelta::days(back);
        json!({"user_id": user, "metric_type": "api_calls", "metric_value": 3, "timestamp": at, "backfill": true})
    };
    let events: Vec<Value> = (until..until + days).map(event).collect();
    let sent = client
        .post("/api/v1/usage/track/batch", SERVICE, json!({"events": events}))
        .await;
    assert_eq!(sent.body["accepted"], json!(days), "{sent:?}");
}

async fn refresh(client: &Client) -> Value {
    let ran = client.post(REFRESH, "", json!({})).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    match &ran.body["result"] {
        Value::String(text) => serde_json::from_str(text).expect("JSON"),
        other => other.clone(),
    }
}

async fn forecasts(client: &Client, user: &str) -> Vec<Value> {
    client
        .all(&format!("/api/v1/usage/forecasts?user_id={user}"), "forecasts")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn series_in_use_are_forecast_once_a_day() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-04-02T04:30:00Z"})).await;
    // In use; in use, with too little; not in use any more; more of them than one step takes.
    let many: Vec<String> = (0..20).map(|number| format!("many{number}")).collect();
    report(&client, "u", 20, 1).await;
    report(&client, "few", 3, 0).await;
    report(&client, "gone", 20, 30).await;
    for user in &many {
        report(&client, user, 9, 1).await;
    }
    client.drain().await;
    // Nor what has ended.
    client.subscribe("ended", "basic").await;
    let said = refresh(&client).await;
    assert_eq!(
        (&said["forecasts"], &said["failed"], &said["more"]),
        (&json!(21), &json!(0), &json!(false)),
        "{said}"
    );
    let first = forecasts(&client, "u").await;
    let told = |one: &Value| {
        (
            one["metric_type"].clone(),
            one["predicted_value"].clone(),
            one["path"].as_array().map(Vec::len),
        )
    };
    assert_eq!(
        first.iter().map(told).collect::<Vec<_>>(),
        [(json!("api_calls"), json!(90), Some(30))]
    );
    assert_eq!(
        forecasts(&client, "few").await.len() + forecasts(&client, "gone").await.len(),
        0
    );
    for user in &many {
        assert_eq!(forecasts(&client, user).await.len(), 1, "{user}");
    }

    // Again on this day, and by two at once: nothing new.
    client.clock(json!({"advance_seconds": 600})).await;
    let (one, two) = tokio::join!(refresh(&client), refresh(&client));
    assert_eq!((&one["failed"], &two["failed"]), (&json!(0), &json!(0)), "{one} {two}");
    client.drain().await;
    assert_eq!(forecasts(&client, "u").await, first);

    // The next day has its own; who is erased has none.
    client.clock(json!({"advance_seconds": 86_400})).await;
    let erased = client
        .send_to(
            &client.stack.url(),
            reqwest::Method::DELETE,
            "/api/v1/usage/admin/users/many3",
            Some(ADMIN),
            None,
        )
        .await;
    assert_eq!(erased.status, 202, "{erased:?}");
    let said = refresh(&client).await;
    assert_eq!((&said["forecasts"], &said["failed"]), (&json!(20), &json!(0)), "{said}");
    let second = forecasts(&client, "u").await;
    assert_eq!((second.len(), &second[1]), (2, &first[0]));
    assert_ne!(second[0]["id"], first[0]["id"]);
}

/// Usage that stops changes no hour, so that only the daily look finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_fell_silent_is_found() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-04-02T04:30:00Z"})).await;
    let event = |back: i64| {
        let at = client.now() - TimeDelta::hours(back);
        let value = 95 + back % 10;
        json!({"user_id": "u", "metric_type": "api_calls", "metric_value": value, "timestamp": at, "backfill": true})
    };
    let events: Vec<Value> = (0..20 * 24).map(event).collect();
    let sent = client
        .post("/api/v1/usage/track/batch", SERVICE, json!({"events": events}))
        .await;
    assert_eq!(sent.body["accepted"], json!(events.len()), "{sent:?}");
    client.drain().await;
    client.clock(json!({"advance_seconds": 86_400})).await;
    client.drain().await;
    let drops = async || {
        let all = client
            .all("/api/v1/usage/anomalies?user_id=u&limit=200", "anomalies")
            .await;
        let drops = all.into_iter().filter(|one| one["anomaly_type"] == "drop");
        drops.collect::<Vec<Value>>()
    };
    assert_eq!(drops().await, Vec::<Value>::new(), "nobody looks while nothing comes");
    refresh(&client).await;
    client.drain().await;
    let found = drops().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (&found[0]["observed_value"], &found[0]["window_start"]),
        (&json!(0), &json!("2026-04-02T05:00:00Z")),
        "{found:?}"
    );

    // Again: it is the same one.
    refresh(&client).await;
    client.drain().await;
    assert_eq!(drops().await, found);
}
