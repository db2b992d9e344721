//! Reads `template.yaml`: what the local stack must run is what is deployed.
//!
//! Whatever the stack does not understand stops it with the resource's name, since a thing
//! silently left out would behave differently here and in AWS. What has no meaning on one
//! machine (alarms, log groups, backups, encryption) is listed by name in the readers below and
//! passed over. This module knows nothing of the engines that carry out what it read.

mod bucket;
mod event;
mod function;
mod node;
mod queue;
mod rule;
mod schedule;
mod scope;
mod stream;
mod table;

use std::collections::BTreeMap;

use serde_norway::Value;

#[cfg(test)]
pub use bucket::Expiry;
pub use bucket::{Bucket, bucket_arn};
pub use event::{QueueMapping, Route, Triggers};
pub use function::{Function, Statement, grant_line};
#[cfg(test)]
pub use queue::Redrive;
pub use queue::{MESSAGE_BYTES_MAX, Queue, queue_arn};
pub use rule::{Failure, Rule, bus_arn};
pub use schedule::Schedule;
pub use scope::{identity_arn, stream_arn, table_arn};
pub use stream::StreamMapping;
#[cfg(test)]
pub use table::Index;
pub use table::Table;

use node::Node;
use scope::Scope;

/// The region in every name and signature of the local stack.
pub const REGION: &str = "us-east-1";
/// The account in every name of the local stack.
pub const ACCOUNT: &str = "000000000000";

/// The template, built into the program so that it runs from anywhere.
pub const EMBEDDED: &str = include_str!("../../../template.yaml");

/// Resources that have no part in a stack on one machine.
const WITHOUT_LOCAL_PART: [&str; 7] = [
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
];

const SECTIONS: [&str; 9] = [
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Globals",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Transform",
];

/// Attributes of a resource beside its properties. `Condition` is not among them: what exists
/// only sometimes is understood for resources without local part alone.
const ATTRIBUTES: [&str; 6] = [
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdateReplacePolicy",
];

const HTTP_API: [&str; 5] = [
    "AccessLogSettings",
    "Description",
    "FailOnWarnings",
    "StageName",
    "Tags",
];

const EVENT_BUS: [&str; 3] = ["Description", "Name", "Tags"];

/// What in the template is wrong, or not understood, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("template.yaml: {place}: {problem}")]
pub struct TemplateError {
    /// The resource, or the section, and the path inside it.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What the template asks for.
#[derive(Debug, Clone)]
pub struct Template {
    /// The functions, by name.
    pub functions: Vec<Function>,
    /// All that they are called by.
    pub triggers: Triggers,
    /// The tables, by name.
    pub tables: Vec<Table>,
    /// The queues, by name.
    pub queues: Vec<Queue>,
    /// The event buses, by name: here the same as in the template.
    pub buses: Vec<String>,
    /// The buckets.
    pub buckets: Vec<Bucket>,
}

impl Template {
    /// Reads `text`; `parameters` replace the defaults of the parameters they name, and the
    /// queues are served at `queues_at`.
    pub fn parse(text: &str, parameters: &BTreeMap<String, String>, queues_at: &str) -> Result<Self, TemplateError> {
        let document: Value = serde_norway::from_str(text).map_err(|error| TemplateError {
            place: "document".to_owned(),
            problem: error.to_string(),
        })?;
        Self::read(&document, parameters, queues_at)
    }

    /// Reads a document, as [`Self::parse`] a text.
    pub fn read(
        document: &Value,
        parameters: &BTreeMap<String, String>,
        queues_at: &str,
    ) -> Result<Self, TemplateError> {
        let root = Node::new("template", document);
        root.only(&SECTIONS)?;
        let resources = root.required("Resources")?;
        let scope = Scope::new(root.child("Parameters")?, parameters, resources, queues_at)?;
        let defaults = function::Defaults::read(root.child("Globals")?, &scope)?;
        let mut template = Self {
            functions: Vec::new(),
            triggers: Triggers::default(),
            tables: Vec::new(),
            queues: Vec::new(),
            buses: Vec::new(),
            buckets: Vec::new(),
        };
        for (name, resource) in resources.entries()? {
            template.add(name, Node::new(name, resource), &scope, &defaults)?;
        }
        template.check_visibility()?;
        template.match_streams()?;
        Ok(template)
    }

