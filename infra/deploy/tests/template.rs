//! The rules against the real template, and against every template that lacks a part of it.

use std::{path::Path, sync::LazyLock};

use serde_norway::Value;
use usage_deploy::lint::{Finding, Repository, check};
use usage_local::template::EMBEDDED;

static REPOSITORY: LazyLock<Repository> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Repository::read(&root).expect("the repository")
});

static TEMPLATE: LazyLock<Value> = LazyLock::new(|| serde_norway::from_str(EMBEDDED).expect("YAML"));

/// What may be taken away unnoticed here: part of a path, and why.
const WITHOUT_CONSEQUENCE: [(&str, &str); 18] = [
    ("/Tags", "names"),
    ("/Sid", "names"),
    ("/DisplayName", "names"),
    ("/LifecycleConfiguration/Rules/0/Id", "names"),
    ("/UsageBus/Properties/Name", "names"),
    ("/ParameterGroups/0/Label", "names"),
    ("/ParameterGroups/1/Label", "names"),
    ("/ParameterGroups/2/Label", "names"),
    ("/ParameterGroups/3/Label", "names"),
    ("/AlarmTopic/Properties", "names"),
    ("/AttributeDefinitions", "every test of the store misses it"),
    ("/KeySchema", "every test of the store misses it"),
    ("/Projection", "every test of the store misses it"),
    ("Queue/Properties/MessageRetentionPeriod", "four days are the default"),
    ("/BatchSize", "tuning"),
    ("/MaximumBatchingWindowInSeconds", "tuning"),
    ("/Parameters/", "which values are accepted"),
    ("/Outputs/", "what they say"),
];

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(String),
    At(usize),
}

fn written(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Name(name) => format!("/{name}"),
        Step::At(at) => format!("/{at}"),
    });
    steps.collect()
}

/// The paths to every part below `value`, itself left out.
fn parts(value: &Value, at: &[Step], found: &mut Vec<Vec<Step>>) {
    let mut below = |step: Step, part: &Value| {
        let path = [at, &[step]].concat();
        found.push(path.clone());
        parts(part, &path, found);
    };
    match value {
        Value::Mapping(mapping) => {
            for (name, part) in mapping {
                below(Step::Name(name.as_str().expect("a text").to_owned()), part);
            }
        }
        Value::Sequence(items) => {
            for (index, part) in items.iter().enumerate() {
                below(Step::At(index), part);
            }
        }
        _ => {}
    }
}

fn without(document: &Value, path: &[Step]) -> Value {
    let mut document = document.clone();
    let (last, above) = path.split_last().expect("a path");
    let parent = above.iter().fold(&mut document, |value, step| match step {
        Step::Name(name) => &mut value[name.as_str()],
        Step::At(at) => &mut value[*at],
    });
    match (parent, last) {
        (Value::Mapping(mapping), Step::Name(name)) => drop(mapping.remove(name.as_str())),
        (Value::Sequence(items), Step::At(at)) => drop(items.remove(*at)),
        _ => panic!("{} leads nowhere", written(path)),
    }
    document
}

fn shown(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n  {finding}")).collect()
}

#[test]
fn the_template_is_what_the_code_needs() {
    let findings = check(&TEMPLATE, &REPOSITORY);
    assert!(findings.is_empty(), "{}", shown(&findings));
}

/// Every policy statement, action, resource, route, queue, dead-letter queue, variable, alarm, and
/// whatever else is in the template, taken away alone.
#[test]
fn whatever_is_taken_away_is_missed() {
    let mut paths = Vec::new();
    for section in [
        "Resources",
        "Parameters",
        "Globals",
        "Outputs",
        "Conditions",
        "Metadata",
    ] {
        let at = [Step::Name(section.to_owned())];
        parts(&TEMPLATE[section], &at, &mut paths);
    }
    // A parameter as a whole, its default and what it is for are missed; so is an output.
    let is_whole = |path: &str| path.matches('/').count() == 2 || path.ends_with("/Default");
    let is_idle = |path: &str| {
        let mut parts = WITHOUT_CONSEQUENCE.iter();
        parts.any(|(part, _)| path.contains(part)) && !is_whole(path)
    };
    let (mut missed, mut unnoticed) = (0, Vec::new());
    for path in paths {
        let name = written(&path);
        if is_idle(&name) {
            continue;
        }
        if check(&without(&TEMPLATE, &path), &REPOSITORY).is_empty() {
            unnoticed.push(name);
        } else {
            missed += 1;
        }
    }
    println!("{missed} removals are noticed");
    assert!(
        unnoticed.is_empty(),
        "{} are not noticed:\n{}",
        unnoticed.len(),
        unnoticed.join("\n")
    );
    assert!(missed > 1_000, "{missed} parts");
}
