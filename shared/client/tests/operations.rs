//! Every documented operation that a service may call has a method, which sends what is documented
//! and understands every example of what is answered.

mod pretender;
mod reports;

use std::collections::BTreeSet;

use metering_client::{
    AggregationFilter, AlertFilter, AnomalyFilter, Client, CloudEvent, Commit, Detection, EventFilter, ForecastFilter,
    NewForecast, NewReservation, NewThreshold, NewWebhookEndpoint, Part, ReservationFilter, Settings, Usage, Whose,
    types::{
        AlertStatus, AnomalyStatus, Channel, DetectionMethod, ForecastModel, Granularity, Metadata, Mode, Quantity,
        ReservationStatus, Severity, ThresholdScope, ThresholdType,
    },
};
use serde::Serialize;
use serde_json::{Value, json};

use pretender::pretender;

const DOCUMENT: &str = include_str!("../../../functions/tracking-api/openapi.json");

/// Operations that are no calls of a service: pages for people, and the document itself.
const NOT_CALLED: [&str; 3] = ["getStartPage", "getOpenApiDocument", "getDocumentPage"];

/// Everything that a part of a list can say.
fn part() -> Part {
    Part {
        limit: Some(2),
        cursor: Some("c".to_owned()),
    }
}

fn whose() -> Whose {
    Whose::user("1").subscription("sub_1")
}

fn metadata() -> Metadata {
    Metadata::from_iter([("pages".to_owned(), json!(3))])
}

/// An event that says everything.
fn event() -> Usage {
    let mut usage = Usage::new("1", "storage_usage", 1)
        .subscription("sub_1")
        .level()
        .resource("doc_1")
        .with("pages", 3);
    usage.endpoint = Some("/documents".to_owned());
    usage.operation = Some("POST".to_owned());
    usage.response_time_ms = Some(12);
    usage.error_occurred = true;
    usage.backfill = true;
    usage.mode = Some(Mode::Delta);
    usage
}

fn some<T>(value: impl Into<T>) -> Option<T> {
    Some(value.into())
}

/// An answer as the service would have written it.
fn written(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("JSON")
}

fn page<T: Serialize>(name: &str, page: &metering_client::types::Page<T>) -> Value {
    json!({name: written(&page.items), "next_cursor": page.next_cursor})
}

/// Calls everything, and gives what each call understood.
async fn call_everything(client: &Client) -> Vec<(&'static str, Value)> {
    let mut understood = tracking(client).await;
    understood.extend(reservations(client).await);
    understood.extend(alerts(client).await);
    understood.extend(analytics(client).await);
    understood.extend(reports::reports(client).await);
    understood
}

async fn tracking(client: &Client) -> Vec<(&'static str, Value)> {
    let (now, event) = (event().timestamp, event());
    let cloud_event = CloudEvent {
        id: "1".to_owned(),
        source: "/gateway".to_owned(),
        specversion: "1.0".to_owned(),
        kind: "api_calls".to_owned(),
        subject: "1".to_owned(),
        time: Some(now),
        datacontenttype: some("application/json"),
        dataschema: some("https://example.com/usage"),
        data: Metadata::from_iter([("value".to_owned(), json!(2))]),
    };
    let filter = EventFilter {
        metric_type: some("api_calls"),
        from: Some(now),
        to: Some(now),
        resource_id: some("doc_1"),
        part: part(),
    };
    client
        .ingest_cloud_events(&[cloud_event])
        .await
        .expect("ingestCloudEvents");
    let quotas = client.quotas(&whose(), Some("api_calls")).await.expect("listQuotas");
    vec![
        (
            "trackUsage",
            written(&client.track_unenforced(&event).await.expect("trackUsage")),
        ),
        (
            "trackBatch",
            written(&client.track_batch(&[event], false).await.expect("trackBatch")),
        ),
        (
            "getSummary",
            written(&client.summary(&whose()).await.expect("getSummary")),
        ),
        ("listQuotas", json!({"quotas": written(&quotas)})),
        (
            "checkQuota",
            written(&client.check_quota(&whose(), "api_calls", 2).await.expect("checkQuota")),
        ),
        (
            "listEvents",
            page("events", &client.events(&whose(), &filter).await.expect("listEvents")),
        ),
        (
            "getEvent",
            written(&client.event("evt_1", Some("1")).await.expect("getEvent")),
        ),
        (
            "voidEvent",
            written(&client.void_event("evt_1", "wrong", Some("1")).await.expect("voidEvent")),
        ),
        ("getHealth", written(&client.health().await.expect("getHealth"))),
    ]
}

