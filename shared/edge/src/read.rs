//! The rules of single fields, shared by bodies and queries.

use chrono::{DateTime, Datelike as _, Utc};
use chrono_tz::Tz;
use metering_domain::{
    address, ids,
    metric::{Kind, Metric},
    number::{NumberError, parse_number, plain},
    period::parse_instant,
};
use metering_store::metric::Catalogue;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::{fields::Fault, problem::FieldCode};

/// The most keys of an event's metadata.
pub const METADATA_KEYS_MAX: usize = 50;
/// The most bytes of an event's metadata, as compact JSON.
pub const METADATA_BYTES_MAX: usize = 512;
/// The last year of instants: what is computed from them is still written with four digits.
const YEAR_MAX: i32 = 9_000;
/// The most elements of a page.
pub const LIMIT_MAX: usize = 200;
/// The elements of a page when nothing is said.
pub const LIMIT_DEFAULT: usize = 50;

fn fault<T>(code: FieldCode, detail: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(code, detail))
}

fn string(value: &Value) -> Result<&str, Fault> {
    value
        .as_str()
        .map_or_else(|| fault(FieldCode::WrongType, "must be a text"), Ok)
}

/// A text of 1 to `chars_max` characters without control characters.
pub fn text(chars_max: usize) -> impl Fn(&Value) -> Result<String, Fault> {
    move |value| {
        let text = string(value)?;
        if text.chars().count() > chars_max {
            return fault(FieldCode::TooLong, format!("must have at most {chars_max} characters"));
        }
        if !ids::is_plain_text(text, chars_max) {
            return fault(
                FieldCode::InvalidFormat,
                format!("must be 1 to {chars_max} characters, no control characters"),
            );
        }
        Ok(text.to_owned())
    }
}

/// A user's id; a whole number is taken as its text.
pub fn user_id(value: &Value) -> Result<String, Fault> {
    let text = match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        other => match other.as_str() {
            Some(text) => text.to_owned(),
            None => return fault(FieldCode::WrongType, "must be a text or a whole number"),
        },
    };
    subject(&text)
}

fn subject(text: &str) -> Result<String, Fault> {
    if text.chars().count() > ids::SUBJECT_ID_CHARS_MAX {
        return fault(
            FieldCode::TooLong,
            format!("must have at most {} characters", ids::SUBJECT_ID_CHARS_MAX),
        );
    }
    if !ids::is_subject_id(text) {
        return fault(FieldCode::InvalidFormat, "must match [A-Za-z0-9._:@|-]{1,128}");
    }
    Ok(text.to_owned())
}

/// A subscription's id, `none` included.
pub fn subscription_id(value: &Value) -> Result<String, Fault> {
    subject(string(value)?)
}

/// The id of a subscription to be created.
pub fn new_subscription_id(value: &Value) -> Result<String, Fault> {
    let id = subject(string(value)?)?;
    if ids::is_subscription_id(&id) {
        Ok(id)
    } else {
        fault(FieldCode::NotAllowed, "is reserved")
    }
}

fn unknown_metric(catalogue: &Catalogue) -> String {
    let known = catalogue.all().into_iter().map(|metric| metric.metric_type.as_str());
    format!("must be one of {}", known.collect::<Vec<_>>().join(", "))
}

/// A metric of the catalogue, which must know the name if it exists: see [`Fields::text_of`].
///
/// [`Fields::text_of`]: crate::fields::Fields::text_of
pub fn metric(catalogue: &Catalogue) -> impl Fn(&Value) -> Result<Metric, Fault> {
    |value| {
        let known = catalogue.find(string(value)?);
        known
            .cloned()
            .map_or_else(|| fault(FieldCode::UnknownValue, unknown_metric(catalogue)), Ok)
    }
}

/// The name of a metric to be defined.
pub fn new_metric_type(value: &Value) -> Result<String, Fault> {
    let name = string(value)?;
    if name.chars().count() > ids::METRIC_TYPE_CHARS_MAX {
        return fault(
            FieldCode::TooLong,
            format!("must have at most {} characters", ids::METRIC_TYPE_CHARS_MAX),
        );
    }
    if ids::is_metric_type(name) {
        Ok(name.to_owned())
    } else {
        fault(FieldCode::InvalidFormat, "must match [a-z][a-z0-9_]{0,63}")
    }
}

/// How a metric's values combine.
pub fn kind(value: &Value) -> Result<Kind, Fault> {
    one_of(&["sum", "gauge", "lease"], Kind::parse)(value)
}

/// A number, or a decimal text, between `least` and 10^12 with at most 9 decimals.
pub fn quantity(least: Decimal) -> impl Fn(&Value) -> Result<Decimal, Fault> {
    move |value| {
        let most = metering_domain::number::QUANTITY_MAX;
        let range = || {
            Fault::new(
                FieldCode::OutOfRange,
                format!("must be between {} and {}", plain(least), plain(most)),
            )
        };
        let parsed = match value {
            Value::Number(number) => parse_number(&number.to_string()),
            Value::String(text) => parse_number(text),
            _ => return fault(FieldCode::WrongType, "must be a number"),
        };
        match parsed {
            Ok(number) if number < least => Err(range()),
            Ok(number) => Ok(number),
            Err(NumberError::OutOfRange) => Err(range()),
            Err(NumberError::TooPrecise) => fault(FieldCode::TooPrecise, "must have at most 9 decimals"),
            Err(NumberError::Invalid) => fault(FieldCode::InvalidFormat, "must be a decimal number"),
        }
    }
}

