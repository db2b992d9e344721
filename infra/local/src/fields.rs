//! Reads the JSON bodies of `/_local`, naming every field that is wrong.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{
    clock::read_instant,
    problem::{Problem, field_error},
};

/// The fields of a body, each taken once; what is left at the end is unknown.
#[derive(Debug)]
pub struct Fields {
    fields: BTreeMap<String, Value>,
    errors: Vec<Value>,
}

impl Fields {
    /// The fields of an object; no body at all is an empty one.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let object: Map<String, Value> = match body {
            [] => Map::new(),
            text => match serde_json::from_slice(text) {
                Ok(Value::Object(object)) => object,
                Ok(_) => return Err(Problem::field("", "wrong_type", "must be an object")),
                Err(error) => return Err(Problem::malformed(error.to_string())),
            },
        };
        Ok(Self {
            fields: object.into_iter().collect(),
            errors: Vec::new(),
        })
    }

    /// Whether the field is there, null included.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// A user's id, which must be there.
    pub fn user_id(&mut self, name: &str) -> String {
        match self.fields.remove(name) {
            None | Some(Value::Null) => self.wrong(name, "required", "is required"),
            Some(Value::String(text)) if is_id(&text) => return text,
            Some(Value::Number(number)) if is_id(&number.to_string()) => return number.to_string(),
            Some(Value::String(_) | Value::Number(_)) => {
                self.wrong(name, "invalid_format", "must be 1 to 128 of A-Z a-z 0-9 . _ : @ | -");
            }
            Some(_) => self.wrong(name, "wrong_type", "must be a text"),
        }
        String::new()
    }

    /// A message's body, which must be there: a text as it is, anything else as its JSON.
    pub fn message(&mut self, name: &str) -> String {
        match self.fields.remove(name) {
            None | Some(Value::Null) => {
                self.wrong(name, "required", "is required");
                String::new()
            }
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        }
    }

    /// A text that must be there.
    pub fn text(&mut self, name: &str) -> String {
        let text = self.optional_text(name);
        if text.is_none() {
            self.wrong(name, "required", "is required");
        }
        text.unwrap_or_default()
    }

    /// A text.
    pub fn optional_text(&mut self, name: &str) -> Option<String> {
        match self.fields.remove(name)? {
            Value::Null => None,
            Value::String(text) if !text.is_empty() => Some(text),
            _ => {
                self.wrong(name, "wrong_type", "must be a text that is not empty");
                Some(String::new())
            }
        }
    }

    /// An object that must be there.
    pub fn object(&mut self, name: &str) -> Value {
        match self.fields.remove(name) {
            Some(object @ Value::Object(_)) => return object,
            None => self.wrong(name, "required", "is required"),
            Some(_) => self.wrong(name, "wrong_type", "must be an object"),
        }
        Value::Null
    }

    /// True or false; left out it is false.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.fields.remove(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.wrong(name, "wrong_type", "must be true or false");
                false
            }
        }
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        match self.fields.remove(name)? {
            Value::Number(number) if number.is_i64() => number.as_i64(),
            Value::Number(_) => {
                self.wrong(name, "out_of_range", "must be a whole number of 64 bits");
                None
            }
            _ => {
                self.wrong(name, "wrong_type", "must be a number");
                None
            }
        }
    }

    /// An instant, or null.
    pub fn instant(&mut self, name: &str) -> Option<DateTime<Utc>> {
        match self.fields.remove(name)? {
            Value::Null => None,
            Value::String(text) => {
                let instant = read_instant(&text);
                if instant.is_none() {
                    self.wrong(name, "invalid_format", "must be an RFC 3339 instant");
                }
                instant
            }
            _ => {
                self.wrong(name, "wrong_type", "must be an instant or null");
                None
            }
        }
    }

    /// Notes that a field is wrong.
    pub fn wrong(&mut self, name: &str, code: &str, detail: &str) {
        self.errors.push(field_error(name, code, detail));
    }

    /// Nothing wrong, and nothing left over.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in self.fields.keys() {
            let detail = "is not a field of this request";
            self.errors.push(field_error(name, "unknown_field", detail));
        }
        match self.errors.is_empty() {
            true => Ok(()),
            false => Err(Problem::invalid(self.errors)),
        }
    }
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@|-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}
