//! Messages: what may be sent, how large it is, and the sums by which a caller checks that it
//! arrived whole.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::template::Queue;

const ATTRIBUTES_MAX: usize = 10;
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;

/// A message's attributes, by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// A message to be sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Outgoing {
    /// What it says.
    #[serde(default)]
    pub message_body: String,
    /// How long it is held back; otherwise the queue decides.
    pub delay_seconds: Option<i64>,
    /// What the sender adds.
    #[serde(default)]
    pub message_attributes: Attributes,
    /// What AWS itself adds.
    #[serde(default)]
    pub message_system_attributes: Attributes,
    /// Whom it belongs to, for fair queues.
    pub message_group_id: Option<String>,
    /// For queues of another type only.
    pub message_deduplication_id: Option<String>,
}

/// An attribute as the protocol writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with a label after a dot.
    pub data_type: String,
    /// The value of a text or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value otherwise, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

/// A message that was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its place in the file, by which it is held and let go.
    pub row: i64,
    /// Its name.
    pub message_id: String,
    /// By which this receiver deletes it.
    pub receipt_handle: String,
    /// What it says.
    pub body: String,
    /// What the sender added.
    pub attributes: Attributes,
    /// What the queue says about it.
    pub system: BTreeMap<String, String>,
}

impl Attribute {
    /// The bytes of its value; none if it has none, or not the one that its type asks for.
    fn value(&self) -> Option<Vec<u8>> {
        let value = match (self.data_type.split('.').next(), &self.string_value, &self.binary_value) {
            (Some("String" | "Number"), Some(text), None) => text.clone().into_bytes(),
            (Some("Binary"), None, Some(base64)) => BASE64.decode(base64).ok()?,
            _ => return None,
        };
        (!value.is_empty()).then_some(value)
    }
}

impl Outgoing {
    /// The bytes that count towards the limits.
    pub fn bytes(&self) -> usize {
        let attribute = |(name, attribute): (&String, &Attribute)| {
            name.len() + attribute.data_type.len() + attribute.value().map_or(0, |value| value.len())
        };
        let attributes = self.message_attributes.iter().map(attribute);
        self.message_body.len() + attributes.sum::<usize>()
    }

    /// Refuses what SQS refuses of a message that is sent to `queue`.
    pub fn check(&self, queue: &Queue) -> Result<(), Refusal> {
        if self.message_body.is_empty() {
            return Err(Refusal::Missing("MessageBody"));
        }
        if let Some(character) = self.message_body.chars().find(|character| !allowed(*character)) {
            return Err(Refusal::Contents(character));
        }
        if self.message_deduplication_id.is_some() {
            let problem = "The request include parameter MessageDeduplicationId which is not valid for this queue type";
            return Err(Refusal::Parameter(problem.to_owned()));
        }
        if let Some(delay) = self.delay_seconds
            && !(0..=900).contains(&delay)
        {
            return Err(out_of_range("DelaySeconds", delay, "between 0 and 900"));
        }
        let count = self.message_attributes.len();
        if count > ATTRIBUTES_MAX {
            return Err(Refusal::Parameter(format!(
                "Number of message attributes [{count}] exceeds the allowed maximum [{ATTRIBUTES_MAX}]."
            )));
        }
        for (name, attribute) in &self.message_attributes {
            check_attribute(name, attribute)?;
        }
        for name in self.message_system_attributes.keys() {
            if name != "AWSTraceHeader" {
                let problem = format!("Message system attribute name '{name}' is invalid.");
                return Err(Refusal::Parameter(problem));
            }
        }
        match self.bytes() <= queue.bytes_max {
            true => Ok(()),
            false => Err(Refusal::Parameter(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
                queue.bytes_max
            ))),
        }
    }
}

/// A number outside what a parameter takes.
pub fn out_of_range(parameter: &str, value: i64, range: &str) -> Refusal {
    Refusal::Parameter(format!(
        "Value {value} for parameter {parameter} is invalid. Reason: Must be {range}, if provided."
    ))
}

fn check_attribute(name: &str, attribute: &Attribute) -> Result<(), Refusal> {
    let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let reserved = ["aws.", "amazon."];
    let lower = name.to_ascii_lowercase();
    let well_named = (1..=ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(character)
        && !reserved.iter().any(|prefix| lower.starts_with(prefix))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..");
    if !well_named {
        let problem = format!("Message (user) attribute name '{name}' is invalid.");
        return Err(Refusal::Parameter(problem));
    }
    let kind = attribute.data_type.as_str();
    if !matches!(kind.split('.').next(), Some("String" | "Number" | "Binary")) {
        return Err(Refusal::Parameter(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type \
             prefixes is Binary, Number, and String."
        )));
    }
    match attribute.value() {
        Some(_) => Ok(()),
        None => Err(Refusal::Parameter(format!(
            "Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        ))),
    }
}

/// The characters that a body may hold: those of XML 1.0.
fn allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The MD5 of a body.
pub fn body_md5(body: &str) -> String {
    format!("{:x}", md5::compute(body))
}

/// The MD5 of attributes, as the SQS Developer Guide lays it down; none of no attributes.
pub fn attributes_md5(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut sum = md5::Context::new();
    let with_length = |sum: &mut md5::Context, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        sum.consume(length.to_be_bytes());
        sum.consume(bytes);
    };
    for (name, attribute) in attributes {
        with_length(&mut sum, name.as_bytes());
        with_length(&mut sum, attribute.data_type.as_bytes());
        sum.consume([if attribute.binary_value.is_some() { 2 } else { 1 }]);
        with_length(&mut sum, &attribute.value().unwrap_or_default());
    }
    Some(format!("{:x}", sum.compute()))
}
