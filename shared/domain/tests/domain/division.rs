//! Quotients and percentages: rounded once, from the exact ratio.

use metering_domain::number::{percent, plain, quotient, quotient_ceil};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::dec;

#[test]
fn percentages_round_half_up_on_the_exact_ratio() {
    for (used, limit, expected) in [
        ("350", "500", "70"),
        ("112", "100", "112"),
        ("1", "3", "33.33"),
        ("2", "3", "66.67"),
        ("1", "800", "0.13"),
        ("3", "800", "0.38"),
        ("79.999999999", "100", "80"),
        ("0.124999999", "100", "0.12"),
        ("0", "5", "0"),
        ("0", "0", "0"),
        ("0.000000001", "0", "100"),
        ("7", "0", "100"),
        ("1000000000000", "0.000000001", "100000000000000000000000"),
    ] {
        assert_eq!(plain(percent(dec(used), dec(limit))), expected, "{used} of {limit}");
    }
}

#[test]
fn quotients_round_once_half_even() {
    for (a, b, expected) in [
        ("5", "3", "1.666666667"),
        ("-5", "3", "-1.666666667"),
        ("0.01", "10", "0.001"),
        ("0.000000001", "2", "0"),
        ("0.000000003", "2", "0.000000002"),
        ("0.000000005", "-2", "-0.000000002"),
        ("1", "0", "0"),
        // Below a half by less than 28 digits show: rounding twice would go up.
        ("150", "100000000000.000000001", "0.000000001"),
        ("-150", "100000000000.000000001", "-0.000000001"),
        ("0.4999999999999999999999999999", "1000000000", "0"),
    ] {
        assert_eq!(plain(quotient(dec(a), dec(b))), expected, "{a} / {b}");
    }
    assert_eq!(quotient(Decimal::MAX, dec("-0.000000001")), Decimal::MIN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Nearest multiple of 10^-9, the even one when two are as near: checked on integers.
    #[test]
    fn a_quotient_is_the_nearest(a in -1_000_000_000_i64..=1_000_000_000, b in 1_i64..=4_000, scale_a in 0_u32..=9, scale_b in 0_u32..=3) {
        let q = quotient(Decimal::new(a, scale_a), Decimal::new(b, scale_b));
        prop_assert!(q.scale() <= 9);
        let steps = q.mantissa() * 10_i128.pow(9 - q.scale());
        // |a/10^sa / (b/10^sb) - steps/10^9| <= 1/2 10^-9, times everything below the fraction bars.
        let divisor = i128::from(b) * 10_i128.pow(scale_a);
        let error = (i128::from(a) * 10_i128.pow(scale_b + 9) - steps * divisor).abs() * 2;
        prop_assert!(error <= divisor, "{}", q);
        prop_assert!(error < divisor || steps % 2 == 0, "{}", q);
    }

    #[test]
    fn a_percentage_is_the_nearest_half_up(used in 0_i64..=1_000_000_000_000, limit in 1_i64..=1_000_000) {
        let hundredths = (i128::from(used) * 20_000 + i128::from(limit)) / (2 * i128::from(limit));
        prop_assert_eq!(percent(Decimal::from(used), Decimal::from(limit)), Decimal::from_i128_with_scale(hundredths, 2));
    }

    #[test]
    fn a_ceiling_is_the_least_whole_number_not_below(a in 1_i64..=1_000_000_000_000, b in 1_i64..=1_000_000, scale_a in 0_u32..=9, scale_b in 0_u32..=9) {
        let (a, b) = (Decimal::new(a, scale_a), Decimal::new(b, scale_b));
        let whole = quotient_ceil(a, b);
        prop_assert!(whole.is_integer() && whole * b >= a && (whole - Decimal::ONE) * b < a, "{}", whole);
    }
}
