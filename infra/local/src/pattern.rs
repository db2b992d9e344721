//! Event patterns, by which rules of the bus and filters of streams choose. Pure.
//!
//! Understood are texts, numbers, truth values and null to be equal to, `prefix`, `suffix`,
//! `exists` and `anything-but`; everything else is refused.

use std::collections::BTreeMap;

use serde_json::Value;

/// What an event must look like: every field must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(BTreeMap<String, Field>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Inside(Pattern),
    /// One of them must fit.
    Any(Vec<Test>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Equal(Value),
    Prefix(String),
    Suffix(String),
    Exists(bool),
    AnythingBut(Vec<Value>),
}

/// A pattern that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the pattern is not understood at {0}")]
pub struct NotAPattern(String);

impl Pattern {
    /// Reads a pattern.
    pub fn read(pattern: &Value) -> Result<Self, NotAPattern> {
        let Value::Object(fields) = pattern else {
            return Err(NotAPattern(pattern.to_string()));
        };
        let read = fields.iter().map(|(name, field)| {
            let field = match field {
                // `$or` and whatever else begins so is no field.
                _ if name.starts_with('$') => return Err(NotAPattern(name.clone())),
                Value::Object(_) => Field::Inside(Self::read(field)?),
                Value::Array(tests) if !tests.is_empty() => {
                    Field::Any(tests.iter().map(Test::read).collect::<Result<_, _>>()?)
                }
                _ => return Err(NotAPattern(name.clone())),
            };
            Ok((name.clone(), field))
        });
        Ok(Self(read.collect::<Result<_, _>>()?))
    }

    /// Whether an event looks like this.
    pub fn fits(&self, event: &Value) -> bool {
        self.0.iter().all(|(name, field)| {
            let value = event.get(name);
            match field {
                Field::Inside(pattern) => match value {
                    Some(Value::Array(elements)) => elements.iter().any(|element| pattern.fits(element)),
                    // Fields that must not exist do not, where nothing does.
                    value => pattern.fits(value.unwrap_or(&Value::Null)),
                },
                Field::Any(tests) => tests.iter().any(|test| test.fits(value)),
            }
        })
    }
}

impl Test {
    fn read(test: &Value) -> Result<Self, NotAPattern> {
        let not_understood = || NotAPattern(test.to_string());
        let Value::Object(operator) = test else {
            return match test {
                Value::Array(_) => Err(not_understood()),
                value => Ok(Self::Equal(value.clone())),
            };
        };
        let mut operator = operator.iter();
        match (
            operator.next().map(|(name, value)| (name.as_str(), value)),
            operator.next(),
        ) {
            (Some(("prefix", Value::String(prefix))), None) => Ok(Self::Prefix(prefix.clone())),
            (Some(("suffix", Value::String(suffix))), None) => Ok(Self::Suffix(suffix.clone())),
            (Some(("exists", Value::Bool(exists))), None) => Ok(Self::Exists(*exists)),
            (Some(("anything-but", Value::Array(values))), None) if values.iter().all(is_plain) => {
                Ok(Self::AnythingBut(values.clone()))
            }
            (Some(("anything-but", value)), None) if is_plain(value) => Ok(Self::AnythingBut(vec![value.clone()])),
            _ => Err(not_understood()),
        }
    }

    fn fits(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Exists(exists), value) => value.is_some() == *exists,
            (_, None) => false,
            (Self::AnythingBut(_), Some(Value::Array(elements))) => {
                elements.iter().all(|element| self.fits(Some(element)))
            }
            (_, Some(Value::Array(elements))) => elements.iter().any(|element| self.fits(Some(element))),
            (Self::Equal(expected), Some(value)) => expected == value,
            (Self::Prefix(prefix), Some(value)) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            (Self::Suffix(suffix), Some(value)) => value.as_str().is_some_and(|text| text.ends_with(suffix)),
            (Self::AnythingBut(refused), Some(value)) => !refused.contains(value),
        }
    }
}

fn is_plain(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_must_fit_and_one_of_its_values() {
        let event = json!({
            "source": "billing", "detail-type": "subscription.created", "tags": ["a", "b"],
            "detail": {"plan": "basic", "seats": 3, "note": null},
        });
        for (pattern, fits) in [
            (json!({}), true),
            (json!({"source": ["billing"]}), true),
            (json!({"source": ["crm", "billing"]}), true),
            (json!({"source": ["crm"]}), false),
            (json!({"source": ["billing"], "detail": {"plan": ["pro"]}}), false),
            (json!({"detail": {"seats": [3], "note": [null]}}), true),
            (json!({"detail": {"seats": ["3"]}}), false),
            (json!({"tags": ["b"]}), true),
            (json!({"tags": [{"anything-but": "b"}]}), false),
            (json!({"detail-type": [{"prefix": "subscription."}]}), true),
            (json!({"detail-type": [{"suffix": ".renewed"}]}), false),
            (json!({"detail": {"plan": [{"anything-but": ["pro", "max"]}]}}), true),
            (
                json!({"detail": {"plan": [{"exists": true}], "gone": [{"exists": false}]}}),
                true,
            ),
            (json!({"none": {"deep": [{"exists": false}]}}), true),
            (json!({"none": {"deep": ["a"]}}), false),
            (json!({"none": [{"anything-but": "a"}]}), false),
        ] {
            let read = Pattern::read(&pattern).expect("understood");
            assert_eq!(read.fits(&event), fits, "{pattern}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for pattern in [
            json!([]),
            json!({"source": "billing"}),
            json!({"source": []}),
            json!({"source": [["billing"]]}),
            json!({"$or": [{"a": ["b"]}]}),
            json!({"n": [{"numeric": [">", 1]}]}),
            json!({"n": [{"prefix": "a", "suffix": "b"}]}),
            json!({"n": [{"anything-but": {"prefix": "a"}}]}),
            json!({"n": [{}]}),
        ] {
            assert!(Pattern::read(&pattern).is_err(), "{pattern}");
        }
    }
}
