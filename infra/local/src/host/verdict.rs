//! What a function's answer says about its batch, read as strictly as Lambda reads it: an answer
//! that is wrong anywhere fails everything.

use serde_json::Value;

/// Why an answer says nothing about single records.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// Not JSON.
    #[error("the answer is not JSON")]
    Json(#[from] serde_json::Error),
    /// Not the answer of a batch.
    #[error("the answer is not an object with a list batchItemFailures")]
    Shape,
    /// A failure that names nothing.
    #[error("an element of batchItemFailures has no itemIdentifier that is a text")]
    Nameless,
    /// A failure of something else.
    #[error("batchItemFailures names {0:?}, which is not in the batch")]
    Unknown(String),
}

/// The records that failed, of those that were handed over; nothing at all is success.
pub fn failures(answer: &str, handed: &[&str]) -> Result<Vec<String>, BadAnswer> {
    if answer.trim().is_empty() {
        return Ok(Vec::new());
    }
    let answer: Value = serde_json::from_str(answer)?;
    let listed = match &answer {
        Value::Null => return Ok(Vec::new()),
        Value::Object(answer) => answer.get("batchItemFailures").unwrap_or(&Value::Null),
        _ => return Err(BadAnswer::Shape),
    };
    let listed = match listed {
        Value::Null => return Ok(Vec::new()),
        Value::Array(listed) => listed,
        _ => return Err(BadAnswer::Shape),
    };
    let mut failed = Vec::new();
    for item in listed {
        let Value::String(id) = &item["itemIdentifier"] else {
            return Err(BadAnswer::Nameless);
        };
        if !handed.contains(&id.as_str()) {
            return Err(BadAnswer::Unknown(id.clone()));
        }
        failed.push(id.clone());
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_what_failed() {
        let read = |answer: &str| failures(answer, &["a", "b"]).expect("understood");
        for success in [
            "",
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
        ] {
            assert!(read(success).is_empty(), "{success}");
        }
        assert_eq!(read(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#), ["b"]);
    }

    #[test]
    fn an_answer_that_is_wrong_anywhere_fails_everything() {
        for wrong in [
            "{",
            "\"ok\"",
            "[]",
            r#"{"batchItemFailures":"a"}"#,
            r#"{"batchItemFailures":["a"]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"id":"a"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"c"}]}"#,
        ] {
            assert!(failures(wrong, &["a", "b"]).is_err(), "{wrong}");
        }
    }
}
