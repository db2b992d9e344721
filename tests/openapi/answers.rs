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

/// Calls one after the other: status and operation | who, and `key=` of the header Idempotency-Key
/// or `type=` of Content-Type | the values of the path's parameters, and the query | the body.
/// `<operation.field>` stands for what the operation last answered a good request.
const CALLS: &str = r#"
200 getHealth          | nobody      |  |
200 getStartPage       | nobody      |  |
200 getOpenApiDocument | nobody      |  |
200 getDocumentPage    | nobody      |  |

201 createSubscription | admin       |  | {"id":"sub_u","user_id":"u","plan":"basic"}
200 createSubscription | admin       |  | {"id":"sub_u","user_id":"u","plan":"basic"}
409 createSubscription | admin       |  | {"id":"sub_u","user_id":"v","plan":"basic"}
201 createSubscription | admin key=s |  | {"user_id":7,"plan":"enterprise","timezone":"Europe/Berlin","billing_anchor":"2026-01-15T00:00:00+01:00","period_length":"week"}
201 createSubscription | admin key=s |  | {"user_id":7,"plan":"enterprise","timezone":"Europe/Berlin","billing_anchor":"2026-01-15T00:00:00+01:00","period_length":"week"}
409 createSubscription | admin key=s |  | {"user_id":"w","plan":"basic"}
201 createSubscription | admin       |  | {"id":"sub_f","user_id":"f","plan":"basic","starts_at":"2099-01-01T00:00:00Z"}
422 createSubscription | admin       |  | {"id":"none","user_id":"u","plan":"gold","period_length":"decade"}
200 listSubscriptions  | admin       | ?limit=1 |
200 listSubscriptions  | admin       | ?limit=1&cursor=<listSubscriptions.next_cursor> |
200 listSubscriptions  | admin       | ?user_id=u |
400 listSubscriptions  | admin       | ?cursor=abc |
200 getSubscription    | admin       | sub_u |
404 getSubscription    | admin       | sub_nobody |
200 changePlan         | admin key=p | sub_u | {"plan":"professional"}
200 changePlan         | admin key=p | sub_u | {"plan":"professional"}
409 changePlan         | admin key=p | sub_u | {"plan":"basic"}
404 changePlan         | admin       | sub_nobody | {"plan":"basic"}

201 trackUsage         | service     |  | {"user_id":"u","metric_type":"document_processing","metric_value":"1.50","resource_id":"r","endpoint":"/e","operation":"o","response_time_ms":12,"error_occurred":true,"metadata":{"pages":3,"x":[null]},"idempotency_key":"k"}
200 trackUsage         | service     |  | {"user_id":"u","metric_type":"document_processing","metric_value":1.5,"idempotency_key":"k"}
409 trackUsage         | service     |  | {"user_id":"u","metric_type":"document_processing","metric_value":2,"idempotency_key":"k"}
201 trackUsage         | service key=h |  | {"user_id":"u","metric_type":"api_calls","metric_value":1}
201 trackUsage         | user        |  | {"metric_type":"ocr_operations","metric_value":3}
403 trackUsage         | user        |  | {"user_id":"v","metric_type":"ocr_operations","metric_value":3}
201 trackUsage         | service     |  | {"user_id":"nobody_yet","metric_type":"api_calls","metric_value":1}
201 trackUsage         | service     |  | {"user_id":"u","metric_type":"api_calls","metric_value":1,"timestamp":"2020-01-01T00:00:00Z","backfill":true}
201 trackUsage         | service     |  | {"user_id":"u","metric_type":"storage_usage","metric_value":12.5,"mode":"level"}
201 trackUsage         | service     |  | {"user_id":"u","metric_type":"storage_usage","metric_value":-2,"mode":"delta"}
422 trackUsage         | service     |  | {"user_id":"u","metric_type":"storage_usage","metric_value":-20,"mode":"delta"}
422 trackUsage         | service     |  | {"user_id":"u","metric_type":"user_sessions","metric_value":1}
429 trackUsage         | service     |  | {"user_id":"u","metric_type":"storage_usage","metric_value":500,"mode":"level"}
404 trackUsage         | service     |  | {"user_id":"u","subscription_id":"sub_nobody","metric_type":"api_calls","metric_value":1}
200 putQuota           | admin       |  | {"user_id":"u","metric_type":"api_calls","quota_limit":1,"allow_overage":false}
429 trackUsage         | service     |  | {"user_id":"u","metric_type":"api_calls","metric_value":1}
200 trackBatch         | service key=b |  | {"events":[{"user_id":"u","metric_type":"ocr_operations","metric_value":1},{"user_id":"u","metric_type":"api_calls","metric_value":1},{"user_id":"u","metric_type":"teapots","metric_value":1},{"user_id":"u","subscription_id":"sub_nobody","metric_type":"api_calls","metric_value":1},{"user_id":"u","metric_type":"user_sessions","metric_value":1}]}
200 trackBatch         | service key=b |  | {"events":[{"user_id":"u","metric_type":"ocr_operations","metric_value":1},{"user_id":"u","metric_type":"ocr_operations","metric_value":9,"idempotency_key":"b/0"}]}
200 trackBatch         | user        |  | {"events":[{"user_id":"v","metric_type":"ocr_operations","metric_value":1}]}
422 trackBatch         | service     |  | {"events":[]}

