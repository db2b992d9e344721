//! What the service answers, compared with the document: every operation with every status that a
//! caller can bring about.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::document::{Document, Operation, TEXT, faults};
use crate::{
    support::{ADMIN, Answer, Client, SERVICE},
    wire::{Fate, Wire},
};

/// Calls of every operation; its head says how they are written.
const CALLS: &str = include_str!("calls.txt");

/// What is documented and cannot be brought about here: operation, status and code, and why.
const UNSEEN: [(&str, u16, &str, &str); 10] = [
    (
        "commitReservation",
        409,
        "reservation_expired",
        "it takes a minute: see tests/reservations.rs",
    ),
    ("createReportSchedule", 409, "conflict", "it takes 50 schedules"),
    (
        "createReservation",
        429,
        "too_many_holds",
        "it takes 200: see tests/reservations.rs",
    ),
    ("createThreshold", 409, "conflict", "it takes 50 thresholds"),
    ("createWebhookEndpoint", 409, "conflict", "it takes 10 endpoints"),
    ("downloadReport", 410, "gone", "it takes 7 days: see tests/reports.rs"),
    ("putPlan", 409, "conflict", "it takes 500 plans"),
    (
        "renewReservation",
        409,
        "reservation_expired",
        "it takes a minute: see tests/reservations.rs",
    ),
    ("trackUsage", 422, "sealed", "it takes 85 days: see tests/aggregates.rs"),
    ("voidEvent", 422, "sealed", "it takes 85 days: see tests/voids.rs"),
];
/// A fault of ours: none is known, so none can be provoked.
const INTERNAL: u16 = 500;

/// An operation, a status, and the code of a problem.
type Seen = (String, u16, String);

/// The most bytes of a body, and one more.
const TOO_LARGE: usize = 2 * 1024 * 1024 + 1;
/// What stands for every parameter of a path where its value does not matter.
const ANY: &str = "api_calls";

/// Calls operations and remembers which statuses were seen.
struct Calls {
    client: Client,
    document: &'static Document,
    user: String,
    seen: BTreeSet<Seen>,
    /// The last success of each operation.
    answers: BTreeMap<String, Value>,
}

/// A call's caller and headers.
#[derive(Clone, Copy, Default)]
struct Sent<'a> {
    credentials: Option<&'a str>,
    key: Option<&'a str>,
    media_type: Option<&'a str>,
    body: Option<&'a [u8]>,
}

impl Calls {
    async fn start() -> Self {
        let client = Client::start().await;
        let user = client.token(json!({"user_id": "u"})).await;
        for id in ["alr_seen", "alr_over"] {
            client.raise(id, "alerted", |_| {}).await;
        }
        let found = json!({"id": client.anomaly("found", 70).await});
        Self {
            client,
            document: Document::committed(),
            user,
            seen: BTreeSet::new(),
            answers: BTreeMap::from([("foundAnomaly".to_owned(), found)]),
        }
    }

    /// Calls an operation and compares the answer with what is documented for its status.
    async fn call(&mut self, base: &str, id: &str, target: &str, sent: Sent<'_>) -> Answer {
        let operation = self.document.operation(id);
        let method: Method = operation.method.to_uppercase().parse().expect("a method");
        let bearer = sent.credentials.map(|credentials| format!("Bearer {credentials}"));
        let named = [
            ("authorization", bearer.as_deref()),
            ("idempotency-key", sent.key),
            ("content-type", sent.media_type),
        ];
        let headers: Vec<(&str, &str)> = named
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let url = format!("{base}{target}");
        let body = sent.body.map(<[u8]>::to_vec);
        let answer = self.client.send_with(method, url, &headers, body).await;
        let what = format!("{id} {target}");
        assert_described(self.document, operation, &answer, &what);
        let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
        self.seen.insert((id.to_owned(), answer.status, code));
        if answer.status < 400 {
            self.answers.insert(id.to_owned(), answer.body.clone());
        }
        answer
    }

    /// Replaces each `<operation.field>` by what was answered.
    fn filled(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once('<') else {
            return text.to_owned();
        };
        let (name, after) = rest.split_once('>').expect("a closing >");
        let (id, field) = name.split_once('.').expect("an operation and a field");
        let value = self.answers[id][field]
            .as_str()
            .unwrap_or_else(|| panic!("{name} is no text: {:?}", self.answers[id]));
        format!("{before}{value}{}", self.filled(after))
    }

