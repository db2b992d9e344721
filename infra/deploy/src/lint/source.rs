//! The template as it is written: what the local stack passes over is read from here.

use std::collections::BTreeSet;

use serde_norway::Value;

/// A template.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    document: &'a Value,
}

/// A resource as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// Its logical name.
    pub name: &'a str,
    /// All of it.
    pub whole: &'a Value,
}

impl<'a> Source<'a> {
    /// A template that has been read.
    pub fn new(document: &'a Value) -> Self {
        Self { document }
    }

    /// The whole.
    pub fn document(&self) -> &'a Value {
        self.document
    }

    /// The names in a section.
    pub fn names(&self, section: &str) -> BTreeSet<&'a str> {
        entries(&self.document[section]).map(|(name, _)| name).collect()
    }

    /// The resources.
    pub fn resources(&self) -> impl Iterator<Item = Resource<'a>> + use<'a> {
        entries(&self.document["Resources"]).map(|(name, whole)| Resource { name, whole })
    }

    /// The resources of a type.
    pub fn of_type(&self, kind: &str) -> Vec<Resource<'a>> {
        self.resources()
            .filter(|resource| resource.whole["Type"] == kind)
            .collect()
    }
}

impl<'a> Resource<'a> {
    /// What stands at a path of its properties, `/` between the names; null if nothing does.
    pub fn at(&self, path: &str) -> &'a Value {
        path.split('/')
            .fold(&self.whole["Properties"], |value, name| match value {
                Value::Sequence(items) => name
                    .parse()
                    .ok()
                    .and_then(|at: usize| items.get(at))
                    .unwrap_or(&Value::Null),
                value => value.get(name).unwrap_or(&Value::Null),
            })
    }

    /// Whether what stands at a path is `true`.
    pub fn is_on(&self, path: &str) -> bool {
        self.at(path).as_bool() == Some(true)
    }

    /// Whether deleting the stack, or replacing the resource, leaves it.
    pub fn is_retained(&self) -> bool {
        let retains = |attribute: &str| self.whole[attribute] == "Retain";
        retains("DeletionPolicy") && retains("UpdateReplacePolicy")
    }
}

/// The entries of a mapping whose names are texts; none of anything else.
pub fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = value.as_mapping().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str()?, value)))
}

/// The name that `!Ref NAME`, or the resource that `!GetAtt NAME.Attribute`, refers to.
pub fn referred(value: &Value) -> Option<&str> {
    let Value::Tagged(tagged) = value else { return None };
    let name = tagged.value.as_str()?;
    match tagged.tag.to_string().as_str() {
        "!Ref" => Some(name),
        "!GetAtt" => name.split('.').next(),
        _ => None,
    }
}

/// All names that a part of the template refers to.
pub fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Mapping(mapping) => mapping.values().for_each(|value| references(value, found)),
        Value::Sequence(items) => items.iter().for_each(|value| references(value, found)),
        Value::Tagged(tagged) => {
            found.extend(referred(value).map(str::to_owned));
            if let (true, Some(text)) = (tagged.tag == "!Sub", tagged.value.as_str()) {
                let names = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
                found.extend(names.filter_map(|name| name.split('.').next()).map(str::to_owned));
            }
            references(&tagged.value, found);
        }
        _ => {}
    }
}
