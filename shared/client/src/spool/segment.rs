//! One file of records: each its length, its checksum (CRC-32, both 4 bytes, little endian), and
//! itself as JSON.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::record::Record;

/// The length and the checksum.
const HEAD_BYTES: usize = 8;
/// No record is larger; a larger length is damage.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// A file of records.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    /// How much may be read: whole records, synced if that is asked for.
    pub(super) length: u64,
    /// How much was appended.
    appended: u64,
    /// How much was read.
    pub(super) read_to: u64,
    /// How many portions were read and are not settled.
    pub(super) outstanding: usize,
    damaged: bool,
}

/// What stands at a place.
enum Found {
    Record(Box<Record>, usize),
    /// It is cut off: the end of a process stopped it being written.
    Torn,
    Damaged,
}

/// Appends a record as it stands in a segment.
pub(super) fn encode(record: &Record, bytes: &mut Vec<u8>) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; HEAD_BYTES]);
    serde_json::to_writer(&mut *bytes, record)?;
    let body = &bytes[start + HEAD_BYTES..];
    if body.len() > RECORD_BYTES_MAX {
        bytes.truncate(start);
        return Err(io::Error::other("a record is too large"));
    }
    let (length, checksum) = (body.len() as u32, crc32fast::hash(body));
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    bytes[start + 4..start + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// The number in a segment's name.
pub(super) fn number(path: &Path) -> Option<u64> {
    if path.extension()? != "segment" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

impl Segment {
    /// A new one.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = folder.join(format!("{number:020}.segment"));
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        Ok(Self::of(path, file, 0))
    }

    /// One that an earlier process left.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        Ok(Self::of(path, file, length))
    }

    fn of(path: PathBuf, file: File, length: u64) -> Self {
        Self {
            path,
            file,
            length,
            appended: length,
            read_to: 0,
            outstanding: 0,
            damaged: false,
        }
    }

    /// Writes after everything that may be read.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        let written = self.file.write_all(bytes);
        if written.is_err() {
            // Half a record is none; and if it cannot be cut off, it is passed over as torn.
            let _ = self.file.set_len(self.length);
        } else {
            self.appended = self.length + bytes.len() as u64;
        }
        written
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// What was appended may be read.
    pub(super) fn publish(&mut self) {
        self.length = self.appended;
    }

    pub(super) fn has_unread(&self) -> bool {
        self.read_to < self.length
    }

    /// The next records; none is the end of what can be read.
    pub(super) fn read(&mut self, records_max: usize, bytes_max: usize) -> io::Result<Vec<Record>> {
        let left = usize::try_from(self.length - self.read_to).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(bytes_max.max(HEAD_BYTES + RECORD_BYTES_MAX))];
        self.file.read_exact_at(&mut bytes, self.read_to)?;
        let is_end = bytes.len() == left;
        let (mut records, mut at) = (Vec::new(), 0);
        while at < bytes.len() && records.len() < records_max && (at < bytes_max || records.is_empty()) {
            match decode(&bytes[at..]) {
                Found::Record(record, length) => {
                    records.push(*record);
                    at += length;
                }
                Found::Torn if !is_end => break,
                Found::Torn => {
                    tracing::warn!(segment = %self.path.display(), bytes = bytes.len() - at, "the last record is cut off");
                    at = bytes.len();
                }
                Found::Damaged => {
                    let unread = self.length - self.read_to - at as u64;
                    tracing::error!(segment = %self.path.display(), bytes = unread, "records cannot be read; the file is kept");
                    self.damaged = true;
                    self.length = self.read_to + at as u64;
                    break;
                }
            }
        }
        self.read_to += at as u64;
        Ok(records)
    }

    /// It is not needed any more; what could not be read is kept.
    pub(super) fn remove(self) -> io::Result<()> {
        if self.damaged {
            return fs::rename(&self.path, self.path.with_extension("damaged"));
        }
        fs::remove_file(&self.path)
    }
}

fn decode(bytes: &[u8]) -> Found {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Found::Torn;
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = word(0) as usize;
    if length == 0 || length > RECORD_BYTES_MAX {
        return Found::Damaged;
    }
    let Some(body) = rest.get(..length) else {
        return Found::Torn;
    };
    if crc32fast::hash(body) != word(4) {
        return Found::Damaged;
    }
    match serde_json::from_slice(body) {
        Ok(record) => Found::Record(Box::new(record), HEAD_BYTES + length),
        Err(_) => Found::Damaged,
    }
}
