//! The program `usage-local` as a process: killed and started again, and used as the README says.

mod ingested;
mod killed;
mod queued;
mod readme;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running `usage-local`; dropping it kills it, as `kill -9` does.
struct Process {
    child: Child,
    greeting: String,
    url: String,
}

impl Process {
    /// Starts it and waits for its ready line.
    fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_usage-local"))
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut process = Self {
            child,
            greeting: String::new(),
            url: String::new(),
        };
        let out = process.child.stdout.take().expect("its output");
        for line in BufReader::new(out).lines() {
            let line = line.expect("its output");
            if let Some(url) = line.strip_prefix("ready ") {
                process.url = url.to_owned();
                return process;
            }
            process.greeting.push_str(&line);
            process.greeting.push('\n');
        }
        panic!("it ended before it was ready: {}", process.greeting);
    }

    /// Starts it on the data of an earlier one.
    fn start_on(data: &Path) -> Self {
        Self::start(&["--data-dir", data.to_str().expect("a path in UTF-8")])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Unix sends SIGKILL; an ended process is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
