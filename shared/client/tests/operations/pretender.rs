//! A server that answers each operation with its documented examples, and checks what it is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use metering_client::Client;
use serde_json::Value;

use super::DOCUMENT;

/// Answers each operation with one of its examples, and notes what was asked.
pub struct Pretender {
    pub document: Value,
    /// Which of its examples.
    example: usize,
    pub seen: Mutex<BTreeMap<String, usize>>,
}

impl Pretender {
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).expect("it is defined"),
            None => value,
        }
    }

    /// The operation that a request is, and its id.
    fn operation(&self, method: &str, path: &str) -> &Value {
        let paths = self.document["paths"].as_object().expect("paths");
        let given: Vec<&str> = path.split('/').collect();
        let matches = |template: &str| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == given.len()
                && wanted
                    .iter()
                    .zip(&given)
                    .all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
        };
        // What has no placeholder is more exact.
        let mut found: Vec<_> = paths
            .iter()
            .filter(|(template, item)| matches(template) && item[method].is_object())
            .collect();
        found.sort_by_key(|(template, _)| template.contains('{'));
        let (_, item) = found
            .first()
            .unwrap_or_else(|| panic!("{method} {path} is not documented"));
        &item[method]
    }

    fn check_query(&self, id: &str, operation: &Value, query: &str) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let documented: BTreeSet<String> = parameters
            .iter()
            .map(|parameter| self.resolve(parameter))
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
            .collect();
        let sent = query.split('&').filter(|pair| !pair.is_empty());
        let sent: BTreeSet<String> = sent
            .map(|pair| pair.split('=').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(
            sent, documented,
            "{id} can say every documented parameter, and no other"
        );
    }

    fn check_body(&self, id: &str, operation: &Value, content_type: &str, body: &[u8]) {
        let Some(content) = operation["requestBody"]["content"].as_object() else {
            assert!(body.is_empty(), "{id} has no body");
            return;
        };
        let schema = self.resolve(
            &content
                .get(content_type)
                .unwrap_or_else(|| panic!("{id}: {content_type}"))["schema"],
        );
        let sent: Value = serde_json::from_slice(body).expect("JSON");
        if schema["type"] == "array" {
            let items = self.resolve(&schema["items"]);
            return self.check_object(id, items, &sent[0]);
        }
        self.check_object(id, schema, &sent);
    }

    fn check_object(&self, id: &str, schema: &Value, sent: &Value) {
        let documented: BTreeSet<&String> = schema["properties"].as_object().expect("properties").keys().collect();
        let sent: BTreeSet<&String> = sent.as_object().expect("an object").keys().collect();
        // A batch says for all its events what an event may say for itself.
        assert_eq!(sent, documented, "{id} can say every documented field, and no other");
    }

    pub fn answer(&self, operation: &Value) -> Response {
        let responses = operation["responses"].as_object().expect("responses");
        let (status, response) = responses
            .iter()
            .find(|(status, _)| status.starts_with('2'))
            .expect("a success");
        let status: u16 = status.parse().expect("a status");
        let response = self.resolve(response);
        let Some(examples) = response["content"]["application/json"]["examples"].as_object() else {
            return http::StatusCode::from_u16(status).expect("a status").into_response();
        };
        let example = examples.values().cycle().nth(self.example).expect("an example");
        let body = self.resolve(example)["value"].to_string();
        let head = [("content-type", "application/json")];
        (http::StatusCode::from_u16(status).expect("a status"), head, body).into_response()
    }
}

async fn pretend(State(pretender): State<Arc<Pretender>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let operation = pretender.operation(&parts.method.as_str().to_lowercase(), parts.uri.path());
    let id = operation["operationId"].as_str().expect("an id");
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().expect("text"));
    assert_eq!(header("authorization"), Some("Bearer mk_test"), "{id}");
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let is_keyed = parameters
        .iter()
        .any(|parameter| parameter["$ref"] == "#/components/parameters/IdempotencyKey");
    assert_eq!(
        header("idempotency-key").is_some(),
        is_keyed,
        "{id} has a key if it can"
    );
    pretender.check_query(id, operation, parts.uri.query().unwrap_or_default());
    pretender.check_body(id, operation, header("content-type").unwrap_or_default(), &body);
    *pretender
        .seen
        .lock()
        .expect("nobody panicked")
        .entry(id.to_owned())
        .or_default() += 1;
    pretender.answer(operation)
}

/// Starts a pretender that answers with the nth examples.
pub async fn pretender(example: usize) -> (Client, Arc<Pretender>) {
    let pretender = Arc::new(Pretender {
        document: serde_json::from_str(DOCUMENT).expect("JSON"),
        example,
        seen: Mutex::default(),
    });
    let router = Router::new().fallback(pretend).with_state(Arc::clone(&pretender));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Client::new(&base, "mk_test").expect("a client"), pretender)
}