204 ingestCloudEvents  | service     |  | {"specversion":"1.0","id":"1","source":"/s","type":"api_calls","subject":"u","time":"2020-01-01T00:00:00Z","data":{"value":2,"backfill":true,"region":"eu"},"traceid":"t"}
204 ingestCloudEvents  | service type=application/cloudevents-batch+json |  | [{"specversion":"1.0","id":"2","source":"/s","type":"api_calls","subject":"u"}]
204 ingestCloudEvents  | admin type=application/json |  | []
403 ingestCloudEvents  | user        |  | {"specversion":"1.0","id":"3","source":"/s","type":"api_calls","subject":"u"}
404 ingestCloudEvents  | service     |  | {"specversion":"1.0","id":"4","source":"/s","type":"api_calls","subject":"u","data":{"subscription_id":"sub_nobody"}}
409 ingestCloudEvents  | service     |  | {"specversion":"1.0","id":"2","source":"/s","type":"api_calls","subject":"u","data":{"value":5}}
422 ingestCloudEvents  | service     |  | {"specversion":"0.3","id":"5","source":"/s","type":"teapots"}
204 ingestCloudEvents  | service     |  | {"specversion":"1.0","id":"6","source":"/s","type":"storage_usage","subject":"u","data":{"value":-99,"mode":"delta"}}

200 getSummary         | service     | ?user_id=u |
200 getSummary         | user        |  |
200 getSummary         | service     | ?user_id=stranger |
404 getSummary         | service     | ?user_id=u&subscription_id=sub_nobody |
422 getSummary         | service     |  |
200 listQuotas         | service     | ?user_id=u |
200 listQuotas         | service     | ?user_id=u&metric_type=user_sessions |
404 listQuotas         | service     | ?user_id=u&subscription_id=sub_nobody |
200 checkQuota         | service     | document_processing?user_id=u&required_quantity=2.5 |
200 checkQuota         | service     | api_calls?user_id=u |
200 checkQuota         | service     | api_calls?user_id=stranger |
200 checkQuota         | service     | storage_usage?user_id=u |
404 checkQuota         | service     | teapots?user_id=u |
404 checkQuota         | service     | api_calls?user_id=u&subscription_id=sub_nobody |
200 listEvents         | service     | ?user_id=u&limit=2 |
200 listEvents         | service     | ?user_id=u&limit=2&cursor=<listEvents.next_cursor> |
200 listEvents         | service     | ?user_id=u&from=2019-12-31T00:00:00Z&to=2099-01-01T00:00:00Z&limit=200 |
400 listEvents         | service     | ?user_id=u&cursor=abc |
404 listEvents         | service     | ?user_id=u&subscription_id=sub_nobody |
200 getEvent           | service     | <trackUsage.usage_id>?user_id=u |
404 getEvent           | service     | evt_0?user_id=u |

