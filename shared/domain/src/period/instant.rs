//! Reads and writes instants as text, to the millisecond.
//!
//! Must not know zones other than offsets, nor which instants a caller accepts.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, Timelike, Utc};
use serde::Serializer;

/// The years (in UTC) that a request may name: what every answer can print with four digits.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

const NANOSECONDS_PER_MILLISECOND: u32 = 1_000_000;

/// `2026-01-31T10:00:00Z`, with three digits of milliseconds when they are not 0 (RFC 3339, always UTC).
///
/// What is finer than a millisecond is cut off.
pub fn instant_text(t: DateTime<Utc>) -> String {
    let format = if t.nanosecond() / NANOSECONDS_PER_MILLISECOND == 0 {
        SecondsFormat::Secs
    } else {
        SecondsFormat::Millis
    };
    t.to_rfc3339_opts(format, true)
}

/// Reads `2026-01-31T10:00:00` with an optional fraction and an optional offset; none means UTC.
///
/// RFC 3339 with two liberties: the offset may be missing, a blank may stand for the `T` (section 5.6).
/// Cut off to milliseconds. None for anything else, for a leap second (`:60`), and outside the
/// years 1970 to 9999 in UTC.
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    let (date, time) = text.split_at_checked(10)?;
    let (clock, rest) = time.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("0", rest),
    };
    let local = read_local(date, clock, read_milliseconds(fraction)?)?;
    let utc = local.checked_sub_signed(TimeDelta::minutes(read_offset_minutes(offset)?))?;
    YEARS.contains(&utc.year()).then(|| utc.and_utc())
}

/// `YYYY-MM-DD` and `HH:MM:SS`.
fn read_local(date: &str, clock: &str, milliseconds: u32) -> Option<NaiveDateTime> {
    let [year, month, day] = read_fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = read_fields(clock, ':', [2, 2, 2])?;
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?.and_hms_milli_opt(
        hour,
        minute,
        second,
        milliseconds,
    )
}

/// Unsigned numbers of fixed widths between separators.
fn read_fields<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(separator);
    let mut fields = [0; N];
    for (field, width) in fields.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *field = part.parse().ok()?;
    }
    parts.next().is_none().then_some(fields)
}

/// The first three digits of a fraction of any length ≥ 1.
fn read_milliseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() {
        return None;
    }
    let digits = fraction.chars().chain(['0', '0']).take(3);
    digits
        .map(|digit| digit.to_digit(10))
        .try_fold(0, |sum, digit| Some(sum * 10 + digit?))
}

/// Minutes east of UTC: nothing, `Z`, or a sign and `HH:MM` within a day.
fn read_offset_minutes(text: &str) -> Option<i64> {
    let (sign, clock) = match text {
        "" | "Z" | "z" => return Some(0),
        _ => (text.get(..1)?, text.get(1..)?),
    };
    let [hours, minutes] = read_fields(clock, ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let magnitude = i64::from(hours * 60 + minutes);
    match sign {
        "+" => Some(magnitude),
        "-" => Some(-magnitude),
        _ => None,
    }
}

/// Writes an instant as [`instant_text`]:
/// `#[serde(serialize_with = "metering_domain::period::instant::serialize")]`.
///
/// # Errors
/// Only those of the serializer.
pub fn serialize<S: Serializer>(t: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&instant_text(*t))
}

/// As [`serialize`], for an instant that may be absent: a string or null.
pub mod instant_option {
    use chrono::{DateTime, Utc};
    use serde::Serializer;

    /// The text of [`super::instant_text`], or null.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(t: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        match t {
            Some(t) => super::serialize(t, serializer),
            None => serializer.serialize_none(),
        }
    }
}
