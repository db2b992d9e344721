//! Notes which grants of the template the functions make use of, so that what is granted in vain
//! can be found: once the tests have run, what nobody noted nobody needs.
//!
//! Off unless the environment variable `METERING_GRANTS_DIR` names a folder; each process adds a
//! file of its own there.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::template::grant_line;

static NOTES: LazyLock<Option<Mutex<Notes>>> =
    LazyLock::new(|| folder().map(|folder| Mutex::new(Notes::open(&folder))));

struct Notes {
    file: File,
    seen: BTreeSet<String>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measure of the tests, no configuration of the service"
)]
fn folder() -> Option<String> {
    std::env::var("METERING_GRANTS_DIR").ok()
}

impl Notes {
    fn open(folder: &str) -> Self {
        let path = Path::new(folder).join(format!("{}.txt", std::process::id()));
        Self {
            file: File::create(path).expect("METERING_GRANTS_DIR is a folder that can be written to"),
            seen: BTreeSet::new(),
        }
    }
}

/// Notes that `function` used what its policy grants: `action` on what `resource` names.
pub fn note(function: &str, action: &str, resource: &str) {
    let Some(notes) = &*NOTES else { return };
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let line = grant_line(function, action, resource);
    if !notes.seen.contains(&line) {
        writeln!(notes.file, "{line}").expect("METERING_GRANTS_DIR can be written to");
        notes.seen.insert(line);
    }
}
