//! Messages of usage, as far as users go who are erased: whom a body names, and what is left of it
//! without them. It does not know what can be counted.

use std::collections::BTreeSet;

use serde_json::Value;

/// What is left of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    All,
    /// Its other elements: null stands where one was taken out, so that they keep their positions.
    Some(String),
    /// Nothing.
    Nothing,
}

/// The users that a body names, of `CloudEvents` and track bodies, one or many.
pub fn users(body: &str) -> BTreeSet<String> {
    match serde_json::from_str(body) {
        Ok(Value::Array(elements)) => elements.iter().filter_map(user).collect(),
        Ok(one) => user(&one).into_iter().collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// A body without the elements that are to go.
pub fn without(body: &str, goes: impl Fn(&Value) -> bool) -> Left {
    match serde_json::from_str(body) {
        Ok(Value::Array(mut elements)) => {
            let mut gone = 0;
            for element in elements.iter_mut().filter(|element| goes(element)) {
                *element = Value::Null;
                gone += 1;
            }
            match gone {
                0 => Left::All,
                _ if elements.iter().all(Value::is_null) => Left::Nothing,
                _ => Left::Some(Value::Array(elements).to_string()),
            }
        }
        Ok(one) if goes(&one) => Left::Nothing,
        _ => Left::All,
    }
}

/// Whom an element is about.
pub fn user(element: &Value) -> Option<String> {
    let named = element.get("user_id").or_else(|| element.get("subject"))?;
    match named {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_names_the_user_goes() {
        let goes = |element: &Value| user(element).as_deref() == Some("1");
        let (own, other) = (json!({"user_id": 1}), json!({"subject": "11"}));
        for (body, left) in [
            (own.to_string(), Left::Nothing),
            (json!([own, own]).to_string(), Left::Nothing),
            (other.to_string(), Left::All),
            (json!([other]).to_string(), Left::All),
            ("{\"user_id\":\"1\"".to_owned(), Left::All),
            (
                json!([own, other]).to_string(),
                Left::Some(json!([null, other]).to_string()),
            ),
        ] {
            assert_eq!(without(&body, goes), left, "{body}");
        }
        let both = json!([own, other, 5]).to_string();
        assert_eq!(users(&both), BTreeSet::from(["1".to_owned(), "11".to_owned()]));
    }
}
