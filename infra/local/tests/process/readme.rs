//! The README's shell blocks, run as a reader would.

use std::process::Command;

use serde_json::{Deserializer, Value};

use crate::Process;

const README: &str = include_str!("../../../../README.md");
/// Where the README's requests go.
const README_URL: &str = "http://127.0.0.1:3000";

/// The blocks of shell commands.
fn blocks() -> Vec<&'static str> {
    let fenced = README.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix("sh\n")).collect()
}

/// Runs a script as a reader would, and reads the JSON values that it prints. An answer that is an
/// error ends it.
fn run(script: &str) -> Vec<Value> {
    let script = format!("set -eu\ncurl() {{ command curl --fail-with-body \"$@\"; }}\n{script}");
    // What it saves is not the repository's.
    let folder = tempfile::tempdir().expect("a folder");
    let mut bash = Command::new("bash");
    let ran = bash.args(["-c", &script]).current_dir(&folder).output().expect("bash");
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let err = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{script}\n{out}\n{err}");
    let values = Deserializer::from_str(&out).into_iter();
    values.collect::<Result<_, _>>().expect("JSON")
}

#[test]
fn its_commands_do_what_it_says() {
    let blocks = blocks();
    let [start, requests @ ..] = blocks.as_slice() else {
        panic!("the README has no shell block");
    };
    // The first block starts the stack, and is what this very test runs in.
    let command = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let commands: Vec<String> = start.lines().map(command).collect();
    assert_eq!(commands, ["cargo run", "cargo test --workspace"]);
    assert!(!requests.is_empty());
    let process = Process::start(&["--ephemeral"]);
    let mut answers = Vec::new();
    for block in requests {
        answers.extend(run(&block.replace(README_URL, &process.url)));
    }
    println!("{} answers", answers.len());
    run(&format!("curl -s {}/_local/drain -d '{{}}'", process.url));
    let queues = run(&format!("curl -s {}/_local/queues", process.url));
    for queue in queues[0]["queues"].as_array().expect("queues") {
        assert_eq!(queue["visible"], 0, "nothing of it is put aside, or left: {queue}");
    }
    let [subscription, tracked, again, batch, checked, summary, ..] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert_eq!(subscription["plan"], "basic");
    assert_eq!(
        (&tracked["duplicate"], &again["duplicate"]),
        (&false.into(), &true.into())
    );
    assert_eq!(tracked["usage_id"], again["usage_id"]);
    assert_eq!((&batch["accepted"], &batch["failed"]), (&2.into(), &0.into()));
    assert_eq!(checked["is_available"], true);
    assert_eq!(summary["plan"], "basic");
}

#[test]
fn the_greeting_can_be_pasted() {
    let process = Process::start(&["--ephemeral"]);
    let greeting = &process.greeting;
    let commands = greeting.lines().filter(|line| line.trim().starts_with("curl "));
    let answers = run(&commands.collect::<Vec<_>>().join("\n"));
    let [_, tracked, summary] = answers.as_slice() else {
        panic!("{greeting}{answers:?}");
    };
    assert_eq!(tracked["quota"]["current_usage"], 1);
    assert_eq!(summary["plan"], "basic");
}
