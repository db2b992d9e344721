//! The life of a threshold: reached, told once, armed again; and what reaches people.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN, Client, SERVICE};

const DOCUMENTS: &str = "document_processing";
const ALL_FOUR: [&str; 4] = [
    "approaching_limit",
    "soft_limit_reached",
    "hard_limit_reached",
    "overage_usage",
];

impl Client {
    /// Documents of a user, each an event, one after the other.
    async fn documents(&self, user: &str, count: usize) {
        for _ in 0..count {
            self.use_of(user, DOCUMENTS, json!(1)).await;
        }
    }

    /// An event of a user.
    async fn use_of(&self, user: &str, metric: &str, value: Value) {
        let body = json!({"user_id": user, "metric_type": metric, "metric_value": value});
        let tracked = self.track(body).await;
        assert_eq!(tracked.status, 201, "{tracked:?}");
    }

    /// The level of a user's storage.
    async fn storage(&self, user: &str, level: &str) {
        let body = json!({"user_id": user, "metric_type": "storage_usage", "metric_value": level, "mode": "level"});
        let tracked = self.track(body).await;
        assert_eq!(tracked.status, 201, "{tracked:?}");
    }

    /// The types of a user's alerts, oldest first, of one moment in the order of the thresholds.
    async fn types(&self, user: &str) -> Vec<String> {
        let types = self.alerts(user).await;
        let mut types: Vec<String> = types
            .iter()
            .map(|alert| alert["alert_type"].as_str().expect("a type").to_owned())
            .collect();
        types.sort_by_key(|own| ALL_FOUR.iter().position(|one| one == own));
        types
    }

    async fn told_by_mail(&self, user: &str, address: &str) {
        let body = json!({"user_id": user, "email": address, "notification_channels": ["email"]});
        let put = self.put("/api/v1/usage/notification-settings", body).await;
        assert_eq!(put.status, 200, "{put:?}");
    }

    /// Who got mails.
    async fn mails_to(&self, address: &str) -> Vec<Value> {
        self.drain().await;
        let outbox = self.outbox().await;
        let mails = outbox["emails"].as_array().expect("mails").iter();
        mails.filter(|mail| mail["to"] == address).cloned().collect()
    }

