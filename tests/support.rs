//! A stack of its own per test, and the requests that a client sends.

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use metering_domain::{
    alert::{AlertStatus, AlertType, Severity},
    anomaly::{AnomalyType, Finding, Method as Found, Reason},
    period::Period,
};
use metering_edge::aws::dynamodb_client;
use metering_store::{
    Context, Store, Tables,
    alert::Alert,
    anomaly::Anomaly,
    audit::{AuditQuery, AuditRecord},
    context::Source as _,
    keys::Owner,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use usage_local::{Options, Stack};

/// The key of an administrator.
pub const ADMIN: &str = "mk_dev_admin";
/// Where events are tracked.
pub const TRACK: &str = "/api/v1/usage/track";
/// The key of a service.
pub const SERVICE: &str = "mk_dev_service";

/// More pages than any list has here.
const PAGES_MAX: usize = 1_000;

/// What a client sees of one answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

/// A stack and a client of it.
pub struct Client {
    pub stack: Stack,
    http: reqwest::Client,
}

impl Client {
    /// A stack that keeps nothing.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// A stack as the options say.
    pub async fn start_with(options: Options) -> Self {
        let stack = Stack::start(options).await.expect("the stack starts");
        Self {
            stack,
            // What redirects is looked at, not followed.
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client"),
        }
    }

    /// A request to `base`, by whoever has `credentials`.
    pub async fn send_to(
        &self,
        base: &str,
        method: Method,
        path: &str,
        credentials: Option<&str>,
        body: Option<String>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{base}{path}"));
        if let Some(credentials) = credentials {
            request = request.bearer_auth(credentials);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        answer(request.send().await.expect("the stack answers")).await
    }

    /// A POST of any bytes with just these headers, by a service unless they say otherwise.
    pub async fn send_raw(&self, base: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = self.http.post(format!("{base}{path}")).body(body);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(SERVICE);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send().await.expect("the stack answers")).await
    }

    /// Any request, with just these headers.
    pub async fn send_with(
        &self,
        method: Method,
        url: String,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        answer(request.send().await.expect("the stack answers")).await
    }

    /// The stack's present instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.stack.clock().now()
    }

    pub async fn get(&self, path: &str, credentials: &str) -> Answer {
        self.send_to(&self.stack.url(), Method::GET, path, Some(credentials), None)
            .await
    }

    pub async fn post(&self, path: &str, credentials: &str, body: Value) -> Answer {
        self.send_to(
            &self.stack.url(),
            Method::POST,
            path,
            Some(credentials),
            Some(body.to_string()),
        )
        .await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.change(Method::PUT, path, body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.change(Method::PATCH, path, body).await
    }

    async fn change(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = Some(body.to_string());
        self.send_to(&self.stack.url(), method, path, Some(ADMIN), body).await
    }

    pub async fn track(&self, body: Value) -> Answer {
        self.track_at(&self.stack.url(), body).await
    }

    /// Tracks through one instance.
    pub async fn track_at(&self, base: &str, body: Value) -> Answer {
        let body = Some(body.to_string());
        self.send_to(base, Method::POST, TRACK, Some(SERVICE), body).await
    }

    /// Sends all bodies, up to `width` at once, in turns to the bases.
    pub async fn track_all(&self, bases: &[String], bodies: Vec<Value>, width: usize) -> Vec<Answer> {
        let sends = bodies.into_iter().enumerate().map(|(index, body)| {
            let base = bases[index % bases.len()].clone();
            async move { self.track_at(&base, body).await }
        });
        stream::iter(sends).buffer_unordered(width).collect().await
    }

    /// A subscription, and its id.
    pub async fn subscribe(&self, user: &str, plan: &str) -> String {
        let created = self
            .post(
                "/api/v1/usage/admin/subscriptions",
                ADMIN,
                json!({"user_id": user, "plan": plan}),
            )
            .await;
        assert_eq!(created.status, 201, "{created:?}");
        created.body["id"].as_str().expect("an id").to_owned()
    }

    /// Sets a limit that nothing may pass; the quota as it is then.
    pub async fn limit(&self, user: &str, metric: &str, limit: u32) -> Value {
        let body = json!({"user_id": user, "metric_type": metric, "quota_limit": limit, "allow_overage": false});
        let put = self.put("/api/v1/usage/admin/quotas", body).await;
        assert_eq!(put.status, 200, "{put:?}");
        put.body
    }

    /// A user's quota as it stands.
    pub async fn quota(&self, user: &str, metric: &str) -> Value {
        let path = format!("/api/v1/usage/quotas?user_id={user}&metric_type={metric}");
        self.get(&path, SERVICE).await.body["quotas"][0].clone()
    }

    /// What a user has used.
    pub async fn used(&self, user: &str, metric: &str) -> Value {
        self.quota(user, metric).await["current_usage"].clone()
    }

    /// Raises an alert of a user without subscription, as if 80 of 100 documents were used, unless
    /// `change` makes it another.
    pub async fn raise(&self, id: &str, user: &str, change: impl FnOnce(&mut Alert)) {
        let mut alert = Alert {
            id: id.to_owned(),
            user_id: user.to_owned(),
            subscription_id: "none".to_owned(),
            metric_type: "document_processing".to_owned(),
            alert_type: AlertType::ApproachingLimit,
            severity: Severity::Medium,
            status: AlertStatus::Pending,
            threshold_id: None,
            threshold_value: Some(80.into()),
            quota_percentage: Some(80.into()),
            quota_limit: Some(100.into()),
            current_usage: 80.into(),
            action_taken: None,
            title: "80 %".to_owned(),
            message: "80 of 100".to_owned(),
            period_start: self.now() - TimeDelta::days(1),
            period_end: self.now() + TimeDelta::days(1),
            anomaly_id: None,
            created_at: self.now(),
            sent_at: None,
            acknowledged_at: None,
            acknowledged_by: None,
            resolved_at: None,
            deliveries: Vec::new(),
            channels: None,
            published_at: None,
            cooldown_minutes: 0,
        };
        change(&mut alert);
        let raised = self.store().alert_raise(&alert).await.expect("a write");
        assert!(raised, "the id is new");
    }

    /// Records an anomaly of the hour that began yesterday at this time; its id.
    pub async fn anomaly(&self, user: &str, risk: u8) -> String {
        let day = TimeDelta::days(1);
        let start = self.now().duration_trunc(TimeDelta::hours(1)).expect("an hour") - day;
        let finding = Finding {
            anomaly_type: AnomalyType::Spike,
            method: Found::Statistical,
            window: Period {
                start,
                end: start + TimeDelta::hours(1),
            },
            is_daily: false,
            observed: 161.into(),
            expected: 100.into(),
            expected_lower: 40.into(),
            expected_upper: 160.into(),
            confidence: 1.into(),
            risk,
            reasons: vec![Reason {
                code: "z_score".to_owned(),
                detail: "z = 3.05".to_owned(),
                points: risk,
            }],
        };
        let owner = Owner::None(user.to_owned());
        let anomaly = Anomaly::new(user, &owner, "api_calls", finding, self.now());
        let recorded = self.store().anomaly_record(&anomaly).await.expect("a write");
        recorded.id
    }

    /// A request with a body or without one, and an idempotency key.
    pub async fn keyed(&self, method: Method, path: &str, credentials: &str, key: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {credentials}");
        let mut headers = vec![("authorization", bearer.as_str()), ("idempotency-key", key)];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(|body| body.to_string().into_bytes());
        let url = format!("{}{path}", self.stack.url());
        self.send_with(method, url, &headers, body).await
    }

    /// Moves the stack's clock.
    pub async fn clock(&self, body: Value) {
        let moved = self.post("/_local/clock", "", body).await;
        assert_eq!(moved.status, 200, "{moved:?}");
    }

    /// Waits until nothing is left to do: streams, queues, functions.
    pub async fn drain(&self) {
        let drained = self.post("/_local/drain", "", json!({"timeout_seconds": 300})).await;
        assert_eq!(drained.status, 200, "{drained:?}");
    }

    /// A user's alerts, oldest first, once nothing is left to do.
    pub async fn alerts(&self, user: &str) -> Vec<Value> {
        self.drain().await;
        let path = format!("/api/v1/usage/alerts?user_id={user}&limit=200");
        let listed = self.get(&path, SERVICE).await;
        assert_eq!(listed.status, 200, "{listed:?}");
        let mut alerts = listed.body["alerts"].as_array().expect("alerts").clone();
        alerts.reverse();
        alerts
    }

    /// A store over the stack's engine, as a function has one.
    pub fn store(&self) -> Store {
        self.store_over(None)
    }

    /// A store whose requests go through `http_client`.
    pub fn store_over(&self, http_client: Option<SharedHttpClient>) -> Store {
        let tables = Tables {
            events: self.stack.events_table().to_owned(),
            state: self.stack.state_table().to_owned(),
        };
        let dynamodb = dynamodb_client(&self.stack.dynamodb_endpoint(), http_client);
        Store::new(dynamodb, tables, Context::new(Arc::new(self.stack.clock().clone())))
    }

    /// The whole audit log, oldest first.
    pub async fn audit(&self) -> Vec<Value> {
        let mut entries = self.all("/api/v1/usage/admin/audit-log?limit=200", "entries").await;
        entries.reverse();
        entries
    }

    /// All of a list that an administrator may see.
    pub async fn all(&self, path: &str, name: &str) -> Vec<Value> {
        let (mut found, mut page) = (Vec::new(), path.to_owned());
        for _ in 0..PAGES_MAX {
            let listed = self.get(&page, ADMIN).await;
            assert_eq!(listed.status, 200, "{listed:?}");
            found.extend(listed.body[name].as_array().expect("a list").iter().cloned());
            let Some(cursor) = listed.body["next_cursor"].as_str() else {
                return found;
            };
            let and = if path.contains('?') { '&' } else { '?' };
            page = format!("{path}{and}cursor={cursor}");
        }
        panic!("{path} has no end");
    }

    /// The audit entries of the last day, oldest first: about something, or all.
    pub async fn audited(&self, target: Option<&str>) -> Vec<AuditRecord> {
        let query = AuditQuery {
            actor: None,
            action: None,
            target: target.map(str::to_owned),
            from: self.now() - TimeDelta::days(1),
            to: self.now() + TimeDelta::days(1),
            before: None,
            limit: 1_000,
        };
        let (mut entries, _) = self.store().audit_list(&query).await.expect("the log");
        entries.reverse();
        entries
    }

    /// What has left the stack.
    pub async fn outbox(&self) -> Value {
        self.get("/_local/outbox", "").await.body
    }

    /// A user's token.
    pub async fn token(&self, body: Value) -> String {
        let made = self.post("/_local/token", "", body).await;
        made.body["token"].as_str().expect("a token").to_owned()
    }
}

async fn answer(response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    Answer { status, headers, body }
}

/// How many answers have a status.
pub fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Drives a request until something happens on its way; it must not be answered before.
pub async fn until(request: impl Future<Output = Answer>, something: impl Future<Output = ()>) {
    tokio::select! {
        answer = request => panic!("it was answered: {answer:?}"),
        () = something => {}
    }
}
