//! The OpenAPI document: well-formed, complete, and true. Its form is checked here, what the service
//! answers in `answers`.

mod answers;
mod document;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::callers;
use document::{Document, Operation, faults};

const TEMPLATE: &str = include_str!("../template.yaml");
const FORM: &str = include_str!("openapi/form.json");

/// The names of the parameters of an operation that are at a place.
fn parameters<'a>(document: &'a Document, operation: &Operation<'a>, place: &str) -> BTreeSet<&'a str> {
    let all = operation.says["parameters"].as_array().into_iter().flatten();
    let here = all.map(|one| document.resolve(one)).filter(|one| one["in"] == place);
    here.filter_map(|one| one["name"].as_str()).collect()
}

/// Every object in a part of the document, with where it stands.
fn objects<'a>(part: &'a Value, at: String, found: &mut Vec<(String, &'a Value)>) {
    match part {
        Value::Object(members) => {
            found.push((at.clone(), part));
            for (name, member) in members {
                objects(
                    member,
                    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                objects(element, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn its_form_is_openapi() {
    let document = Document::committed();
    let form: Value = serde_json::from_str(FORM).expect("JSON");
    let form = jsonschema::validator_for(&form).expect("a schema");
    assert_eq!(faults(&form, &document.0), Vec::<String>::new());
    assert_eq!(document.0["info"]["version"], env!("CARGO_PKG_VERSION"));

    let operations = document.operations();
    let ids: BTreeSet<&str> = operations.iter().map(Operation::id).collect();
    assert_eq!(ids.len(), operations.len(), "each operationId is there once");
    let used: BTreeSet<_> = operations
        .iter()
        .filter_map(|operation| operation.says["tags"][0].as_str())
        .collect();
    let tags = document.0["tags"].as_array().into_iter().flatten();
    assert_eq!(used, tags.filter_map(|tag| tag["name"].as_str()).collect());
    for operation in &operations {
        let named = operation
            .path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{'));
        let named: BTreeSet<&str> = named.filter_map(|segment| segment.strip_suffix('}')).collect();
        assert_eq!(parameters(document, operation, "path"), named, "{}", operation.id());
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = Document::committed();
    let mut found = Vec::new();
    objects(&document.0, String::new(), &mut found);
    let used: BTreeSet<&str> = found.iter().filter_map(|(_, object)| object["$ref"].as_str()).collect();
    used.iter().for_each(|reference| {
        document.target(reference);
    });
    for kind in ["parameters", "headers", "responses", "schemas"] {
        for name in document.0["components"][kind].as_object().expect("components").keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(used.contains(reference.as_str()), "nothing uses {reference}");
        }
    }
}

/// What a request may hold is closed; what an answer holds is always there.
#[test]
fn every_schema_says_what_is_required() {
    let document = Document::committed();
    let parts = |name: &str| -> Vec<&Value> {
        let operations = document.operations().into_iter();
        operations.filter_map(|operation| operation.says.get(name)).collect()
    };
    let asked: BTreeSet<String> = parts("requestBody")
        .iter()
        .flat_map(|part| document.schemas_of(part))
        .collect();
    let answered: BTreeSet<String> = parts("responses")
        .iter()
        .flat_map(|part| document.schemas_of(part))
        .collect();
    for (name, schema) in document.0["components"]["schemas"].as_object().expect("schemas") {
        document.open(&json!({"$ref": format!("#/components/schemas/{name}")}));
        let Some(fields) = schema["properties"].as_object() else {
            continue;
        };
        let required: BTreeSet<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let fields: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
        assert!(required.is_subset(&fields), "{name}");
        if answered.contains(name) {
            assert_eq!(required, fields, "every field of {name} is always in answers");
        }
        if asked.contains(name) {
            assert!(
                schema.get("additionalProperties").is_some(),
                "{name} says what else it may hold"
            );
        }
    }
}

#[test]
fn every_example_is_valid() {
    let document = Document::committed();
    let mut found = Vec::new();
    objects(&document.0, String::new(), &mut found);
    let mut checked = 0;
    for (at, object) in found {
        let Some(schema) = object.get("schema") else { continue };
        let several = object["examples"].as_object().into_iter().flatten();
        let values = several
            .map(|(_, example)| &example["value"])
            .chain(object.get("example"));
        for value in values {
            assert_eq!(
                faults(&document.closed(schema), value),
                Vec::<String>::new(),
                "{at}: {value}"
            );
            checked += 1;
        }
    }
    for (name, schema) in document.0["components"]["schemas"].as_object().expect("schemas") {
        for value in schema["examples"].as_array().into_iter().flatten() {
            assert_eq!(
                faults(&document.closed(schema), value),
                Vec::<String>::new(),
                "{name}: {value}"
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked} examples");
}

/// Every operation that needs credentials says which, and how it is refused without them.
#[test]
fn every_scope_is_said_the_same_way() {
    let document = Document::committed();
    for operation in document.operations() {
        let id = operation.id();
        let statuses: BTreeSet<u16> = operation.statuses().collect();
        let keys = operation.says["security"].as_array().expect("security").iter();
        let keys: Vec<&Value> = keys.filter_map(|one| one.get("apiKey")).collect();
        if operation.scope() == "none" {
            assert_eq!(operation.says["security"], json!([]), "{id}");
            continue;
        }
        assert_eq!(keys, [&json!([operation.scope()])], "{id}");
        assert!(statuses.is_superset(&BTreeSet::from([401, 403, 500, 503])), "{id}");
        let of_bodies = BTreeSet::from([400, 413, 415, 422]);
        assert!(!operation.takes_body() || statuses.is_superset(&of_bodies), "{id}");
        let takes_query = !parameters(document, &operation, "query").is_empty();
        assert!(!takes_query || statuses.contains(&422), "{id}");
    }
}

/// Method and path of every route of the template.
fn routes() -> BTreeSet<(String, String)> {
    let template: serde_norway::Value = serde_norway::from_str(TEMPLATE).expect("YAML");
    let resources = template["Resources"].as_mapping().expect("resources");
    let events = resources
        .values()
        .filter_map(|resource| resource["Properties"].get("Events"));
    let events = events
        .filter_map(|events| events.as_mapping())
        .flat_map(|events| events.values());
    let properties = events
        .filter(|event| event["Type"] == "HttpApi")
        .map(|event| &event["Properties"]);
    let text = |value: &serde_norway::Value| value.as_str().map(str::to_owned);
    let named = properties.filter_map(|route| text(route.get("Method")?).zip(text(route.get("Path")?)));
    named.map(|(method, path)| (method.to_lowercase(), path)).collect()
}

#[test]
fn it_has_the_operations_that_are_deployed() {
    let document = Document::committed();
    let documented = document.operations().into_iter();
    let documented = documented.map(|operation| (operation.method.to_owned(), operation.path.to_owned()));
    assert_eq!(documented.collect::<BTreeSet<_>>(), routes());
}

#[test]
fn the_table_of_callers_says_the_same() {
    let document = Document::committed();
    let mut seen = BTreeSet::new();
    for (needs, endpoint, _) in callers::endpoints("evt", "key") {
        let (method, path) = endpoint.split_once(' ').expect("a method and a path");
        let operation = document
            .serving(method, path)
            .unwrap_or_else(|| panic!("{endpoint} is not documented"));
        assert_eq!(operation.scope(), needs.scope(), "{endpoint}");
        seen.insert(operation.id());
    }
    let all: BTreeSet<&str> = document.operations().iter().map(Operation::id).collect();
    assert_eq!(seen, all, "every operation is in the table of callers");
}
