//! A line that cannot be read, put aside with its reason.

use metering_edge::{logs::Line, problem::Problem};
use serde_json::{Value, json};

/// How much of a line is kept, in bytes: it is for whoever sets the log's format right.
const KEPT_MAX: usize = 16 * 1024;

/// A line that cannot be read.
pub struct Unread<'a> {
    /// The line.
    pub line: &'a Line,
    /// What is wrong.
    pub problem: Problem,
}

impl Unread<'_> {
    /// What is put aside.
    pub fn letter(&self, log_group: &str) -> Value {
        let text = &self.line.text;
        json!({
            "dead_letter": {
                "reason": "a line of an access log cannot be read",
                "errors": [self.problem.item()],
                "log_group": log_group,
                "line": self.line.id,
            },
            "body": text[..text.floor_char_boundary(KEPT_MAX)],
        })
    }
}
