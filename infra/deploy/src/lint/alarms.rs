//! Somebody is told of every failure, and it can be seen on the dashboard.

use std::collections::BTreeSet;

use super::{
    Findings, Subject,
    queues::dead_letters,
    source::{Resource, references, referred},
};

/// What functions count by themselves, for alarms.
pub fn measures() -> impl Iterator<Item = &'static str> {
    reconcile_job::MEASURES
        .into_iter()
        .chain([analytics_refresh_job::MEASURE])
}

/// What an alarm says of how it is judged.
const JUDGED: [&str; 6] = [
    "AlarmDescription",
    "ComparisonOperator",
    "EvaluationPeriods",
    "Period",
    "Statistic",
    "Threshold",
];

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    let alarms = subject.source.of_type("AWS::CloudWatch::Alarm");
    let found = alarms.iter().map(measured).collect();
    findings.differences("Alarms", &wanted(subject), &found);
    for alarm in &alarms {
        for property in JUDGED {
            findings.unless(
                !alarm.at(property).is_null(),
                alarm.name,
                &format!("{property} is missing"),
            );
        }
        let is_silent = alarm.at("TreatMissingData") == "notBreaching";
        findings.unless(is_silent, alarm.name, "it must be silent when nothing is measured");
        for told in ["AlarmActions", "OKActions"] {
            let topic = referred(alarm.at(&format!("{told}/0")));
            findings.unless(topic == Some("AlarmTopic"), alarm.name, &format!("{told} tell nobody"));
        }
    }
    let subscriptions = subject.source.of_type("AWS::SNS::Subscription");
    let mails = |one: &Resource<'_>| {
        let to = |path: &str, name: &str| referred(one.at(path)) == Some(name);
        to("TopicArn", "AlarmTopic")
            && to("Endpoint", "AlarmEmail")
            && one.at("Protocol") == "email"
            && one.whole["Condition"] == "MailsAlarms"
    };
    findings.unless(subscriptions.iter().any(mails), "AlarmTopic", "AlarmEmail is not told");
    shown(subject, findings);
}

/// What an alarm looks at.
fn measured(alarm: &Resource<'_>) -> String {
    let of = match alarm.at("Dimensions/0/Value") {
        value if referred(value).is_some() => referred(value).unwrap_or_default(),
        value => value.as_str().unwrap_or_default(),
    };
    let text = |path: &str| alarm.at(path).as_str().unwrap_or_default();
    let name = text("Dimensions/0/Name");
    format!("{} {} of {name} {of}", text("Namespace"), text("MetricName"))
}

fn wanted(subject: &Subject<'_>) -> BTreeSet<String> {
    let template = &subject.template;
    let functions = template.functions.iter().flat_map(|function| {
        let of = |metric: &str| format!("AWS/Lambda {metric} of FunctionName {}", function.name);
        [of("Errors"), of("Throttles")]
    });
    let streams = template.triggers.streams.iter();
    let streams = streams.map(|stream| format!("AWS/Lambda IteratorAge of FunctionName {}", stream.function));
    let depth = |queue: String| format!("AWS/SQS ApproximateNumberOfMessagesVisible of QueueName {queue}");
    let measures = measures().map(|measure| format!("UsageMetering {measure} of Stage StageName"));
    let api = ["AWS/ApiGateway 5xx of ApiId HttpApi".to_owned()];
    let dead = dead_letters(subject).into_iter().map(depth);
    functions
        .chain(streams)
        .chain(dead)
        .chain(measures)
        .chain(api)
        .collect()
}

/// Every function, table and queue is somewhere on the dashboard.
fn shown(subject: &Subject<'_>, findings: &mut Findings) {
    let mut shown = BTreeSet::new();
    for dashboard in subject.source.of_type("AWS::CloudWatch::Dashboard") {
        references(dashboard.at("DashboardBody"), &mut shown);
    }
    let template = &subject.template;
    let functions = template.functions.iter().map(|one| &one.name);
    let tables = template.tables.iter().map(|one| &one.name);
    let queues = template.queues.iter().map(|one| &one.name);
    for name in functions.chain(tables).chain(queues) {
        findings.unless(shown.contains(name), name, "the dashboard does not show it");
    }
}
