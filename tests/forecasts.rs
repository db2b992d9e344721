//! Forecasts as callers see them: totals, periods and costs to the digit where usage leaves no doubt, whose they are,
//! what is too little, and that asking again with a key is asking once.

#![expect(clippy::float_arithmetic, reason = "forecasts are statistics")]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Client, SERVICE};

/// The stack's clock: a Thursday.
const NOW: &str = "2026-04-02T12:34:56Z";
const FORECAST: &str = "/api/v1/usage/forecast";
const FORECASTS: &str = "/api/v1/usage/forecasts?user_id=u";

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

/// A stack at [`NOW`] with a subscription of `u` that began in March.
async fn start(plan: &str, timezone: &str) -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": NOW})).await;
    let body = json!({"id": "sub_u", "user_id": "u", "plan": plan, "timezone": timezone,
        "starts_at": "2026-03-01T00:00:00Z"});
    let made = client.post("/api/v1/usage/admin/subscriptions", ADMIN, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    client
}

/// Reports usage of each of the last days at noon, the oldest first, the last one today's.
async fn report(client: &Client, user: &str, metric: &str, values: &[f64]) {
    let today = instant("2026-04-02T12:00:00Z");
    let event = |(at, value): (usize, &f64)| {
        let back = TimeDelta::days(i64::try_from(values.len() - 1 - at).expect("days"));
        json!({"user_id": user, "metric_type": metric, "metric_value": value, "timestamp": today - back, "backfill": true})
    };
    let events: Vec<Value> = values.iter().enumerate().map(event).collect();
    let sent = client
        .post("/api/v1/usage/track/batch", SERVICE, json!({"events": events}))
        .await;
    assert_eq!(sent.body["accepted"], json!(values.len()), "{sent:?}");
    client.drain().await;
}

async fn forecast(client: &Client, more: Value) -> Answer {
    let mut body = json!({"user_id": "u", "metric_type": "document_processing"});
    let fields = more.as_object().expect("fields").clone();
    body.as_object_mut().expect("fields").extend(fields);
    client.post(FORECAST, SERVICE, body).await
}

