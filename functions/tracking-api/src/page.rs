//! What a browser and a load balancer see.

use axum::{Json, response::Html};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderName, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The start page.
const START: &str = include_str!("../start.html");

/// A page with the headers that keep a browser from loading anything from elsewhere.
pub type SelfContained = ([(HeaderName, String); 3], Html<&'static str>);

/// `GET /health`: open to everybody, asks nothing of the store.
pub async fn health() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /`.
pub async fn start() -> SelfContained {
    html(START)
}

/// A page whose one style and one script are inside it: only these run, known by their hashes, and
/// only this service may be asked for anything.
pub fn html(page: &'static str) -> SelfContained {
    let policy = format!(
        "default-src 'none'; connect-src 'self'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        source_of(page, "style"),
        source_of(page, "script"),
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (headers, Html(page))
}

/// The content of the page's one such element, as a source of the policy (CSP level 3, section 2.3.1).
fn source_of(page: &str, element: &str) -> String {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    let content = page.split_once(&start).and_then(|(_, rest)| rest.split_once(&end));
    content.map_or("'none'".to_owned(), |(content, _)| {
        format!("'sha256-{}'", BASE64.encode(Sha256::digest(content)))
    })
}
