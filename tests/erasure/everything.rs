//! A user with everything that is kept of one.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN, Client, SERVICE};

/// A user who has lived here.
pub struct Lived {
    /// What names them: subscriptions, events, alerts, addresses.
    pub names: BTreeSet<String>,
    /// Events that were sent, each with an identity.
    pub sent: Vec<Value>,
    /// How many of their events there are.
    pub sent_and_kept: usize,
}

/// Requests that would keep something of a user.
pub fn writes(user: &str) -> Vec<(Method, String, Value)> {
    let threshold =
        json!({"user_id": user, "metric_type": "api_calls", "threshold_type": "absolute", "threshold_value": 5});
    vec![
        (
            Method::POST,
            "admin/subscriptions".into(),
            json!({"user_id": user, "plan": "basic"}),
        ),
        (
            Method::PUT,
            "admin/quotas".into(),
            json!({"user_id": user, "metric_type": "api_calls", "quota_limit": 5}),
        ),
        (Method::POST, "thresholds".into(), threshold),
        (
            Method::PUT,
            "notification-settings".into(),
            json!({"user_id": user, "email": "again@example.com"}),
        ),
        (
            Method::POST,
            "webhook-endpoints".into(),
            json!({"user_id": user, "url": "https://9.9.9.9/usage"}),
        ),
    ]
}

fn event(user: &str, metric: &str, value: u32, more: &Value) -> Value {
    let mut event = json!({"user_id": user, "metric_type": metric, "metric_value": value});
    let fields = more.as_object().cloned().unwrap_or_default();
    event.as_object_mut().expect("an object").extend(fields);
    event
}

impl Lived {
    pub async fn live(client: &Client, user: &str, subscription: &str) -> Self {
        let mut lived = Self {
            names: BTreeSet::from([
                subscription.to_owned(),
                format!("{subscription}-2"),
                format!("{}@private.example", subscription.replace('_', "-")),
            ]),
            sent: Vec::new(),
            sent_and_kept: 0,
        };
        lived.before_any_subscription(client, user).await;
        lived.subscribe(client, user, subscription).await;
        lived.be_told(client, user, subscription).await;
        lived.use_everything(client, user, subscription).await;
        lived.by_other_ways(client, user).await;
        lived.be_administered(client, user, subscription).await;
        client.drain().await;
        lived.be_forecast(client, user, subscription).await;
        lived.be_reported(client, user, subscription).await;
        lived.note_ids(client, user).await;
        lived
    }

    async fn track(&mut self, client: &Client, event: Value) -> String {
        let tracked = client.track(event.clone()).await;
        assert_eq!(tracked.status, 201, "{event}: {tracked:?}");
        if event["idempotency_key"].is_string() {
            self.sent.push(event);
        }
        tracked.body["usage_id"].as_str().expect("an id").to_owned()
    }

    async fn before_any_subscription(&mut self, client: &Client, user: &str) {
        client.limit(user, "api_calls", 10).await;
        self.track(
            client,
            event(user, "api_calls", 9, &json!({"idempotency_key": "none-1"})),
        )
        .await;
        let level = json!({"mode": "level", "idempotency_key": "none-2"});
        self.track(client, event(user, "storage_usage", 2, &level)).await;
        let reset = format!("/api/v1/usage/admin/quotas/reset?user_id={}", user.replace('|', "%7C"));
        assert_eq!(client.post(&reset, ADMIN, Value::Null).await.status, 200);
    }

    async fn subscribe(&mut self, client: &Client, user: &str, subscription: &str) {
        let now = client.now();
        for (id, days) in [(subscription.to_owned(), 20), (format!("{subscription}-2"), 5)] {
            let starts_at = (now - chrono::TimeDelta::days(days)).to_rfc3339();
            let body = json!({"id": id, "user_id": user, "plan": "basic", "starts_at": starts_at});
            let key = format!("create-{id}");
            let path = "/api/v1/usage/admin/subscriptions";
            let made = client.keyed(Method::POST, path, ADMIN, &key, Some(body)).await;
            assert_eq!(made.status, 201, "{made:?}");
        }
        let history = (now - chrono::TimeDelta::days(30)).to_rfc3339();
        let history = json!({"timestamp": history, "idempotency_key": "history", "subscription_id": subscription});
        self.track(client, event(user, "llm_operations", 4, &history)).await;
    }

