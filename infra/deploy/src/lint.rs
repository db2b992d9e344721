//! Rules for the template, computed from the code that it deploys: whatever that code needs is in
//! the template, and nothing else is.
//!
//! What a function needs of its environment is found by taking variables away from it; what of
//! permissions, by what the tests were seen to use (`grants.txt`, see `infra/deploy/README.md`);
//! which routes, from the OpenAPI document. CloudFormation's own rules are `sam validate`'s part.

mod alarms;
mod environment;
mod functions;
mod grants;
mod logs;
mod queues;
mod references;
mod routes;
mod samples;
mod source;
mod storage;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::Path,
};

use serde_norway::Value;
use usage_local::template::Template;

pub use alarms::measures;
pub use samples::handed_to;
pub use source::Source;

/// Something that is wrong with the template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The resource, or the part of it.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.problem)
    }
}

/// What the template is held against.
#[derive(Debug, Clone)]
pub struct Repository {
    /// The OpenAPI document.
    pub openapi: serde_json::Value,
    /// The files in `events/`, by name.
    pub samples: BTreeMap<String, serde_json::Value>,
    /// The lines of `grants.txt`.
    pub grants: BTreeSet<String>,
    /// The makefile that `sam build` calls.
    pub makefile: String,
    /// The workspace's `Cargo.toml`.
    pub workspace: String,
}

impl Repository {
    /// Reads the files below `root`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let json = |path: &Path| -> io::Result<serde_json::Value> {
            serde_json::from_str(&fs::read_to_string(path)?).map_err(io::Error::other)
        };
        let mut samples = BTreeMap::new();
        for file in fs::read_dir(root.join("events"))? {
            let file = file?;
            samples.insert(file.file_name().to_string_lossy().into_owned(), json(&file.path())?);
        }
        let grants = fs::read_to_string(root.join("infra/deploy/grants.txt"))?;
        Ok(Self {
            openapi: json(&root.join("functions/tracking-api/openapi.json"))?,
            samples,
            grants: grants.lines().map(str::to_owned).collect(),
            makefile: fs::read_to_string(root.join("Makefile"))?,
            workspace: fs::read_to_string(root.join("Cargo.toml"))?,
        })
    }
}

/// All that the rules look at.
struct Subject<'a> {
    source: Source<'a>,
    template: Template,
    repository: &'a Repository,
}

/// What the rules found.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Finding {
            place: place.into(),
            problem: problem.into(),
        });
    }

    /// Complains unless `holds`.
    fn unless(&mut self, holds: bool, place: &str, problem: &str) {
        if !holds {
            self.add(place, problem);
        }
    }

    /// Complains of what only one of two sets has.
    fn differences(&mut self, place: &str, wanted: &BTreeSet<String>, found: &BTreeSet<String>) {
        for missing in wanted.difference(found) {
            self.add(place, format!("{missing} is missing"));
        }
        for extra in found.difference(wanted) {
            self.add(place, format!("{extra} is there, and nothing needs it"));
        }
    }
}

/// All that is wrong with a template; empty if it may be deployed.
pub fn check(document: &Value, repository: &Repository) -> Vec<Finding> {
    let source = Source::new(document);
    let mut findings = Findings::default();
    references::check(&source, &mut findings);
    // What the local stack does not understand it does not run, and nothing below could be trusted.
    let template = match Template::read(document, &BTreeMap::new(), "http://queues") {
        Ok(template) => template,
        Err(error) => {
            findings.add(error.place, error.problem);
            return findings.0;
        }
    };
    let subject = Subject {
        source,
        template,
        repository,
    };
    for rule in [
        functions::check,
        environment::check,
        grants::check,
        routes::check,
        samples::check,
        queues::check,
        logs::check,
        storage::check,
        alarms::check,
    ] {
        rule(&subject, &mut findings);
    }
    findings.0
}
