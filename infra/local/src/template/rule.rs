//! Rules of event buses, and what becomes of an event that a function cannot handle.

use std::time::Duration;

use serde_json::Value as Json;
use serde_norway::Value;

use super::{ACCOUNT, REGION, TemplateError, node::Node, queue::whole, schedule::is_on, scope::Scope};
use crate::{bus::DEFAULT_BUS, pattern::Pattern};

/// A function that is handed the events that look like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The function.
    pub function: String,
    /// The bus.
    pub bus: String,
    /// What the events look like.
    pub pattern: Pattern,
}

/// What becomes of an event that a function fails to handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How often it is called again.
    pub retries_max: u64,
    /// How old the event may become.
    pub age_max: Duration,
    /// The queue where the event ends.
    pub queue: Option<String>,
}

/// The name by which policies know a bus.
pub fn bus_arn(bus: &str) -> String {
    format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}")
}

/// Reads a rule of `function`; none if it is switched off.
pub fn read(function: &str, properties: Node<'_>, scope: &Scope) -> Result<Option<Rule>, TemplateError> {
    properties.only(&["Enabled", "EventBusName", "Pattern", "State"])?;
    let pattern = properties.required("Pattern")?;
    let bus = match properties.child("EventBusName")? {
        Some(bus) => scope.text(bus)?.rsplit('/').next().unwrap_or_default().to_owned(),
        None => DEFAULT_BUS.to_owned(),
    };
    let rule = Rule {
        function: function.to_owned(),
        bus,
        pattern: Pattern::read(&json(pattern)?).map_err(|error| pattern.wrong(&error.to_string()))?,
    };
    Ok(is_on(properties)?.then_some(rule))
}

/// A value without intrinsic functions, which would be taken for patterns.
fn json(node: Node<'_>) -> Result<Json, TemplateError> {
    match node.value() {
        Value::Mapping(_) => {
            let mut fields = serde_json::Map::new();
            for (name, _) in node.entries()? {
                fields.insert(name.to_owned(), json(node.required(name)?)?);
            }
            Ok(Json::Object(fields))
        }
        Value::Sequence(_) => node.items()?.into_iter().map(json).collect(),
        Value::Tagged(_) => Err(node.wrong("an intrinsic function is not understood here")),
        value => serde_json::to_value(value).map_err(|error| node.wrong(&error.to_string())),
    }
}

/// Reads `DeadLetterQueue` and `EventInvokeConfig` of a function; Lambda's defaults otherwise.
pub fn read_failure(properties: Node<'_>, scope: &Scope) -> Result<Failure, TemplateError> {
    let mut failure = Failure {
        retries_max: 2,
        age_max: Duration::from_secs(21_600),
        queue: None,
    };
    if let Some(config) = properties.child("EventInvokeConfig")? {
        config.only(&["MaximumEventAgeInSeconds", "MaximumRetryAttempts"])?;
        failure.retries_max = whole(config, "MaximumRetryAttempts", 0, 2)?.unwrap_or(failure.retries_max);
        let age = whole(config, "MaximumEventAgeInSeconds", 60, 21_600)?;
        failure.age_max = age.map_or(failure.age_max, Duration::from_secs);
    }
    if let Some(dead) = properties.child("DeadLetterQueue")? {
        dead.only(&["TargetArn", "Type"])?;
        let kind = dead.required("Type")?;
        if kind.plain()? != "SQS" {
            return Err(kind.wrong("only SQS is understood"));
        }
        failure.queue = Some(scope.queue(dead.required("TargetArn")?)?);
    }
    Ok(failure)
}
