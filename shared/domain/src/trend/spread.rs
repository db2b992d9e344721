//! The sample standard deviation of decimals, rounded once.
//!
//! Squares of quantities need more digits than a [`Decimal`] has, so this is computed on integers of
//! any size. Must not know what the values mean.

use std::cmp::Ordering;

use num_bigint::BigInt;
use rust_decimal::Decimal;

/// Decimals of the result.
const PLACES: u32 = 9;

/// `√((n Σx² − (Σx)²) ÷ (n (n − 1)))` to 9 places, half even; 0 with less than two values.
///
/// The largest [`Decimal`] where the result needs more than 96 bits, which is above 7.9·10^19.
pub(super) fn std_dev(values: &[Decimal]) -> Decimal {
    if values.len() < 2 {
        return Decimal::ZERO;
    }
    let scale = values.iter().map(|value| value.scale()).max().unwrap_or(0);
    let (mut sum, mut squares) = (BigInt::ZERO, BigInt::ZERO);
    for value in values {
        let whole = BigInt::from(value.mantissa()) * BigInt::from(10).pow(scale - value.scale());
        squares += &whole * &whole;
        sum += whole;
    }
    let n = BigInt::from(values.len());
    let numerator = (&n * squares - &sum * &sum) * BigInt::from(10).pow(2 * PLACES);
    let divisor = &n * (&n - 1) * BigInt::from(10).pow(2 * scale);
    i128::try_from(root(&numerator, &divisor))
        .ok()
        .and_then(|billionths| Decimal::try_from_i128_with_scale(billionths, PLACES).ok())
        .unwrap_or(Decimal::MAX)
        .normalize()
}

/// `√(numerator ÷ divisor)` as the nearest whole number, half even. Neither is negative, the divisor not 0.
fn root(numerator: &BigInt, divisor: &BigInt) -> BigInt {
    let floor = (numerator / divisor).sqrt();
    // Above floor + 1/2 or not, squared and without fractions.
    let doubled: BigInt = &floor * 2 + 1;
    match (&doubled * &doubled * divisor).cmp(&(numerator * 4)) {
        Ordering::Greater => floor,
        Ordering::Less => floor + 1,
        Ordering::Equal if floor.bit(0) => floor + 1,
        Ordering::Equal => floor,
    }
}
