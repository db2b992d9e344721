//! CloudEvents 1.0 in the JSON format, as usage events: `type` is the metric, `subject` the user,
//! `data` says how much (<https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents>).
//!
//! `id` and `source` together are the identity. Extension attributes are checked and not kept.

use chrono::{DateTime, Utc};
use metering_domain::{
    metric::{Kind, Mode},
    number::QUANTITY_MAX,
};
use metering_store::metric::Catalogue;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::{
    fields::{Fault, Fields},
    problem::{FieldCode, Problem},
    read,
    report::{Report, check_mode, check_time, read_details},
};

/// The longest `id` and `source`.
const NAME_CHARS_MAX: usize = 255;

/// A CloudEvent as a report.
#[derive(Debug, Clone)]
pub struct CloudEvent {
    /// Where it comes from.
    pub source: String,
    /// What it reports; its key is the event's `id`.
    pub report: Report,
}

impl CloudEvent {
    /// Reads an event at `pointer` of a body; `now` is when it was received. The catalogue must know
    /// the event's type if it exists.
    pub fn read(event: Value, pointer: &str, metrics: &Catalogue, now: DateTime<Utc>) -> Result<Self, Problem> {
        let mut fields = Fields::element(event, pointer)?;
        let id = fields.required("id", name);
        let source = fields.required("source", uri_reference);
        fields.required("specversion", version);
        let metric = fields.required("type", read::metric(metrics));
        let user_id = fields.required("subject", subject);
        let timestamp = fields.optional("time", timestamp);
        fields.optional("datacontenttype", json_type);
        fields.optional("dataschema", uri);
        let data = fields.optional("data", object).unwrap_or_default();
        fields.refuse("data_base64", "send the data as a JSON object in data");
        if metric.as_ref().is_some_and(|metric| metric.kind == Kind::Lease) {
            fields.fail(
                "type",
                FieldCode::NotAllowed,
                "is held through reservations, not tracked",
            );
        }
        let extensions = fields.take_rest();
        for (attribute, value) in &extensions {
            if let Err(Fault(code, detail)) = extension(attribute, value) {
                fields.fail(attribute, code, detail);
            }
        }

        let mut inner = Fields::element(Value::Object(data), &format!("{pointer}/data"))?;
        let value = inner.optional("value", read::quantity(-QUANTITY_MAX));
        let subscription_id = inner.optional("subscription_id", read::subscription_id);
        let mode = inner.optional("mode", read::one_of(&["level", "delta"], Mode::parse));
        let backfill = inner.optional("backfill", read::boolean).unwrap_or(false);
        let mut details = read_details(&mut inner);
        let value = value.or((!inner.is_faulty("value")).then_some(Decimal::ONE));
        check_mode(&mut inner, ["value", "mode"], metric.as_ref(), value, mode);
        check_time(&mut fields, "time", timestamp, now, backfill);
        let metadata = Value::Object(inner.take_rest());
        match read::metadata(&metadata) {
            Ok(metadata) => details.metadata = metadata,
            Err(Fault(code, detail)) => fields.fail("data", code, detail),
        }
        fields.note(inner.faults());
        let named = id.zip(source).zip(metric).zip(value);
        let (((id, source), metric), value) = fields.finish(named)?;
        details.idempotency_key = Some(id);
        Ok(Self {
            source,
            report: Report {
                user_id,
                subscription_id,
                metric,
                value,
                mode,
                timestamp,
                enforce: None,
                backfill,
                details,
            },
        })
    }
}

fn text(value: &Value) -> Result<&str, Fault> {
    let text = value
        .as_str()
        .ok_or_else(|| Fault::new(FieldCode::WrongType, "must be a text"))?;
    if text.chars().count() > NAME_CHARS_MAX {
        let detail = format!("must have at most {NAME_CHARS_MAX} characters");
        return Err(Fault::new(FieldCode::TooLong, detail));
    }
    if text.is_empty() || text.chars().any(char::is_control) {
        let detail = "must not be empty and hold no control characters";
        return Err(Fault::new(FieldCode::InvalidFormat, detail));
    }
    Ok(text)
}

fn name(value: &Value) -> Result<String, Fault> {
    text(value).map(str::to_owned)
}

/// A URI-reference (RFC 3986) as far as its characters go.
fn uri_reference(value: &Value) -> Result<String, Fault> {
    let text = text(value)?;
    let illegal = |character: char| character.is_whitespace() || "<>\"{}|\\^`".contains(character);
    let is_hex = |part: &str| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let escapes_right = text.split('%').skip(1).all(is_hex);
    if text.chars().any(illegal) || !escapes_right || text.matches('#').count() > 1 {
        return Err(Fault::new(FieldCode::InvalidFormat, "must be a URI-reference"));
    }
    Ok(text.to_owned())
}

/// An absolute URI.
fn uri(value: &Value) -> Result<(), Fault> {
    let parsed = url::Url::parse(text(value)?);
    parsed.map_or_else(
        |_| Err(Fault::new(FieldCode::InvalidFormat, "must be an absolute URI")),
        |_| Ok(()),
    )
}

/// The user; unlike elsewhere a number is none, since attributes are texts.
fn subject(value: &Value) -> Result<String, Fault> {
    text(value)?;
    read::user_id(value)
}

fn version(value: &Value) -> Result<(), Fault> {
    match value.as_str() {
        Some("1.0") => Ok(()),
        Some(_) => Err(Fault::new(FieldCode::UnknownValue, "must be 1.0")),
        None => Err(Fault::new(FieldCode::WrongType, "must be the text 1.0")),
    }
}

/// RFC 3339, which unlike our own instants must have an offset.
fn timestamp(value: &Value) -> Result<DateTime<Utc>, Fault> {
    let text = value
        .as_str()
        .ok_or_else(|| Fault::new(FieldCode::WrongType, "must be a text"))?;
    let parsed = DateTime::parse_from_rfc3339(text);
    parsed.map_err(|_| {
        Fault::new(
            FieldCode::InvalidFormat,
            "must be an RFC 3339 time like 2026-01-31T10:00:00Z",
        )
    })?;
    read::instant(value)
}

fn json_type(value: &Value) -> Result<(), Fault> {
    let media_type = text(value)?
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") || media_type.ends_with("/json") {
        Ok(())
    } else {
        Err(Fault::new(FieldCode::UnknownValue, "must be a JSON type"))
    }
}

fn object(value: &Value) -> Result<Map<String, Value>, Fault> {
    let map = value.as_object().cloned();
    map.ok_or_else(|| Fault::new(FieldCode::WrongType, "must be an object"))
}

/// Names of attributes are lower-case letters and digits; values booleans, 32-bit integers, texts.
fn extension(name: &str, value: &Value) -> Result<(), Fault> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || !name.bytes().all(legal) {
        let detail = "is no attribute: names are lower-case letters and digits";
        return Err(Fault::new(FieldCode::UnknownField, detail));
    }
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::String(text) if !text.chars().any(char::is_control) => Ok(()),
        Value::Number(number) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => Ok(()),
        _ => Err(Fault::new(
            FieldCode::WrongType,
            "must be a text, a boolean or a 32-bit integer",
        )),
    }
}
