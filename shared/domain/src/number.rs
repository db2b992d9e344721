//! Reads, writes and divides quantities and money exactly.
//!
//! Everything is a [`Decimal`]; no value ever passes through binary floating point. This module must
//! not know what a number means (a metric, a price, a limit): callers check signs and ranges of their own.

use rust_decimal::{Decimal, RoundingStrategy};

/// The largest magnitude that a request may carry: 10^12 (`semantics.md`, "Metrics").
pub const QUANTITY_MAX: Decimal = whole(1_000_000_000_000);

/// The most decimals that a request may carry (`semantics.md`, "Metrics").
pub const QUANTITY_SCALE_MAX: u32 = 9;

/// The stored cap of a counter that nothing limits: 10^18.
///
/// A million of the largest events fit below it, and with [`QUANTITY_SCALE_MAX`] decimals it still
/// needs 27 digits, less than the 28 of a [`Decimal`] and the 38 of a DynamoDB number
/// (AWS: "Supported data types", Number).
pub const UNCAPPED: Decimal = whole(1_000_000_000_000_000_000);

/// Whole digits of [`QUANTITY_MAX`].
const QUANTITY_WHOLE_DIGITS_MAX: i64 = 13;

/// Exponents are read up to this magnitude and stay there: far more than any text has digits.
const EXPONENT_MAX: i64 = 1_000_000_000_000;

const HUNDRED: Decimal = whole(100);
const HUNDREDTH: Decimal = Decimal::from_parts(1, 0, 0, false, 2);

/// An integer as a decimal, at compile time: low, middle and high 32 bits.
const fn whole(value: u64) -> Decimal {
    Decimal::from_parts(value as u32, (value >> 32) as u32, 0, false, 0)
}

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not a number in the grammar of JSON (RFC 8259, section 6).
    #[error("is not a decimal number")]
    Invalid,
    /// The magnitude is above [`QUANTITY_MAX`].
    #[error("must be between -1000000000000 and 1000000000000")]
    OutOfRange,
    /// More than [`QUANTITY_SCALE_MAX`] decimals, trailing zeros not counted.
    #[error("must have at most 9 decimals")]
    TooPrecise,
}

/// Reads a JSON number, or a string that holds one, without rounding.
///
/// The grammar is that of RFC 8259, section 6, exponents included: no leading `+`, zeros or blanks,
/// digits on both sides of the point. The result is normalized (`1.50` is `1.5`) and never `-0`. Takes
/// time linear in the length of the text, whatever the exponent.
///
/// # Errors
/// [`NumberError::Invalid`] outside the grammar, else [`NumberError::OutOfRange`] above
/// [`QUANTITY_MAX`], else [`NumberError::TooPrecise`] beyond [`QUANTITY_SCALE_MAX`] decimals.
pub fn parse_number(text: &str) -> Result<Decimal, NumberError> {
    let parts = Parts::read(text).ok_or(NumberError::Invalid)?;
    let digits = [parts.whole, parts.fraction].concat();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Ok(Decimal::ZERO);
    }
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    // The value is `significant` divided by 10^scale. It ends in a digit other than 0, so it is normalized.
    let scale = length(parts.fraction) - parts.exponent - i64::try_from(dropped).unwrap_or(EXPONENT_MAX);
    let whole_digits = length(significant) - scale;
    let too_precise = scale > i64::from(QUANTITY_SCALE_MAX);
    // As many whole digits as the maximum has, and a rest, are always above it.
    if whole_digits > QUANTITY_WHOLE_DIGITS_MAX || (too_precise && whole_digits == QUANTITY_WHOLE_DIGITS_MAX) {
        return Err(NumberError::OutOfRange);
    }
    if too_precise {
        return Err(NumberError::TooPrecise);
    }
    let decimals = u32::try_from(scale.max(0)).map_err(|_| NumberError::TooPrecise)?;
    // At most 13 whole digits and 9 decimals are left: 22 digits, well inside an i128.
    let zeros = u32::try_from((-scale).max(0)).map_err(|_| NumberError::OutOfRange)?;
    let magnitude = significant.parse::<i128>().map_err(|_| NumberError::OutOfRange)? * 10_i128.pow(zeros);
    let signed = if parts.negative { -magnitude } else { magnitude };
    let value = Decimal::try_from_i128_with_scale(signed, decimals).map_err(|_| NumberError::OutOfRange)?;
    if value.abs() > QUANTITY_MAX {
        return Err(NumberError::OutOfRange);
    }
    Ok(value)
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(EXPONENT_MAX)
}

/// The pieces of a JSON number, digits still as text.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Parts<'a> {
    /// None outside the grammar of RFC 8259, section 6.
    fn read(text: &'a str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let canonical = is_digits(whole) && (whole.len() == 1 || !whole.starts_with('0'));
        canonical.then_some(Parts {
            negative: unsigned.len() < text.len(),
            whole,
            fraction,
            exponent,
        })
    }
}