200 putQuota           | admin key=q |  | {"user_id":"u","metric_type":"document_processing","quota_limit":null,"overage_limit":null,"overage_price":"0.1","block_size":10}
200 putQuota           | admin key=q |  | {"user_id":"u","metric_type":"document_processing","quota_limit":null,"overage_limit":null,"overage_price":"0.1","block_size":10}
409 putQuota           | admin key=q |  | {"user_id":"u","metric_type":"document_processing"}
404 putQuota           | admin       |  | {"user_id":"v","subscription_id":"sub_u","metric_type":"api_calls"}
200 resetQuota         | admin key=r | ?user_id=u&metric_type=api_calls |
200 resetQuota         | admin key=r | ?user_id=u&metric_type=api_calls |
409 resetQuota         | admin key=r | ?user_id=u |
200 resetQuota         | admin       | ?user_id=u |
404 resetQuota         | admin       | ?user_id=u&subscription_id=sub_nobody |
422 resetQuota         | admin       | ?user_id=u&metric_type=storage_usage |
200 listAdjustments    | admin       | ?user_id=u&limit=1 |
200 listAdjustments    | admin       | ?user_id=u&limit=1&cursor=<listAdjustments.next_cursor> |
400 listAdjustments    | admin       | ?user_id=u&cursor=abc |
404 listAdjustments    | admin       | ?user_id=u&subscription_id=sub_nobody |
204 deleteQuota        | admin key=d | ?user_id=u&metric_type=api_calls |
204 deleteQuota        | admin key=d | ?user_id=u&metric_type=api_calls |
409 deleteQuota        | admin key=d | ?user_id=u&metric_type=document_processing |
404 deleteQuota        | admin       | ?user_id=v&subscription_id=sub_u&metric_type=api_calls |

200 putPlan            | admin key=g | gold | {"name":"Gold","currency":"EUR","quotas":{"api_calls":{"quota_limit":"10.50","allow_overage":true,"overage_price":1,"block_size":5,"overage_limit":null},"storage_usage":{"quota_limit":null,"allow_overage":false}}}
200 putPlan            | admin key=g | gold | {"name":"Gold","currency":"EUR","quotas":{"api_calls":{"quota_limit":"10.50","allow_overage":true,"overage_price":1,"block_size":5,"overage_limit":null},"storage_usage":{"quota_limit":null,"allow_overage":false}}}
409 putPlan            | admin key=g | gold | {"name":"Gold","currency":"EUR","quotas":{}}
422 putPlan            | admin       | none | {"name":"Gold","currency":"EUR","quotas":{}}
200 getPlan            | admin       | gold |
404 getPlan            | admin       | silver |
200 listPlans          | admin       | ?limit=2 |
200 listPlans          | admin       | ?limit=2&cursor=<listPlans.next_cursor> |
400 listPlans          | admin       | ?cursor=abc |

201 createMetricType   | admin key=m |  | {"metric_type":"teapots","kind":"sum","unit":"pots"}
201 createMetricType   | admin key=m |  | {"metric_type":"teapots","kind":"sum","unit":"pots"}
409 createMetricType   | admin       |  | {"metric_type":"teapots","kind":"sum","unit":"pots"}
409 createMetricType   | admin key=m |  | {"metric_type":"kettles","kind":"sum","unit":"pots"}
200 putMetricType      | admin key=t | teapots | {"metric_type":"teapots","kind":"sum","unit":"pots","description":"Poured"}
200 putMetricType      | admin key=t | teapots | {"metric_type":"teapots","kind":"sum","unit":"pots","description":"Poured"}
409 putMetricType      | admin       | teapots | {"metric_type":"teapots","kind":"gauge","unit":"pots"}
409 putMetricType      | admin       | api_calls | {"metric_type":"api_calls","kind":"sum","unit":"calls"}
404 putMetricType      | admin       | kettles | {"metric_type":"kettles","kind":"sum","unit":"pots"}
200 listMetricTypes    | admin       | ?limit=2 |
200 listMetricTypes    | admin       | ?limit=200&cursor=<listMetricTypes.next_cursor> |
400 listMetricTypes    | admin       | ?cursor=abc |

