//! The folder that keeps the stack's data, held by one process at a time.
//!
//! A stack that keeps nothing uses a folder too, which goes with it: one way to store for both.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// The folder; dropping it lets it go.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The operating system frees it with the process, however that ends.
    _lock: File,
    /// Set if the folder is to be deleted with this.
    _temporary: Option<TempDir>,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Someone else does.
    #[error("{} is in use by another usage-local (process {process}): stop it, or choose another folder with --data-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// By whom.
        process: String,
    },
    /// The file system says no.
    #[error("the data folder {} cannot be used", path.display())]
    Io {
        /// The folder, or the file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataDir {
    /// The folder `path`, made if there is none; a temporary one if there is no path.
    pub fn open(path: Option<&Path>) -> Result<Self, DataDirError> {
        let (path, temporary) = match path {
            Some(path) => (path.to_owned(), None),
            None => {
                let temporary = tempfile::Builder::new().prefix("usage-local-").tempdir();
                let temporary = temporary.map_err(|source| failed(&std::env::temp_dir(), source))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        std::fs::create_dir_all(&path).map_err(|source| failed(&path, source))?;
        Ok(Self {
            _lock: lock(&path)?,
            path,
            _temporary: temporary,
        })
    }

    /// The engine's database.
    pub fn database(&self) -> PathBuf {
        self.path.join("dynamodb.sqlite")
    }

    /// The queues' messages.
    pub fn queues(&self) -> PathBuf {
        self.path.join("queues.db")
    }

    /// The buckets' objects.
    pub fn buckets(&self) -> PathBuf {
        self.path.join("buckets.db")
    }

    /// How far the readers of streams have come.
    pub fn streams(&self) -> PathBuf {
        self.path.join("streams.db")
    }

    /// Where the clock is kept.
    pub fn clock(&self) -> PathBuf {
        self.path.join("clock.json")
    }

    /// The key that signs tokens.
    pub fn signing_key(&self) -> PathBuf {
        self.path.join("signing-key.pkcs8")
    }
}

fn failed(path: &Path, source: io::Error) -> DataDirError {
    let path = path.to_owned();
    DataDirError::Io { path, source }
}

/// Locks the folder; the file names the process that holds it, for whoever comes next.
fn lock(path: &Path) -> Result<File, DataDirError> {
    let name = path.join("lock");
    let failed = |source| failed(&name, source);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            file.read_to_string(&mut process).map_err(failed)?;
            let path = path.to_owned();
            return Err(DataDirError::InUse { path, process });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    file.write_all(std::process::id().to_string().as_bytes())
        .map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("data");
        let held = DataDir::open(Some(&path)).expect("free");
        let refused = DataDir::open(Some(&path)).expect_err("in use").to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        DataDir::open(Some(&path)).expect("free again");
    }

    #[test]
    fn a_temporary_folder_goes_with_its_holder() {
        let held = DataDir::open(None).expect("a folder");
        let path = held.path.clone();
        assert!(path.exists());
        drop(held);
        assert!(!path.exists());
    }
}
