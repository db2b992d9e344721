//! Webhooks from a threshold to an endpoint of the test's own: signed, rotated, tried again under
//! the same id, given up where somebody looks.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU16, Ordering},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use usage_local::Options;

use crate::support::{Client, SERVICE};

const ENDPOINTS: &str = "/api/v1/usage/webhook-endpoints";

/// An endpoint that keeps what it is sent.
struct Endpoint {
    url: String,
    kept: Kept,
}

#[derive(Clone, Default)]
struct Kept {
    posts: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    /// What it answers.
    status: Arc<AtomicU16>,
}

async fn keep(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    kept.posts.lock().expect("nobody panics with it").push((headers, body));
    StatusCode::from_u16(kept.status.load(Ordering::Relaxed)).expect("a status")
}

impl Endpoint {
    async fn start(status: u16) -> Self {
        let kept = Kept::default();
        kept.status.store(status, Ordering::Relaxed);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let router = Router::new().route("/hook", post(keep)).with_state(kept.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, kept }
    }

    fn answer(&self, status: u16) {
        self.kept.status.store(status, Ordering::Relaxed);
    }

    /// What it was sent since this was last asked.
    fn posts(&self) -> Vec<(HeaderMap, Bytes)> {
        std::mem::take(&mut *self.kept.posts.lock().expect("nobody panics with it"))
    }
}

/// A user on the plan Basic with an endpoint; its id and secret.
async fn registered(client: &Client, user: &str, endpoint: &Endpoint) -> (String, String) {
    client.subscribe(user, "basic").await;
    let made = client
        .post(ENDPOINTS, SERVICE, json!({"user_id": user, "url": endpoint.url}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let text = |field: &str| made.body[field].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

async fn documents(client: &Client, user: &str, value: u32) {
    let body = json!({"user_id": user, "metric_type": "document_processing", "metric_value": value});
    assert_eq!(client.track(body).await.status, 201);
}

fn id_of(headers: &HeaderMap) -> &str {
    headers["webhook-id"].to_str().expect("a text")
}

async fn start() -> Client {
    Client::start_with(Options {
        allow_local_webhooks: true,
        ..Options::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_by_every_secret_that_holds() {
    let client = start().await;
    let endpoint = Endpoint::start(204).await;
    let (id, first) = registered(&client, "u", &endpoint).await;
    documents(&client, "u", 80).await;
    let alert = client.alerts("u").await.remove(0);
    let posts = endpoint.posts();
    assert_eq!(posts.len(), 1);
    let (headers, body) = &posts[0];
    let verifies = |secret: &str, (headers, body): &(HeaderMap, Bytes)| {
        Webhook::new(secret)
            .expect("a secret")
            // The stack's clock is the machine's.
            .verify(body, headers)
            .is_ok()
    };
    assert!(verifies(&first, &posts[0]));
    assert_eq!(id_of(headers), alert["id"].as_str().expect("an id"));
    let told: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(told["type"], "usage.threshold_reached");
    assert_eq!(told["timestamp"], alert["created_at"]);
    let data = &told["data"];
    for (field, of_alert) in [
        ("alert_id", "id"),
        ("user_id", "user_id"),
        ("subscription_id", "subscription_id"),
        ("metric_type", "metric_type"),
        ("alert_type", "alert_type"),
        ("severity", "severity"),
        ("threshold_value", "threshold_value"),
        ("usage_percentage", "quota_percentage"),
        ("current_usage", "current_usage"),
        ("quota_limit", "quota_limit"),
        ("period_start", "period_start"),
        ("period_end", "period_end"),
    ] {
        assert_eq!(data[field], alert[of_alert], "{field}");
    }
    assert_eq!(data.as_object().expect("an object").len(), 12);
    assert_eq!(alert["status"], "sent");
    assert_eq!(alert["deliveries"][0]["target"], json!(endpoint.url));

    let rotated = client
        .post(&format!("{ENDPOINTS}/{id}/rotate-secret"), SERVICE, json!({}))
        .await;
    let second = rotated.body["secret"].as_str().expect("a secret").to_owned();
    documents(&client, "u", 10).await;
    client.drain().await;
    let posts = endpoint.posts();
    assert!(
        verifies(&first, &posts[0]) && verifies(&second, &posts[0]),
        "for a day both sign"
    );
    client.clock(json!({"advance_seconds": 86_401})).await;
    documents(&client, "u", 10).await;
    client.drain().await;
    let posts = endpoint.posts();
    let signatures = posts[0].0["webhook-signature"].to_str().expect("a text");
    assert_eq!(signatures.split(' ').count(), 1, "only the new one signs: {signatures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_is_tried_under_one_id_and_given_up_in_sight() {
    let client = start().await;
    let endpoint = Endpoint::start(500).await;
    registered(&client, "u", &endpoint).await;
    documents(&client, "u", 80).await;
    let alert = client.alerts("u").await.remove(0);
    let posts = endpoint.posts();
    assert_eq!(posts.len(), 10, "as often as the queue delivers");
    assert!(posts.iter().all(|(headers, _)| id_of(headers) == id_of(&posts[0].0)));
    assert!(posts.iter().all(|(_, body)| *body == posts[0].1), "the same body");
    let deliveries = alert["deliveries"].as_array().expect("a list");
    let attempts: Vec<u64> = deliveries.iter().filter_map(|one| one["attempt"].as_u64()).collect();
    assert_eq!(attempts, (1..=10).collect::<Vec<_>>());
    assert!(deliveries.iter().all(|one| one["status"] == "failed"), "{deliveries:?}");
    assert_eq!(alert["status"], "pending");
    let letters = client.get("/_local/queues/AlertDeadLetters/messages", "").await;
    assert_eq!(letters.body["messages"].as_array().expect("a list").len(), 1);

    // One that is well again gets the next, and one that is gone for good nothing more.
    endpoint.answer(200);
    documents(&client, "u", 10).await;
    client.drain().await;
    assert_eq!(endpoint.posts().len(), 1);
    endpoint.answer(410);
    documents(&client, "u", 10).await;
    client.drain().await;
    assert_eq!(endpoint.posts().len(), 1);
    let listed = client.get(&format!("{ENDPOINTS}?user_id=u"), SERVICE).await;
    assert_eq!(listed.body["webhook_endpoints"][0]["enabled"], false, "{listed:?}");
    documents(&client, "u", 1).await;
    client.drain().await;
    assert_eq!(endpoint.posts().len(), 0);
}