    async fn threshold(&self, body: Value) -> String {
        let made = self.post("/api/v1/usage/thresholds", ADMIN, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body["id"].as_str().expect("an id").to_owned()
    }

    /// How many alerts a custom threshold has raised for a user.
    async fn raised(&self, user: &str, threshold: &str) -> usize {
        let alerts = self.alerts(user).await;
        alerts.iter().filter(|alert| alert["threshold_id"] == threshold).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_80th_90th_100th_and_101st_document_fire_once_each() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    client.told_by_mail("u", "u@example.com").await;
    client.documents("u", 79).await;
    assert_eq!(client.types("u").await, [""; 0]);
    for (more, reached) in [(1, 1), (9, 1), (1, 2), (9, 2), (1, 3), (1, 4), (5, 4)] {
        client.documents("u", more).await;
        assert_eq!(client.types("u").await, ALL_FOUR[..reached]);
    }
    let replayed = client.post("/_local/streams/replay", "", json!({})).await;
    assert_eq!(replayed.status, 202);
    let alerts = client.alerts("u").await;
    assert_eq!(alerts.len(), 4, "told again, raised once");

    let first = &alerts[0];
    assert_eq!(first["subscription_id"], json!(subscription));
    for (field, value) in [
        ("alert_type", json!("approaching_limit")),
        ("severity", json!("medium")),
        ("status", json!("sent")),
        ("threshold_id", Value::Null),
        ("threshold_value", json!(80)),
        ("quota_percentage", json!(80)),
        ("quota_limit", json!(100)),
        ("current_usage", json!(80)),
        ("action_taken", Value::Null),
    ] {
        assert_eq!(first[field], value, "{field}");
    }
    assert_eq!(first["deliveries"][0]["channel"], "email");
    assert_eq!(first["deliveries"][0]["status"], "delivered");
    assert_eq!(first["deliveries"][0]["attempt"], 1);
    assert_eq!(alerts[2]["action_taken"], "charged_overage");
    assert_eq!(alerts[3]["action_taken"], "charged_overage");
    assert_eq!(alerts[3]["current_usage"], 101);

    let mails = client.mails_to("u@example.com").await;
    assert_eq!(mails.len(), 4, "{mails:?}");
    let text = mails[0]["text"].as_str().expect("a text");
    for told in ["80 of 100 documents (80 %)", "EUR 0.50 per unit", "up to 150 documents"] {
        assert!(text.contains(told), "{told} is not in {text}");
    }
    let summary = client.get("/api/v1/usage/summary?user_id=u", SERVICE).await;
    assert_eq!(summary.body["alerts_count"], 4);

    let on_bus = client.outbox().await["bus"].as_array().expect("events").clone();
    assert_eq!(on_bus.len(), 4);
    assert_eq!(on_bus[0]["detail-type"], "usage.threshold_reached");
    assert_eq!(on_bus[0]["source"], "usage-metering");
    assert_eq!(on_bus[0]["detail"]["alert_id"], on_bus[0]["detail"]["event_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_of_101_fires_all_four() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.use_of("u", DOCUMENTS, json!(101)).await;
    assert_eq!(client.types("u").await, ALL_FOUR);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_around_80_fire_one() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", DOCUMENTS, 150).await;
    client.use_of("u", DOCUMENTS, json!(30)).await;
    // 120 of 150 are 80 %: reached somewhere in the middle of the second hundred of values.
    let bodies = (0..100)
        .map(|_| json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 1}))
        .collect();
    let second = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), second.url()];
    let answers = client.track_all(&bases, bodies, 50).await;
    assert!(answers.iter().all(|answer| answer.status == 201));
    assert_eq!(client.types("u").await, ["approaching_limit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_around_80_never_fire_early() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.documents("u", 78).await;
    let last = || json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 1, "idempotency_key": "the 79th"});
    let second = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), second.url()];
    for _ in 0..5 {
        client.track_all(&bases, vec![last(); 40], 40).await;
    }
    assert_eq!(client.types("u").await, [""; 0]);
    assert_eq!(client.used("u", DOCUMENTS).await, 79);
    client.documents("u", 1).await;
    assert_eq!(client.types("u").await, ["approaching_limit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_limit_a_reset_and_a_new_period_arm_again() {
    let client = Client::start().await;
    let start = "2026-03-01T00:00:00Z";
    client.clock(json!({"now": start})).await;
    client.subscribe("u", "basic").await;
    client.limit("u", DOCUMENTS, 10).await;
    client.documents("u", 8).await;
    assert_eq!(client.types("u").await.len(), 1);
    // 8 of 20 are below; 16 reach it again, once.
    client.limit("u", DOCUMENTS, 20).await;
    client.documents("u", 8).await;
    assert_eq!(client.types("u").await.len(), 2);
    // A limit that leaves it reached arms nothing: 16 of 19.
    client.limit("u", DOCUMENTS, 19).await;
    client.documents("u", 1).await;
    assert_eq!(client.types("u").await.len(), 2);
    let reset = "/api/v1/usage/admin/quotas/reset?user_id=u&metric_type=document_processing";
    let reset = client
        .send_to(&client.stack.url(), Method::POST, reset, Some(ADMIN), None)
        .await;
    assert_eq!(reset.status, 200);
    client.documents("u", 16).await;
    assert_eq!(client.types("u").await.len(), 3);
    client.clock(json!({"now": "2026-04-01T00:00:01Z"})).await;
    client.documents("u", 15).await;
    assert_eq!(client.types("u").await.len(), 3);
    client.documents("u", 1).await;
    assert_eq!(client.types("u").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gauge_fires_once_a_period_however_it_moves() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T00:00:00Z"})).await;
    client.subscribe("u", "basic").await;
    // 5 GB are allowed.
    for level in ["4", "1", "4.2", "0", "4"] {
        client.storage("u", level).await;
    }
    assert_eq!(client.types("u").await, ["approaching_limit"]);
    let alerts = client.alerts("u").await;
    assert_eq!(alerts[0]["period_start"], "2026-03-01T00:00:00Z");
    client.clock(json!({"now": "2026-04-02T00:00:00Z"})).await;
    client.storage("u", "4.1").await;
    assert_eq!(client.types("u").await.len(), 2, "a new period, told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_threshold_fires_for_what_comes_not_for_what_is() {
    let client = Client::start().await;
    client.subscribe("u", "professional").await;
    client.documents("u", 5).await;
    client.drain().await;
    let custom = |value: u32| json!({"user_id": "u", "metric_type": DOCUMENTS, "threshold_type": "absolute", "threshold_value": value});
    let below = client.threshold(custom(3)).await;
    let exactly = client.threshold(custom(5)).await;
    let above = client.threshold(custom(6)).await;
    let all = json!({"scope": "global", "metric_type": DOCUMENTS, "threshold_type": "absolute", "threshold_value": 4});
    let global = client.threshold(all).await;
    client.documents("u", 1).await;
    client.documents("u", 3).await;
    assert_eq!(client.raised("u", &below).await, 0);
    assert_eq!(client.raised("u", &exactly).await, 0);
    assert_eq!(client.raised("u", &above).await, 1);
    assert_eq!(client.raised("u", &global).await, 0, "u had used 5 when it was made");
    // Another user's counter began later.
    client.subscribe("v", "professional").await;
    client.documents("v", 4).await;
    assert_eq!(client.raised("v", &global).await, 1);
    assert_eq!(client.raised("v", &above).await, 0, "it is u's");

    // A threshold that is changed is a new one.
    let put = client
        .put(
            &format!("/api/v1/usage/thresholds/{above}"),
            json!({"metric_type": DOCUMENTS, "threshold_type": "absolute", "threshold_value": 11}),
        )
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    client.documents("u", 2).await;
    assert_eq!(client.raised("u", &above).await, 2);
    // In a new period it counts from nothing.
    client.clock(json!({"advance_seconds": 32 * 86_400})).await;
    client.documents("u", 3).await;
    assert_eq!(client.raised("u", &below).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_percentage_is_armed_again_by_a_limit() {
    let client = Client::start().await;
    client.subscribe("u", "basic").await;
    client.limit("u", DOCUMENTS, 10).await;
    let half = client
        .threshold(
            json!({"user_id": "u", "metric_type": DOCUMENTS, "threshold_type": "percentage", "threshold_value": 50}),
        )
        .await;
    client.documents("u", 5).await;
    assert_eq!(client.raised("u", &half).await, 1);
    client.limit("u", DOCUMENTS, 20).await;
    client.documents("u", 4).await;
    assert_eq!(client.raised("u", &half).await, 1);
    client.documents("u", 1).await;
    assert_eq!(client.raised("u", &half).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_fires_once_an_hour() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T10:05:00Z"})).await;
    client.subscribe("u", "enterprise").await;
    client.use_of("u", "api_calls", json!(60)).await;
    client.drain().await;
    client.clock(json!({"advance_seconds": 60})).await;
    let rate = |value: u32| json!({"user_id": "u", "metric_type": "api_calls", "threshold_type": "rate", "threshold_value": value});
    let reached = client.threshold(rate(50)).await;
    let open = client.threshold(rate(100)).await;
    client.clock(json!({"advance_seconds": 60})).await;
    client.use_of("u", "api_calls", json!(39)).await;
    assert_eq!(client.raised("u", &open).await, 0);
    client.use_of("u", "api_calls", json!(1)).await;
    client.use_of("u", "api_calls", json!(500)).await;
    assert_eq!(client.raised("u", &open).await, 1);
    assert_eq!(
        client.raised("u", &reached).await,
        0,
        "the hour had reached it when it was made"
    );
    client.clock(json!({"advance_seconds": 3600})).await;
    client.use_of("u", "api_calls", json!(100)).await;
    assert_eq!(client.raised("u", &open).await, 2);
    assert_eq!(client.raised("u", &reached).await, 1);
    let alerts = client.alerts("u").await;
    let last = alerts.last().expect("an alert");
    assert_eq!(last["period_start"], "2026-03-10T11:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooldown_silences_and_a_day_has_twenty_mails() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T10:05:00Z"})).await;
    client.subscribe("u", "enterprise").await;
    client.told_by_mail("u", "u@example.com").await;
    let rate = client
        .threshold(json!({"user_id": "u", "metric_type": "api_calls", "threshold_type": "rate", "threshold_value": 10, "cooldown_minutes": 90}))
        .await;
    for _ in 0..3 {
        client.use_of("u", "api_calls", json!(10)).await;
        client.drain().await;
        client.clock(json!({"advance_seconds": 3600})).await;
    }
    let alerts = client.alerts("u").await;
    let outcomes: Vec<&Value> = alerts.iter().map(|alert| &alert["deliveries"][0]["status"]).collect();
    assert_eq!(outcomes, ["delivered", "suppressed", "delivered"], "{rate}: {alerts:?}");
    assert_eq!(client.mails_to("u@example.com").await.len(), 2);
    assert_eq!(alerts[1]["status"], "pending", "recorded, not delivered");

    // 22 more of other thresholds: 18 fit into the day, 4 are left to the digest.
    for value in 1..=22 {
        client
            .threshold(json!({"user_id": "u", "metric_type": "ocr_operations", "threshold_type": "absolute", "threshold_value": value}))
            .await;
    }
    client.use_of("u", "ocr_operations", json!(22)).await;
    assert_eq!(client.mails_to("u@example.com").await.len(), 20);
    let due = client.post("/_local/run/AlertJob", "", json!({})).await;
    assert_eq!(due.status, 200, "{due:?}");
    assert_eq!(client.mails_to("u@example.com").await.len(), 20, "the day is not over");
    client.clock(json!({"now": "2026-03-11T00:05:00Z"})).await;
    for _ in 0..2 {
        let run = client.post("/_local/run/AlertJob", "", json!({})).await;
        assert_eq!(run.status, 200, "{run:?}");
    }
    let mails = client.mails_to("u@example.com").await;
    assert_eq!(mails.len(), 21, "one digest, once");
    let digest = mails[20]["text"].as_str().expect("a text");
    assert_eq!(digest.matches("ocr_operations").count(), 4, "{digest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_counted_from_documents_once_and_voided_with_them() {
    let client = Client::start().await;
    client.subscribe("u", "professional").await;
    let body = json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 1, "metadata": {"pages": 12}, "idempotency_key": "d"});
    let tracked = client.track(body.clone()).await;
    client.track(body).await;
    for pages in [json!(0.5), json!("7"), json!(-1), Value::Null] {
        let body = json!({"user_id": "u", "metric_type": DOCUMENTS, "metric_value": 1, "metadata": {"pages": pages}});
        assert_eq!(client.track(body).await.status, 201);
    }
    client.drain().await;
    assert_eq!(client.used("u", "document_pages").await, json!(12.5));
    client.post("/_local/streams/replay", "", json!({})).await;
    client.drain().await;
    assert_eq!(client.used("u", "document_pages").await, json!(12.5));

    let store = client.store();
    let order = metering_store::void::VoidOrder {
        id: tracked.body["usage_id"].as_str().expect("an id").to_owned(),
        reason: "a test".to_owned(),
        actor: "test".to_owned(),
    };
    for _ in 0..2 {
        store.event_void(&order, client.now()).await.expect("it is voided");
    }
    client.drain().await;
    assert_eq!(client.used("u", DOCUMENTS).await, 4);
    assert_eq!(client.used("u", "document_pages").await, json!(0.5));
    let hours = client
        .get(
            "/api/v1/usage/aggregations/document_pages?user_id=u&granularity=daily",
            SERVICE,
        )
        .await;
    assert_eq!(hours.body["aggregations"][0]["total_value"], json!(0.5), "{hours:?}");
}