    /// One line of the table.
    async fn row(&mut self, line: &str) {
        let mut columns = line.splitn(4, '|').map(str::trim);
        let mut column = || columns.next().expect("four columns");
        let (expected, caller, target, body) = (column(), column(), column(), column());
        let (status, id) = expected.split_once(' ').expect("a status and an operation");
        let mut words = caller.split(' ');
        let user = self.user.clone();
        let credentials = match words.next() {
            Some("admin") => Some(ADMIN),
            Some("service") => Some(SERVICE),
            Some("user") => Some(user.as_str()),
            _ => None,
        };
        let word = |name: &str| caller.split(' ').find_map(|word| word.strip_prefix(name));
        let target = target_of(self.document.operation(id), &self.filled(target));
        let sent = Sent {
            credentials,
            key: word("key="),
            media_type: word("type=").or_else(|| media_type(self.document.operation(id))),
            body: (!body.is_empty()).then_some(body.as_bytes()),
        };
        let base = self.client.stack.url();
        let answer = self.call(&base, id, &target, sent).await;
        assert_eq!(answer.status.to_string(), status, "{line}\n{answer:?}");
    }

    /// What every operation answers to what is wrong with any request.
    async fn wrong(&mut self, id: &str, keys: &BTreeMap<&str, String>) {
        let operation = self.document.operation(id);
        let (base, target) = (self.client.stack.url(), target_of(operation, ""));
        let sent = Sent {
            credentials: Some(ADMIN),
            media_type: media_type(operation),
            body: operation.takes_body().then_some(br#"{"nonsense":1}"#),
            ..Sent::default()
        };
        for (scope, key) in keys {
            let lacks = *scope != operation.scope();
            let answer = self.call(&base, id, &target, sent.by(Some(key))).await;
            assert_eq!(answer.status == 403, lacks, "{id} with {scope}: {answer:?}");
            assert_ne!(answer.status, 401, "{id} with {scope}: {answer:?}");
        }
        let large = vec![b' '; TOO_LARGE];
        let mut cases = vec![(401, sent.by(None)), (401, sent.by(Some("mk_unknown")))];
        if operation.takes_body() {
            cases.extend([(415, sent.of(Some("text/plain"))), (415, sent.of(None))]);
            cases.extend([(413, sent.saying(&large)), (400, sent.saying(b""))]);
            let of_lines = media_type(operation) == Some("application/x-ndjson");
            cases.extend(match of_lines {
                true => vec![(400, sent.saying(b"\xff")), (422, sent.saying(b"\n"))],
                false => vec![(400, sent.saying(b"{")), (422, sent), (422, sent.saying(b"1"))],
            });
        }
        for (status, sent) in cases {
            let answer = self.call(&base, id, &target, sent).await;
            assert_eq!(answer.status, status, "{id}: {answer:?}");
        }
        if !operation.takes_body() {
            let target = format!("{target}?user_id=u&nonsense=1");
            let answer = self.call(&base, id, &target, sent).await;
            assert_eq!(answer.status, 422, "{id}: {answer:?}");
        }
    }

    /// What is documented and was not seen.
    fn unseen(&self) -> BTreeSet<Seen> {
        let mut documented = BTreeSet::new();
        for operation in self.document.operations() {
            for (status, response) in operation.says["responses"].as_object().expect("responses") {
                let status = status.parse().expect("a status");
                let codes = codes(self.document.resolve(response)).into_iter();
                documented.extend(codes.map(|code| (operation.id().to_owned(), status, code)));
            }
        }
        documented.difference(&self.seen).cloned().collect()
    }
}

/// The codes of the problems that a response may be; an empty one for what is no problem.
fn codes(response: &Value) -> Vec<String> {
    let code = &response["content"]["application/problem+json"]["schema"]["properties"]["code"];
    let several = code["enum"].as_array().cloned().unwrap_or_default();
    let all = several.iter().chain(code.get("const")).filter_map(Value::as_str);
    let all: Vec<String> = all.map(str::to_owned).collect();
    if all.is_empty() { vec![String::new()] } else { all }
}

impl<'a> Sent<'a> {
    fn by(self, credentials: Option<&'a str>) -> Self {
        Self { credentials, ..self }
    }

    fn of(self, media_type: Option<&'a str>) -> Self {
        Self { media_type, ..self }
    }

    fn saying(self, body: &'a [u8]) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }
}

/// The first media type of the operation's body.
fn media_type(operation: Operation<'_>) -> Option<&str> {
    let content = operation.says["requestBody"]["content"].as_object()?;
    content
        .keys()
        .map(String::as_str)
        .find(|name| *name != "application/cloudevents-batch+json")
}

/// The operation's path with values for its parameters, and a query: `value?name=value`.
fn target_of(operation: Operation<'_>, given: &str) -> String {
    let (value, query) = given
        .split_once('?')
        .map_or((given, None), |(value, query)| (value, Some(query)));
    let value = if value.is_empty() { ANY } else { value };
    let fill = |segment| if str::starts_with(segment, '{') { value } else { segment };
    let path: Vec<&str> = operation.path.split('/').map(fill).collect();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", path.join("/"))
}

/// The answer is one that the document describes: its status, headers, media type and body.
fn assert_described(document: &Document, operation: Operation<'_>, answer: &Answer, what: &str) {
    let described = &operation.says["responses"][answer.status.to_string()];
    assert!(
        described.is_object(),
        "{what}: {} is not documented: {answer:?}",
        answer.status
    );
    let described = document.resolve(described);
    let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());

