//! The dead-letter queues without a user. Other queues drain by themselves, and who reads them skips
//! what names somebody who is erased.
//!
//! Every letter is taken once, hidden from others meanwhile; those that stay are given back at the end.
//! Dies half-way: what was hidden is seen again a minute later. Two at once: each sees a part, and only
//! one of them may note that it is done.

use aws_sdk_sqs::{
    Client,
    types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message},
};
use futures::future::try_join_all;
use metering_edge::{
    config::{Config, ConfigError},
    logs,
    usage_message::{self, Left},
};
use metering_store::traces::Traces;
use serde_json::{Value, json};

use crate::Failure;

/// How long a letter is hidden while the others are looked at: longer than this function runs.
const HIDDEN_S: i32 = 60;
/// Letters that are taken at once (Amazon SQS API Reference, `ReceiveMessage`).
const BATCH_MAX: i32 = 10;
/// Batches of one queue. With more dead letters than that somebody must look at them first.
const BATCHES_MAX: u32 = 500;
/// How long an empty queue is asked, so that every part of it is.
const WAIT_S: i32 = 1;

/// The queues.
pub(crate) struct DeadLetters {
    client: Client,
    urls: [String; 7],
}

/// What becomes of a letter.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    /// It is about others, too.
    Becomes(String),
}

impl DeadLetters {
    pub fn new(client: Client, config: &Config) -> Result<Self, ConfigError> {
        let urls = [
            config.usage_events_dead_letters_url()?,
            config.relay_dead_letters_url()?,
            config.aggregation_dead_letters_url()?,
            config.alert_dead_letters_url()?,
            config.lifecycle_dead_letters_url()?,
            config.access_log_dead_letters_url()?,
            config.anomaly_dead_letters_url()?,
        ];
        Ok(Self { client, urls })
    }

    /// Takes the user's letters out of all queues; how many there were.
    pub async fn clean(&self, traces: &Traces<'_>) -> Result<u64, Failure> {
        let cleaned = self.urls.iter().map(|url| self.clean_one(url, traces));
        Ok(try_join_all(cleaned).await?.into_iter().sum())
    }

    async fn clean_one(&self, url: &str, traces: &Traces<'_>) -> Result<u64, Failure> {
        let mut found = 0;
        let mut staying = Vec::new();
        for _ in 0..BATCHES_MAX {
            let letters = self.receive(url).await?;
            if letters.is_empty() {
                self.give_back(url, staying).await?;
                return Ok(found);
            }
            let mut going = Vec::new();
            for letter in letters {
                let handle = letter.receipt_handle.unwrap_or_default();
                match fate(letter.body.as_deref().unwrap_or_default(), traces) {
                    Fate::Stays => staying.push(handle),
                    Fate::Goes => going.push(handle),
                    Fate::Becomes(body) => {
                        // First the other one is put: better twice than not at all.
                        let send = self.client.send_message().queue_url(url);
                        send.message_body(body).send().await?;
                        going.push(handle);
                    }
                }
            }
            found += u64::try_from(going.len())?;
            self.delete(url, going).await?;
        }
        self.give_back(url, staying).await?;
        Err("there are too many dead letters to look through".into())
    }

    async fn receive(&self, url: &str) -> Result<Vec<Message>, Failure> {
        let request = self.client.receive_message().queue_url(url);
        let request = request.max_number_of_messages(BATCH_MAX).visibility_timeout(HIDDEN_S);
        let received = request.wait_time_seconds(WAIT_S).send().await?;
        Ok(received.messages.unwrap_or_default())
    }

