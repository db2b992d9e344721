//! Alerts over HTTP: what was raised and how it goes forward, custom thresholds, where users are
//! reached, webhook endpoints.

mod endpoints;
mod lists;
mod settings;
mod steps;
mod thresholds;

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, Client};

const ALERTS: &str = "/api/v1/usage/alerts";
const THRESHOLDS: &str = "/api/v1/usage/thresholds";
const SETTINGS: &str = "/api/v1/usage/notification-settings";
const ENDPOINTS: &str = "/api/v1/usage/webhook-endpoints";

/// Any request, by whoever has `credentials`.
async fn send(client: &Client, line: &str, credentials: &str, body: Option<Value>) -> Answer {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let method: Method = method.parse().expect("a method");
    let (base, body) = (client.stack.url(), body.map(|body| body.to_string()));
    client.send_to(&base, method, path, Some(credentials), body).await
}

/// A status and the code of its problem; empty where there is none.
fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

/// Where the first fault is, and which.
fn fault(answer: &Answer) -> (u16, &str, &str) {
    let error = &answer.body["errors"][0];
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    (answer.status, text("pointer"), text("code"))
}

fn is_replayed(answer: &Answer) -> bool {
    answer
        .headers
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true")
}

/// One field of every element of a list, all pages of it.
async fn all(client: &Client, path: &str, credentials: &str, name: &str, field: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let joint = if path.contains('?') { '&' } else { '?' };
    loop {
        let answer = client.get(&format!("{path}{cursor}"), credentials).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.body[name].as_array().expect("a list");
        found.extend(page.iter().map(|one| one[field].as_str().expect("a text").to_owned()));
        match answer.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("{joint}cursor={next}"),
            None => return found,
        }
    }
}
