//! The file that keeps the messages. It is told the time; it knows nothing of the protocol.
//!
//! A commit is with the operating system when a message is acknowledged (SQLite's write-ahead
//! log, `synchronous = NORMAL`): it outlives the process, however that ends. What this process
//! is busy with is noted in a table of its connection only, so that nothing stays held by a
//! process that is gone.

use std::{collections::BTreeMap, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, named_params, params};

use super::{
    message::{Outgoing, Received},
    refusal::Refusal,
};
use crate::template::{ACCOUNT, Queue, queue_arn};

/// No message is hidden longer than this: one that seems to be was hidden before the clock was
/// moved back, and is not.
const HIDDEN_MS_MAX: i64 = 12 * 3_600 * 1_000;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS queues (name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL,
        queue TEXT NOT NULL,
        body TEXT NOT NULL,
        attributes TEXT NOT NULL,
        system TEXT NOT NULL,
        sent_ms INTEGER NOT NULL,
        visible_ms INTEGER NOT NULL,
        first_received_ms INTEGER,
        receive_count INTEGER NOT NULL DEFAULT 0,
        nonce TEXT,
        source TEXT
    );
    CREATE INDEX IF NOT EXISTS messages_in_order ON messages (queue, id);
    CREATE INDEX IF NOT EXISTS messages_hidden ON messages (queue, visible_ms);
    CREATE TEMP TABLE held (id INTEGER PRIMARY KEY);
";

/// In the order in which they were sent, and not those that this process is busy with.
const NEXT: &str = "
    SELECT id, message_id, body, attributes, system, sent_ms, first_received_ms, receive_count, source
    FROM messages
    WHERE queue = :queue AND id > :after AND (visible_ms <= :now OR visible_ms > :now + :hidden)
        AND id NOT IN (SELECT id FROM temp.held)
    ORDER BY id LIMIT 1";

/// How a queue is filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that were received and are hidden.
    pub in_flight: u64,
    /// Messages that are held back.
    pub delayed: u64,
}

/// What a receiver wants.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// How many messages at most.
    pub count: usize,
    /// How many bytes their bodies may come to, the first one excepted.
    pub bytes: usize,
    /// How long they are hidden.
    pub hidden: Duration,
    /// Whether they are held until they are let go, whatever the clock does.
    pub hold: bool,
}

/// What a receiver gets.
#[derive(Debug, Default)]
pub struct Receipt {
    /// The messages.
    pub messages: Vec<Received>,
    /// Whether others left the queue, for the dead-letter queue or for ever.
    pub removed: bool,
}

/// A message as it is kept.
#[derive(Debug)]
pub struct Kept {
    /// Its name.
    pub message_id: String,
    /// What it says.
    pub body: String,
    /// How often it was received.
    pub receive_count: u32,
}

/// The file, opened.
#[derive(Debug)]
pub struct Store(Connection);

struct Candidate {
    row: i64,
    message_id: String,
    body: String,
    attributes: String,
    system: String,
    sent_ms: i64,
    first_received_ms: Option<i64>,
    receive_count: u32,
    source: Option<String>,
}

impl Store {
    /// Opens `file`, making it if there is none.
    pub fn open(file: &Path, queues: &BTreeMap<String, Queue>, now_ms: i64) -> Result<Self, Refusal> {
        let store = Self(Connection::open(file)?);
        store.0.execute_batch(SCHEMA)?;
        for name in queues.keys() {
            let known = "INSERT INTO queues VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            store.0.execute(known, params![name, now_ms])?;
        }
        Ok(store)
    }

    /// When a queue was first there.
    pub fn created_ms(&self, queue: &Queue) -> Result<i64, Refusal> {
        let created = "SELECT created_ms FROM queues WHERE name = ?1";
        Ok(self.0.query_row(created, [&queue.name], |row| row.get(0))?)
    }

