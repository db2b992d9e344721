//! Intrinsic functions: what `!Ref`, `!GetAtt` and `!Sub` stand for on this machine.
//!
//! Only what the template's functions and tables need is understood; any other function, also in
//! its long form (`Fn::…`), is refused.

use std::collections::BTreeMap;

use serde_norway::{Value, value::TaggedValue};

use super::{
    ACCOUNT, REGION, TemplateError,
    bucket::{bucket_arn, bucket_name},
    node::Node,
    queue::queue_arn,
    rule::bus_arn,
};
use crate::queues::queue_url;

/// The names that an intrinsic function may use.
#[derive(Debug)]
pub struct Scope {
    parameters: BTreeMap<String, String>,
    /// Resource to type.
    resources: BTreeMap<String, String>,
    /// Where the queues are served.
    queues_at: String,
}

impl Scope {
    /// The parameters with their defaults, replaced by `overrides`, and the resources by type.
    pub fn new(
        declared: Option<Node<'_>>,
        overrides: &BTreeMap<String, String>,
        resources: Node<'_>,
        queues_at: &str,
    ) -> Result<Self, TemplateError> {
        let mut parameters = BTreeMap::new();
        if let Some(declared) = declared {
            for (name, parameter) in declared.entries()? {
                let parameter = Node::new(name, parameter);
                let value = match overrides.get(name) {
                    Some(value) => value.clone(),
                    None => scalar(parameter.required("Default")?)?,
                };
                parameters.insert(name.to_owned(), value);
            }
            if let Some(unknown) = overrides.keys().find(|name| !parameters.contains_key(*name)) {
                return Err(declared.wrong(&format!("there is no parameter {unknown}")));
            }
        }
        let mut types = BTreeMap::new();
        for (name, resource) in resources.entries()? {
            let kind = Node::new(name, resource).required("Type")?.plain()?;
            types.insert(name.to_owned(), kind.to_owned());
        }
        Ok(Self {
            parameters,
            resources: types,
            queues_at: queues_at.to_owned(),
        })
    }

    /// The text that a value comes to.
    pub fn text(&self, node: Node<'_>) -> Result<String, TemplateError> {
        let Value::Tagged(tagged) = node.value() else {
            return scalar(node);
        };
        let TaggedValue { tag, value } = tagged.as_ref();
        let resolve = match tag.to_string().as_str() {
            "!Ref" => Self::reference,
            "!GetAtt" => Self::attribute,
            "!Sub" => Self::substitute,
            _ => return Err(node.wrong(&format!("the intrinsic function {tag} is not understood"))),
        };
        match value {
            Value::String(argument) => resolve(self, node, argument),
            _ => Err(node.wrong(&format!("{tag} is understood with a plain text only"))),
        }
    }

    /// The queue that a value names by its ARN.
    pub fn queue(&self, node: Node<'_>) -> Result<String, TemplateError> {
        self.named_by(node, queue_arn, "AWS::SQS::Queue", "the Arn of a queue")
    }

    /// The function that a value names by its ARN.
    pub fn function(&self, node: Node<'_>) -> Result<String, TemplateError> {
        self.named_by(node, function_arn, "AWS::Serverless::Function", "the Arn of a function")
    }

    /// The table whose stream a value names by its ARN.
    pub fn stream(&self, node: Node<'_>) -> Result<String, TemplateError> {
        self.named_by(node, stream_arn, "AWS::DynamoDB::Table", "the StreamArn of a table")
    }

    fn named_by(
        &self,
        node: Node<'_>,
        arn: fn(&str) -> String,
        kind: &str,
        expected: &str,
    ) -> Result<String, TemplateError> {
        let text = self.text(node)?;
        let mut named = self
            .resources
            .iter()
            .filter(|(name, known)| *known == kind && arn(name) == text);
        match named.next() {
            Some((name, _)) => Ok(name.clone()),
            None => Err(node.wrong(&format!("must be {expected} of this template"))),
        }
    }

    fn reference(&self, node: Node<'_>, name: &str) -> Result<String, TemplateError> {
        if let Some(value) = self.parameters.get(name) {
            return Ok(value.clone());
        }
        match (name, self.resources.get(name).map(String::as_str)) {
            ("AWS::Region", _) => Ok(REGION.to_owned()),
            ("AWS::AccountId", _) => Ok(ACCOUNT.to_owned()),
            ("AWS::Partition", _) => Ok("aws".to_owned()),
            ("AWS::URLSuffix", _) => Ok("amazonaws.com".to_owned()),
            (
                _,
                Some(
                    "AWS::DynamoDB::Table"
                    | "AWS::Events::EventBus"
                    | "AWS::Serverless::Function"
                    | "AWS::Serverless::HttpApi",
                ),
            ) => Ok(name.to_owned()),
            (_, Some("AWS::S3::Bucket")) => Ok(bucket_name(name)),
            (_, Some("AWS::SQS::Queue")) => Ok(queue_url(&self.queues_at, name)),
            _ => Err(node.wrong(&format!("a reference to {name} is not understood"))),
        }
    }

    fn attribute(&self, node: Node<'_>, path: &str) -> Result<String, TemplateError> {
        let not_understood = || node.wrong(&format!("the attribute {path} of a resource is not understood"));
        let (name, attribute) = path.split_once('.').ok_or_else(not_understood)?;
        match (self.resources.get(name).map(String::as_str), attribute) {
            (Some("AWS::DynamoDB::Table"), "Arn") => Ok(table_arn(name)),
            (Some("AWS::Serverless::Function"), "Arn") => Ok(function_arn(name)),
            (Some("AWS::DynamoDB::Table"), "StreamArn") => Ok(stream_arn(name)),
            (Some("AWS::S3::Bucket"), "Arn") => Ok(bucket_arn(&bucket_name(name))),
            (Some("AWS::SQS::Queue"), "Arn") => Ok(queue_arn(name)),
            (Some("AWS::Events::EventBus"), "Arn") => Ok(bus_arn(name)),
            (Some("AWS::Events::EventBus"), "Name") => Ok(name.to_owned()),
            (Some("AWS::SQS::Queue"), "QueueName") => Ok(name.to_owned()),
            _ => Err(not_understood()),
        }
    }

    fn substitute(&self, node: Node<'_>, pattern: &str) -> Result<String, TemplateError> {
        let mut text = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| node.wrong("has a ${ without its }"))?;
            text.push_str(before);
            text.push_str(&match name.contains('.') {
                true => self.attribute(node, name)?,
                false => self.reference(node, name)?,
            });
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}

/// The name by which policies know a table.
pub fn table_arn(table: &str) -> String {
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}")
}

/// The name by which others know a function.
fn function_arn(function: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}")
}

/// The name by which policies know a sender of mails: an address or a domain.
pub fn identity_arn(identity: &str) -> String {
    format!("arn:aws:ses:{REGION}:{ACCOUNT}:identity/{identity}")
}

/// The name of a table's stream.
pub fn stream_arn(table: &str) -> String {
    format!("{}/stream/local", table_arn(table))
}

fn scalar(node: Node<'_>) -> Result<String, TemplateError> {
    match node.value() {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Mapping(mapping) => {
            let key = mapping.keys().next().and_then(Value::as_str);
            Err(node.wrong(&format!(
                "{} is not understood where a text is expected",
                key.unwrap_or("a mapping")
            )))
        }
        _ => Err(node.wrong("must be a text, a number or a truth value")),
    }
}
