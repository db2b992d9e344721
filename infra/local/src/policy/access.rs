//! What a request does, and to what: told from its protocol, and by nothing else of it.

use std::collections::BTreeMap;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    bus::DEFAULT_BUS,
    mail,
    template::{bus_arn, identity_arn, queue_arn, table_arn},
};

/// How the services' protocols name them.
const DYNAMODB: &str = "DynamoDB_20120810";
const SQS: &str = "AmazonSQS";
const EVENTS: &str = "AWSEvents";

/// An action, and the table, index, queue, bus or identity that it is done to; `*` where IAM
/// knows no resource.
pub type Access = (String, String);

/// How a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The operation in a header, JSON in the body: DynamoDB, SQS, EventBridge.
    Json,
    /// The operation in method and path, JSON in the body: SES.
    Rest,
    /// The operation in the body, a form: SNS.
    Query,
}

/// What a request asks for.
pub struct Asked {
    /// How it is asked.
    pub protocol: Protocol,
    /// The operation.
    pub operation: String,
    /// What it needs; none if that cannot be told.
    pub accesses: Option<Vec<Access>>,
}

impl Asked {
    /// Reads a request.
    pub fn read(request: &HttpRequest) -> Self {
        let body = request.body().bytes().unwrap_or_default();
        if let Some(target) = request.headers().get("x-amz-target") {
            let (service, operation) = target.split_once('.').unwrap_or_default();
            let accesses = match service {
                DYNAMODB => accesses(operation, body),
                SQS => queue_access(operation, body).map(|access| vec![access]),
                EVENTS => bus_accesses(operation, body),
                _ => None,
            };
            return Self::of(Protocol::Json, operation, accesses);
        }
        let kind = request.headers().get("content-type").unwrap_or_default();
        if kind.starts_with("application/x-www-form-urlencoded") {
            let (operation, access) = form_access(body);
            return Self::of(Protocol::Query, &operation, access.map(|access| vec![access]));
        }
        let path = path(request.uri());
        let operation = format!("{} {path}", request.method());
        let access = match (request.method(), path) {
            ("POST", mail::PATH) => mail_access(body),
            _ => None,
        };
        Self::of(Protocol::Rest, &operation, access.map(|access| vec![access]))
    }

    /// What one request to a bucket asks for, as the service that was asked understood it.
    pub fn by_key(action: &str, resource: &str) -> Self {
        let accesses = vec![(action.to_owned(), resource.to_owned())];
        Self::of(Protocol::Rest, action, Some(accesses))
    }

    fn of(protocol: Protocol, operation: &str, accesses: Option<Vec<Access>>) -> Self {
        Self {
            protocol,
            operation: operation.to_owned(),
            accesses,
        }
    }
}

/// Whether a request is signed for S3, which asks for the policy itself.
pub fn is_to_buckets(request: &HttpRequest) -> bool {
    let signature = request.headers().get("authorization").unwrap_or_default();
    signature.contains("/s3/aws4_request")
}

/// The path of an address, without its query.
fn path(uri: &str) -> &str {
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = after_scheme.find('/').map_or("/", |at| &after_scheme[at..]);
    path.split('?').next().unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FromSender {
    from_email_address: String,
}

/// What a mail needs: that its sender may be used.
fn mail_access(body: &[u8]) -> Option<Access> {
    let from: FromSender = serde_json::from_slice(body).ok()?;
    let identity = identity_arn(mail::address(&from.from_email_address));
    Some(("ses:SendEmail".to_owned(), identity))
}

/// The operation of a form, and what it needs: IAM knows no resource for a phone number.
fn form_access(body: &[u8]) -> (String, Option<Access>) {
    let fields: BTreeMap<_, _> = form_urlencoded::parse(body).collect();
    let operation = fields.get("Action").map_or_else(String::new, ToString::to_string);
    let access = (operation == "Publish" && fields.contains_key("PhoneNumber"))
        .then(|| ("sns:Publish".to_owned(), "*".to_owned()));
    (operation, access)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Single {
    table_name: String,
    index_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    request_items: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transaction {
    transact_items: Vec<BTreeMap<String, Single>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ToQueue {
    queue_url: Option<String>,
    queue_name: Option<String>,
}

/// What a request to a queue needs: a batch is allowed by the action that it repeats.
fn queue_access(operation: &str, body: &[u8]) -> Option<Access> {
    let action = match operation {
        "SendMessage" | "SendMessageBatch" => "SendMessage",
        "DeleteMessage" | "DeleteMessageBatch" => "DeleteMessage",
        "ChangeMessageVisibility" | "ChangeMessageVisibilityBatch" => "ChangeMessageVisibility",
        "ReceiveMessage" | "GetQueueAttributes" | "GetQueueUrl" | "PurgeQueue" => operation,
        _ => return None,
    };
    let to: ToQueue = serde_json::from_slice(body).ok()?;
    let name = to.queue_url.or(to.queue_name)?;
    let name = name.rsplit('/').next().unwrap_or_default();
    Some((format!("sqs:{action}"), queue_arn(name)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ToBuses {
    entries: Vec<ToBus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ToBus {
    event_bus_name: Option<String>,
}

/// What a request to buses needs, which it names by name or ARN.
fn bus_accesses(operation: &str, body: &[u8]) -> Option<Vec<Access>> {
    if operation != "PutEvents" {
        return None;
    }
    let to: ToBuses = serde_json::from_slice(body).ok()?;
    let accesses = to.entries.into_iter().map(|entry| {
        let bus = entry.event_bus_name.unwrap_or_else(|| DEFAULT_BUS.to_owned());
        let name = bus.rsplit('/').next().unwrap_or_default();
        ("events:PutEvents".to_owned(), bus_arn(name))
    });
    Some(accesses.collect())
}

/// What a request to tables needs; none if it cannot be told.
fn accesses(operation: &str, body: &[u8]) -> Option<Vec<Access>> {
    match operation {
        "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem" | "Query" | "Scan" => {
            let single: Single = serde_json::from_slice(body).ok()?;
            Some(vec![access(operation, &single)])
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let batch: Batch = serde_json::from_slice(body).ok()?;
            let tables = batch.request_items.into_keys();
            let all = tables.map(|table| (action(operation), table_arn(&table)));
            Some(all.collect())
        }
        "TransactGetItems" | "TransactWriteItems" => {
            let transaction: Transaction = serde_json::from_slice(body).ok()?;
            let steps = transaction.transact_items.iter().flatten();
            let all = steps.map(|(step, single)| match step.as_str() {
                "ConditionCheck" => access("ConditionCheckItem", single),
                step => access(&format!("{step}Item"), single),
            });
            Some(all.collect())
        }
        _ => None,
    }
}

fn access(operation: &str, single: &Single) -> Access {
    let table = table_arn(&single.table_name);
    let resource = match &single.index_name {
        Some(index) => format!("{table}/index/{index}"),
        None => table,
    };
    (action(operation), resource)
}

fn action(operation: &str) -> String {
    format!("dynamodb:{operation}")
}