    /// As Lambda does, refuses a queue whose messages come back while a function works on them.
    fn check_visibility(&self) -> Result<(), TemplateError> {
        for mapping in &self.triggers.queues {
            let queue = self.queues.iter().find(|queue| queue.name == mapping.queue);
            let function = self.functions.iter().find(|function| function.name == mapping.function);
            if let (Some(queue), Some(function)) = (queue, function)
                && queue.visibility < function.timeout
            {
                return Err(TemplateError {
                    place: queue.name.clone(),
                    problem: format!("VisibilityTimeout is shorter than the Timeout of {}", function.name),
                });
            }
        }
        Ok(())
    }

    /// Only a stream that a function is handed is kept here: each costs the engine on every write.
    fn match_streams(&mut self) -> Result<(), TemplateError> {
        for table in &mut self.tables {
            let mut mappings = self
                .triggers
                .streams
                .iter_mut()
                .filter(|mapping| mapping.table == table.name);
            let Some(first) = mappings.next() else {
                table.stream = None;
                continue;
            };
            let Some(view) = &table.stream else {
                return Err(TemplateError {
                    place: table.name.clone(),
                    problem: format!(
                        "has no StreamSpecification, but {} is to read its stream",
                        first.function
                    ),
                });
            };
            first.view.clone_from(view);
            mappings.for_each(|mapping| mapping.view.clone_from(view));
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: &str,
        resource: Node<'_>,
        scope: &Scope,
        defaults: &function::Defaults,
    ) -> Result<(), TemplateError> {
        let kind = resource.required("Type")?.plain()?;
        if WITHOUT_LOCAL_PART.contains(&kind) {
            return Ok(());
        }
        // Whichever log it would be in AWS, lines are handed over here by hand.
        if kind == "AWS::Logs::SubscriptionFilter" {
            let function = event::read_subscription(resource.required("Properties")?, scope)?;
            self.triggers.logs.push(function);
            return Ok(());
        }
        resource.only(&ATTRIBUTES)?;
        if kind == "AWS::SQS::Queue" {
            self.queues
                .push(queue::read(name, resource.child("Properties")?, scope)?);
            return Ok(());
        }
        if kind == "AWS::S3::Bucket" {
            return self.add_bucket(name, resource);
        }
        let properties = resource.required("Properties")?;
        match kind {
            "AWS::Serverless::Function" => {
                self.functions.push(function::read(name, properties, scope, defaults)?);
                self.triggers.read(name, properties, scope)?;
            }
            "AWS::DynamoDB::Table" => self.tables.push(table::read(name, properties)?),
            "AWS::Events::EventBus" => {
                properties.only(&EVENT_BUS)?;
                self.buses.push(name.to_owned());
            }
            "AWS::Serverless::HttpApi" => {
                properties.only(&HTTP_API)?;
                let stage = properties.required("StageName")?;
                if stage.plain()? != "$default" {
                    return Err(stage.wrong("only the stage $default is understood"));
                }
            }
            other => {
                return Err(resource.wrong(&format!("the type {other} is not understood")));
            }
        }
        Ok(())
    }

    fn add_bucket(&mut self, name: &str, resource: Node<'_>) -> Result<(), TemplateError> {
        let bucket = bucket::read(name, resource, resource.child("Properties")?)?;
        if self.buckets.iter().any(|other| other.name == bucket.name) {
            return Err(resource.wrong("another bucket has this name, but for its capitals"));
        }
        self.buckets.push(bucket);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
