//! Every function is built from a crate of its own, logs where logs end, and is traced.

use super::{Findings, Subject, source::referred};
use crate::cost::MEMORY_MB;

/// Functions that make files, and their memory in MB: a whole processor (AWS Lambda Developer Guide, "Configure Lambda
/// function memory"), and room for the largest report, which takes some 550 MB.
const MAKES_FILES: [&str; 2] = ["ReportsApi", "ReportJob"];
const MAKES_FILES_MB: u64 = 1_769;

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    let (makefile, workspace) = (&subject.repository.makefile, &subject.repository.workspace);
    // A recipe may be broken over lines.
    let packages = makefile.replace("\\\n", " ");
    let groups = subject.source.of_type("AWS::Logs::LogGroup");
    for function in subject.source.of_type("AWS::Serverless::Function") {
        let (name, package) = (function.name, package(function.name));
        let is_member = workspace.contains(&format!("\"functions/{package}\""));
        findings.unless(is_member, name, &format!("there is no crate functions/{package}"));
        let recipe =
            format!("build-{name}: functions\n\tinstall -m 755 $(BUILT)/{package} $(ARTIFACTS_DIR)/bootstrap\n");
        findings.unless(makefile.contains(&recipe), name, "the Makefile does not build it");
        let is_compiled = packages.split_whitespace().any(|word| word == package);
        findings.unless(is_compiled, name, &format!("the Makefile does not compile {package}"));
        let method = &function.whole["Metadata"]["BuildMethod"];
        findings.unless(method == "makefile", name, "its BuildMethod must be makefile");
        findings.unless(function.at("CodeUri") == ".", name, "its CodeUri must be .");
        findings.unless(!function.at("Description").is_null(), name, "it has no Description");
        let memory = MAKES_FILES.contains(&name).then_some(MAKES_FILES_MB);
        findings.unless(
            function.at("MemorySize").as_u64() == memory,
            name,
            &format!("its MemorySize must be {memory:?}"),
        );
        let group = referred(function.at("LoggingConfig/LogGroup"));
        let group = group.and_then(|group| groups.iter().find(|one| one.name == group));
        findings.unless(group.is_some(), name, "it has no log group of its own");
    }
    for group in &groups {
        let days = referred(group.at("RetentionInDays"));
        findings.unless(days == Some("LogRetentionDays"), group.name, "its logs have no end");
    }
    let globals = &subject.source.document()["Globals"]["Function"];
    for (property, parameter) in [("Tracing", "Tracing"), ("Architectures", "Architecture")] {
        let value = match &globals[property] {
            serde_norway::Value::Sequence(items) => items.first().unwrap_or(&serde_norway::Value::Null),
            value => value,
        };
        findings.unless(
            referred(value) == Some(parameter),
            "Globals",
            &format!("{property} must be !Ref {parameter}"),
        );
    }
    let memory = globals["MemorySize"].as_u64();
    findings.unless(
        memory == Some(MEMORY_MB),
        "Globals",
        &format!("MemorySize must be {MEMORY_MB}"),
    );
    for (property, value) in [("Runtime", "provided.al2023"), ("Handler", "bootstrap")] {
        findings.unless(
            globals[property] == value,
            "Globals",
            &format!("{property} must be {value}"),
        );
    }
    for api in subject.source.of_type("AWS::Serverless::HttpApi") {
        let group = referred(api.at("AccessLogSettings/DestinationArn"));
        let is_there = groups.iter().any(|one| Some(one.name) == group);
        findings.unless(is_there, api.name, "its requests are logged nowhere");
        let format = api.at("AccessLogSettings/Format").as_str().unwrap_or_default();
        let logs = |field: &str| format.contains(field);
        findings.unless(
            logs("$context.status") && logs("$context.requestId") && logs("$context.integrationErrorMessage"),
            api.name,
            "its log says too little of a request",
        );
        findings.unless(api.is_on("FailOnWarnings"), api.name, "FailOnWarnings must be true");
    }
}

/// `TrackingApi` is built from `tracking-api`.
fn package(function: &str) -> String {
    let mut package = String::new();
    for letter in function.chars() {
        if letter.is_uppercase() && !package.is_empty() {
            package.push('-');
        }
        package.extend(letter.to_lowercase());
    }
    package
}
