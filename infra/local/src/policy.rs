//! Enforces a function's policy on every request it sends to DynamoDB, SQS, EventBridge, SES and
//! SNS; S3 asks for it by the access key, since links are followed by others than functions.
//!
//! It stands between the function's SDK and the engine, as IAM does, so that a permission
//! missing from the template fails here and not first in AWS. It reads which tables, indexes,
//! queues, buses and identities a request touches and nothing else of it.

mod access;
mod used;

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
use serde_json::json;

use self::access::{Access, Asked, Protocol};
use crate::{
    sms,
    template::{Function, Statement},
};

/// The stack's own access key.
pub const ACCESS_KEY: &str = "local";

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
        if access::is_to_buckets(&request) {
            return self.inner.call(request);
        }
        let asked = Asked::read(&request);
        match self.policy.refuses(&asked) {
            None => {
                self.policy.note(&asked);
                self.inner.call(request)
            }
            Some(message) => {
                tracing::error!(message, "the policy in template.yaml refuses a request");
                HttpConnectorFuture::ready(Ok(denied(asked.protocol, &message)))
            }
        }
    }
}

/// The policy of each access key. Whose key is the stack's own may do everything.
#[derive(Debug)]
pub struct Policies(BTreeMap<String, Policy>);

impl Policies {
    /// Of functions, whose access keys are their names.
    pub fn of(functions: &[Function]) -> Self {
        let named = functions.iter().map(|function| {
            let policy = Policy {
                function: function.name.clone(),
                statements: function.policy.clone(),
            };
            (function.name.clone(), policy)
        });
        Self(named.collect())
    }

    /// Whether somebody has this access key.
    pub fn knows(&self, key: &str) -> bool {
        key == ACCESS_KEY || self.0.contains_key(key)
    }

    /// Why an access key may not do something; none if it may, which is noted.
    pub fn refuses(&self, key: &str, action: &str, resource: &str) -> Option<String> {
        if key == ACCESS_KEY {
            return None;
        }
        let Some(policy) = self.0.get(key) else {
            return Some(format!("nobody has the access key {key}"));
        };
        let asked = Asked::by_key(action, resource);
        let refusal = policy.refuses(&asked);
        match &refusal {
            None => policy.note(&asked),
            Some(message) => tracing::error!(message, "the policy in template.yaml refuses a request"),
        }
        refusal
    }
}

impl Policy {
    /// Why a request may not be sent; none if it may.
    fn refuses(&self, asked: &Asked) -> Option<String> {
        let function = &self.function;
        let Some(accesses) = &asked.accesses else {
            return Some(format!("{function}: {} is not understood", asked.operation));
        };
        let (action, resource) = accesses.iter().find(|access| self.grant(access).is_none())?;
        Some(format!(
            "{function} is not authorized to perform {action} on {resource}"
        ))
    }

    /// Notes what lets a request through.
    fn note(&self, asked: &Asked) {
        for access in asked.accesses.iter().flatten() {
            if let Some(pattern) = self.grant(access) {
                used::note(&self.function, &access.0, pattern);
            }
        }
    }

    /// The resource, as the policy names it, that lets an access through.
    fn grant(&self, (action, resource): &Access) -> Option<&str> {
        let of_action = self
            .statements
            .iter()
            .filter(|statement| statement.actions.contains(action));
        let mut patterns = of_action.flat_map(|statement| &statement.resources);
        patterns.find(|pattern| fits(pattern, resource)).map(String::as_str)
    }
}

/// Whether a resource is one that a policy names, where `*` stands for any text, as in IAM.
fn fits(pattern: &str, resource: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = resource.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What the service answers whom IAM turns away.
fn denied(protocol: Protocol, message: &str) -> HttpResponse {
    let (status, kind, body) = match protocol {
        Protocol::Json => {
            let kind = "com.amazon.coral.service#AccessDeniedException";
            let body = json!({"__type": kind, "message": message});
            (400, "application/x-amz-json-1.0", body.to_string())
        }
        Protocol::Rest => {
            let body = json!({"message": message});
            (403, "application/json", body.to_string())
        }
        Protocol::Query => (403, "text/xml", sms::error("AuthorizationError", message)),
    };
    let status = StatusCode::try_from(status).expect("400 and 403 are statuses");
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", kind);
    if protocol == Protocol::Rest {
        response
            .headers_mut()
            .insert("x-amzn-errortype", "AccessDeniedException");
    }
    response
}

#[cfg(test)]
mod tests;
