//! The operations on up to ten messages at once: refused as a whole, or each entry for itself.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, handle, hidden, queue, sums};
use crate::{
    queues::{Outgoing, Queues, refusal::BATCH_ENTRIES_MAX},
    template::MESSAGE_BYTES_MAX,
};

const ID_BYTES_MAX: usize = 80;

/// A batch with its entries not read yet: texts and numbers cannot be read through a flattened
/// structure when numbers keep their precision.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    entries: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    #[serde(default)]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receipt {
    #[serde(default)]
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

impl Batch {
    /// The entries with their names, unless SQS refuses the batch as a whole; `kind` is what it
    /// calls an entry.
    fn entries<'a, Entry: Deserialize<'a>>(&'a self, kind: &'static str) -> Result<Vec<(String, Entry)>, Refusal> {
        match self.entries.len() {
            0 => return Err(Refusal::EmptyBatch(kind)),
            count if count > BATCH_ENTRIES_MAX => return Err(Refusal::TooManyEntries(count)),
            _ => {}
        }
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let mut entries: Vec<(String, Entry)> = Vec::new();
        for value in &self.entries {
            let Identity { id } = Identity::deserialize(value).map_err(Refusal::Malformed)?;
            if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(character) {
                return Err(Refusal::EntryId);
            }
            if entries.iter().any(|(earlier, _)| *earlier == id) {
                return Err(Refusal::EntryIdRepeated(id));
            }
            entries.push((id, Entry::deserialize(value).map_err(Refusal::Malformed)?));
        }
        Ok(entries)
    }
}

/// What a batch came to, entry by entry.
#[derive(Default)]
struct Results {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl Results {
    fn add(&mut self, id: &str, result: Result<Value, Refusal>) -> Result<(), Refusal> {
        match result {
            Ok(mut answer) => {
                answer["Id"] = json!(id);
                self.successful.push(answer);
            }
            Err(refusal) if refusal.is_senders() => self.failed.push(json!({
                "Id": id,
                "SenderFault": true,
                "Code": refusal.code(),
                "Message": refusal.to_string(),
            })),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn answer(self) -> Value {
        json!({"Successful": self.successful, "Failed": self.failed})
    }
}

pub fn send(queues: &Queues, batch: &Batch) -> Result<Value, Refusal> {
    let queue = queue(queues, &batch.queue_url)?;
    let entries: Vec<(String, Outgoing)> = batch.entries("SendMessageBatchRequestEntry")?;
    let sent = entries.iter().map(|(_, message)| message.bytes()).sum();
    if sent > MESSAGE_BYTES_MAX {
        let most = MESSAGE_BYTES_MAX;
        return Err(Refusal::BatchTooLong { most, sent });
    }
    let mut results = Results::default();
    let mut good = Vec::new();
    for (id, entry) in &entries {
        match entry.check(queue) {
            Ok(()) => good.push((id, entry)),
            Err(refusal) => results.add(id, Err(refusal))?,
        }
    }
    let messages: Vec<&Outgoing> = good.iter().map(|(_, entry)| *entry).collect();
    let names = queues.send(queue, &messages)?;
    for ((id, message), name) in good.into_iter().zip(names) {
        let mut answer = sums(message);
        answer["MessageId"] = json!(name);
        results.add(id, Ok(answer))?;
    }
    Ok(results.answer())
}

pub fn delete(queues: &Queues, batch: &Batch) -> Result<Value, Refusal> {
    let queue = queue(queues, &batch.queue_url)?;
    let entries: Vec<(String, Receipt)> = batch.entries("DeleteMessageBatchRequestEntry")?;
    let mut results = Results::default();
    for (id, entry) in &entries {
        let deleted = handle(&entry.receipt_handle).and_then(|handle| queues.delete(queue, handle));
        results.add(id, deleted.map(|()| json!({})))?;
    }
    Ok(results.answer())
}

pub fn hide(queues: &Queues, batch: &Batch) -> Result<Value, Refusal> {
    let queue = queue(queues, &batch.queue_url)?;
    let entries: Vec<(String, Receipt)> = batch.entries("ChangeMessageVisibilityBatchRequestEntry")?;
    let mut results = Results::default();
    for (id, entry) in &entries {
        let hide = || {
            let hidden = hidden(entry.visibility_timeout)?;
            queues.hide(queue, handle(&entry.receipt_handle)?, hidden)
        };
        results.add(id, hide().map(|()| json!({})))?;
    }
    Ok(results.answer())
}
