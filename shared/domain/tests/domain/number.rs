//! Quantities: read without rounding, written in their shortest form.

use std::time::{Duration, Instant};

use metering_domain::number::{self, NumberError, QUANTITY_MAX, UNCAPPED, parse_number, plain};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::dec;

#[test]
fn constants_are_what_they_say() {
    assert_eq!(plain(QUANTITY_MAX), "1000000000000");
    assert_eq!(plain(UNCAPPED), "1000000000000000000");
}

#[test]
fn numbers_are_read_exactly() {
    for (text, value) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.000e-5", "0"),
        ("0e999999999999999999999", "0"),
        ("1", "1"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("1.50", "1.5"),
        ("-12.25e1", "-122.5"),
        ("123456789012.123456789", "123456789012.123456789"),
        ("1000000000000", "1000000000000"),
        ("-1e12", "-1000000000000"),
        ("0.000000001", "0.000000001"),
        ("1e-9", "0.000000001"),
        ("1.0000000000000000000000000000000000000000", "1"),
        ("100000000000000000000e-20", "1"),
    ] {
        assert_eq!(parse_number(text).map(plain), Ok(value.to_owned()), "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_refused_with_its_reason() {
    for text in [
        "", " ", "NaN", "inf", "Infinity", "+1", " 1", "1 ", "1.", ".5", "-", "-.5", "0x1", "007", "00", "-01", "1e",
        "1e+", "1e1.5", "1e1e1", "e5", "1_000", "1,5", "--1", "1.2.3", "1.-2", "１", "null", "1\n", "1\0",
    ] {
        assert_eq!(parse_number(text), Err(NumberError::Invalid), "{text:?}");
    }
    for text in [
        "1000000000000.000000001",
        "1000000000001",
        "-1e13",
        "1e400",
        "1000000000000.0000000000000001",
    ] {
        assert_eq!(parse_number(text), Err(NumberError::OutOfRange), "{text:?}");
    }
    for text in [
        "0.0000000001",
        "1e-10",
        "-1.1234567891",
        "999999999999.9999999999",
        "1e-400",
    ] {
        assert_eq!(parse_number(text), Err(NumberError::TooPrecise), "{text:?}");
    }
}

#[test]
fn long_and_huge_texts_take_no_time() {
    let started = Instant::now();
    let zeros = "0".repeat(1_000_000);
    assert_eq!(parse_number("1e999999999"), Err(NumberError::OutOfRange));
    assert_eq!(parse_number("1e-999999999"), Err(NumberError::TooPrecise));
    assert_eq!(
        parse_number("1e99999999999999999999999999"),
        Err(NumberError::OutOfRange)
    );
    assert_eq!(
        parse_number(&format!("1e{}", "9".repeat(1_000_000))),
        Err(NumberError::OutOfRange)
    );
    assert_eq!(parse_number(&format!("1{zeros}e-1000000")), Ok(Decimal::ONE));
    assert_eq!(parse_number(&format!("0.{zeros}1e1000001")), Ok(Decimal::ONE));
    assert_eq!(parse_number(&"9".repeat(1_000_000)), Err(NumberError::OutOfRange));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "took {:?}",
        started.elapsed()
    );
}

#[derive(Serialize)]
struct Priced {
    #[serde(serialize_with = "number::json::serialize")]
    price: Decimal,
    #[serde(serialize_with = "number::json_option::serialize")]
    limit: Option<Decimal>,
}

#[derive(Serialize)]
struct Outer {
    name: &'static str,
    #[serde(flatten)]
    inner: Priced,
}

#[test]
fn decimals_become_json_numbers() {
    let long = dec("12345678901234567.123456789");
    for (limit, json) in [(None, "null"), (Some(dec("-0.50")), "-0.5")] {
        let outer = Outer {
            name: "x",
            inner: Priced { price: long, limit },
        };
        let expected = format!(r#"{{"name":"x","price":12345678901234567.123456789,"limit":{json}}}"#);
        assert_eq!(serde_json::to_string(&outer).expect("JSON"), expected);
        let value = serde_json::to_value(&outer).expect("JSON");
        assert!(value["price"].is_number());
        assert_eq!(value["price"].to_string(), "12345678901234567.123456789");
    }
}

/// What a value reads as, from integers alone: `mantissa / 10^scale`.
fn judged(mantissa: i128, scale: u32) -> Result<Decimal, NumberError> {
    let unit = 10_i128.pow(scale);
    if mantissa.abs() > 1_000_000_000_000 * unit {
        return Err(NumberError::OutOfRange);
    }
    if scale > 9 && mantissa % 10_i128.pow(scale - 9) != 0 {
        return Err(NumberError::TooPrecise);
    }
    Ok(Decimal::from_i128_with_scale(mantissa, scale))
}

/// Digits with a point before the last `scale` of them.
fn pointed(mantissa: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if mantissa < 0 { "-" } else { "" };
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

fn mantissa_and_scale() -> impl Strategy<Value = (i128, u32)> {
    let around_the_maximum = (-3_i128..=3).prop_map(|off| 1_000_000_000_000 + off);
    (0_u32..=12).prop_flat_map(move |scale| {
        let unit = 10_i128.pow(scale);
        let edge = around_the_maximum
            .clone()
            .prop_map(move |whole| whole * unit + (whole % 2));
        let random = -2_000_000_000_000 * unit..=2_000_000_000_000 * unit;
        (prop_oneof![-100_000_i128..=100_000, edge, random], Just(scale))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every way to write a value reads as that value, or fails for the same reason.
    #[test]
    fn every_spelling_reads_the_same((mantissa, scale) in mantissa_and_scale(), shift in 0_usize..12, zeros in 0_usize..30) {
        let expected = judged(mantissa, scale);
        let as_written = pointed(mantissa, scale as usize);
        let tail = if as_written.contains('.') { "0".repeat(zeros) } else { format!(".{}", "0".repeat(zeros + 1)) };
        for text in [
            as_written.clone(),
            format!("{as_written}{tail}"),
            format!("{mantissa}e-{scale}"),
            format!("{mantissa}{}E-{}", "0".repeat(zeros), scale as usize + zeros),
            format!("{}e+{shift}", pointed(mantissa, scale as usize + shift)),
        ] {
            prop_assert_eq!(parse_number(&text), expected, "{}", text);
        }
    }

    /// The grammar is exactly that of the JSON parser we ship.
    #[test]
    fn the_grammar_is_that_of_json(text in "-?[0-9.eE+-]{0,10}") {
        let json = text.parse::<serde_json::Number>().is_ok();
        prop_assert_eq!(parse_number(&text) != Err(NumberError::Invalid), json, "{}", text);
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = parse_number(&text);
    }

    #[test]
    fn plain_text_reads_back(mantissa in -1_000_000_000_000_000_000_000_i128..=1_000_000_000_000_000_000_000, zeros in 0_u32..5) {
        let value = Decimal::from_i128_with_scale(mantissa * 10_i128.pow(zeros), 9 + zeros);
        let text = plain(value);
        prop_assert_eq!(parse_number(&text), Ok(value), "{}", &text);
        prop_assert!(!text.contains(['e', 'E']) && text != "-0", "{}", &text);
        prop_assert!(!text.contains('.') || !text.ends_with(['0', '.']), "{}", &text);
    }
}
