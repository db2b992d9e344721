//! Records in files, so that they outlive the process.
//!
//! A folder belongs to one process at a time (`lock`). Records are appended to numbered segments,
//! each with its length and checksum; a segment is deleted when everything in it is settled. A
//! process that starts on a folder reads what an earlier one left: what was settled but not yet
//! deleted is told again, which its identity makes harmless. A last record that is cut off, as by a
//! crash, is passed over. What cannot be read otherwise is kept as `*.damaged`.

mod segment;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::record::Record;
use segment::Segment;

/// Segments are begun anew after so many bytes.
const SEGMENT_BYTES: u64 = 1 << 20;
/// What is refused by the service is kept up to so many bytes.
const DEAD_BYTES_MAX: u64 = 64 << 20;

/// When written records are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// Before they are said to be written: they survive a power cut. Those that wait together share
    /// one sync.
    #[default]
    Always,
    /// When the operating system likes: the end of the process takes nothing, a power cut may take
    /// some seconds of records.
    Never,
}

/// Where and how records are spooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The folder, made if there is none. One process at a time.
    pub folder: PathBuf,
    /// When records are forced to the disk.
    pub sync: Sync,
    /// How much it may hold; beyond, hand-over is refused.
    pub bytes_max: u64,
}

impl SpoolOptions {
    /// In this folder, synced always, up to 1 GiB.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            sync: Sync::default(),
            bytes_max: 1 << 30,
        }
    }
}

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process has it.
    #[error("the spool {} is in use by another process: each process needs a folder of its own", .0.display())]
    InUse(PathBuf),
    /// The file system says no.
    #[error("the spool {} cannot be used", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the spool is full")]
    Full,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A folder of segments.
#[derive(Debug)]
pub(crate) struct Spool {
    options: SpoolOptions,
    _lock: File,
    segments: BTreeMap<u64, Segment>,
    /// The segment that is written to.
    active: Option<u64>,
    next: u64,
}

/// Records read together, and where from.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) records: Vec<Record>,
    pub(crate) segment: u64,
}

/// A place in the spool.
pub(crate) type Position = (u64, u64);

impl Spool {
    /// Takes the folder, with what is in it.
    pub(crate) fn open(options: SpoolOptions) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Io {
            folder: options.folder.clone(),
            source,
        };
        fs::create_dir_all(&options.folder).map_err(failed)?;
        let lock = File::create(options.folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(SpoolError::InUse(options.folder)),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let segments = left_behind(&options.folder).map_err(failed)?;
        let next = segments.last_key_value().map_or(1, |(number, _)| number + 1);
        Ok(Self {
            options,
            _lock: lock,
            segments,
            active: None,
            next,
        })
    }

    /// Appends records; when this returns they are where [`Sync`] says. After an error they may be
    /// there or not; writing them again is harmless.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<(), WriteError> {
        let mut bytes = Vec::with_capacity(records.len() * 320);
        for record in records {
            segment::encode(record, &mut bytes)?;
        }
        let held: u64 = self.segments.values().map(|segment| segment.length).sum();
        if held + bytes.len() as u64 > self.options.bytes_max {
            return Err(WriteError::Full);
        }
        let written = self.write(&bytes);
        if written.is_err() {
            // Whatever a failed write or sync left is not written after.
            self.active = None;
        }
        Ok(written?)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let number = match self.active {
            Some(number)
                if self
                    .segments
                    .get(&number)
                    .is_some_and(|active| active.length < SEGMENT_BYTES) =>
            {
                number
            }
            _ => self.begin()?,
        };
        let active = self
            .segments
            .get_mut(&number)
            .ok_or_else(|| io::Error::other("the segment is gone"))?;
        active.append(bytes)?;
        if self.options.sync == Sync::Always {
            active.sync()?;
        }
        active.publish();
        Ok(())
    }

    /// Begins a segment; its name is as safe as what will be in it.
    fn begin(&mut self) -> io::Result<u64> {
        let number = self.next;
        self.next += 1;
        let segment = Segment::create(&self.options.folder, number)?;
        self.segments.insert(number, segment);
        self.active = Some(number);
        if self.options.sync == Sync::Always {
            sync_folder(&self.options.folder)?;
        }
        Ok(number)
    }

    /// The next records that were not read yet, of one segment.
    pub(crate) fn read(&mut self, records_max: usize, bytes_max: usize) -> io::Result<Option<Portion>> {
        loop {
            let unread = self.segments.iter_mut().find(|(_, segment)| segment.has_unread());
            let Some((&number, segment)) = unread else {
                return Ok(None);
            };
            let records = segment.read(records_max, bytes_max)?;
            if records.is_empty() {
                // Its rest cannot be read, which it has said.
                self.remove_if_done(number)?;
                continue;
            }
            segment.outstanding += 1;
            return Ok(Some(Portion {
                records,
                segment: number,
            }));
        }
    }

    /// Everything of a portion is settled.
    pub(crate) fn settle(&mut self, segment: u64) -> io::Result<()> {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.outstanding -= 1;
        }
        self.remove_if_done(segment)
    }

    fn remove_if_done(&mut self, number: u64) -> io::Result<()> {
        let done = |segment: &Segment| segment.outstanding == 0 && !segment.has_unread();
        if !self.segments.get(&number).is_some_and(done) {
            return Ok(());
        }
        if self.active == Some(number) {
            self.active = None;
        }
        match self.segments.remove(&number) {
            Some(segment) => segment.remove(),
            None => Ok(()),
        }
    }

    /// The end of what is written.
    pub(crate) fn end(&self) -> Position {
        let last = self.segments.last_key_value();
        last.map_or((0, 0), |(number, segment)| (*number, segment.length))
    }

    /// Whether everything before a place was read.
    pub(crate) fn has_read(&self, (number, offset): Position) -> bool {
        let before = self.segments.range(..=number);
        before.into_iter().all(|(at, segment)| {
            let to = if *at == number { offset } else { segment.length };
            segment.read_to >= to || !segment.has_unread()
        })
    }

    /// Keeps what the service will never count, a JSON object a line.
    pub(crate) fn bury(&self, line: &[u8]) -> io::Result<()> {
        let path = self.options.folder.join("dead.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > DEAD_BYTES_MAX {
            return Err(io::Error::other("dead.jsonl is full: look at it and move it away"));
        }
        file.write_all(line)?;
        if self.options.sync == Sync::Always {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// The segments of an earlier process.
fn left_behind(folder: &Path) -> io::Result<BTreeMap<u64, Segment>> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(number) = segment::number(&path) {
            let segment = Segment::open(path)?;
            if segment.length == 0 {
                segment.remove()?;
            } else {
                segments.insert(number, segment);
            }
        }
    }
    Ok(segments)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