    let headers = described["headers"].as_object().expect("headers");
    for (name, header) in headers {
        let header = document.resolve(header);
        match text(name) {
            // The value as its schema means it: a number where that wants one.
            Some(value) => {
                let value = value.parse::<u64>().map_or(json!(value), |number| json!(number));
                let faults = faults(&document.closed(&header["schema"]), &value);
                assert_eq!(faults, Vec::<String>::new(), "{what}: {name}");
            }
            None => assert_ne!(header["required"], json!(true), "{what}: {name} is missing: {answer:?}"),
        }
    }
    let all = document
        .operations()
        .into_iter()
        .flat_map(|one| one.says["responses"].as_object().into_iter().flatten());
    let ever: BTreeSet<&String> = all
        .flat_map(|(_, response)| document.resolve(response)["headers"].as_object().into_iter().flatten())
        .map(|(name, _)| name)
        .collect();
    for name in ever.into_iter().filter(|name| text(name).is_some()) {
        assert!(
            headers.contains_key(name),
            "{what}: {name} is not documented: {answer:?}"
        );
    }

    let media_type = text("content-type");
    let Some(contents) = described["content"].as_object() else {
        assert_eq!(
            (media_type, &answer.body),
            (None, &Value::Null),
            "{what}: there should be no body"
        );
        return;
    };
    let content = media_type.and_then(|name| contents.get(name));
    let content = content.unwrap_or_else(|| panic!("{what}: {media_type:?} is not documented: {answer:?}"));
    let faults = faults(&document.closed(&content["schema"]), &answer.body);
    assert_eq!(
        faults,
        Vec::<String>::new(),
        "{what} is answered otherwise than documented: {answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers_what_is_documented() {
    let mut calls = Calls::start().await;
    for line in CALLS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line {
            "drain" => calls.client.drain().await,
            line => calls.row(line).await,
        }
    }
    let mut keys = BTreeMap::new();
    for scope in ["usage:read", "usage:write"] {
        let made = calls
            .client
            .post(
                "/api/v1/usage/admin/api-keys",
                ADMIN,
                json!({"name": scope, "scopes": [scope]}),
            )
            .await;
        keys.insert(scope, made.body["key"].as_str().expect("a key").to_owned());
    }
    let lost = Wire::new(|_| Fate::LoseRequest);
    let alone = calls
        .client
        .stack
        .instance(Some(lost.http_client()))
        .expect("an instance");
    let document = Document::committed();
    let guarded = document
        .operations()
        .into_iter()
        .filter(|operation| operation.scope() != "none");
    for operation in guarded {
        calls.wrong(operation.id(), &keys).await;
        let sent = Sent {
            credentials: Some(ADMIN),
            media_type: media_type(operation),
            ..Sent::default()
        };
        let target = target_of(operation, "");
        let answer = calls.call(&alone.url(), operation.id(), &target, sent).await;
        assert_eq!(answer.status, 503, "{}: {answer:?}", operation.id());
    }

    let unseen = calls.unseen();
    let documented = calls.seen.len() + unseen.len();
    println!("{} of {documented} documented answers were seen", calls.seen.len());
    let (internal, unseen): (Vec<_>, Vec<_>) = unseen.into_iter().partition(|(_, status, _)| *status == INTERNAL);
    assert_eq!(internal.len(), keyed(document), "every operation that can fail says so");
    let known = UNSEEN.map(|(id, status, code, _)| (id.to_owned(), status, code.to_owned()));
    assert_eq!(unseen, known);
}

fn keyed(document: &Document) -> usize {
    let operations = document.operations().into_iter();
    operations.filter(|operation| operation.scope() != "none").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_as_committed() {
    let client = Client::start().await;
    let url = format!("{}/api/v1/openapi.json", client.stack.url());
    let served = reqwest::get(url).await.expect("an answer");
    assert_eq!(served.headers()["content-type"], "application/json");
    assert_eq!(served.text().await.expect("a text"), TEXT);
}

/// A page may load its own style and script and ask the service, nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_all_that_they_need() {
    let client = Client::start().await;
    for path in ["/", "/api/v1/docs"] {
        let page = client.get(path, "").await;
        let policy = page.headers["content-security-policy"].to_str().expect("a text");
        assert!(
            policy.starts_with("default-src 'none'; connect-src 'self'; style-src 'sha256-"),
            "{policy}"
        );
        let text = page.body.as_str().expect("a page");
        assert_eq!(
            text.contains("<script>"),
            policy.contains("script-src 'sha256-"),
            "{path}: {policy}"
        );
        for elsewhere in ["http://", "https://", "src=", "@import", "url(", "style=\"", " onclick"] {
            assert!(!text.contains(elsewhere), "{path} has {elsewhere}");
        }
    }
}
