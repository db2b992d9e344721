//! A place in the template: a value that knows where it stands, so that every complaint does.

use serde_norway::Value;

use super::TemplateError;

/// A value and the path to it, which begins with its resource.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// The resource, or section, that the value is part of.
    resource: &'a str,
    /// The property that holds the value; empty for the resource itself.
    property: &'a str,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// The whole of a resource.
    pub fn new(resource: &'a str, value: &'a Value) -> Self {
        Self {
            resource,
            property: "",
            value,
        }
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// A complaint about this place.
    pub fn wrong(&self, problem: &str) -> TemplateError {
        let place = match self.property {
            "" => self.resource.to_owned(),
            property => format!("{}: {property}", self.resource),
        };
        TemplateError {
            place,
            problem: problem.to_owned(),
        }
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> Result<Vec<(&'a str, &'a Value)>, TemplateError> {
        let Value::Mapping(mapping) = self.value else {
            return Err(self.wrong("must be a mapping"));
        };
        mapping
            .iter()
            .map(|(key, value)| match key {
                Value::String(key) => Ok((key.as_str(), value)),
                _ => Err(self.wrong("has a key that is not a text")),
            })
            .collect()
    }

    /// The elements of a list.
    pub fn items(&self) -> Result<Vec<Self>, TemplateError> {
        let Value::Sequence(items) = self.value else {
            return Err(self.wrong("must be a list"));
        };
        Ok(items.iter().map(|value| Self { value, ..*self }).collect())
    }

    /// The elements of a list, or the one value that stands in a list's place.
    pub fn items_or_one(&self) -> Result<Vec<Self>, TemplateError> {
        match self.value {
            Value::Sequence(_) => self.items(),
            _ => Ok(vec![*self]),
        }
    }

    /// Refuses a mapping with a key that is not in `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), TemplateError> {
        for (key, value) in self.entries()? {
            if !known.contains(&key) {
                let unknown = Self {
                    property: key,
                    value,
                    ..*self
                };
                return Err(unknown.wrong("this property is not understood"));
            }
        }
        Ok(())
    }

    /// What a mapping has under `key`.
    pub fn child(&self, key: &str) -> Result<Option<Self>, TemplateError> {
        let found = self.entries()?.into_iter().find(|(name, _)| *name == key);
        Ok(found.map(|(property, value)| Self {
            property,
            value,
            ..*self
        }))
    }

    /// What a mapping must have under `key`.
    pub fn required(&self, key: &str) -> Result<Self, TemplateError> {
        self.child(key)?.ok_or_else(|| self.wrong(&format!("{key} is missing")))
    }

    /// A text that holds no intrinsic function.
    pub fn plain(&self) -> Result<&'a str, TemplateError> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong("must be a plain text")),
        }
    }
}
