//! Reads the fields of a body or a query, each by its own rule, and keeps every fault: a caller
//! learns of all wrong fields at once.

use serde_json::{Map, Value};

use crate::problem::{Code, FieldCode, FieldError, Problem};

/// What is wrong with a value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub FieldCode, pub String);

impl Fault {
    /// A fault with a sentence.
    pub fn new(code: FieldCode, detail: impl Into<String>) -> Self {
        Self(code, detail.into())
    }
}

/// Where the fields are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Body,
    Query,
}

/// Fields not read yet, and the faults of those that were.
#[derive(Debug)]
pub struct Fields {
    place: Place,
    /// Where the object of the fields stands in its body.
    within: String,
    values: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The fields of a body, which must be an object.
    pub fn body(body: Value) -> Result<Self, Problem> {
        Self::element(body, "")
    }

    /// The fields of an object at a JSON pointer (RFC 6901) of the body.
    pub fn element(element: Value, pointer: &str) -> Result<Self, Problem> {
        Self::object(element, pointer).map_err(|error| Problem::fields(vec![error]))
    }

    /// The fields of an object inside a body, which stands at `within` (a JSON pointer).
    pub fn object(value: Value, within: &str) -> Result<Self, FieldError> {
        match value {
            Value::Object(values) => Ok(Self {
                place: Place::Body,
                within: within.to_owned(),
                values,
                errors: Vec::new(),
            }),
            _ => Err(FieldError {
                pointer: within.to_owned(),
                code: FieldCode::WrongType,
                detail: "must be an object".to_owned(),
            }),
        }
    }

    /// The parameters of a query string.
    pub fn query(query: Option<&str>) -> Self {
        let mut fields = Self {
            place: Place::Query,
            within: String::new(),
            values: Map::new(),
            errors: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if fields
                .values
                .insert(name.to_string(), Value::String(value.into_owned()))
                .is_some()
            {
                fields.fail(&name, FieldCode::NotAllowed, "must be given once");
            }
        }
        fields
    }

    /// The text of a field that is yet to be read, if it is one: what must be looked up first.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// The names in a field that is yet to be read, if it is an object.
    pub fn names_in(&self, name: &str) -> impl Iterator<Item = &str> {
        let object = self.values.get(name).and_then(Value::as_object);
        object.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// The texts in a field that is yet to be read, if it is a list.
    pub fn texts_of(&self, name: &str) -> impl Iterator<Item = &str> {
        let list = self.values.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// A field that may be left out; null is left out.
    pub fn optional<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, Fault>) -> Option<T> {
        match self.values.remove(name) {
            None | Some(Value::Null) => None,
            Some(value) => self.read(name, &value, read),
        }
    }

    /// A field that must be there.
    pub fn required<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, Fault>) -> Option<T> {
        match self.values.remove(name) {
            None | Some(Value::Null) => {
                self.fail(name, FieldCode::Required, "must be given");
                None
            }
            Some(value) => self.read(name, &value, read),
        }
    }

