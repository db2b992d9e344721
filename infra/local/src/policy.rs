//! Enforces a function's policy on every request it sends to DynamoDB.
//!
//! It stands between the function's SDK and the engine, as IAM does, so that a permission
//! missing from the template fails here and not first in AWS. It reads which tables and indexes
//! a request touches and nothing else of it.

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

use crate::template::{Function, Statement, table_arn};

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

/// What a request does and to which table or index.
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
        let operation = target.rsplit('.').next().unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        let Some(accesses) = accesses(operation, body) else {
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

/// What a request needs; none if it cannot be told.
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
            ],
        }
    }

    fn refusal(operation: &str, body: serde_json::Value) -> Option<String> {
        let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
        request
            .headers_mut()
            .insert("x-amz-target", format!("DynamoDB_20120810.{operation}"));
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
}