    async fn delete(&self, url: &str, handles: Vec<String>) -> Result<(), Failure> {
        if handles.is_empty() {
            return Ok(());
        }
        let entry = |(index, handle): (usize, String)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(handle).build()
        };
        let entries = handles.into_iter().enumerate().map(entry);
        let entries = entries.collect::<Result<_, _>>()?;
        let request = self.client.delete_message_batch().queue_url(url);
        let deleted = request.set_entries(Some(entries)).send().await?;
        match deleted.failed().first() {
            None => Ok(()),
            Some(failed) => Err(format!("a dead letter was not deleted: {}", failed.code()).into()),
        }
    }

    /// Lets others see again what stays. Those of which that fails are seen a minute later.
    async fn give_back(&self, url: &str, handles: Vec<String>) -> Result<(), Failure> {
        for handles in handles.chunks(usize::try_from(BATCH_MAX)?) {
            let entry = |(index, handle): (usize, &String)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(handle).visibility_timeout(0).build()
            };
            let entries = handles.iter().enumerate().map(entry);
            let entries = entries.collect::<Result<_, _>>()?;
            let request = self.client.change_message_visibility_batch().queue_url(url);
            request.set_entries(Some(entries)).send().await?;
        }
        Ok(())
    }
}

/// What becomes of a letter: usage by its elements, logs by their lines, everything else as a whole.
fn fate(body: &str, traces: &Traces<'_>) -> Fate {
    let names = |line: &str| traces.names_in_text(line) || is_said(line, traces.user());
    match logs::without(body, names) {
        None => fate_of_message(body, traces),
        Some(Left::All) => Fate::Stays,
        Some(Left::Some(left)) => Fate::Becomes(left),
        Some(Left::Nothing) => Fate::Goes,
    }
}

fn fate_of_message(body: &str, traces: &Traces<'_>) -> Fate {
    let letter: Value = serde_json::from_str(body).unwrap_or_default();
    let inside = letter["body"].as_str().filter(|_| letter["dead_letter"].is_object());
    let usage = inside.unwrap_or(body);
    let goes = |element: &Value| traces.names_in_text(&element.to_string());
    match usage_message::without(usage, goes) {
        Left::Nothing => Fate::Goes,
        Left::Some(left) if inside.is_some() => {
            Fate::Becomes(json!({"dead_letter": letter["dead_letter"], "body": left}).to_string())
        }
        Left::Some(left) => Fate::Becomes(left),
        Left::All if is_said(usage, traces.user()) => Fate::Goes,
        Left::All => Fate::Stays,
    }
}

/// Whether a text that cannot be read says all the same whose it is.
fn is_said(text: &str, user: &str) -> bool {
    if serde_json::from_str::<Value>(text).is_ok() {
        return false;
    }
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let says = |name: &str| {
        dense.contains(&format!("\"{name}\":\"{user}\"")) || dense.contains(&format!("\"{name}\":{user},"))
    };
    says("user_id") || says("subject")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn letters_go_by_whom_they_are_about() {
        let own = BTreeSet::from(["sub_1".to_owned()]);
        let traces = Traces::new(&[7; 32], "1", &own);
        let wrapped = |body: String| json!({"dead_letter": {"reason": "r"}, "body": body}).to_string();
        let mine = json!({"user_id": "1"});
        let other = json!({"user_id": "11", "resource_id": "1"});
        let image = |user: &str| json!({"record": {"dynamodb": {"NewImage": {"user_id": {"S": user}}}}}).to_string();
        for (body, expected) in [
            (mine.to_string(), Fate::Goes),
            (other.to_string(), Fate::Stays),
            (wrapped(mine.to_string()), Fate::Goes),
            (wrapped(other.to_string()), Fate::Stays),
            (json!([mine, mine]).to_string(), Fate::Goes),
            (
                json!([mine, other]).to_string(),
                Fate::Becomes(json!([null, other]).to_string()),
            ),
            (
                wrapped(json!([other, mine]).to_string()),
                Fate::Becomes(wrapped(json!([other, null]).to_string())),
            ),
            (image("1"), Fate::Goes),
            (image("11"), Fate::Stays),
            (json!({"owner": "SUB#sub_1", "user_id": "x"}).to_string(), Fate::Goes),
            (json!({"deliver": {"user_id": "1", "sk": "s"}}).to_string(), Fate::Goes),
            ("{\"user_id\": \"1\", ".to_owned(), Fate::Goes),
            (wrapped("{\"user_id\": \"1\", ".to_owned()), Fate::Goes),
            ("{\"user_id\": \"11\", ".to_owned(), Fate::Stays),
            ("nonsense 1".to_owned(), Fate::Stays),
        ] {
            assert_eq!(fate(&body, &traces), expected, "{body}");
        }
    }
}