    /// Keeps messages, all or none, under the names given.
    pub fn send(&mut self, queue: &Queue, messages: &[(String, &Outgoing)], now_ms: i64) -> Result<(), Refusal> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO messages (message_id, queue, body, attributes, system, sent_ms, visible_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for (message_id, message) in messages {
                let delay_ms = match message.delay_seconds {
                    Some(seconds) => seconds * 1_000,
                    None => millis(queue.delay),
                };
                insert.execute(params![
                    message_id,
                    queue.name,
                    message.message_body,
                    stored(&message.message_attributes)?,
                    stored(&system(message))?,
                    now_ms,
                    now_ms + delay_ms
                ])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Receives messages in the order in which they were sent. On the way what is past its
    /// retention is deleted, and what was received too often moves to the dead-letter queue.
    /// `nonce` makes the receipt handles.
    pub fn receive(&mut self, queue: &Queue, wish: Wish, now_ms: i64, nonce: &str) -> Result<Receipt, Refusal> {
        let transaction = self.0.transaction()?;
        let mut receipt = Receipt::default();
        let (mut after, mut bytes) = (0, 0);
        while receipt.messages.len() < wish.count {
            let Some(candidate) = next(&transaction, queue, after, now_ms)? else {
                break;
            };
            after = candidate.row;
            if candidate.sent_ms + millis(queue.retention) <= now_ms {
                transaction.execute("DELETE FROM messages WHERE id = ?1", [candidate.row])?;
                receipt.removed = true;
                continue;
            }
            if let Some(redrive) = &queue.redrive
                && candidate.receive_count >= redrive.receives_max
            {
                bury(&transaction, candidate.row, queue, &redrive.queue, now_ms)?;
                receipt.removed = true;
                continue;
            }
            bytes += candidate.body.len();
            if bytes > wish.bytes && !receipt.messages.is_empty() {
                break;
            }
            let message = take(&transaction, candidate, wish, now_ms, nonce)?;
            receipt.messages.push(message);
        }
        transaction.commit()?;
        Ok(receipt)
    }

    /// Deletes what a handle names, if the handle is its last.
    pub fn delete(&self, queue: &Queue, handle: &Handle) -> Result<(), Refusal> {
        let delete = "DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND nonce = ?3";
        let mut delete = self.0.prepare_cached(delete)?;
        delete.execute(params![handle.row, queue.name, handle.nonce])?;
        Ok(())
    }

    /// Hides what a handle names from now for so long; none if it is not hidden, or gone.
    pub fn hide(&self, queue: &Queue, handle: &Handle, hidden_ms: i64, now_ms: i64) -> Result<Option<bool>, Refusal> {
        let find = "SELECT visible_ms FROM messages WHERE id = ?1 AND queue = ?2 AND nonce = ?3";
        let found = self
            .0
            .query_row(find, params![handle.row, queue.name, handle.nonce], |row| {
                row.get::<_, i64>(0)
            });
        let Some(visible_ms) = found.optional()? else {
            return Ok(None);
        };
        if visible_ms <= now_ms {
            return Ok(Some(false));
        }
        let hide = "UPDATE messages SET visible_ms = ?2 WHERE id = ?1";
        self.0.execute(hide, params![handle.row, now_ms + hidden_ms])?;
        Ok(Some(true))
    }

    /// Lets go what was held.
    pub fn release(&self, rows: &[i64]) -> Result<(), Refusal> {
        let mut release = self.0.prepare_cached("DELETE FROM temp.held WHERE id = ?1")?;
        for row in rows {
            release.execute([row])?;
        }
        Ok(())
    }

    /// Ends every wait and delay but for what is held; says how many there were.
    pub fn hurry(&self, queue: &Queue, now_ms: i64) -> Result<usize, Refusal> {
        let hurry = "UPDATE messages SET visible_ms = ?2
            WHERE queue = ?1 AND visible_ms > ?2 AND id NOT IN (SELECT id FROM temp.held)";
        Ok(self.0.execute(hurry, params![queue.name, now_ms])?)
    }

    /// Deletes all of a queue.
    pub fn purge(&self, queue: &Queue) -> Result<(), Refusal> {
        self.0.execute("DELETE FROM messages WHERE queue = ?1", [&queue.name])?;
        Ok(())
    }

    /// Deletes what is past its retention.
    pub fn expire(&self, queue: &Queue, now_ms: i64) -> Result<usize, Refusal> {
        let expire = "DELETE FROM messages
            WHERE queue = ?1 AND sent_ms <= ?2 AND id NOT IN (SELECT id FROM temp.held)";
        let sent_ms = now_ms - millis(queue.retention);
        Ok(self.0.execute(expire, params![queue.name, sent_ms])?)
    }

    /// When the next hidden message of a queue is to be seen.
    pub fn next_visible_ms(&self, queue: &Queue, now_ms: i64) -> Result<Option<i64>, Refusal> {
        let next = "SELECT MIN(visible_ms) FROM messages
            WHERE queue = ?1 AND visible_ms > ?2 AND id NOT IN (SELECT id FROM temp.held)";
        let mut next = self.0.prepare_cached(next)?;
        Ok(next.query_row(params![queue.name, now_ms], |row| row.get(0))?)
    }

    /// How a queue is filled.
    pub fn counts(&self, queue: &Queue, now_ms: i64) -> Result<Counts, Refusal> {
        let count = "SELECT
                COUNT(*) FILTER (WHERE hidden = 0),
                COUNT(*) FILTER (WHERE hidden AND nonce IS NOT NULL),
                COUNT(*) FILTER (WHERE hidden AND nonce IS NULL)
            FROM (SELECT nonce, id IN (SELECT id FROM temp.held)
                    OR visible_ms > :now AND visible_ms <= :now + :hidden AS hidden
                FROM messages WHERE queue = :queue AND sent_ms > :now - :retention)";
        let values = named_params! {
            ":queue": queue.name, ":now": now_ms, ":hidden": HIDDEN_MS_MAX, ":retention": millis(queue.retention),
        };
        let read = |row: &Row<'_>| {
            Ok(Counts {
                visible: row.get(0)?,
                in_flight: row.get(1)?,
                delayed: row.get(2)?,
            })
        };
        Ok(self.0.query_row(count, values, read)?)
    }

    /// How many messages of `queue` lie in its dead-letter queue: moved there, or put there by a
    /// function that says why.
    pub fn dead_letters(&self, queue: &Queue, target: &Queue, now_ms: i64) -> Result<u64, Refusal> {
        let count =
            "SELECT COUNT(*) FROM messages WHERE queue = ?1 AND (source IS NULL OR source = ?2) AND sent_ms > ?3";
        let sent_ms = now_ms - millis(target.retention);
        let values = params![target.name, queue_arn(&queue.name), sent_ms];
        Ok(self.0.query_row(count, values, |row| row.get(0))?)
    }

    /// The first messages of a queue, in order, hidden ones included; nothing is received.
    pub fn list(&self, queue: &Queue, most: usize, now_ms: i64) -> Result<Vec<Kept>, Refusal> {
        let mut list = self.0.prepare_cached(
            "SELECT message_id, body, receive_count FROM messages
             WHERE queue = ?1 AND sent_ms > ?2 ORDER BY id LIMIT ?3",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let values = params![queue.name, now_ms - millis(queue.retention), most];
        let rows = list.query_map(values, |row| {
            Ok(Kept {
                message_id: row.get(0)?,
                body: row.get(1)?,
                receive_count: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// What a receipt handle says: which message, and which receipt of it.
#[derive(Debug)]
pub struct Handle {
    row: i64,
    nonce: String,
}

impl Handle {
    /// Reads a receipt handle.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let (row, nonce) = text.split_once('.').ok_or(Refusal::Handle)?;
        let row = row.parse().map_err(|_| Refusal::Handle)?;
        let nonce = nonce.to_owned();
        Ok(Self { row, nonce })
    }
}

/// A duration as the file counts it.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn next(transaction: &Transaction<'_>, queue: &Queue, after: i64, now_ms: i64) -> Result<Option<Candidate>, Refusal> {
    let mut next = transaction.prepare_cached(NEXT)?;
    let values = named_params! {
        ":queue": queue.name, ":after": after, ":now": now_ms, ":hidden": HIDDEN_MS_MAX,
    };
    let read = |row: &Row<'_>| {
        Ok(Candidate {
            row: row.get(0)?,
            message_id: row.get(1)?,
            body: row.get(2)?,
            attributes: row.get(3)?,
            system: row.get(4)?,
            sent_ms: row.get(5)?,
            first_received_ms: row.get(6)?,
            receive_count: row.get(7)?,
            source: row.get(8)?,
        })
    };
    Ok(next.query_row(values, read).optional()?)
}

/// Moves a message to the dead-letter queue, where it is new but keeps its age.
fn bury(transaction: &Transaction<'_>, row: i64, from: &Queue, to: &str, now_ms: i64) -> Result<(), Refusal> {
    let bury = "UPDATE messages SET queue = ?2, source = ?3, visible_ms = ?4, nonce = NULL WHERE id = ?1";
    transaction.execute(bury, params![row, to, queue_arn(&from.name), now_ms])?;
    Ok(())
}

fn take(
    transaction: &Transaction<'_>,
    candidate: Candidate,
    wish: Wish,
    now_ms: i64,
    nonce: &str,
) -> Result<Received, Refusal> {
    let first_received_ms = candidate.first_received_ms.unwrap_or(now_ms);
    let receive_count = candidate.receive_count + 1;
    let mut take = transaction.prepare_cached(
        "UPDATE messages SET visible_ms = ?2, first_received_ms = ?3, receive_count = ?4, nonce = ?5
         WHERE id = ?1",
    )?;
    let visible_ms = now_ms + millis(wish.hidden);
    take.execute(params![
        candidate.row,
        visible_ms,
        first_received_ms,
        receive_count,
        nonce
    ])?;
    if wish.hold {
        let mut hold = transaction.prepare_cached("INSERT INTO temp.held VALUES (?1)")?;
        hold.execute([candidate.row])?;
    }
    let mut system: BTreeMap<String, String> = serde_json::from_str(&candidate.system).map_err(Refusal::Stored)?;
    for (name, value) in [
        ("ApproximateFirstReceiveTimestamp", first_received_ms.to_string()),
        ("ApproximateReceiveCount", receive_count.to_string()),
        ("SenderId", ACCOUNT.to_owned()),
        ("SentTimestamp", candidate.sent_ms.to_string()),
    ] {
        system.insert(name.to_owned(), value);
    }
    if let Some(source) = candidate.source {
        system.insert("DeadLetterQueueSourceArn".to_owned(), source);
    }
    Ok(Received {
        row: candidate.row,
        message_id: candidate.message_id,
        receipt_handle: format!("{}.{nonce}", candidate.row),
        body: candidate.body,
        attributes: serde_json::from_str(&candidate.attributes).map_err(Refusal::Stored)?,
        system,
    })
}

/// What the sender says that comes back among the queue's own attributes.
fn system(message: &Outgoing) -> BTreeMap<&str, &str> {
    let texts = message.message_system_attributes.iter();
    let texts = texts.filter_map(|(name, attribute)| Some((name.as_str(), attribute.string_value.as_deref()?)));
    let group = message.message_group_id.as_deref();
    texts.chain(group.map(|group| ("MessageGroupId", group))).collect()
}

fn stored(value: &impl serde::Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(Refusal::Stored)
}
