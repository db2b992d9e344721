//! The tables' streams: the records that the embedded DynamoDB keeps, read from its file, and how
//! far each mapping has come, kept in a file beside it.
//!
//! The engine finds the number of its next record by looking at all of them, unless there is an
//! index: this makes one. It also keeps every record for ever: what all mappings have consumed is
//! deleted here, but for the last ones, which can be replayed.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use metering_store::context::{Source as _, System};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;
use tokio::sync::watch;

use crate::template::StreamMapping;

/// As in AWS, a record is kept so long.
const KEPT: TimeDelta = TimeDelta::hours(24);
/// Consumed records of a table that are kept at most.
const KEPT_MAX: i64 = 10_000;
/// Makes a record's number as long as DynamoDB's.
const NUMBER_OFFSET: u128 = 100_000_000_000_000_000_000;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS positions (
        mapping TEXT PRIMARY KEY,
        after INTEGER NOT NULL,
        replays INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS engine.local_stream_order
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
";

/// The streams; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Mutex<Connection>,
    /// Counts what may have made a record readable.
    changes: watch::Sender<u64>,
}

/// How far a mapping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last record that is done with.
    pub after: i64,
    /// How often all was to be delivered again: what was read before that is no progress.
    replays: i64,
}

/// A record.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number.
    pub number: i64,
    /// Its name.
    pub id: String,
    /// `INSERT`, `MODIFY` or `REMOVE`.
    pub event_name: String,
    /// The item's key.
    pub keys: Value,
    /// The item after.
    pub new_image: Option<Value>,
    /// The item before.
    pub old_image: Option<Value>,
    /// When, by the machine's clock.
    pub created: DateTime<Utc>,
    /// The bytes of key and images.
    pub bytes: usize,
}

