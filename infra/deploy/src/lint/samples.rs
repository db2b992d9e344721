//! Every function has a sample in `events/`, for `sam local invoke`, and every sample a function.

use std::collections::BTreeSet;

use serde_json::Value;
use usage_local::template::Template;

use super::{Findings, Subject};

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (name, event) in &subject.repository.samples {
        match handed_to(&subject.template, event) {
            Some(function) => drop(seen.insert(function)),
            None => findings.add(format!("events/{name}"), "no function is called by such an event"),
        }
    }
    for function in &subject.template.functions {
        let has_one = seen.contains(function.name.as_str());
        findings.unless(has_one, &function.name, "it has no sample in events/");
    }
}

/// The function that an event is for, by where the event says that it comes from.
pub fn handed_to<'a>(template: &'a Template, event: &Value) -> Option<&'a str> {
    let triggers = &template.triggers;
    if let Some(key) = event["routeKey"].as_str() {
        let (method, path) = key.split_once(' ')?;
        let is_it = |operation: &(String, String)| operation.0 == method && operation.1 == path;
        let mut routes = triggers.routes.iter();
        let route = routes.find(|route| route.operation.as_ref().is_some_and(is_it))?;
        return Some(&route.function);
    }
    if let Some(arn) = event["Records"][0]["eventSourceARN"].as_str() {
        if let Some((_, table)) = arn.split_once(":table/") {
            let table = table.split('/').next()?;
            let stream = triggers.streams.iter().find(|stream| stream.table == table)?;
            return Some(&stream.function);
        }
        let queue = arn.rsplit(':').next()?;
        let mapping = triggers.queues.iter().find(|mapping| mapping.queue == queue)?;
        return Some(&mapping.function);
    }
    if event["awslogs"].is_object() {
        return triggers.logs.first().map(String::as_str);
    }
    if event["source"] == "aws.scheduler" {
        let name = |arn: &str| arn.rsplit('/').next().unwrap_or_default().to_owned();
        let resource = event["resources"][0].as_str()?;
        let schedule = triggers.schedules.iter().find(|one| name(&one.arn) == name(resource))?;
        return Some(&schedule.function);
    }
    let rule = triggers.rules.iter().find(|rule| rule.pattern.fits(event))?;
    Some(&rule.function)
}
