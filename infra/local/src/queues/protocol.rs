//! The AWS JSON 1.0 protocol of SQS, as the SDKs speak it: one path, the operation in a header.

mod batch;

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Response, header},
    response::IntoResponse,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Outgoing, Queues, Received, Refusal, Wish, attributes_md5, body_md5,
    message::{Attributes, out_of_range},
};
use crate::template::{Queue, queue_arn};

const TARGET: &str = "AmazonSQS.";
/// More than a batch of the largest messages, every byte of it escaped.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Names that SQS answers in one page.
const NAMES_MAX: usize = 1_000;

/// Serves the protocol.
pub fn router(queues: Queues) -> Router {
    Router::new()
        .fallback(serve)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(queues)
}

async fn serve(State(queues): State<Queues>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target
        .and_then(|target| target.strip_prefix(TARGET))
        .unwrap_or_default();
    match answer(&queues, operation, &body).await {
        Ok(answer) => {
            let mut response = answer.to_string().into_response();
            let kind = HeaderValue::from_static("application/x-amz-json-1.0");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(queues: &Queues, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
    match operation {
        "ReceiveMessage" => receive(queues, read(body)?).await,
        "SendMessage" => send(queues, &read(body)?, &read(body)?),
        "SendMessageBatch" => batch::send(queues, &read(body)?),
        "DeleteMessage" => delete(queues, &read(body)?),
        "DeleteMessageBatch" => batch::delete(queues, &read(body)?),
        "ChangeMessageVisibility" => hide(queues, &read(body)?),
        "ChangeMessageVisibilityBatch" => batch::hide(queues, &read(body)?),
        "GetQueueUrl" => get_url(queues, &read(body)?),
        "GetQueueAttributes" => get_attributes(queues, &read(body)?),
        "ListQueues" => list(queues, &read(body)?),
        "PurgeQueue" => {
            let named: Named = read(body)?;
            queues.purge(queue(queues, &named.queue_url)?)?;
            Ok(json!({}))
        }
        other => Err(Refusal::Unsupported(other.to_owned())),
    }
}

fn read<Request: DeserializeOwned>(body: &[u8]) -> Result<Request, Refusal> {
    serde_json::from_slice(body).map_err(Refusal::Malformed)
}

/// The queue that an address names by its last part; where it points is left aside, as in SQS.
fn queue<'a>(queues: &'a Queues, url: &str) -> Result<&'a Queue, Refusal> {
    if url.is_empty() {
        return Err(Refusal::Missing("QueueUrl"));
    }
    queues.find(url.rsplit('/').next().unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    #[serde(default)]
    queue_url: String,
}

fn send(queues: &Queues, request: &Named, message: &Outgoing) -> Result<Value, Refusal> {
    let queue = queue(queues, &request.queue_url)?;
    message.check(queue)?;
    let ids = queues.send(queue, &[message])?;
    let mut answer = sums(message);
    answer["MessageId"] = json!(ids.first());
    Ok(answer)
}

/// By what a sender can check that its message arrived whole.
fn sums(message: &Outgoing) -> Value {
    let mut sums = json!({"MD5OfMessageBody": body_md5(&message.message_body)});
    if let Some(sum) = attributes_md5(&message.message_attributes) {
        sums["MD5OfMessageAttributes"] = json!(sum);
    }
    if let Some(sum) = attributes_md5(&message.message_system_attributes) {
        sums["MD5OfMessageSystemAttributes"] = json!(sum);
    }
    sums
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    #[serde(default)]
    queue_url: String,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

async fn receive(queues: &Queues, request: Receive) -> Result<Value, Refusal> {
    let queue = queue(queues, &request.queue_url)?;
    let count = request.max_number_of_messages.unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(out_of_range("MaxNumberOfMessages", count, "between 1 and 10"));
    }
    let wait = match request.wait_time_seconds {
        Some(seconds) => within("WaitTimeSeconds", seconds, 20)?,
        None => queue.wait,
    };
    let hidden = match request.visibility_timeout {
        Some(seconds) => within("VisibilityTimeout", seconds, 43_200)?,
        None => queue.visibility,
    };
    let wish = Wish {
        count: usize::try_from(count).unwrap_or(1),
        bytes: queue.bytes_max,
        hidden,
        hold: false,
    };
    let received = queues.receive_within(queue, wish, wait).await?;
    let system = [request.attribute_names, request.message_system_attribute_names].concat();
    let messages: Vec<Value> = received
        .into_iter()
        .map(|message| received_message(message, &system, &request.message_attribute_names))
        .collect();
    Ok(match messages.is_empty() {
        true => json!({}),
        false => json!({"Messages": messages}),
    })
}

fn received_message(message: Received, system: &[String], attributes: &[String]) -> Value {
    let mut answer = json!({
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": body_md5(&message.body),
        "Body": message.body,
    });
    let all = system.iter().any(|name| name == "All");
    let system: BTreeMap<String, String> = message
        .system
        .into_iter()
        .filter(|(name, _)| all || system.contains(name))
        .collect();
    if !system.is_empty() {
        answer["Attributes"] = json!(system);
    }
    let attributes: Attributes = message
        .attributes
        .into_iter()
        .filter(|(name, _)| attributes.iter().any(|wanted| wants(wanted, name)))
        .collect();
    if let Some(sum) = attributes_md5(&attributes) {
        answer["MD5OfMessageAttributes"] = json!(sum);
        answer["MessageAttributes"] = json!(attributes);
    }
    answer
}

/// Whether an attribute's name is wanted: by name, all of them, or those of a prefix.
fn wants(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => wanted == "All" || wanted == name,
    }
}

fn within(parameter: &str, seconds: i64, most: u64) -> Result<Duration, Refusal> {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds <= most => Ok(Duration::from_secs(seconds)),
        _ => Err(out_of_range(parameter, seconds, &format!("between 0 and {most}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receipt {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

fn delete(queues: &Queues, request: &Receipt) -> Result<Value, Refusal> {
    let queue = queue(queues, &request.queue_url)?;
    queues.delete(queue, handle(&request.receipt_handle)?)?;
    Ok(json!({}))
}

fn hide(queues: &Queues, request: &Receipt) -> Result<Value, Refusal> {
    let queue = queue(queues, &request.queue_url)?;
    let handle = handle(&request.receipt_handle)?;
    queues.hide(queue, handle, hidden(request.visibility_timeout)?)?;
    Ok(json!({}))
}

fn handle(handle: &str) -> Result<&str, Refusal> {
    match handle {
        "" => Err(Refusal::Missing("ReceiptHandle")),
        handle => Ok(handle),
    }
}

fn hidden(seconds: Option<i64>) -> Result<Duration, Refusal> {
    within(
        "VisibilityTimeout",
        seconds.ok_or(Refusal::Missing("VisibilityTimeout"))?,
        43_200,
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByName {
    #[serde(default)]
    queue_name: String,
}

fn get_url(queues: &Queues, request: &ByName) -> Result<Value, Refusal> {
    if request.queue_name.is_empty() {
        return Err(Refusal::Missing("QueueName"));
    }
    let queue = queues.find(&request.queue_name)?;
    Ok(json!({"QueueUrl": queues.url(queue)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(default)]
    queue_name_prefix: String,
}

fn list(queues: &Queues, request: &List) -> Result<Value, Refusal> {
    let named = queues
        .all()
        .filter(|queue| queue.name.starts_with(&request.queue_name_prefix));
    let urls: Vec<String> = named.take(NAMES_MAX).map(|queue| queues.url(queue)).collect();
    Ok(json!({"QueueUrls": urls}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetAttributes {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

fn get_attributes(queues: &Queues, request: &GetAttributes) -> Result<Value, Refusal> {
    let queue = queue(queues, &request.queue_url)?;
    let known = attributes(queues, queue)?;
    let mut answer = BTreeMap::new();
    for wanted in &request.attribute_names {
        match known.get_key_value(wanted.as_str()) {
            Some((name, value)) => {
                answer.insert(*name, value.clone());
            }
            None if wanted == "All" => answer.clone_from(&known),
            // A queue that has none answers nothing.
            None if matches!(
                wanted.as_str(),
                "RedrivePolicy" | "Policy" | "RedriveAllowPolicy" | "KmsMasterKeyId"
            ) => {}
            None => return Err(Refusal::AttributeName(wanted.clone())),
        }
    }
    Ok(json!({"Attributes": answer}))
}

fn attributes(queues: &Queues, queue: &Queue) -> Result<BTreeMap<&'static str, String>, Refusal> {
    let counts = queues.counts(queue)?;
    let created = queues.created(queue)?.to_string();
    let mut attributes = BTreeMap::from([
        ("ApproximateNumberOfMessages", counts.visible.to_string()),
        ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
        ("CreatedTimestamp", created.clone()),
        ("DelaySeconds", queue.delay.as_secs().to_string()),
        ("LastModifiedTimestamp", created),
        ("MaximumMessageSize", queue.bytes_max.to_string()),
        ("MessageRetentionPeriod", queue.retention.as_secs().to_string()),
        ("QueueArn", queue_arn(&queue.name)),
        ("ReceiveMessageWaitTimeSeconds", queue.wait.as_secs().to_string()),
        ("SqsManagedSseEnabled", "true".to_owned()),
        ("VisibilityTimeout", queue.visibility.as_secs().to_string()),
    ]);
    if let Some(redrive) = &queue.redrive {
        let policy = json!({
            "deadLetterTargetArn": queue_arn(&redrive.queue),
            "maxReceiveCount": redrive.receives_max,
        });
        attributes.insert("RedrivePolicy", policy.to_string());
    }
    Ok(attributes)
}