async fn made(client: &Client, more: Value) -> Value {
    let answer = forecast(client, more).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Four a day for a month, and one today so far.
fn steady() -> Vec<f64> {
    let mut values = vec![4.0; 33];
    values[32] = 1.0;
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_no_doubt_is_forecast_to_the_digit() {
    let client = start("basic", "UTC").await;
    report(&client, "u", "document_processing", &steady()).await;
    let mut told = made(&client, json!({})).await;
    let path = told["path"].take();
    let path = path.as_array().expect("a path");
    assert_eq!(path.len(), 30);
    assert_eq!(
        path[0],
        json!({"date": "2026-04-03", "mean": 4, "lower": 4, "upper": 4})
    );
    assert_eq!(
        path[29],
        json!({"date": "2026-05-02", "mean": 4, "lower": 4, "upper": 4})
    );
    let (id, reason) = (told["id"].take(), told["model_reason"].take());
    assert!(id.as_str().is_some_and(|id| id.starts_with("fct_")), "{id}");
    assert!(
        reason
            .as_str()
            .is_some_and(|reason| reason.starts_with("moving_average: ")),
        "{reason}"
    );
    told["created_at"].take();
    // April: 5 until now, 3 more today, 28 days of 4. The limit of 100 is reached at the end of the 25th.
    assert_eq!(
        told,
        json!({
            "id": null, "user_id": "u", "subscription_id": "sub_u", "metric_type": "document_processing",
            "unit": "documents", "forecast_date": "2026-05-02T00:00:00Z", "predicted_value": 120,
            "confidence_lower": 120, "confidence_upper": 120, "confidence_level": 0.95,
            "model_type": "moving_average", "requested_model_type": "auto", "model_reason": null,
            "model_accuracy": 1, "data_points": 32, "backtest": {"mase": 0, "smape": 0, "folds": 4},
            "will_exceed_quota": true, "expected_overage": 20, "estimated_overage_cost": 10, "path": null,
            "periods": [
                {"period_start": "2026-04-01T00:00:00Z", "period_end": "2026-05-01T00:00:00Z", "predicted_usage": 120,
                 "quota_limit": 100, "will_exceed": true, "expected_overage": 20, "estimated_overage_cost": 10},
                {"period_start": "2026-05-01T00:00:00Z", "period_end": "2026-06-01T00:00:00Z", "predicted_usage": 8,
                 "quota_limit": 100, "will_exceed": false, "expected_overage": 0, "estimated_overage_cost": 0},
            ],
            "exhausted_at": "2026-04-26T00:00:00Z", "exhausted_at_lower": "2026-04-26T00:00:00Z",
            "exhausted_at_upper": "2026-04-26T00:00:00Z", "created_at": null,
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_are_started_cost() {
    let client = start("basic", "UTC").await;
    let per_day = 41.0;
    report(&client, "u", "api_calls", &[per_day; 33]).await;
    let told = made(&client, json!({"metric_type": "api_calls"})).await;
    // 30 days of 41 above 1,000 calls: 230 over, 23 blocks of ten at two tenths of a cent.
    assert_eq!(told["periods"][0]["predicted_usage"], json!(1_230));
    let quota = client.quota("u", "api_calls").await;
    assert_eq!(
        (&quota["quota_limit"], &quota["block_size"]),
        (&json!(1_000), &json!(10))
    );
    assert_eq!(told["expected_overage"], json!(230));
    assert_eq!(
        told["estimated_overage_cost"],
        json!(0.23),
        "{}",
        quota["overage_price"]
    );
}

/// A rhythm of weeks with something that looks like chance.
fn weekly(days: usize) -> Vec<f64> {
    let week = [9.0, 12.0, 11.0, 10.0, 8.0, 2.0, 1.0];
    (0..days)
        .map(|day| week[day % 7] + ((day * 7_919) % 5) as f64 * 0.25)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_model_answers_and_auto_sees_the_week() {
    let client = start("professional", "Europe/Berlin").await;
    report(&client, "u", "document_processing", &weekly(90)).await;
    for model in [
        "auto",
        "linear_regression",
        "moving_average",
        "exponential_smoothing",
        "seasonal",
    ] {
        let told = made(&client, json!({"model_type": model, "forecast_horizon_days": 14})).await;
        assert_eq!(told["requested_model_type"], json!(model));
        let used = if model == "auto" { "seasonal" } else { model };
        assert_eq!(told["model_type"], json!(used), "{told}");
        let number = |value: &Value| value.as_f64().expect("a number");
        let path = told["path"].as_array().expect("a path");
        for step in path {
            let [lower, mean, upper] = ["lower", "mean", "upper"].map(|name| number(&step[name]));
            assert!(0.0 <= lower && lower <= mean && mean <= upper, "{step}");
        }
        let total: f64 = path.iter().map(|step| number(&step["mean"])).sum();
        assert!((total - number(&told["predicted_value"])).abs() < 1e-6, "{told}");
        let wide = number(&told["confidence_upper"]) - number(&told["confidence_lower"]);
        let steps: f64 = path
            .iter()
            .map(|step| number(&step["upper"]) - number(&step["lower"]))
            .sum();
        assert!(0.0 < wide && wide < steps, "errors of days partly cancel out: {told}");
        assert_eq!(
            told["forecast_date"],
            json!("2026-04-15T22:00:00Z"),
            "midnight in Berlin"
        );
        assert!(
            told["model_reason"]
                .as_str()
                .is_some_and(|reason| reason.starts_with(used)),
            "{told}"
        );
    }
    let seasonal = made(&client, json!({})).await;
    let tested = |told: &Value| told["backtest"]["mase"].as_f64().expect("a number");
    let flat = made(&client, json!({"model_type": "moving_average"})).await;
    assert!(tested(&seasonal) < 0.5 * tested(&flat), "{seasonal} {flat}");
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_and_leases_are_judged_by_their_peaks() {
    let client = start("basic", "UTC").await;
    for day in 0..20 {
        let at = instant("2026-03-14T06:00:00Z") + TimeDelta::days(day);
        let body = json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": 0.5, "mode": "delta",
            "timestamp": at, "backfill": true});
        assert_eq!(client.track(body).await.status, 201);
    }
    client.drain().await;
    let told = made(
        &client,
        json!({"metric_type": "storage_usage", "forecast_horizon_days": 10}),
    )
    .await;
    // Half a GB a day on top of ten: the level at the end, not a sum.
    assert_eq!(
        (&told["predicted_value"], &told["data_points"]),
        (&json!(15), &json!(20)),
        "{told}"
    );
    assert_eq!(told["periods"][0]["predicted_usage"], json!(15));
    assert_eq!(told["model_type"], json!("linear_regression"));
    let quota = client.quota("u", "storage_usage").await;
    let limit = quota["quota_limit"].as_f64().expect("a limit");
    assert_eq!(told["will_exceed_quota"], json!(15.0 > limit));

    // A session a day for ten days; the clock goes with it.
    let session = json!({"user_id": "u", "metric_type": "user_sessions", "quantity": 1, "ttl_seconds": 3600});
    for _ in 0..10 {
        let held = client
            .post("/api/v1/usage/reservations", SERVICE, session.clone())
            .await;
        assert_eq!(held.status, 201, "{held:?}");
        client.clock(json!({"advance_seconds": 86_400})).await;
    }
    let told = made(
        &client,
        json!({"metric_type": "user_sessions", "forecast_horizon_days": 5}),
    )
    .await;
    assert_eq!(
        (&told["predicted_value"], &told["unit"]),
        (&json!(1), &json!("concurrent users")),
        "{told}"
    );
    assert_eq!(told["periods"][0]["predicted_usage"], json!(1), "a peak is no sum");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_is_said_with_how_much_there_is() {
    let client = start("basic", "UTC").await;
    let refused = async |days: &str| {
        let answer = forecast(&client, json!({})).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (422, &json!("insufficient_data")),
            "{answer:?}"
        );
        let detail = answer.body["detail"].as_str().expect("a text");
        assert!(detail.contains(days), "{detail}");
    };
    refused("0 days").await;
    report(&client, "u", "document_processing", &[5.0]).await;
    refused("1 day;").await;
    report(&client, "u", "document_processing", &[5.0, 0.0, 0.0, 0.0, 0.0, 0.0]).await;
    refused("6 days").await;
    // Gaps are days, too.
    report(
        &client,
        "u",
        "document_processing",
        &[5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    )
    .await;
    assert_eq!(
        made(&client, json!({})).await["data_points"],
        json!(6),
        "today is not over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_and_what_is_checked() {
    let client = start("basic", "UTC").await;
    report(&client, "u", "document_processing", &steady()).await;
    for (wrong, pointer, code) in [
        (json!({"model_type": "oracle"}), "/model_type", "unknown_value"),
        (
            json!({"forecast_horizon_days": 0}),
            "/forecast_horizon_days",
            "out_of_range",
        ),
        (
            json!({"forecast_horizon_days": 366}),
            "/forecast_horizon_days",
            "out_of_range",
        ),
        (json!({"metric_type": "teapots"}), "/metric_type", "unknown_value"),
        (json!({"days": 3}), "/days", "unknown_field"),
    ] {
        let answer = forecast(&client, wrong).await;
        let errors = &answer.body["errors"];
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(
            (&errors[0]["pointer"], &errors[0]["code"]),
            (&json!(pointer), &json!(code)),
            "{answer:?}"
        );
    }
    let nobody = client
        .post(FORECAST, SERVICE, json!({"metric_type": "api_calls"}))
        .await;
    assert_eq!(nobody.body["errors"][0]["code"], json!("required"));
    assert_eq!(
        forecast(&client, json!({"user_id": "v", "subscription_id": "sub_u"}))
            .await
            .status,
        404
    );
    let own = client.token(json!({"user_id": "u"})).await;
    let body = json!({"metric_type": "document_processing", "forecast_horizon_days": 365});
    let told = client.post(FORECAST, &own, body.clone()).await;
    assert_eq!(
        (told.status, told.body["path"].as_array().map(Vec::len)),
        (200, Some(365))
    );
    let other = client.token(json!({"user_id": "v"})).await;
    let mut of_u = body.clone();
    of_u["user_id"] = json!("u");
    assert_eq!(client.post(FORECAST, &other, of_u).await.status, 403);
    assert_eq!(client.get(FORECASTS, &other).await.status, 403);
    let none = client.get("/api/v1/usage/forecasts", &other).await;
    assert_eq!(none.body, json!({"forecasts": [], "next_cursor": null}));
    // Nothing limits who has no subscription, and nothing can run out.
    report(&client, "v", "document_processing", &steady()).await;
    let free = client.post(FORECAST, &other, body).await.body;
    assert_eq!(free["subscription_id"], json!("none"));
    assert_eq!(
        (&free["periods"][0]["quota_limit"], &free["exhausted_at"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&free["will_exceed_quota"], &free["expected_overage"]),
        (&json!(false), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forecast_is_listed_and_a_key_asks_once() {
    let client = start("basic", "UTC").await;
    report(&client, "u", "document_processing", &steady()).await;
    report(&client, "u", "api_calls", &steady()).await;
    let body = |days: u32| {
        let body = json!({"user_id": "u", "metric_type": "document_processing", "forecast_horizon_days": days});
        Some(body)
    };
    let ask = |days| client.keyed(Method::POST, FORECAST, SERVICE, "k", body(days));
    let first = ask(7).await;
    assert_eq!(first.status, 200, "{first:?}");
    // At once, and later when other usage is known: the same answer.
    let again = futures::future::join_all((0..8).map(|_| ask(7))).await;
    client.clock(json!({"advance_seconds": 3_600})).await;
    for answer in again.iter().chain([&ask(7).await]) {
        assert_eq!((answer.status, &answer.body), (200, &first.body));
    }
    let other = ask(8).await;
    assert_eq!(
        (other.status, &other.body["code"]),
        (409, &json!("idempotency_conflict"))
    );
    let calls = made(&client, json!({"metric_type": "api_calls"})).await;
    let without = made(&client, json!({})).await;
    let all = client.all(FORECASTS, "forecasts").await;
    assert_eq!(
        all,
        [without.clone(), calls.clone(), first.body.clone()],
        "newest first"
    );
    let of_calls = client.get(&format!("{FORECASTS}&metric_type=api_calls"), SERVICE).await;
    assert_eq!(of_calls.body["forecasts"], json!([calls]));
    let page = client.get(&format!("{FORECASTS}&limit=2"), SERVICE).await.body;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = client
        .get(&format!("{FORECASTS}&limit=2&cursor={cursor}"), SERVICE)
        .await
        .body;
    assert_eq!(rest, json!({"forecasts": [first.body], "next_cursor": null}));
    let ids: BTreeSet<&str> = all.iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids.len(), 3);
    // They are kept for 90 days.
    client.clock(json!({"advance_seconds": 91 * 86_400})).await;
    assert_eq!(client.get(FORECASTS, SERVICE).await.body["forecasts"], json!([]));
}
