//! Logs that a function is subscribed to: CloudWatch Logs may call it, and for all lines.

use super::{
    Findings, Subject,
    source::{Resource, referred},
};

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    let permissions = subject.source.of_type("AWS::Lambda::Permission");
    for filter in subject.source.of_type("AWS::Logs::SubscriptionFilter") {
        let Some(function) = referred(filter.at("DestinationArn")) else {
            findings.add(filter.name, "it hands its lines to nobody");
            continue;
        };
        let permission = permissions.iter().find(|one| lets_logs_call(one, function));
        findings.unless(
            permission.is_some(),
            filter.name,
            &format!("CloudWatch Logs may not call {function}"),
        );
        // CloudWatch Logs tries the call when it is subscribed.
        let after = filter.whole["DependsOn"].as_str();
        let is_after = permission.is_some_and(|permission| after == Some(permission.name));
        findings.unless(is_after, filter.name, "it may be made before its permission is");
        findings.unless(filter.at("FilterPattern") == "", filter.name, "it leaves lines out");
        let is_asked = referred(filter.at("LogGroupName")) == Some("AccessLogGroup");
        let is_conditional = filter.whole["Condition"] == "ReadsAccessLog";
        findings.unless(
            is_asked && is_conditional,
            filter.name,
            "its log group is not the operator's to name",
        );
    }
}

/// Whether a permission lets logs of this account, and nobody else's, call a function.
fn lets_logs_call(permission: &Resource<'_>, function: &str) -> bool {
    let serde_norway::Value::Tagged(source) = permission.at("SourceArn") else {
        return false;
    };
    referred(permission.at("FunctionName")) == Some(function)
        && permission.at("Action") == "lambda:InvokeFunction"
        && permission.at("Principal") == "logs.amazonaws.com"
        && referred(permission.at("SourceAccount")) == Some("AWS::AccountId")
        && source.value.as_str().is_some_and(|arn| arn.contains(":logs:"))
}
