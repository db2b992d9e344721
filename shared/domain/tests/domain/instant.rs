//! Instants as text: read and written to the letter.

use chrono::{DateTime, Utc};
use metering_domain::period::{instant, instant_option, instant_text, parse_instant};
use proptest::prelude::*;
use serde::Serialize;

use crate::at;

#[test]
fn instants_are_read_to_the_letter() {
    for (text, expected) in [
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("2026-01-31T10:00:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31 10:00:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31t10:00:00z", "2026-01-31T10:00:00Z"),
        ("2026-01-31T10:00:00.5", "2026-01-31T10:00:00.500Z"),
        ("2026-01-31T10:00:00.0009999999999999Z", "2026-01-31T10:00:00Z"),
        ("2026-01-31T10:00:00.1239+05:45", "2026-01-31T04:15:00.123Z"),
        ("2026-12-31T23:59:59-01:00", "2027-01-01T00:59:59Z"),
        ("1970-01-01T00:00:00-00:00", "1970-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("2024-02-29T00:00:00+23:59", "2024-02-28T00:01:00Z"),
    ] {
        assert_eq!(
            parse_instant(text).map(instant_text).as_deref(),
            Some(expected),
            "{text}"
        );
    }
    for text in [
        "",
        "2026-01-31",
        "2026-01-31T10:00",
        "2026-01-31T10:00Z",
        "2026-02-30T10:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "2026-01-31T10:60:00Z",
        "2026-01-31T10:00:00.Z",
        "2026-01-31T10:00:00,5Z",
        "2026-01-31T10:00:00+0100",
        "2026-01-31T10:00:00+01",
        "2026-01-31T10:00:00+24:00",
        "2026-01-31T10:00:00+01:00:00",
        "2026-01-31T10:00:00+01:60",
        "2026-01-31T10:00:00 Z",
        "2026-01-31T10:00:00ZZ",
        "2026-1-31T10:00:00Z",
        "26-01-31T10:00:00Z",
        " 2026-01-31T10:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "+2026-01-31T10:00:00Z",
        "2026-01-31T10:00:00−01:00",
        "2026-01-31T1é:00:00Z",
        "20260131T100000Z",
        "2026-01-31_10:00:00",
        "-026-01-31T10:00:00Z",
    ] {
        assert_eq!(parse_instant(text), None, "{text:?}");
    }
}

#[derive(Serialize)]
struct Times {
    #[serde(serialize_with = "instant::serialize")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "instant_option::serialize")]
    sent_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "instant_option::serialize")]
    resolved_at: Option<DateTime<Utc>>,
}

#[test]
fn instants_become_strings() {
    let sent_at = Some(at("2026-01-31T10:00:00.020Z"));
    let times = Times {
        created_at: at("2026-01-31T10:00:00Z"),
        sent_at,
        resolved_at: None,
    };
    let expected = r#"{"created_at":"2026-01-31T10:00:00Z","sent_at":"2026-01-31T10:00:00.020Z","resolved_at":null}"#;
    assert_eq!(serde_json::to_string(&times).expect("JSON"), expected);
}

proptest! {
    #[test]
    fn instants_make_the_round_trip(milliseconds in 0_i64..253_402_300_800_000, minutes in -1_439_i32..=1_439) {
        let instant = DateTime::from_timestamp_millis(milliseconds).expect("in range");
        prop_assert_eq!(parse_instant(&instant_text(instant)), Some(instant));
        let zone = chrono::FixedOffset::east_opt(minutes * 60).expect("within a day");
        let elsewhere = instant.with_timezone(&zone).to_rfc3339();
        // A local year beyond four digits has no RFC 3339 text.
        if elsewhere.starts_with(|first: char| first.is_ascii_digit()) {
            prop_assert_eq!(parse_instant(&elsewhere), Some(instant), "{}", elsewhere);
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>(), near in "[0-9T:.Z+ -]{0,30}") {
        let _ = (parse_instant(&text), parse_instant(&near));
    }
}
