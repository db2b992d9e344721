//! What the documents say is what the code says: costs, log lines, files.

use std::{collections::BTreeSet, fs, path::Path};

use usage_deploy::{
    cost::{AS_OF, Idle, following, table},
    lint::measures,
};
use usage_local::template::{EMBEDDED, Template};

/// Hours of a month.
const MONTH_HOURS: u32 = 730;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Rust of the functions and what they share.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(path).expect("a source"));
        }
    }
}

#[test]
fn costs_are_what_the_budgets_come_to() {
    let document = read("infra/deploy/COST.md");
    assert!(document.contains(AS_OF), "prices are as of {AS_OF}");
    for table in [table(), following(), idle().table()] {
        assert!(document.contains(&table), "COST.md should have:\n\n{table}");
    }
}

/// What the template runs although nobody calls.
fn idle() -> Idle {
    let template = Template::parse(EMBEDDED, &std::collections::BTreeMap::new(), "http://queues");
    let triggers = template.expect("the template").triggers;
    let alarms = EMBEDDED.matches("Type: AWS::CloudWatch::Alarm").count();
    let runs = EMBEDDED
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ScheduleExpression: "));
    let runs = runs.map(|expression| match expression {
        "rate(5 minutes)" => MONTH_HOURS * 12,
        "rate(1 hour)" => MONTH_HOURS,
        nightly if nightly.starts_with("cron(") => MONTH_HOURS / 24,
        other => panic!("how often is {other}?"),
    });
    Idle {
        queues: u32::try_from(triggers.queues.len()).expect("few"),
        alarms: u32::try_from(alarms).expect("few"),
        measures: u32::try_from(measures().count()).expect("few"),
        runs: runs.sum(),
    }
}

/// Queries of Logs Insights ask for lines and fields that functions write.
#[test]
fn queries_match_what_is_logged() {
    let mut code = String::new();
    sources(&root().join("functions"), &mut code);
    sources(&root().join("shared"), &mut code);
    let document = read("infra/deploy/OPERATING.md");
    let mut messages = BTreeSet::new();
    for rest in document.split("fields.message = \"").skip(1) {
        messages.extend(rest.split('"').next());
    }
    assert!(messages.len() >= 8, "{messages:?}");
    for message in messages {
        assert!(code.contains(&format!("\"{message}\"")), "nothing logs {message:?}");
    }
    let words: BTreeSet<&str> = code
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .collect();
    for rest in document.split("fields.").skip(1) {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let field = &rest[..end.unwrap_or(rest.len())];
        assert!(words.contains(field), "nothing logs a field {field:?}");
    }
}

/// Paths in the documents lead somewhere.
#[test]
fn files_that_are_named_exist() {
    for document in ["README.md", "OPERATING.md", "COST.md"] {
        let text = read(&format!("infra/deploy/{document}"));
        let words = text.split(|letter: char| letter.is_whitespace() || "`()[]>\"".contains(letter));
        let paths = words.filter(|word| {
            ["events/", "infra/", "tests/"]
                .iter()
                .any(|folder| word.starts_with(folder))
        });
        for path in paths.filter(|path| !path.contains('*')) {
            assert!(root().join(path).exists(), "{document} names {path}");
        }
    }
}
