//! The routes are those of the OpenAPI document, and one function answers whatever else is asked.

use std::collections::BTreeSet;

use super::{
    Findings, Subject,
    source::{entries, referred},
};

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    let routes = &subject.template.triggers.routes;
    let mut found = BTreeSet::new();
    for (method, path) in routes.iter().filter_map(|route| route.operation.as_ref()) {
        let route = format!("{method} {path}");
        if !found.insert(route.clone()) {
            findings.add("HttpApi", format!("{route} is there twice"));
        }
    }
    findings.differences("HttpApi", &documented(&subject.repository.openapi), &found);
    for function in subject.source.of_type("AWS::Serverless::Function") {
        for (name, event) in entries(function.at("Events")).filter(|(_, event)| event["Type"] == "HttpApi") {
            let is_ours = referred(&event["Properties"]["ApiId"]) == Some("HttpApi");
            findings.unless(is_ours, function.name, &format!("{name} is a route of another API"));
        }
    }
    let fallbacks = routes.iter().filter(|route| route.operation.is_none()).count();
    findings.unless(fallbacks == 1, "HttpApi", "one function must serve what no route names");
}

fn documented(openapi: &serde_json::Value) -> BTreeSet<String> {
    let paths = openapi["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        let methods = methods.filter(|(_, operation)| operation.get("operationId").is_some());
        methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}
