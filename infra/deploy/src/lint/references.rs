//! Every name that is referred to exists, and every parameter is of use.

use std::collections::BTreeSet;

use super::{
    Findings, Source,
    source::{entries, references},
};

/// The parameters that an operator is to be asked for.
const PARAMETERS: [&str; 13] = [
    "AccessLogGroup",
    "AlarmEmail",
    "Architecture",
    "JwksUrl",
    "JwtAudience",
    "JwtIssuer",
    "LogLevel",
    "LogRetentionDays",
    "MailSender",
    "StageName",
    "Tracing",
    "UsageQueueReceivesMax",
    "UsageQueueVisibilitySeconds",
];

/// What an operator is told once it is deployed.
const OUTPUTS: [&str; 9] = [
    "AccessLogJobArn",
    "Api",
    "DashboardUrl",
    "EventsTable",
    "ReportsBucket",
    "StateTable",
    "UsageBusArn",
    "UsageEventsDeadLettersUrl",
    "UsageEventsQueueUrl",
];

pub fn check(source: &Source<'_>, findings: &mut Findings) {
    let mut referred = BTreeSet::new();
    references(source.document(), &mut referred);
    let (parameters, resources) = (source.names("Parameters"), source.names("Resources"));
    for name in &referred {
        let is_there = parameters.contains(name.as_str()) || resources.contains(name.as_str());
        findings.unless(
            is_there || name.starts_with("AWS::"),
            name,
            "it is referred to and not there",
        );
    }
    let asked: BTreeSet<&str> = groups(source);
    for name in &parameters {
        findings.unless(referred.contains(*name), name, "nothing uses this parameter");
        findings.unless(asked.contains(name), name, "it is in no group of parameters");
        let says = &source.document()["Parameters"][*name]["Description"];
        findings.unless(says.is_string(), name, "nobody is told what it is for");
    }
    for name in PARAMETERS {
        findings.unless(parameters.contains(name), name, "the parameter is missing");
    }
    let conditions = source.names("Conditions");
    for resource in source.resources() {
        let condition = resource.whole["Condition"].as_str();
        let is_there = condition.is_none_or(|condition| conditions.contains(condition));
        findings.unless(is_there, resource.name, "its Condition is missing");
    }
    let outputs = source.names("Outputs");
    for name in OUTPUTS {
        findings.unless(outputs.contains(name), name, "the output is missing");
    }
}

/// The parameters that are shown in some group.
fn groups<'a>(source: &Source<'a>) -> BTreeSet<&'a str> {
    let interface = &source.document()["Metadata"]["AWS::CloudFormation::Interface"];
    let groups = interface["ParameterGroups"].as_sequence().into_iter().flatten();
    let lists = groups.flat_map(|group| entries(group).filter(|(name, _)| *name == "Parameters"));
    lists
        .flat_map(|(_, list)| list.as_sequence().into_iter().flatten())
        .filter_map(|name| name.as_str())
        .collect()
}
