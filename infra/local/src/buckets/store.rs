//! The file that keeps the objects. It is told the time; it knows nothing of the protocol, nor of
//! what expires.
//!
//! Each object is one row, written by one statement: it is there whole or not at all. A commit is
//! with the operating system when it is acknowledged (SQLite's write-ahead log, `synchronous =
//! NORMAL`): it outlives the process, however that ends.

use std::{collections::BTreeMap, path::Path};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS objects (
        id INTEGER PRIMARY KEY,
        bucket TEXT NOT NULL,
        key TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        size INTEGER NOT NULL,
        about TEXT NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (bucket, key)
    );
";

/// Why the buckets do not do something.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The file.
    #[error("the file of the buckets cannot be used")]
    File(#[from] rusqlite::Error),
    /// What the file says about an object.
    #[error("the file of the buckets holds what cannot be read")]
    Unreadable(#[from] serde_json::Error),
}

/// What is kept of an object beside its key and body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The MD5 of its body, in hexadecimal digits.
    pub etag: String,
    /// Its media type, and the other headers that it is served with, by their names.
    pub headers: BTreeMap<String, String>,
    /// What its writer noted of it.
    pub metadata: BTreeMap<String, String>,
    /// Its checksums, by their algorithms.
    pub checksums: BTreeMap<String, String>,
}

/// An object, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// When it was put.
    pub created: DateTime<Utc>,
    /// Its bytes.
    pub size: u64,
    /// What else is known of it.
    pub about: About,
}

/// The file, opened.
#[derive(Debug)]
pub struct Store(Connection);

impl Store {
    /// Opens `file`, making it if there is none.
    pub fn open(file: &Path) -> Result<Self, BucketError> {
        let store = Self(Connection::open(file)?);
        store.0.execute_batch(SCHEMA)?;
        Ok(store)
    }

    /// Keeps an object, in place of what had its key.
    pub fn put(
        &mut self,
        bucket: &str,
        key: &str,
        about: &About,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), BucketError> {
        let about = serde_json::to_string(about)?;
        let mut put = self.0.prepare_cached(
            "INSERT OR REPLACE INTO objects (bucket, key, created_ms, size, about, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let size = i64::try_from(body.len()).unwrap_or(i64::MAX);
        put.execute(params![bucket, key, now.timestamp_millis(), size, about, body])?;
        Ok(())
    }

    /// What is known of an object.
    pub fn head(&self, bucket: &str, key: &str) -> Result<Option<Object>, BucketError> {
        let head = "SELECT key, created_ms, size, about FROM objects WHERE bucket = ?1 AND key = ?2";
        let mut head = self.0.prepare_cached(head)?;
        let found = head.query_row([bucket, key], |row| Ok(read(row))).optional()?;
        found.transpose()
    }

    /// An object and its body.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Option<(Object, Vec<u8>)>, BucketError> {
        let get = "SELECT key, created_ms, size, about, body FROM objects WHERE bucket = ?1 AND key = ?2";
        let mut get = self.0.prepare_cached(get)?;
        let found = get
            .query_row([bucket, key], |row| Ok((read(row), row.get(4)?)))
            .optional()?;
        match found {
            Some((object, body)) => Ok(Some((object?, body))),
            None => Ok(None),
        }
    }

    /// Deletes an object, or nothing.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<(), BucketError> {
        let mut delete = self
            .0
            .prepare_cached("DELETE FROM objects WHERE bucket = ?1 AND key = ?2")?;
        delete.execute([bucket, key])?;
        Ok(())
    }

    /// The objects whose keys begin with `prefix` and come after `after`, in the order of their
    /// UTF-8, until `take` says false.
    pub fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        mut take: impl FnMut(Object) -> bool,
    ) -> Result<(), BucketError> {
        let mut list = self.0.prepare_cached(
            "SELECT key, created_ms, size, about FROM objects
             WHERE bucket = ?1 AND key >= ?2 AND key > ?3 ORDER BY key",
        )?;
        let mut rows = list.query([bucket, prefix, after])?;
        while let Some(row) = rows.next()? {
            let object = read(row)?;
            if !object.key.starts_with(prefix) || !take(object) {
                break;
            }
        }
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Object, BucketError> {
    let about: String = row.get(3)?;
    let created_ms: i64 = row.get(1)?;
    let created = DateTime::from_timestamp_millis(created_ms);
    let size: i64 = row.get(2)?;
    Ok(Object {
        key: row.get(0)?,
        created: created.ok_or(rusqlite::Error::IntegralValueOutOfRange(1, created_ms))?,
        size: size.unsigned_abs(),
        about: serde_json::from_str(&about)?,
    })
}
