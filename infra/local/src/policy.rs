//! Enforces a function's policy on every request it sends to DynamoDB, SQS and
//! EventBridge.
//!
//! It stands between the function's SDK and the engine, as IAM does, so that a permission
//! missing from the template fails here and not first in AWS. It reads which tables, indexes,
//! queues and buses a request touches and nothing else of it.

use std::{collections::BTreeMap, sync::Arc};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use crate::{
    bus::DEFAULT_BUS,
    template::{Function, Statement, bus_arn, queue_arn, table_arn},
};

/// How the services' protocols name them.
const DYNAMODB: &str = "DynamoDB_20120810";
const SQS: &str = "AmazonSQS";
const EVENTS: &str = "AWSEvents";

/// The SDK's connection to the engine, with the policy of `function` on it.
pub fn enforced(function: &Function, inner: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Enforced {
        policy: Arc::new(Policy {
            function: function.name.clone(),
            statements: function.policy.clone(),
        }),
        inner,
    })
}

#[derive(Debug)]
struct Enforced<Inner> {
    policy: Arc<Policy>,
    inner: Inner,
}

#[derive(Debug)]
struct Policy {
    function: String,
    statements: Vec<Statement>,
}

/// What a request does and to which table, index or queue.
type Access = (String, String);

impl HttpClient for Enforced<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Enforced {
            policy: Arc::clone(&self.policy),
            inner: self.inner.http_connector(settings, components),
        })
    }
}

impl HttpConnector for Enforced<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match self.policy.refuses(&request) {
            None => self.inner.call(request),
            Some(message) => {
                tracing::error!(message, "the policy in template.yaml refuses a request");
                HttpConnectorFuture::ready(Ok(denied(&message)))
            }
        }
    }
}

impl Policy {
    /// Why a request may not be sent; none if it may.
    fn refuses(&self, request: &HttpRequest) -> Option<String> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let (service, operation) = target.split_once('.').unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        let accesses = match service {
            DYNAMODB => accesses(operation, body),
            SQS => queue_access(operation, body).map(|access| vec![access]),
            EVENTS => bus_accesses(operation, body),
            _ => None,
        };
        let Some(accesses) = accesses else {
            return Some(format!("{}: {operation} is not understood", self.function));
        };
        let (action, resource) = accesses.into_iter().find(|access| !self.allows(access))?;
        let function = &self.function;
        Some(format!(
            "{function} is not authorized to perform {action} on {resource}"
        ))
    }

    fn allows(&self, (action, resource): &Access) -> bool {
        self.statements
            .iter()
            .any(|statement| statement.actions.contains(action) && statement.resources.contains(resource))
    }
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

