//! What a browser and a load balancer see.

use axum::{Json, response::Html};
use serde_json::{Value, json};

/// `GET /health`: open to everybody, asks nothing of the store.
pub async fn health() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /`.
pub async fn start() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Usage metering</title>\
         <style>body{font:16px/1.6 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}code{background:#eee;padding:.1em .3em}</style>\
         <h1>Usage metering</h1><p>This is an API. It counts usage exactly once and enforces quotas.</p><ul>\
         <li><a href=\"/health\">/health</a>: is it up</li>\
         <li><code>POST /api/v1/usage/track</code>: report usage</li>\
         <li><code>GET /api/v1/usage/check-quota/{metric_type}</code>: is there room</li>\
         <li><code>GET /api/v1/usage/summary</code>: where a user stands</li>\
         <li><code>GET /api/v1/usage/events</code>: what was counted</li></ul>\
         <p>Requests carry <code>Authorization: Bearer</code> and an API key or a user's token. The README has the first ones to try.</p>",
    )
}
