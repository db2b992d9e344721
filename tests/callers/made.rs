//! Objects of a user for calls that name one.

use serde_json::{Value, json};

use super::schedule;
use crate::support::{ADMIN, Answer, Client};

/// Objects of user `u` that are there for whoever may reach them.
pub struct Made {
    threshold: String,
    endpoint: String,
    anomaly: String,
    report: String,
    schedule: String,
    /// Reservations that the user made: for each what is done to it, and its id.
    reservations: Vec<(&'static str, String)>,
}

impl Made {
    pub async fn start(client: &Client) -> Self {
        let user = client.token(json!({"user_id": "u"})).await;
        // Usage of as many days as a forecast needs.
        for days in [8, 1] {
            let at = client.now() - chrono::TimeDelta::days(days);
            let body = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1, "timestamp": at, "backfill": true});
            assert_eq!(client.track(body).await.status, 201);
        }
        client.drain().await;
        let mut reservations = Vec::new();
        for name in ["HELD", "USED", "FREED"] {
            let body = json!({"metric_type": "api_calls", "quantity": 1});
            let made = client.post("/api/v1/usage/reservations", &user, body).await;
            reservations.push((name, made.body["id"].as_str().expect("an id").to_owned()));
        }
        Self {
            threshold: Self::threshold(client).await,
            endpoint: Self::endpoint(client).await,
            anomaly: client.anomaly("u", 40).await,
            report: Self::report(client).await,
            schedule: Self::schedule(client).await,
            reservations,
        }
    }

    async fn threshold(client: &Client) -> String {
        let body =
            json!({"user_id": "u", "metric_type": "api_calls", "threshold_type": "absolute", "threshold_value": 1});
        Self::make(client, "thresholds", body).await
    }

    async fn endpoint(client: &Client) -> String {
        let body = json!({"user_id": "u", "url": "https://9.9.9.9/usage"});
        Self::make(client, "webhook-endpoints", body).await
    }

    async fn report(client: &Client) -> String {
        let body = json!({"user_id": "u", "report_format": "json"});
        Self::make(client, "reports/generate", body).await
    }

    async fn schedule(client: &Client) -> String {
        // To an address to which the user's own token may send.
        let settings = json!({"user_id": "u", "email": "u@example.com"});
        let set = client.put("/api/v1/usage/notification-settings", settings).await;
        assert_eq!(set.status, 200, "{set:?}");
        Self::make(client, "report-schedules", schedule()).await
    }

    async fn make(client: &Client, path: &str, body: Value) -> String {
        let made = client.post(&format!("/api/v1/usage/{path}"), ADMIN, body).await;
        made.body["id"].as_str().expect("an id").to_owned()
    }

    pub fn named(&self, path: &str) -> String {
        let path = path
            .replace("THRESHOLD", &self.threshold)
            .replace("ENDPOINT", &self.endpoint)
            .replace("ANOMALY", &self.anomaly)
            .replace("REPORT", &self.report)
            .replace("SCHEDULE", &self.schedule);
        let named = |path: String, (name, id): &(&str, String)| path.replace(name, id);
        self.reservations.iter().fold(path, named)
    }

    /// Makes again what an answer says is gone.
    pub async fn after(&mut self, client: &Client, line: &str, answer: &Answer) {
        match (answer.status, line) {
            (204, line) if line.ends_with("/THRESHOLD") => self.threshold = Self::threshold(client).await,
            (204, line) if line.ends_with("/REPORT") => self.report = Self::report(client).await,
            (204, line) if line.ends_with("/SCHEDULE") => self.schedule = Self::schedule(client).await,
            (204, line) if line.ends_with("/ENDPOINT") => self.endpoint = Self::endpoint(client).await,
            _ => {}
        }
    }
}
