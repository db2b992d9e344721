//! Log lines as CloudWatch Logs hands them to a function that is subscribed to a log group: a batch,
//! packed with gzip and base64. It knows nothing of what a line says, but whom.

use aws_lambda_events::cloudwatch_logs::{LogData, LogEntry, LogsEvent};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::usage_message::{self, Left};

/// What is said of a batch that has lines. The other kind asks whether a function is there.
const DATA: &str = "DATA_MESSAGE";

/// Lines of one stream of a log group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The log group.
    pub group: String,
    /// The lines, oldest first.
    pub lines: Vec<Line>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name that CloudWatch Logs gave it.
    pub id: String,
    /// What it says.
    pub text: String,
}

/// Why an event is no batch of lines.
#[derive(Debug, thiserror::Error)]
#[error("the event is no batch of log lines")]
pub struct LogsError(#[source] serde_json::Error);

/// The lines of an event.
///
/// # Errors
/// If it is no event of CloudWatch Logs, or cannot be unpacked.
pub fn batch(event: &str) -> Result<Batch, LogsError> {
    let LogData {
        log_group,
        message_type,
        log_events,
        ..
    } = unpacked(event)?;
    let line = |LogEntry { id, message, .. }| Line { id, text: message };
    Ok(Batch {
        group: log_group,
        lines: match message_type == DATA {
            true => log_events.into_iter().map(line).collect(),
            false => Vec::new(),
        },
    })
}

/// The event that hands over such lines, as CloudWatch Logs makes it.
///
/// # Errors
/// If it cannot be packed.
pub fn event(batch: &Batch, account: &str, timestamp_ms: i64) -> Result<String, serde_json::Error> {
    let mut data = LogData::default();
    account.clone_into(&mut data.owner);
    batch.group.clone_into(&mut data.log_group);
    data.message_type = DATA.to_owned();
    for line in &batch.lines {
        let mut entry = LogEntry::default();
        line.id.clone_into(&mut entry.id);
        line.text.clone_into(&mut entry.message);
        entry.timestamp = timestamp_ms;
        data.log_events.push(entry);
    }
    packed(&data)
}

/// An event without the lines that are to go; nothing if it is no event of CloudWatch Logs.
pub fn without(event: &str, goes: impl Fn(&str) -> bool) -> Option<Left> {
    let mut data = unpacked(event).ok()?;
    let before = data.log_events.len();
    data.log_events.retain(|line| !goes(&line.message));
    Some(match data.log_events.len() {
        left if left == before => Left::All,
        0 => Left::Nothing,
        _ => Left::Some(packed(&data).ok()?),
    })
}

/// By hand: aws_lambda_events 1.2.1 writes base64 without the padding that it asks for when it reads.
fn packed(data: &LogData) -> Result<String, serde_json::Error> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut encoder, data)?;
    let bytes = encoder.finish().map_err(serde_json::Error::io)?;
    Ok(json!({"awslogs": {"data": STANDARD.encode(bytes)}}).to_string())
}

fn unpacked(event: &str) -> Result<LogData, LogsError> {
    let event: LogsEvent = serde_json::from_str(event).map_err(LogsError)?;
    Ok(event.aws_logs.data)
}

/// Whom a line is about, by its member `user_id`; of one that is cut off, too, if it says so before.
pub fn user(line: &str) -> Option<String> {
    if let Ok(value) = serde_json::from_str::<Value>(line) {
        return usage_message::user(&value);
    }
    let (_, rest) = line.split_once("\"user_id\"")?;
    let text = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    // No name that is counted holds a quotation mark or an escape.
    text.split_once('"').map(|(user, _)| user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Batch {
        let line = |text: &&str| Line {
            id: "1".to_owned(),
            text: (*text).to_owned(),
        };
        Batch {
            group: "api".to_owned(),
            lines: texts.iter().map(line).collect(),
        }
    }

    #[test]
    fn a_batch_is_as_it_was_packed() {
        let packed = lines(&["a", "ä \"quoted\"", ""]);
        let event = event(&packed, "1", 0).expect("an event");
        assert!(event.starts_with("{\"awslogs\":{\"data\":\""), "{event}");
        assert_eq!(batch(&event).expect("a batch"), packed);
        for wrong in ["", "{}", "{\"awslogs\":{\"data\":\"AAAA\"}}"] {
            batch(wrong).expect_err("not packed");
        }
    }

    #[test]
    fn lines_go_and_others_stay() {
        let of = |texts: &[&str]| event(&lines(texts), "1", 0).expect("an event");
        let goes = |line: &str| line == "goes";
        assert_eq!(without(&of(&["a", "b"]), goes), Some(Left::All));
        assert_eq!(without(&of(&["goes", "goes"]), goes), Some(Left::Nothing));
        assert_eq!(without(&of(&["goes", "a"]), goes), Some(Left::Some(of(&["a"]))));
        assert_eq!(without("{\"body\":\"goes\"}", goes), None);
    }

    #[test]
    fn a_line_says_whose_it_is() {
        for (line, said) in [
            ("{\"user_id\":\"u\",\"status\":\"200\"}", Some("u")),
            ("{\"user_id\":7}", Some("7")),
            ("{\"user_id\" : \"u\",\"sta", Some("u")),
            ("{\"user_id\":\"u", None),
            ("{\"status\":\"200\"}", None),
            ("-", None),
        ] {
            assert_eq!(user(line).as_deref(), said, "{line}");
        }
    }
}