/// The exponent, held within ± [`EXPONENT_MAX`]; None when it is not one.
fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !is_digits(digits) {
        return None;
    }
    let magnitude = digits.bytes().fold(0_i64, |sum, digit| {
        (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX)
    });
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The shortest plain text of a value: no exponent, no trailing zeros, no `-0`.
///
/// [`parse_number`] reads it back to the same value.
pub fn plain(value: Decimal) -> String {
    value.normalize().to_string()
}

/// `a / b` to 9 places, half even: how answers print quotients (`api.md`, section A).
///
/// Exactly rounded for operands of up to 10^19 with up to 9 decimals each and results of up to 10^19;
/// beyond that the quotient has 28 digits first. What no [`Decimal`] holds becomes the largest one of its
/// sign. `b` must not be 0; if it is, the result is 0.
pub fn quotient(a: Decimal, b: Decimal) -> Decimal {
    divide(a, b, 9, RoundingStrategy::MidpointNearestEven)
}

/// `used / limit × 100` to 2 places, half up (away from zero).
///
/// A limit of 0 gives 0 while nothing is used and 100 from the first unit on (`semantics.md`, "Admission").
pub fn percent(used: Decimal, limit: Decimal) -> Decimal {
    if limit.is_zero() {
        return if used > Decimal::ZERO { HUNDRED } else { Decimal::ZERO };
    }
    // A hundredth of the limit is exact where a hundred times the usage might need too many digits.
    let one_percent = limit.saturating_mul(HUNDREDTH);
    divide(used, one_percent, 2, RoundingStrategy::MidpointAwayFromZero)
}

/// The least whole number not below `a / b`, exactly as for [`quotient`]. `a` must be ≥ 0 and `b` > 0; else 0.
pub fn quotient_ceil(a: Decimal, b: Decimal) -> Decimal {
    if a <= Decimal::ZERO || b <= Decimal::ZERO {
        return Decimal::ZERO;
    }
    aligned(a, b)
        .map(|(numerator, divisor)| numerator.div_ceil(divisor))
        .and_then(|whole| signed_decimal(whole, false, 0))
        .unwrap_or_else(|| a.checked_div(b).unwrap_or(Decimal::MAX).ceil())
}

/// Long division on integers, so that the one rounding sees the exact remainder.
fn divide(a: Decimal, b: Decimal, places: u32, rounding: RoundingStrategy) -> Decimal {
    if a.is_zero() || b.is_zero() {
        return Decimal::ZERO;
    }
    let negative = a.is_sign_negative() != b.is_sign_negative();
    divide_exact(a, b, places, rounding)
        .and_then(|magnitude| signed_decimal(magnitude, negative, places))
        .or_else(|| {
            a.checked_div(b)
                .map(|wide| wide.round_dp_with_strategy(places, rounding))
        })
        .unwrap_or(if negative { Decimal::MIN } else { Decimal::MAX })
        .normalize()
}

/// `|a / b|` times 10^places, rounded once; None when an intermediate value needs more than 128 bits.
fn divide_exact(a: Decimal, b: Decimal, places: u32, rounding: RoundingStrategy) -> Option<u128> {
    let (numerator, divisor) = aligned(a, b)?;
    let mut result = numerator / divisor;
    let mut rest = numerator % divisor;
    for _ in 0..places {
        let shifted = rest.checked_mul(10)?;
        result = result.checked_mul(10)?.checked_add(shifted / divisor)?;
        rest = shifted % divisor;
    }
    let up_at_half = rounding == RoundingStrategy::MidpointAwayFromZero || result % 2 == 1;
    let up = match rest.checked_mul(2)?.cmp(&divisor) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => up_at_half,
        std::cmp::Ordering::Greater => true,
    };
    result.checked_add(u128::from(up))
}

/// The magnitudes of both as integers over one common power of ten; None beyond 128 bits.
fn aligned(a: Decimal, b: Decimal) -> Option<(u128, u128)> {
    let (a, b) = (a.normalize(), b.normalize());
    let scale = a.scale().max(b.scale());
    let at_scale = |d: Decimal| {
        d.mantissa()
            .unsigned_abs()
            .checked_mul(10_u128.checked_pow(scale - d.scale())?)
    };
    Some((at_scale(a)?, at_scale(b)?))
}

/// None when a decimal's 96 bits cannot hold the value.
fn signed_decimal(magnitude: u128, negative: bool, scale: u32) -> Option<Decimal> {
    let value = i128::try_from(magnitude).ok()?;
    Decimal::try_from_i128_with_scale(if negative { -value } else { value }, scale).ok()
}

/// Writes a [`Decimal`] as a JSON number: `#[serde(serialize_with = "metering_domain::number::json::serialize")]`.
pub mod json {
    use rust_decimal::Decimal;
    use serde::{Serialize, Serializer, ser::Error};

    /// The number with the text of [`super::plain`].
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        let number: serde_json::Number = super::plain(*value).parse().map_err(S::Error::custom)?;
        number.serialize(serializer)
    }
}

/// As [`json`], for a value that may be absent: a number or null.
pub mod json_option {
    use rust_decimal::Decimal;
    use serde::Serializer;

    /// The number with the text of [`super::plain`], or null.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<Decimal>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::json::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }
}