async fn reservations(client: &Client) -> Vec<(&'static str, Value)> {
    let mut wanted = NewReservation::new("1", "ocr_operations", 5);
    wanted.subscription_id = some("sub_1");
    wanted.ttl_seconds = Some(600);
    wanted.resource_id = some("doc_1");
    wanted.metadata = metadata();
    let metering_client::Reserved::Held(held) = client.reserve(&wanted).await.expect("createReservation") else {
        panic!("it is held");
    };
    let used = Commit {
        quantity: some(4),
        endpoint: some("/scans"),
        operation: some("POST"),
        response_time_ms: Some(12),
        error_occurred: true,
        metadata: metadata(),
    };
    let filter = ReservationFilter {
        user_id: some("1"),
        subscription_id: some("sub_1"),
        metric_type: some("ocr_operations"),
        status: Some(ReservationStatus::Held),
        part: part(),
    };
    vec![
        ("createReservation", written(&held)),
        (
            "listReservations",
            page(
                "reservations",
                &client.reservations(&filter).await.expect("listReservations"),
            ),
        ),
        (
            "getReservation",
            written(&client.reservation("rsv_1", Some("1")).await.expect("getReservation")),
        ),
        (
            "commitReservation",
            written(&client.commit("rsv_1", &used).await.expect("commitReservation")),
        ),
        (
            "releaseReservation",
            written(&client.release("rsv_1").await.expect("releaseReservation")),
        ),
        (
            "renewReservation",
            written(&client.renew("rsv_1", Some(60)).await.expect("renewReservation")),
        ),
    ]
}

async fn alerts(client: &Client) -> Vec<(&'static str, Value)> {
    let filter = AlertFilter {
        metric_type: some("api_calls"),
        severity: Some(Severity::High),
        status: Some(AlertStatus::Pending),
        part: part(),
    };
    let mut wanted = NewThreshold::new("1", "api_calls", ThresholdType::Percentage, 70);
    wanted.scope = Some(ThresholdScope::Subscription);
    wanted.subscription_id = some("sub_1");
    wanted.notification_channels = Some(vec![Channel::Email]);
    wanted.cooldown_minutes = Some(5);
    wanted.severity = Some(Severity::Low);
    wanted.enabled = Some(true);
    let settings = Settings {
        user_id: some("1"),
        email: some("a@example.com"),
        phone: None,
        notification_channels: Some(vec![Channel::Email]),
    };
    let endpoint = NewWebhookEndpoint {
        user_id: some("1"),
        url: "https://hooks.example.com".to_owned(),
    };
    client
        .delete_threshold("thr_1", Some("1"))
        .await
        .expect("deleteThreshold");
    client
        .delete_webhook_endpoint("whe_1", Some("1"))
        .await
        .expect("deleteWebhookEndpoint");
    vec![
        (
            "listAlerts",
            page("alerts", &client.alerts(&whose(), &filter).await.expect("listAlerts")),
        ),
        (
            "acknowledgeAlert",
            written(
                &client
                    .acknowledge_alert("alr_1", Some("1"))
                    .await
                    .expect("acknowledgeAlert"),
            ),
        ),
        (
            "resolveAlert",
            written(&client.resolve_alert("alr_1", Some("1")).await.expect("resolveAlert")),
        ),
        (
            "createThreshold",
            written(&client.create_threshold(&wanted).await.expect("createThreshold")),
        ),
        (
            "listThresholds",
            page(
                "thresholds",
                &client.thresholds(&whose(), &part()).await.expect("listThresholds"),
            ),
        ),
        (
            "getThreshold",
            written(&client.threshold("thr_1", Some("1")).await.expect("getThreshold")),
        ),
        (
            "putThreshold",
            written(&client.put_threshold("thr_1", &wanted).await.expect("putThreshold")),
        ),
        (
            "getNotificationSettings",
            written(
                &client
                    .notification_settings(Some("1"))
                    .await
                    .expect("getNotificationSettings"),
            ),
        ),
        (
            "putNotificationSettings",
            written(
                &client
                    .put_notification_settings(&settings)
                    .await
                    .expect("putNotificationSettings"),
            ),
        ),
        (
            "createWebhookEndpoint",
            written(
                &client
                    .create_webhook_endpoint(&endpoint)
                    .await
                    .expect("createWebhookEndpoint"),
            ),
        ),
        (
            "listWebhookEndpoints",
            page(
                "webhook_endpoints",
                &client
                    .webhook_endpoints(Some("1"), &part())
                    .await
                    .expect("listWebhookEndpoints"),
            ),
        ),
        (
            "rotateWebhookSecret",
            written(
                &client
                    .rotate_webhook_secret("whe_1", Some("1"))
                    .await
                    .expect("rotateWebhookSecret"),
            ),
        ),
    ]
}