    /// A field whose null means something.
    pub fn nullable<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, Fault>) -> Option<Option<T>> {
        match self.values.remove(name) {
            None => None,
            Some(Value::Null) => Some(None),
            Some(value) => self.read(name, &value, read).map(Some),
        }
    }

    /// A list of at least one element that must be there; each element is read by itself.
    pub fn required_list<T>(&mut self, name: &str, read: impl Fn(&Value) -> Result<T, Fault>) -> Option<Vec<T>> {
        let elements = self.required(name, elements)?;
        self.read_each(name, &elements, read)
    }

    /// As [`Fields::required_list`], which may be left out.
    pub fn optional_list<T>(&mut self, name: &str, read: impl Fn(&Value) -> Result<T, Fault>) -> Option<Vec<T>> {
        let elements = self.optional(name, elements)?;
        self.read_each(name, &elements, read)
    }

    /// As [`Fields::optional_list`], which may be empty: that is left out, too.
    pub fn list<T>(&mut self, name: &str, read: impl Fn(&Value) -> Result<T, Fault>) -> Option<Vec<T>> {
        if self
            .values
            .get(name)
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty)
        {
            self.values.remove(name);
        }
        self.optional_list(name, read)
    }

    fn read_each<T>(
        &mut self,
        name: &str,
        elements: &[Value],
        read: impl Fn(&Value) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let mut all = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            match read(element) {
                Ok(element) => all.push(element),
                Err(Fault(code, detail)) => self.errors.push(FieldError {
                    pointer: format!("{}/{index}", self.pointer(name)),
                    code,
                    detail,
                }),
            }
        }
        (all.len() == elements.len()).then_some(all)
    }

    fn read<T>(&mut self, name: &str, value: &Value, read: impl FnOnce(&Value) -> Result<T, Fault>) -> Option<T> {
        match read(value) {
            Ok(value) => Some(value),
            Err(Fault(code, detail)) => {
                self.fail(name, code, detail);
                None
            }
        }
    }

    /// Notes that a field is wrong.
    pub fn fail(&mut self, name: &str, code: FieldCode, detail: impl Into<String>) {
        self.errors.push(FieldError {
            pointer: self.pointer(name),
            code,
            detail: detail.into(),
        });
    }

    /// Whether a fault of this field was noted.
    pub fn is_faulty(&self, name: &str) -> bool {
        let pointer = self.pointer(name);
        self.errors.iter().any(|error| error.pointer == pointer)
    }

    fn pointer(&self, name: &str) -> String {
        match self.place {
            Place::Body => format!("{}/{}", self.within, name.replace('~', "~0").replace('/', "~1")),
            Place::Query => format!("?{name}"),
        }
    }

    /// A field that may not be there.
    pub fn refuse(&mut self, name: &str, detail: &str) {
        if self.values.remove(name).is_some() {
            self.fail(name, FieldCode::NotAllowed, detail);
        }
    }

    /// All that was not read, for who knows what it is.
    pub fn take_rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.values)
    }

    /// Everything that is wrong, with what is left over, of an object inside a body.
    pub fn faults(mut self) -> Vec<FieldError> {
        let unknown: Vec<String> = self.values.keys().cloned().collect();
        for name in unknown {
            self.fail(&name, FieldCode::UnknownField, "there is no such field");
        }
        self.errors
    }

    /// Notes what is wrong with an object inside this body.
    pub fn note(&mut self, errors: Vec<FieldError>) {
        self.errors.extend(errors);
    }

    /// What was read, if nothing is wrong and nothing is left over.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Problem> {
        let errors = self.faults();
        match read {
            Some(read) if errors.is_empty() => Ok(read),
            _ if errors.is_empty() => Err(Problem::new(Code::Internal, "A field was lost.")),
            _ => Err(Problem::fields(errors)),
        }
    }
}

fn elements(value: &Value) -> Result<Vec<Value>, Fault> {
    match value.as_array() {
        None => Err(Fault::new(FieldCode::WrongType, "must be a list")),
        Some(elements) if elements.is_empty() => Err(Fault::new(FieldCode::TooFewItems, "must not be empty")),
        Some(elements) => Ok(elements.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> Result<String, Fault> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Fault::new(FieldCode::WrongType, "must be a text"))
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let mut fields = Fields::body(json!({"a": 1, "z/~": 2})).expect("an object");
        let (a, b) = (fields.optional("a", text), fields.required("b", text));
        let problem = fields.finish(a.zip(b)).expect_err("it is wrong");
        let body = problem.body("/", "r");
        let told: Vec<_> = body["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .map(|e| (e["pointer"].clone(), e["code"].clone()))
            .collect();
        assert_eq!(
            told,
            [
                (json!("/a"), json!("wrong_type")),
                (json!("/b"), json!("required")),
                (json!("/z~1~0"), json!("unknown_field"))
            ]
        );
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        let mut fields = Fields::query(Some("a=1&a=2"));
        let a = fields.optional("a", text);
        assert!(fields.finish(Some(a)).is_err());
    }
}
