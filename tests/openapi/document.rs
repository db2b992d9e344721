//! The committed OpenAPI document: its operations, what its references mean, its schemas as
//! validators.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The file, as it is served.
pub const TEXT: &str = include_str!("../../functions/tracking-api/openapi.json");
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The document.
pub struct Document(pub Value);

/// One operation.
#[derive(Clone, Copy)]
pub struct Operation<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub says: &'a Value,
}

impl<'a> Operation<'a> {
    pub fn id(&self) -> &'a str {
        self.says["operationId"].as_str().expect("an operationId")
    }

    /// What an API key must be allowed to.
    pub fn scope(&self) -> &'a str {
        self.says["x-scope"].as_str().expect("a scope")
    }

    pub fn takes_body(&self) -> bool {
        self.says.get("requestBody").is_some()
    }

    /// The documented statuses.
    pub fn statuses(&self) -> impl Iterator<Item = u16> + use<'a> {
        let responses = self.says["responses"].as_object().expect("responses");
        responses.keys().map(|status| status.parse().expect("a status"))
    }
}

impl Document {
    pub fn committed() -> &'static Self {
        static DOCUMENT: LazyLock<Document> =
            LazyLock::new(|| Document(serde_json::from_str(TEXT).expect("the document is JSON")));
        &DOCUMENT
    }

    /// Every operation, in the order of the file.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.0["paths"].as_object().expect("paths");
        paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods");
                methods
                    .iter()
                    .map(move |(method, says)| Operation { method, path, says })
            })
            .collect()
    }

    /// The operation of that name.
    pub fn operation(&self, id: &str) -> Operation<'_> {
        let found = self.operations().into_iter().find(|operation| operation.id() == id);
        found.unwrap_or_else(|| panic!("there is no operation {id}"))
    }

    /// The operation that serves a method and a path, with or without query: literals win.
    pub fn serving(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let path = path.split('?').next().unwrap_or_default();
        let is_parameter = |segment: &str| segment.starts_with('{');
        let fits = |operation: &Operation<'_>| {
            let (asked, served): (Vec<_>, Vec<_>) = (path.split('/').collect(), operation.path.split('/').collect());
            let alike =
                |(asked, served): (&&str, &&str)| asked == served || (is_parameter(served) && !asked.is_empty());
            operation.method.eq_ignore_ascii_case(method)
                && asked.len() == served.len()
                && asked.iter().zip(&served).all(alike)
        };
        let fitting = self.operations().into_iter().filter(fits);
        fitting.min_by_key(|operation| {
            operation
                .path
                .split('/')
                .filter(|segment| is_parameter(segment))
                .count()
        })
    }

    /// What a value means: what it points to, if it is a reference.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.target(reference),
            None => value,
        }
    }

    pub fn target(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        let found = self.0.pointer(pointer);
        found.unwrap_or_else(|| panic!("{reference} points to nothing"))
    }

    /// The names of the schemas that a part of the document reaches.
    pub fn schemas_of(&self, part: &Value) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![part];
        while let Some(value) = open.pop() {
            if let Some(reference) = value["$ref"].as_str()
                && seen.insert(reference.to_owned())
            {
                let name = reference.strip_prefix("#/components/schemas/");
                reached.extend(name.map(str::to_owned));
                open.push(self.target(reference));
            }
            match value {
                Value::Object(members) => open.extend(members.values()),
                Value::Array(elements) => open.extend(elements),
                _ => {}
            }
        }
        reached
    }

    /// A schema of the document as it is: what it does not name may be there, too.
    pub fn open(&self, schema: &Value) -> Validator {
        validator(schema, &self.0["components"])
    }

    /// A schema with every object in it closed: what it does not name may not be there.
    pub fn closed(&self, schema: &Value) -> Validator {
        let (mut schema, mut components) = (schema.clone(), self.0["components"].clone());
        close(&mut schema);
        close(&mut components["schemas"]);
        validator(&schema, &components)
    }
}

/// References go to where the components are in the document, so they are put there.
fn validator(schema: &Value, components: &Value) -> Validator {
    let root = json!({"$schema": DIALECT, "components": components, "allOf": [schema]});
    let built = jsonschema::options().should_validate_formats(true).build(&root);
    built.unwrap_or_else(|error| panic!("{schema} is no schema: {error}"))
}

/// What has a reference beside its properties only narrows what it points to.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let names_fields = members.get("properties").is_some_and(Value::is_object);
            if names_fields && !members.contains_key("$ref") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(elements) => elements.iter_mut().for_each(close),
        _ => {}
    }
}

/// Everything that is wrong with a value.
pub fn faults(validator: &Validator, value: &Value) -> Vec<String> {
    let fault = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    validator.iter_errors(value).map(fault).collect()
}
