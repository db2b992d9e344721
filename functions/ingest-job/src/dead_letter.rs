//! What can never be counted, put aside with its reasons.
//!
//! A dead letter wraps the message as it was sent, with its id and time, so that sending the dead
//! letter back to the queue is the same message again: its keyless elements keep their identity.

use std::sync::Arc;

use aws_sdk_sqs::Client;
use metering_domain::period::{instant_text, parse_instant};
use metering_edge::{problem::Problem, queue::Message};
use serde_json::{Value, json};

/// Where messages are put that can never be counted.
#[derive(Debug)]
pub struct DeadLetters {
    client: Client,
    url: String,
}

/// A wrong element of a message.
#[derive(Debug)]
pub struct Fault {
    /// Its position, from 0.
    pub position: usize,
    /// What is wrong.
    pub problem: Arc<Problem>,
}

impl DeadLetters {
    /// The queue at `url`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Puts a message aside that has `of` elements.
    pub async fn put(
        &self,
        message: &Message,
        faults: &[Fault],
        of: usize,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let letter = wrapped(message, faults, of).to_string();
        let send = self.client.send_message().queue_url(&self.url).message_body(letter);
        send.send().await?;
        Ok(())
    }
}

fn wrapped(message: &Message, faults: &[Fault], of: usize) -> Value {
    let error = |fault: &Fault| {
        let mut error = fault.problem.item();
        error["position"] = json!(fault.position);
        error
    };
    json!({
        "dead_letter": {
            "reason": format!("{} of {of} elements cannot be counted", faults.len()),
            "errors": faults.iter().map(error).collect::<Vec<_>>(),
            "message_id": message.id,
            "sent_at": instant_text(message.sent_at),
        },
        "body": message.body,
    })
}

/// The message inside a dead letter; any other message is itself.
pub fn unwrapped(message: Message) -> Message {
    let Ok(letter) = serde_json::from_str::<Value>(&message.body) else {
        return message;
    };
    let about = &letter["dead_letter"];
    let inside = || {
        Some(Message {
            id: about["message_id"].as_str()?.to_owned(),
            sent_at: parse_instant(about["sent_at"].as_str()?)?,
            body: letter["body"].as_str()?.to_owned(),
            ..message.clone()
        })
    };
    inside().unwrap_or(message)
}