/// A file that failed.
#[derive(Debug, thiserror::Error)]
#[error("the streams cannot be read")]
pub struct StreamError(#[from] rusqlite::Error);

impl Record {
    /// Its number as DynamoDB writes them.
    pub fn sequence_number(&self) -> String {
        (NUMBER_OFFSET + u128::from(self.number.unsigned_abs())).to_string()
    }
}

impl Streams {
    /// Reads the streams of the tables in `database`; positions are kept in `positions`.
    pub fn open(database: &Path, positions: &Path) -> Result<Self, StreamError> {
        let files = Connection::open(positions)?;
        files.execute("ATTACH DATABASE ?1 AS engine", [database.to_string_lossy()])?;
        files.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Inner {
            files: Mutex::new(files),
            changes: watch::Sender::new(0),
        })))
    }

    /// Changes with everything that may have made a record readable.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The version of the engine's file; it changes with every write of the engine.
    pub fn version(&self) -> Result<i64, StreamError> {
        Ok(self
            .files()
            .query_row("PRAGMA engine.data_version", [], |row| row.get(0))?)
    }

    /// Tells those who wait to look.
    pub fn changed(&self) {
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    /// Notes where new mappings begin, before anything is written that those from the end
    /// (`LATEST`) are to be handed.
    ///
    /// On a folder that is older than the mapping: `TRIM_HORIZON` begins with the records that are
    /// kept because another mapping read the stream, `LATEST` with what is written from now on.
    /// Where nobody read it, there is no record of what was written before, as in AWS.
    pub fn begin(&self, mappings: &[StreamMapping]) -> Result<(), StreamError> {
        mappings.iter().try_for_each(|mapping| self.position(mapping).map(drop))
    }

    /// How far a mapping has come; a new one begins where the template says.
    pub fn position(&self, mapping: &StreamMapping) -> Result<Position, StreamError> {
        let files = self.files();
        let begin = match mapping.from_the_end {
            true => last(&files, &mapping.table)?,
            false => 0,
        };
        let insert = "INSERT INTO positions (mapping, after) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        files.prepare_cached(insert)?.execute(params![mapping.name, begin])?;
        let mut find = files.prepare_cached("SELECT after, replays FROM positions WHERE mapping = ?1")?;
        let position = find.query_row([&mapping.name], |row| {
            let (after, replays) = (row.get(0)?, row.get(1)?);
            Ok(Position { after, replays })
        });
        Ok(position?)
    }

    /// Notes that a mapping is done with all records up to `number`, unless it was told to begin
    /// again meanwhile.
    pub fn advance(&self, mapping: &StreamMapping, from: Position, number: i64) -> Result<(), StreamError> {
        let advance = "UPDATE positions SET after = ?2 WHERE mapping = ?1 AND replays = ?3";
        self.files()
            .prepare_cached(advance)?
            .execute(params![mapping.name, number, from.replays])?;
        self.changed();
        Ok(())
    }

    /// The next records of a table.
    pub fn read(&self, table: &str, after: i64, most: usize) -> Result<Vec<Record>, StreamError> {
        let files = self.files();
        let mut read = files.prepare_cached(
            "SELECT CAST(sequence_number AS INTEGER), event_id, event_name, keys_json, new_image, old_image, created_at
             FROM engine._stream_records
             WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) > ?2
             ORDER BY CAST(sequence_number AS INTEGER) LIMIT ?3",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let records = read.query_map(params![table, after, most], record)?;
        Ok(records.collect::<Result<_, _>>()?)
    }

    /// Whether there are records that a mapping is not done with.
    pub fn is_behind(&self, mapping: &StreamMapping) -> Result<bool, StreamError> {
        let position = self.position(mapping)?;
        Ok(last(&self.files(), &mapping.table)? > position.after)
    }

    /// Has every kept record delivered again.
    pub fn replay(&self) -> Result<(), StreamError> {
        self.files()
            .execute("UPDATE positions SET after = 0, replays = replays + 1", [])?;
        self.changed();
        Ok(())
    }

    /// Deletes what `mappings` have consumed of `table`, but for what can be replayed.
    pub fn trim(&self, table: &str, mappings: &[StreamMapping]) -> Result<usize, StreamError> {
        let mut done = i64::MAX;
        for mapping in mappings.iter().filter(|mapping| mapping.table == table) {
            done = done.min(self.position(mapping)?.after);
        }
        let old = (System.now() - KEPT).timestamp();
        let trim = "DELETE FROM engine._stream_records
            WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) <= ?2
                AND (created_at < ?3 OR CAST(sequence_number AS INTEGER) <= (
                    SELECT CAST(sequence_number AS INTEGER) FROM engine._stream_records WHERE table_name = ?1
                    ORDER BY CAST(sequence_number AS INTEGER) DESC LIMIT 1 OFFSET ?4))";
        Ok(self.files().execute(trim, params![table, done, old, KEPT_MAX])?)
    }

    /// A poisoned lock is usable: whatever panicked left its transaction behind, rolled back.
    fn files(&self) -> MutexGuard<'_, Connection> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last(files: &Connection, table: &str) -> Result<i64, StreamError> {
    let mut last = files.prepare_cached(
        "SELECT CAST(sequence_number AS INTEGER) FROM engine._stream_records WHERE table_name = ?1
         ORDER BY CAST(sequence_number AS INTEGER) DESC LIMIT 1",
    )?;
    Ok(last.query_row([table], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let keys: String = row.get(3)?;
    let images: [Option<String>; 2] = [row.get(4)?, row.get(5)?];
    let bytes = keys.len() + images.iter().flatten().map(String::len).sum::<usize>();
    let parsed = |column: usize, text: &str| {
        serde_json::from_str::<Value>(text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        })
    };
    let [new_image, old_image] = images;
    let (number, created) = (row.get(0)?, row.get(6)?);
    let id: Option<String> = row.get(1)?;
    Ok(Record {
        number,
        id: id.unwrap_or_else(|| number.to_string()),
        event_name: row.get(2)?,
        keys: parsed(3, &keys)?,
        new_image: new_image.map(|image| parsed(4, &image)).transpose()?,
        old_image: old_image.map(|image| parsed(5, &image)).transpose()?,
        created: DateTime::from_timestamp(created, 0).ok_or(rusqlite::Error::IntegralValueOutOfRange(6, created))?,
        bytes,
    })
}
