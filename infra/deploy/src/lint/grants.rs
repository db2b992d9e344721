//! Policies grant what the functions were seen to use, each action on each resource, and no more.
//!
//! The local stack enforces the policies in every test, so what is used is granted; `grants.txt`
//! holds what was used, so what is granted is used.
//!
//! To functions that are handed messages or records SAM adds policies of AWS's, which allow taking
//! them from everywhere: a fence must keep each function to its own.

use std::collections::BTreeSet;

use usage_local::template::{Function, Statement, grant_line, queue_arn, stream_arn};

use super::{Findings, Subject};

/// The language of policies; without it they are read in an older one.
pub const POLICY_VERSION: &str = "2012-10-17";
/// Of `AWSLambdaSQSQueueExecutionRole`.
const QUEUE_ACTIONS: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
/// Of `AWSLambdaDynamoDBExecutionRole`, but for `ListStreams`, which knows no single stream.
const STREAM_ACTIONS: [&str; 3] = [
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
];

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    let mut granted = BTreeSet::new();
    for function in &subject.template.functions {
        for statement in &function.policy {
            for (action, resource) in statement.grants() {
                let line = grant_line(&function.name, action, resource);
                if !granted.insert(line.clone()) {
                    findings.add(&function.name, format!("{line} is granted twice"));
                }
            }
        }
    }
    for used in subject.repository.grants.difference(&granted) {
        findings.add("Policies", format!("{used}: tests used it, and it is not granted"));
    }
    for idle in granted.difference(&subject.repository.grants) {
        let problem = format!("{idle}: it is granted, and no test was seen to use it; see infra/deploy/README.md");
        findings.add("Policies", problem);
    }
    check_indexes(subject, &granted, findings);
    for function in subject.source.of_type("AWS::Serverless::Function") {
        let is_current = function.at("Policies/0/Version") == POLICY_VERSION;
        findings.unless(
            is_current,
            function.name,
            &format!("its policy's Version must be {POLICY_VERSION}"),
        );
    }
    for function in &subject.template.functions {
        let fences: BTreeSet<(String, String)> = pairs(&function.fences).collect();
        let place = format!("{}: Deny", function.name);
        let line = |(action, resource): &(String, String)| grant_line("only", action, resource);
        let wanted = fence(subject, function);
        findings.differences(
            &place,
            &wanted.iter().map(line).collect(),
            &fences.iter().map(line).collect(),
        );
    }
}

/// What is granted on an index needs that index; its keys and what it shows the store's tests miss.
fn check_indexes(subject: &Subject<'_>, granted: &BTreeSet<String>, findings: &mut Findings) {
    for table in &subject.template.tables {
        let place = format!(" table/{}/index/", table.name);
        let named = granted.iter().filter_map(|line| line.split_once(&place));
        let named = named.map(|(_, index)| index.to_owned()).collect();
        let found = table.indexes.iter().map(|index| index.name.clone()).collect();
        findings.differences(&table.name, &named, &found);
    }
}

fn pairs(statements: &[Statement]) -> impl Iterator<Item = (String, String)> {
    let grants = statements.iter().flat_map(Statement::grants);
    grants.map(|(action, resource)| (action.to_owned(), resource.to_owned()))
}

/// What SAM's policies allow everywhere, each action with where the function needs it.
fn fence(subject: &Subject<'_>, function: &Function) -> BTreeSet<(String, String)> {
    let triggers = &subject.template.triggers;
    let on = |actions: [&'static str; 3], resource: String| actions.map(|action| (action.to_owned(), resource.clone()));
    let queues = triggers
        .queues
        .iter()
        .filter(|mapping| mapping.function == function.name);
    let queues = queues.flat_map(|mapping| on(QUEUE_ACTIONS, queue_arn(&mapping.queue)));
    let streams = triggers
        .streams
        .iter()
        .filter(|mapping| mapping.function == function.name);
    let streams = streams.flat_map(|mapping| on(STREAM_ACTIONS, stream_arn(&mapping.table)));
    queues.chain(streams).collect()
}