/// As [`quantity`], above 0.
pub fn positive(value: &Value) -> Result<Decimal, Fault> {
    let number = quantity(Decimal::ZERO)(value)?;
    if number > Decimal::ZERO {
        Ok(number)
    } else {
        fault(FieldCode::OutOfRange, "must be above 0")
    }
}

/// A whole number; in a query its digits.
pub fn integer(least: u32, most: u32) -> impl Fn(&Value) -> Result<u32, Fault> {
    move |value| {
        let number = match value {
            Value::Number(number) => parse_number(&number.to_string()).ok().filter(Decimal::is_integer),
            Value::String(text) => parse_number(text).ok().filter(Decimal::is_integer),
            _ => return fault(FieldCode::WrongType, "must be a whole number"),
        };
        let Some(number) = number else {
            return fault(FieldCode::InvalidFormat, "must be a whole number");
        };
        let range = || Fault::new(FieldCode::OutOfRange, format!("must be between {least} and {most}"));
        let number = u32::try_from(number).map_err(|_| range())?;
        if (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(range())
        }
    }
}

/// A whole number given as a JSON number.
pub fn json_integer(least: u32, most: u32) -> impl Fn(&Value) -> Result<u32, Fault> {
    move |value| {
        if value.is_number() {
            integer(least, most)(value)
        } else {
            fault(FieldCode::WrongType, "must be a whole number")
        }
    }
}

/// How many elements a page has.
pub fn limit(value: &Value) -> Result<usize, Fault> {
    let most = u32::try_from(LIMIT_MAX).unwrap_or(u32::MAX);
    Ok(usize::try_from(integer(1, most)(value)?).unwrap_or(LIMIT_MAX))
}

/// True or false.
pub fn boolean(value: &Value) -> Result<bool, Fault> {
    value
        .as_bool()
        .map_or_else(|| fault(FieldCode::WrongType, "must be true or false"), Ok)
}

/// An instant with any offset; without one it is UTC.
pub fn instant(value: &Value) -> Result<DateTime<Utc>, Fault> {
    match parse_instant(string(value)?) {
        None => fault(FieldCode::InvalidFormat, "must be an instant like 2026-01-31T10:00:00Z"),
        Some(instant) if instant.year() > YEAR_MAX => {
            fault(FieldCode::OutOfRange, format!("must not lie after the year {YEAR_MAX}"))
        }
        Some(instant) => Ok(instant),
    }
}

/// An IANA time zone.
pub fn timezone(value: &Value) -> Result<Tz, Fault> {
    string(value)?
        .parse()
        .or_else(|_| fault(FieldCode::UnknownValue, "must be an IANA time zone like Europe/Berlin"))
}

/// One of some names.
pub fn one_of<T>(names: &[&str], parse: impl Fn(&str) -> Option<T>) -> impl Fn(&Value) -> Result<T, Fault> {
    move |value| {
        parse(string(value)?).map_or_else(
            || fault(FieldCode::UnknownValue, format!("must be one of {}", names.join(", "))),
            Ok,
        )
    }
}

/// An idempotency key.
pub fn idempotency_key(value: &Value) -> Result<String, Fault> {
    let key = string(value)?;
    if key.chars().count() > ids::IDEMPOTENCY_KEY_CHARS_MAX {
        return fault(FieldCode::TooLong, "must have at most 255 characters");
    }
    if ids::is_idempotency_key(key) {
        Ok(key.to_owned())
    } else {
        fault(FieldCode::InvalidFormat, "must be 1 to 255 printable ASCII characters")
    }
}

/// A mail address.
pub fn email(value: &Value) -> Result<String, Fault> {
    let text = string(value)?;
    if text.chars().count() > address::EMAIL_CHARS_MAX {
        return fault(
            FieldCode::TooLong,
            format!("must have at most {} characters", address::EMAIL_CHARS_MAX),
        );
    }
    if address::is_email(text) {
        Ok(text.to_owned())
    } else {
        fault(FieldCode::InvalidFormat, "must be a mail address like name@example.com")
    }
}

/// A phone number.
pub fn phone(value: &Value) -> Result<String, Fault> {
    let text = string(value)?;
    if address::is_phone(text) {
        Ok(text.to_owned())
    } else {
        fault(
            FieldCode::InvalidFormat,
            "must be + and 7 to 15 digits, like +4930123456",
        )
    }
}

/// An event's metadata.
pub fn metadata(value: &Value) -> Result<Map<String, Value>, Fault> {
    let Some(map) = value.as_object() else {
        return fault(FieldCode::WrongType, "must be an object");
    };
    if map.len() > METADATA_KEYS_MAX {
        return fault(
            FieldCode::TooManyItems,
            format!("must have at most {METADATA_KEYS_MAX} keys"),
        );
    }
    if value.to_string().len() > METADATA_BYTES_MAX {
        return fault(
            FieldCode::TooLong,
            format!("must have at most {METADATA_BYTES_MAX} bytes as JSON"),
        );
    }
    Ok(map.clone())
}

/// A cursor, as it was given out.
pub fn cursor(value: &Value) -> Result<String, Fault> {
    string(value).map(str::to_owned)
}