async fn analytics(client: &Client) -> Vec<(&'static str, Value)> {
    let now = event().timestamp;
    let buckets = AggregationFilter {
        granularity: Some(Granularity::Weekly),
        from: Some(now),
        to: Some(now),
        timezone: some("Europe/Berlin"),
        part: part(),
    };
    let wanted = NewForecast {
        user_id: some("1"),
        subscription_id: some("sub_1"),
        metric_type: "api_calls".to_owned(),
        forecast_horizon_days: Some(30),
        model_type: Some(ForecastModel::Seasonal),
    };
    let forecasts = ForecastFilter {
        metric_type: some("api_calls"),
        part: part(),
    };
    let detection = Detection {
        metric_type: "api_calls".to_owned(),
        detection_method: Some(DetectionMethod::Velocity),
        days: Some(30),
    };
    let anomalies = AnomalyFilter {
        metric_type: some("api_calls"),
        severity: Some(Severity::High),
        status: Some(AnomalyStatus::Detected),
        days: Some(30),
        part: part(),
    };
    let resolved = AnomalyStatus::Resolved;
    vec![
        (
            "listAggregations",
            page(
                "aggregations",
                &client
                    .aggregations(&whose(), "api_calls", &buckets)
                    .await
                    .expect("listAggregations"),
            ),
        ),
        (
            "getTrend",
            written(
                &client
                    .trend(&whose(), "api_calls", Some(30), Some("UTC"))
                    .await
                    .expect("getTrend"),
            ),
        ),
        (
            "createForecast",
            written(&client.forecast(&wanted).await.expect("createForecast")),
        ),
        (
            "listForecasts",
            page(
                "forecasts",
                &client.forecasts(&whose(), &forecasts).await.expect("listForecasts"),
            ),
        ),
        (
            "detectAnomalies",
            written(
                &client
                    .detect_anomalies(&whose(), &detection)
                    .await
                    .expect("detectAnomalies"),
            ),
        ),
        (
            "listAnomalies",
            page(
                "anomalies",
                &client.anomalies(&whose(), &anomalies).await.expect("listAnomalies"),
            ),
        ),
        (
            "reviewAnomaly",
            written(
                &client
                    .review_anomaly("ano_1", Some("1"), &resolved, Some("seen"))
                    .await
                    .expect("reviewAnomaly"),
            ),
        ),
    ]
}

/// The ids of what a service may call: everything that needs no administrator.
fn callable(document: &Value) -> BTreeSet<String> {
    let items = document["paths"].as_object().expect("paths").values();
    let operations = items.flat_map(|item| item.as_object().expect("an item").values());
    operations
        .filter(|operation| operation["x-scope"] != "usage:admin")
        .filter_map(|operation| operation["operationId"].as_str())
        .filter(|id| !NOT_CALLED.contains(id))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_operation_that_a_service_may_call_has_a_method_that_says_all_of_it() {
    let (client, pretender) = pretender(0).await;
    call_everything(&client).await;
    let seen: BTreeSet<String> = pretender
        .seen
        .lock()
        .expect("nobody panicked")
        .keys()
        .cloned()
        .collect();
    let missing: Vec<_> = callable(&pretender.document).difference(&seen).cloned().collect();
    assert_eq!(missing, Vec::<String>::new(), "documented, and no method calls it");
}

#[tokio::test]
async fn every_example_of_an_answer_is_understood_whole() {
    for example in 0..3 {
        let (client, pretender) = pretender(example).await;
        for (id, understood) in call_everything(&client).await {
            let items = pretender.document["paths"].as_object().expect("paths").values();
            let mut operations = items.flat_map(|item| item.as_object().expect("an item").values());
            let operation = operations
                .find(|operation| operation["operationId"] == id)
                .expect("it is documented");
            let body = pretender.answer(operation).into_body();
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            // Two ways to write the same offset.
            let body = String::from_utf8_lossy(&body).replace("+00:00", "Z");
            let wanted: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(understood, wanted, "{id}, example {example}");
        }
    }
}

#[test]
fn numbers_are_exact() {
    for text in [
        "0.1",
        "0.000000001",
        "1000000000000",
        "-5",
        "123456789012.123456789",
        "1.666666667",
    ] {
        let read: Quantity = serde_json::from_str(text).expect("a number");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        let quoted: Quantity = serde_json::from_str(&format!("\"{text}\"")).expect("a number");
        assert_eq!(quoted, read);
    }
    assert_eq!(Quantity::gigabytes(1_500_000_001).to_string(), "1.500000001");
    assert_eq!(Quantity::gigabytes(u64::MAX).to_string(), "18446744073.709551615");
    assert!(serde_json::from_str::<Quantity>("\"much\"").is_err());
}