    async fn be_forecast(&mut self, client: &Client, user: &str, subscription: &str) {
        let body = json!({"user_id": user, "subscription_id": subscription, "metric_type": "llm_operations"});
        let last = json!({"subscription_id": subscription, "idempotency_key": "last"});
        self.track(client, event(user, "llm_operations", 1, &last)).await;
        client.drain().await;
        let made = client.post("/api/v1/usage/forecast", SERVICE, body).await;
        assert_eq!(made.status, 200, "{made:?}");
        self.names.insert(made.body["id"].as_str().expect("an id").to_owned());
    }

    /// A report, and a schedule of more.
    async fn be_reported(&mut self, client: &Client, user: &str, subscription: &str) {
        let body = json!({"user_id": user, "subscription_id": subscription, "report_format": "csv"});
        let made = client.post("/api/v1/usage/reports/generate", SERVICE, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let address = format!("{}@private.example", subscription.replace('_', "-"));
        let schedule = json!({"user_id": user, "report_type": "summary", "report_format": "csv", "frequency": "daily",
            "recipients": [address]});
        let scheduled = client.post("/api/v1/usage/report-schedules", SERVICE, schedule).await;
        assert_eq!(scheduled.status, 201, "{scheduled:?}");
        for one in [made, scheduled] {
            self.names.insert(one.body["id"].as_str().expect("an id").to_owned());
        }
    }

    async fn be_told(&mut self, client: &Client, user: &str, subscription: &str) {
        let address = format!("{}@private.example", subscription.replace('_', "-"));
        let settings = json!({"user_id": user, "email": address, "phone": "+4930123456", "notification_channels": ["email", "sms", "webhook"]});
        let put = client.put("/api/v1/usage/notification-settings", settings).await;
        assert_eq!(put.status, 200, "{put:?}");
        for body in [
            json!({"user_id": user, "metric_type": "api_calls", "threshold_type": "rate", "threshold_value": 2}),
            json!({"user_id": user, "metric_type": "ocr_operations", "threshold_type": "absolute", "threshold_value": 2,
                "scope": "subscription", "subscription_id": subscription}),
        ] {
            let made = client.post("/api/v1/usage/thresholds", SERVICE, body).await;
            assert_eq!(made.status, 201, "{made:?}");
            self.names.insert(made.body["id"].as_str().expect("an id").to_owned());
        }
        let endpoint = json!({"user_id": user, "url": format!("https://9.9.9.9/{subscription}")});
        let made = client.post("/api/v1/usage/webhook-endpoints", SERVICE, endpoint).await;
        assert_eq!(made.status, 201, "{made:?}");
        let token = client.token(json!({"user_id": user})).await;
        let threshold = json!({"metric_type": "api_calls", "threshold_type": "absolute", "threshold_value": 3});
        let made = client
            .keyed(Method::POST, "/api/v1/usage/thresholds", &token, "own", Some(threshold))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    async fn use_everything(&mut self, client: &Client, user: &str, subscription: &str) {
        client.limit(user, "document_processing", 10).await;
        let who = json!({"ip": "192.0.2.77", "user_agent": "a browser", "pages": 2});
        let document = json!({"idempotency_key": "document", "metadata": who, "resource_id": format!("of {user}")});
        self.track(client, event(user, "document_processing", 10, &document))
            .await;
        for number in 0..5 {
            let more =
                json!({"idempotency_key": format!("call-{number}"), "subscription_id": format!("{subscription}-2")});
            self.track(client, event(user, "api_calls", 1, &more)).await;
        }
        self.track(
            client,
            event(user, "ocr_operations", 3, &json!({"idempotency_key": "ocr"})),
        )
        .await;
        self.track(
            client,
            event(
                user,
                "storage_usage",
                1,
                &json!({"mode": "level", "idempotency_key": "level"}),
            ),
        )
        .await;
        self.track(client, event(user, "storage_usage", 1, &json!({"mode": "delta"})))
            .await;
        let token = client.token(json!({"user_id": user})).await;
        let own = json!({"metric_type": "api_calls", "metric_value": 1, "idempotency_key": "own"});
        assert_eq!(client.post("/api/v1/usage/track", &token, own).await.status, 201);
        client.drain().await;
    }

    async fn by_other_ways(&mut self, client: &Client, user: &str) {
        let batch: Vec<Value> = (0..3)
            .map(|index| {
                event(
                    user,
                    "batch_operations",
                    1,
                    &json!({"idempotency_key": format!("b{index}")}),
                )
            })
            .collect();
        let sent = client
            .post("/api/v1/usage/track/batch", SERVICE, json!({"events": batch}))
            .await;
        assert_eq!(sent.body["accepted"], 3, "{sent:?}");
        let cloud = json!({"specversion": "1.0", "id": "c", "source": "/s", "type": "api_calls", "subject": user});
        assert_eq!(client.post("/api/v1/events", SERVICE, cloud.clone()).await.status, 204);
        let wrong = event(user, "teapots", 1, &json!({}));
        let other = event("somebody", "teapots", 1, &json!({}));
        for body in [
            cloud,
            event(user, "api_calls", 1, &json!({})),
            wrong.clone(),
            json!([wrong, other]),
        ] {
            let put = client
                .post("/_local/queues/UsageEventsQueue", "", json!({"body": body}))
                .await;
            assert_eq!(put.status, 202);
        }
        let broken = format!("{{\"user_id\": \"{user}\", ");
        client
            .post("/_local/queues/UsageEventsQueue", "", json!({"body": broken}))
            .await;
        let image = json!({"record": {"dynamodb": {"NewImage": {"user_id": {"S": user}}}}});
        client
            .post("/_local/queues/RelayDeadLetters", "", json!({"body": image}))
            .await;
        // Whatever lies in them, and however it came there.
        let mine = json!({"user_id": user, "sk": "s"});
        let others = json!({"user_id": "somebody", "sk": "s"});
        for queue in ["AccessLog", "Aggregation", "Alert", "Anomaly", "Lifecycle", "Relay"] {
            for body in [mine.clone(), others.clone(), json!([mine, others])] {
                let path = format!("/_local/queues/{queue}DeadLetters");
                client.post(&path, "", json!({"body": body})).await;
            }
        }
    }

    async fn be_administered(&mut self, client: &Client, user: &str, subscription: &str) {
        let who = json!({"metadata": {"ip": "192.0.2.77"}});
        let id = self.track(client, event(user, "bandwidth_usage", 7, &who)).await;
        let reason = json!({"reason": format!("a mistake of {user}.")});
        let path = format!("/api/v1/usage/events/{id}/void");
        let voided = client.keyed(Method::POST, &path, ADMIN, "void", Some(reason)).await;
        assert_eq!(voided.status, 200, "{voided:?}");
        let user_in_path = user.replace('|', "%7C");
        let reset = format!("/api/v1/usage/admin/quotas/reset?user_id={user_in_path}&metric_type=ocr_operations");
        assert_eq!(
            client
                .keyed(Method::POST, &reset, ADMIN, &format!("reset-{subscription}"), None)
                .await
                .status,
            200
        );
        let renew = format!("/api/v1/usage/admin/subscriptions/{subscription}/renew");
        assert_eq!(client.post(&renew, ADMIN, json!({})).await.status, 200);
        // Of the period that was closed.
        let late = (client.now() - chrono::TimeDelta::hours(1)).to_rfc3339();
        self.track(
            client,
            event(
                user,
                "export_operations",
                1,
                &json!({"timestamp": late, "idempotency_key": "late"}),
            ),
        )
        .await;
        let cancel = format!("/api/v1/usage/admin/subscriptions/{subscription}-2/cancel");
        assert_eq!(client.post(&cancel, ADMIN, json!({})).await.status, 200);
        client.drain().await;
        let alerts = client.alerts(user_in_path.as_str()).await;
        assert!(alerts.len() >= 3, "{alerts:?}");
        let path = format!(
            "/api/v1/usage/alerts/{}/acknowledge",
            alerts[0]["id"].as_str().expect("an id")
        );
        let token = client.token(json!({"user_id": user})).await;
        assert_eq!(
            client.keyed(Method::PATCH, &path, &token, "ack", None).await.status,
            200
        );
    }

    async fn note_ids(&mut self, client: &Client, user: &str) {
        let user = user.replace('|', "%7C");
        for (path, name) in [
            (
                format!("/api/v1/usage/admin/metrics?view=events&user_id={user}&days=90&limit=200"),
                "metrics",
            ),
            (format!("/api/v1/usage/alerts?user_id={user}&limit=200"), "alerts"),
            (
                format!("/api/v1/usage/admin/adjustments?user_id={user}&limit=200"),
                "adjustments",
            ),
        ] {
            let listed = client.all(&path, name).await;
            assert!(!listed.is_empty(), "{path}");
            if name == "metrics" {
                self.sent_and_kept = listed.len();
            }
            let id = |one: &Value| one["id"].as_str().expect("an id").to_owned();
            self.names.extend(listed.iter().map(id));
        }
    }
}
