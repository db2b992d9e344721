//! What a caller of the API does: send, wait for the answer, and send again what was not answered.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    dice::Dice,
    ledger::Ledger,
    time::sleep_ms,
    world::{ADMIN, SERVICE, World},
};

/// How often a caller sends before it gives up.
const SENDS_MAX: usize = 12;

/// A caller.
#[derive(Clone)]
pub struct Client {
    /// The world it calls.
    pub world: Arc<World>,
    /// Its own chance.
    pub dice: Dice,
    /// What it notes.
    pub ledger: Arc<Ledger>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status; 0 where there was no answer.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// How many sendings before it were not answered.
    pub unanswered: usize,
    /// When the answered sending was sent.
    pub sent_ms: u128,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// `POST`, …
    pub method: &'static str,
    /// The path after `/api/v1/usage`, with its query.
    pub path: String,
    /// The body, if it has one.
    pub body: Option<Value>,
    /// The idempotency key.
    pub key: Option<String>,
}

impl Call {
    /// A request with a body.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self {
            method: "POST",
            path: path.into(),
            body: Some(body),
            key: None,
        }
    }

    /// A request without one.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            body: None,
            key: None,
        }
    }

    /// The same, named.
    pub fn named(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The function that answers it.
    fn function(&self) -> &'static str {
        let of_alerts = ["/alerts", "/thresholds", "/notification", "/webhook"];
        let of_analytics = ["/aggregations", "/trends"];
        let begins = |all: &[&str]| all.iter().any(|prefix| self.path.starts_with(prefix));
        match () {
            () if begins(&["/admin"]) => "AdminApi",
            () if begins(&of_alerts) => "AlertsApi",
            () if begins(&of_analytics) => "AnalyticsApi",
            () => "TrackingApi",
        }
    }

    /// As API Gateway hands it over.
    fn event(&self) -> Value {
        let (path, query) = self.path.split_once('?').unwrap_or((self.path.as_str(), ""));
        let path = format!("/api/v1/usage{path}");
        let credentials = if self.path.starts_with("/admin") || self.path.ends_with("/void") {
            ADMIN
        } else {
            SERVICE
        };
        let mut headers = json!({"authorization": format!("Bearer {credentials}"), "host": "sim"});
        if self.body.is_some() {
            headers["content-type"] = json!("application/json");
        }
        if let Some(key) = &self.key {
            headers["idempotency-key"] = json!(key);
        }
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
            "requestContext": {
                "accountId": "000000000000", "apiId": "sim", "domainName": "sim", "domainPrefix": "sim",
                "http": {"method": self.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "sim"},
                "requestId": "sim", "routeKey": "$default", "stage": "$default", "time": "01/Jan/2026:00:00:00 +0000",
                "timeEpoch": 0,
            },
            "body": self.body.as_ref().map(Value::to_string), "isBase64Encoded": false,
        })
    }
}

impl Client {
    /// Sends once.
    pub async fn send(&self, call: &Call) -> Reply {
        let sent_ms = self.world.time.passed_ms();
        let answered = self.world.invoke(call.function(), &call.event()).await;
        let answer = answered.unwrap_or(Value::Null);
        let body = answer["body"].as_str().unwrap_or_default();
        let status = answer["statusCode"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        let reply = Reply {
            status: status.unwrap_or(0),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
            unanswered: 0,
            sent_ms,
        };
        let shown = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        let note = format!("client {} {} {shown} -> {}", call.method, call.path, reply.status);
        self.world.wire.note(&note);
        reply
    }

    /// Sends until there is an answer that says something.
    pub async fn persist(&self, call: &Call) -> Reply {
        let mut unanswered = 0;
        loop {
            let reply = self.send(call).await;
            if (1..500).contains(&reply.status) {
                return Reply { unanswered, ..reply };
            }
            unanswered += 1;
            if unanswered == SENDS_MAX {
                return Reply { unanswered, ..reply };
            }
            // At once, after a moment, or when everything that may have been left behind is stale.
            let wait = *self.dice.pick(&[10, 300, 2_000, 70_000]);
            sleep_ms(self.dice.between(1, wait)).await;
        }
    }

    /// The present moment of the run.
    pub fn now_ms(&self) -> u128 {
        self.world.time.passed_ms()
    }
}
