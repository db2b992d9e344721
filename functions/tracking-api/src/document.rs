//! The OpenAPI document, and the page that shows it to people. The document is a file kept by
//! hand; `tests/openapi.rs` compares it with the template and with what the service answers.

use http::{HeaderName, header};

use crate::page::{SelfContained, html};

/// The document, byte for byte as committed.
const DOCUMENT: &str = include_str!("../openapi.json");
/// The page: it fetches the document from beside itself.
const PAGE: &str = include_str!("../docs.html");
/// How long an answer may be kept: a deployment changes the document.
const KEPT: &str = "public, max-age=300";

/// `GET /openapi.json`, without credentials.
pub async fn json() -> ([(HeaderName, &'static str); 2], &'static str) {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, KEPT),
    ];
    (headers, DOCUMENT)
}

/// `GET /docs`, without credentials.
pub async fn page() -> SelfContained {
    html(PAGE)
}
