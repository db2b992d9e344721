//! Queues: how long a message waits, stays hidden and is kept, and where it goes in the end.

use std::time::Duration;

use super::{ACCOUNT, REGION, TemplateError, node::Node, scope::Scope};

/// Carried out here, but for encryption and tags.
const PROPERTIES: [&str; 8] = [
    "DelaySeconds",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "Tags",
    "VisibilityTimeout",
];

/// The most that a message may come to, attributes included.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// A standard queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name, here the same as in the template.
    pub name: String,
    /// How long a received message stays hidden, unless the receiver says otherwise.
    pub visibility: Duration,
    /// How long a message is kept.
    pub retention: Duration,
    /// How long a message is held back, unless the sender says otherwise.
    pub delay: Duration,
    /// How long a receiver waits for a message, unless it says otherwise.
    pub wait: Duration,
    /// The most that a message may come to.
    pub bytes_max: usize,
    /// Where a message goes that was received too often.
    pub redrive: Option<Redrive>,
}

/// Where a message goes that was received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The dead-letter queue.
    pub queue: String,
    /// How often a message is received before.
    pub receives_max: u32,
}

/// The name by which policies know a queue.
pub fn queue_arn(queue: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}")
}

/// Reads the queue `name`; what is left out has SQS's defaults.
pub fn read(name: &str, properties: Option<Node<'_>>, scope: &Scope) -> Result<Queue, TemplateError> {
    let mut queue = Queue {
        name: name.to_owned(),
        visibility: Duration::from_secs(30),
        retention: Duration::from_secs(345_600),
        delay: Duration::ZERO,
        wait: Duration::ZERO,
        bytes_max: MESSAGE_BYTES_MAX,
        redrive: None,
    };
    let Some(properties) = properties else {
        return Ok(queue);
    };
    properties.only(&PROPERTIES)?;
    let seconds = |property: &str, least: u64, most: u64| -> Result<Option<Duration>, TemplateError> {
        let number = given(properties, property, scope, least, most)?;
        Ok(number.map(Duration::from_secs))
    };
    queue.visibility = seconds("VisibilityTimeout", 0, 43_200)?.unwrap_or(queue.visibility);
    queue.retention = seconds("MessageRetentionPeriod", 60, 1_209_600)?.unwrap_or(queue.retention);
    queue.delay = seconds("DelaySeconds", 0, 900)?.unwrap_or(queue.delay);
    queue.wait = seconds("ReceiveMessageWaitTimeSeconds", 0, 20)?.unwrap_or(queue.wait);
    if let Some(bytes) = whole(properties, "MaximumMessageSize", 1024, 1_048_576)? {
        queue.bytes_max = usize::try_from(bytes).unwrap_or(MESSAGE_BYTES_MAX);
    }
    if let Some(policy) = properties.child("RedrivePolicy")? {
        queue.redrive = Some(read_redrive(policy, scope)?);
    }
    Ok(queue)
}

fn read_redrive(policy: Node<'_>, scope: &Scope) -> Result<Redrive, TemplateError> {
    policy.only(&["deadLetterTargetArn", "maxReceiveCount"])?;
    let target = policy.required("deadLetterTargetArn")?;
    let receives = given(policy, "maxReceiveCount", scope, 1, 1000)?;
    let receives = receives.and_then(|count| u32::try_from(count).ok());
    Ok(Redrive {
        queue: scope.queue(target)?,
        receives_max: receives.ok_or_else(|| policy.wrong("maxReceiveCount is missing"))?,
    })
}

/// A whole number within bounds, which may be a parameter's.
fn given(
    properties: Node<'_>,
    property: &str,
    scope: &Scope,
    least: u64,
    most: u64,
) -> Result<Option<u64>, TemplateError> {
    let Some(node) = properties.child(property)? else {
        return Ok(None);
    };
    match scope.text(node)?.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(node.wrong(&format!("must be a number from {least} to {most}"))),
    }
}

/// A whole number within bounds.
pub fn whole(properties: Node<'_>, property: &str, least: u64, most: u64) -> Result<Option<u64>, TemplateError> {
    let Some(node) = properties.child(property)? else {
        return Ok(None);
    };
    match node.value().as_u64() {
        Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(node.wrong(&format!("must be a number from {least} to {most}"))),
    }
}