201 createApiKey       | admin key=a |  | {"name":"n","scopes":["usage:read","usage:write"],"expires_at":"2099-01-01T00:00:00"}
201 createApiKey       | admin key=a |  | {"name":"n","scopes":["usage:read","usage:write"],"expires_at":"2099-01-01T00:00:00"}
409 createApiKey       | admin key=a |  | {"name":"n","scopes":["usage:read"]}
200 listApiKeys        | admin       | ?limit=1 |
200 listApiKeys        | admin       | ?limit=200&cursor=<listApiKeys.next_cursor> |
400 listApiKeys        | admin       | ?cursor=abc |
204 revokeApiKey       | admin key=v | <createApiKey.id> |
204 revokeApiKey       | admin key=v | <createApiKey.id> |
409 revokeApiKey       | admin key=v | <createApiKey.id>?nonsense=1 |
404 revokeApiKey       | admin       | key_nobody |
"#;

/// The documented statuses that no test can bring about, with the reason.
const UNSEEN: [(&str, u16); 0] = [];
/// A fault of ours: none is known, so none can be provoked.
const INTERNAL: u16 = 500;

/// The most bytes of a body, and one more.
const TOO_LARGE: usize = 2 * 1024 * 1024 + 1;
/// What stands for every parameter of a path where its value does not matter.
const ANY: &str = "api_calls";

/// Calls operations and remembers which statuses were seen.
struct Calls {
    client: Client,
    document: &'static Document,
    user: String,
    seen: BTreeSet<(String, u16)>,
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
        Self {
            client,
            document: Document::committed(),
            user,
            seen: BTreeSet::new(),
            answers: BTreeMap::new(),
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
        self.seen.insert((id.to_owned(), answer.status));
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
        let good = Sent {
            credentials: Some(ADMIN),
            media_type: media_type(operation),
            body: operation.takes_body().then_some(b"{}".as_slice()),
            ..Sent::default()
        };
        let mut cases = vec![(401, good.with(None)), (401, good.with(Some("mk_unknown")))];
        for (scope, key) in keys {
            let lacks = *scope != operation.scope();
            let answer = self.call(&base, id, &target, good.with(Some(key))).await;
            assert_eq!(answer.status == 403, lacks, "{id} with {scope}: {answer:?}");
            assert_ne!(answer.status, 401, "{id} with {scope}: {answer:?}");
        }
        let large = vec![b' '; TOO_LARGE];
        if operation.takes_body() {
            cases.extend([
                (
                    400,
                    Sent {
                        body: Some(b"{"),
                        ..good
                    },
                ),
                (400, Sent { body: None, ..good }),
                (
                    413,
                    Sent {
                        body: Some(&large),
                        ..good
                    },
                ),
                (
                    415,
                    Sent {
                        media_type: Some("text/plain"),
                        ..good
                    },
                ),
                (
                    415,
                    Sent {
                        media_type: None,
                        ..good
                    },
                ),
                (422, good),
                (
                    422,
                    Sent {
                        body: Some(b"1"),
                        ..good
                    },
                ),
            ]);
        }
        for (status, sent) in cases {
            let answer = self.call(&base, id, &target, sent).await;
            assert_eq!(answer.status, status, "{id}: {answer:?}");
        }
        if !operation.takes_body() {
            let answer = self
                .call(&base, id, &format!("{target}?user_id=u&nonsense=1"), good)
                .await;
            assert_eq!(answer.status, 422, "{id}: {answer:?}");
        }
    }

    /// The documented statuses that were not seen.
    fn unseen(&self) -> BTreeSet<(String, u16)> {
        let all = self.document.operations().into_iter();
        let all = all.flat_map(|one| one.statuses().map(move |status| (one.id().to_owned(), status)));
        all.filter(|documented| !self.seen.contains(documented)).collect()
    }
}

impl<'a> Sent<'a> {
    fn with(self, credentials: Option<&'a str>) -> Self {
        Self { credentials, ..self }
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
    for line in CALLS.lines().filter(|line| !line.is_empty()) {
        calls.row(line).await;
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
    println!("{} of {documented} documented statuses were seen", calls.seen.len());
    let (internal, unseen): (Vec<_>, Vec<_>) = unseen.into_iter().partition(|(_, status)| *status == INTERNAL);
    assert_eq!(internal.len(), keyed(document), "every operation that can fail says so");
    let unseen: Vec<(&str, u16)> = unseen.iter().map(|(id, status)| (id.as_str(), *status)).collect();
    assert_eq!(unseen, UNSEEN);
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