fn denied(message: &str) -> HttpResponse {
    let body = json!({
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "message": message,
    });
    let bad_request = StatusCode::try_from(400).expect("400 is a status");
    let mut response = HttpResponse::new(bad_request, SdkBody::from(body.to_string()));
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let statement = |actions: &[&str], resource: String| Statement {
            actions: actions.iter().map(|name| action(name)).collect(),
            resources: vec![resource],
        };
        let state = table_arn("State");
        Policy {
            function: "Thing".to_owned(),
            statements: vec![
                statement(&["GetItem", "PutItem", "BatchGetItem"], state.clone()),
                statement(&["Query"], format!("{state}/index/by_kind")),
                Statement {
                    actions: vec!["sqs:SendMessage".to_owned(), "sqs:GetQueueUrl".to_owned()],
                    resources: vec![queue_arn("Alerts")],
                },
                Statement {
                    actions: vec!["events:PutEvents".to_owned()],
                    resources: vec![bus_arn("Usage")],
                },
            ],
        }
    }

    fn refusal(operation: &str, body: serde_json::Value) -> Option<String> {
        refusal_by(DYNAMODB, operation, body)
    }

    fn refusal_by(service: &str, operation: &str, body: serde_json::Value) -> Option<String> {
        let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
        request
            .headers_mut()
            .insert("x-amz-target", format!("{service}.{operation}"));
        policy().refuses(&request)
    }

    #[test]
    fn what_the_policy_names_is_allowed() {
        for (operation, body) in [
            ("GetItem", json!({"TableName": "State", "Key": {"pk": {"S": "a"}}})),
            ("Query", json!({"TableName": "State", "IndexName": "by_kind"})),
            ("BatchGetItem", json!({"RequestItems": {"State": {"Keys": []}}})),
            (
                "TransactGetItems",
                json!({"TransactItems": [{"Get": {"TableName": "State"}}]}),
            ),
            (
                "TransactWriteItems",
                json!({"TransactItems": [{"Put": {"TableName": "State"}}]}),
            ),
        ] {
            assert_eq!(refusal(operation, body), None, "{operation}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let write = |step: &str| {
            json!({"TransactItems": [
                {"Put": {"TableName": "State"}},
                {step: {"TableName": "State"}},
            ]})
        };
        for (operation, body, expected) in [
            ("UpdateItem", json!({"TableName": "State"}), "dynamodb:UpdateItem on"),
            ("GetItem", json!({"TableName": "Events"}), "table/Events"),
            ("Query", json!({"TableName": "State"}), "dynamodb:Query on"),
            ("Query", json!({"TableName": "State", "IndexName": "due"}), "index/due"),
            (
                "BatchGetItem",
                json!({"RequestItems": {"State": {}, "Events": {}}}),
                "table/Events",
            ),
            (
                "TransactWriteItems",
                write("ConditionCheck"),
                "dynamodb:ConditionCheckItem on",
            ),
            ("TransactWriteItems", write("Update"), "dynamodb:UpdateItem on"),
            (
                "DeleteTable",
                json!({"TableName": "State"}),
                "DeleteTable is not understood",
            ),
            ("GetItem", json!({}), "GetItem is not understood"),
        ] {
            let refusal = refusal(operation, body).expect("refused");
            assert!(refusal.contains(expected), "{refusal}\nshould say: {expected}");
        }
    }

    #[test]
    fn queues_are_allowed_by_the_single_action_and_by_name() {
        let url = |queue: &str| json!({"QueueUrl": format!("http://127.0.0.1:1/000000000000/{queue}")});
        for operation in ["SendMessage", "SendMessageBatch"] {
            assert_eq!(refusal_by(SQS, operation, url("Alerts")), None, "{operation}");
        }
        let by_name = json!({"QueueName": "Alerts"});
        assert_eq!(refusal_by(SQS, "GetQueueUrl", by_name), None);
        for (operation, body, expected) in [
            (
                "SendMessage",
                url("Other"),
                "sqs:SendMessage on arn:aws:sqs:us-east-1:000000000000:Other",
            ),
            ("SendMessageBatch", url("Other"), "sqs:SendMessage on"),
            ("ReceiveMessage", url("Alerts"), "sqs:ReceiveMessage on"),
            ("DeleteMessageBatch", url("Alerts"), "sqs:DeleteMessage on"),
            ("SendMessage", json!({}), "SendMessage is not understood"),
            ("ListQueues", json!({}), "ListQueues is not understood"),
        ] {
            let refusal = refusal_by(SQS, operation, body).expect("refused");
            assert!(refusal.contains(expected), "{refusal}\nshould say: {expected}");
        }
        let mistaken = refusal_by("Other", "GetItem", json!({"TableName": "State"}));
        assert!(mistaken.is_some(), "another service with an operation of the same name");
    }

    #[test]
    fn buses_are_allowed_by_name_entry_by_entry() {
        let put = |buses: &[Option<String>]| {
            let entry = |bus: &Option<String>| json!({"EventBusName": bus});
            let entries: Vec<_> = buses.iter().map(entry).collect();
            refusal_by(EVENTS, "PutEvents", json!({"Entries": entries}))
        };
        let own = || Some("Usage".to_owned());
        assert_eq!(put(&[own(), Some(bus_arn("Usage"))]), None);
        assert!(put(&[own(), None]).is_some_and(|refusal| refusal.contains("event-bus/default")));
        assert!(put(&[Some("Other".to_owned())]).is_some_and(|refusal| refusal.contains("event-bus/Other")));
        assert!(refusal_by(EVENTS, "DeleteRule", json!({})).is_some());
    }
}
