//! Trends: figures against exact arithmetic, the test against published implementations and by counting.

#![expect(clippy::float_arithmetic, reason = "probabilities are compared")]

use metering_domain::{
    number::plain,
    trend::{Direction, Trend, change_percentage, direction_of_change, trend},
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::dec;

fn whole(values: &[i64]) -> Vec<Decimal> {
    values.iter().map(|value| Decimal::from(*value)).collect()
}

/// Growing, each value close to the one before.
const GROWING: [i64; 60] = [
    50, 52, 50, 45, 45, 42, 47, 57, 53, 49, 54, 56, 56, 50, 52, 58, 49, 49, 41, 40, 36, 43, 42, 50, 55, 55, 42, 46, 51,
    56, 49, 51, 49, 50, 61, 57, 59, 66, 62, 62, 64, 65, 57, 61, 71, 60, 68, 68, 64, 77, 78, 67, 68, 72, 70, 74, 72, 75,
    82, 74,
];

/// Eight weeks of weekdays and weekends, growing a little.
const WEEKS: [i64; 56] = [
    42, 45, 44, 43, 43, 13, 12, 43, 45, 43, 41, 42, 18, 10, 44, 50, 49, 43, 41, 19, 12, 45, 48, 50, 43, 46, 20, 13, 50,
    52, 49, 50, 47, 23, 19, 50, 50, 48, 49, 46, 24, 21, 49, 53, 49, 49, 49, 26, 22, 52, 55, 54, 49, 50, 27, 21,
];

/// Six weeks of the same week.
const SAME_WEEKS: [i64; 42] = [
    40, 42, 41, 42, 41, 12, 10, 40, 45, 41, 41, 38, 14, 11, 42, 43, 44, 40, 41, 15, 9, 42, 45, 41, 39, 39, 12, 11, 43,
    43, 42, 41, 39, 12, 10, 42, 42, 44, 41, 41, 15, 10,
];

/// Independent: autocorrelations come out negative.
const INDEPENDENT: [i64; 35] = [
    25, 37, 31, 34, 28, 33, 30, 27, 33, 30, 39, 40, 34, 23, 36, 32, 30, 25, 28, 31, 30, 38, 31, 37, 40, 29, 42, 35, 34,
    28, 18, 39, 22, 30, 33,
];

/// Wandering, without a trend: in hundredths. The plain test is deceived.
const WANDERING: [i64; 30] = [
    4630, 4770, 4189, 4057, 3928, 4891, 4291, 4769, 4626, 4878, 4657, 4650, 4684, 4557, 4678, 4648, 4979, 5458, 5058,
    4719, 4703, 3864, 4022, 3806, 3526, 3013, 3170, 3581, 3475, 3242,
];

/// pymannkendall 1.4.3 (numpy 2.4.6, scipy 1.17.1): `hamed_rao_modification_test(x).p`, and
/// `original_test(x).p` where that test makes the variance smaller (by 0.556 for the independent values).
#[test]
fn p_values_are_those_of_pymannkendall() {
    let wandering: Vec<_> = WANDERING.iter().map(|value| Decimal::new(*value, 2)).collect();
    for (values, p_value, direction) in [
        // original_test: 1.19e-11.
        (whole(&GROWING), 0.000_208_428_226_936_563_38, Direction::Increasing),
        // original_test: 0.0064.
        (whole(&WEEKS), 0.040_273_476_707_151_09, Direction::Increasing),
        (whole(&SAME_WEEKS), 0.662_149_848_398_023_5, Direction::Stable),
        (whole(&INDEPENDENT), 0.886_666_880_577_698, Direction::Stable),
        // original_test: 0.0168, decreasing.
        (wandering, 0.202_047_951_167_138_25, Direction::Stable),
    ] {
        let trend = trend(&values);
        let found = trend.p_value.expect("a test");
        assert!((found - p_value).abs() < 1e-9, "{found} is not {p_value}");
        assert_eq!((trend.direction, trend.test), (direction, "mann_kendall_hamed_rao"));
    }
}

/// scipy 1.17.1: `kendalltau(range(n), x, method="exact").pvalue`.
#[test]
fn short_series_are_counted_as_scipy_counts() {
    let long = [5, 3, 8, 1, 9, 2, 7, 4, 6, 10, 13, 12, 11, 15, 14, 18, 16, 17, 20, 19];
    for (values, p_value, direction) in [
        (
            &[3, 1, 4, 2, 6, 5, 9, 8, 7, 12, 10, 11][..],
            0.000_498_883_511_036_288_8,
            Direction::Increasing,
        ),
        (
            &[10, 9, 11, 8, 7, 5, 6, 4],
            0.005_505_952_380_952_381,
            Direction::Decreasing,
        ),
        (&[1, 2, 3, 4, 5], 0.016_666_666_666_666_666, Direction::Increasing),
        (&long, 3.052_105_267_184_634e-7, Direction::Increasing),
    ] {
        let trend = trend(&whole(values));
        let found = trend.p_value.expect("a test");
        assert!((found / p_value - 1.0).abs() < 1e-9, "{found} is not {p_value}");
        assert_eq!((trend.direction, trend.test), (direction, "mann_kendall_exact"));
    }
}

fn figures(trend: &Trend) -> [String; 6] {
    [
        trend.total,
        trend.average,
        trend.median,
        trend.min,
        trend.max,
        trend.std_dev,
    ]
    .map(plain)
}

#[test]
fn figures_are_exact() {
    // Python 3.11, decimal with 60 digits: deviations 13.6510786406037545…, 6.25408840072939255…
    let weeks = trend(&whole(&WEEKS));
    assert_eq!(
        figures(&weeks),
        ["2190", "39.107142857", "44.5", "10", "55", "13.651078641"]
    );
    let wandering: Vec<_> = WANDERING.iter().map(|value| Decimal::new(*value, 2)).collect();
    let expected = ["1295.19", "43.173", "46.28", "30.13", "54.58", "6.254088401"];
    assert_eq!(figures(&trend(&wandering)), expected);
    // √(1/2) = 0.7071067811865…; the largest quantities with the finest decimals.
    assert_eq!(
        figures(&trend(&whole(&[2, 1]))),
        ["3", "1.5", "1.5", "1", "2", "0.707106781"]
    );
    let extreme = trend(&[dec("1000000000000"), dec("0.000000001"), dec("1000000000000")]);
    let expected = [
        "2000000000000.000000001",
        "666666666666.666666667",
        "1000000000000",
        "0.000000001",
        "1000000000000",
        "577350269189.625764509",
    ];
    assert_eq!(figures(&extreme), expected);
    // Exactly between two billionths: the even one.
    let half = trend(&[dec("0"), dec("0"), dec("0"), dec("0.000000001")]);
    assert_eq!(
        (plain(half.std_dev), plain(half.median)),
        ("0".to_owned(), "0".to_owned())
    );
    let three_halves = trend(&[dec("0"), dec("0"), dec("0"), dec("0.000000003")]);
    assert_eq!(plain(three_halves.std_dev), "0.000000002");
    let full = trend(&[Decimal::MAX, Decimal::MIN, Decimal::MAX]);
    assert_eq!((full.max, full.std_dev), (Decimal::MAX, Decimal::MAX), "no panic");
}

#[test]
fn little_or_level_data_has_no_trend() {
    let nothing = trend(&[]);
    assert_eq!(figures(&nothing), ["0"; 6]);
    assert_eq!(
        (nothing.direction, nothing.test, nothing.p_value),
        (Direction::Stable, "none", None)
    );
    let one = trend(&[dec("4.5")]);
    assert_eq!(figures(&one), ["4.5", "4.5", "4.5", "4.5", "4.5", "0"]);
    assert_eq!((one.direction, one.p_value), (Direction::Stable, None));
    // Two of the 24 orders of four values are in order.
    let four = trend(&whole(&[1, 2, 3, 4]));
    assert_eq!((four.direction, four.p_value), (Direction::Stable, Some(2.0 / 24.0)));
    for length in [2, 27, 28, 365] {
        let level = trend(&vec![dec("7.1"); length]);
        assert_eq!(
            (level.direction, level.p_value),
            (Direction::Stable, Some(1.0)),
            "{length}"
        );
        assert_eq!(plain(level.std_dev), "0");
    }
}

/// Tenths have no exact binary form: what rounding would leave of the line must not pass for a rhythm.
#[test]
fn a_line_is_a_trend() {
    for length in [5, 27, 28, 90, 365] {
        let up: Vec<_> = (0..length).map(|day| Decimal::new(day, 1) / Decimal::from(8)).collect();
        let down: Vec<_> = up.iter().rev().copied().collect();
        assert_eq!(trend(&up).direction, Direction::Increasing, "{length}");
        assert_eq!(trend(&down).direction, Direction::Decreasing, "{length}");
    }
}

/// 400 series of 30 independent values: about one in twenty seems to have a trend, not one in ten.
#[test]
fn the_test_keeps_its_level() {
    let mut state = 20_260_301_u64;
    let mut next = || {
        // Knuth's MMIX generator: the same series on every run.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Decimal::from(state >> 40)
    };
    let found = (0..400)
        .filter(|_| trend(&std::array::from_fn::<_, 30, _>(|_| next())).direction != Direction::Stable)
        .count();
    assert!((8..=30).contains(&found), "{found} of 400");
}

#[test]
fn changes_are_measured_against_the_base() {
    for (before, after, change, direction) in [
        ("4", "5", Some("25"), Direction::Increasing),
        ("100", "105", Some("5"), Direction::Stable),
        ("100", "105.000000001", Some("5"), Direction::Increasing),
        ("100", "95", Some("-5"), Direction::Stable),
        ("100", "94.999999999", Some("-5"), Direction::Decreasing),
        ("800", "801", Some("0.13"), Direction::Stable),
        ("800", "799", Some("-0.13"), Direction::Stable),
        ("3", "0", Some("-100"), Direction::Decreasing),
        ("-4", "-5", Some("-25"), Direction::Decreasing),
        ("0", "0", None, Direction::Stable),
        ("0", "0.000000001", None, Direction::Increasing),
        ("0", "-1", None, Direction::Stable),
    ] {
        let (before, after) = (dec(before), dec(after));
        assert_eq!(
            change_percentage(before, after).map(plain).as_deref(),
            change,
            "{before} to {after}"
        );
        assert_eq!(direction_of_change(before, after), direction, "{before} to {after}");
    }
    assert_eq!(direction_of_change(Decimal::MAX, Decimal::MIN), Direction::Decreasing);
    for direction in [Direction::Increasing, Direction::Decreasing, Direction::Stable] {
        let json = serde_json::to_string(&direction).expect("JSON");
        assert_eq!(json, format!("\"{}\"", direction.as_str()));
    }
}

/// The scores of every order of the values, ties told apart.
fn all_scores(values: &mut Vec<i64>, taken: usize, scores: &mut Vec<i64>) {
    if taken == values.len() {
        let pairs = (0..taken).flat_map(|later| (0..later).map(move |earlier| (earlier, later)));
        scores.push(
            pairs
                .map(|(earlier, later)| (values[later] - values[earlier]).signum())
                .sum(),
        );
        return;
    }
    for next in taken..values.len() {
        values.swap(taken, next);
        all_scores(values, taken + 1, scores);
        values.swap(taken, next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The share of all orders that are at least as far from level, found by trying each.
    #[test]
    fn exact_probabilities_are_shares_of_all_orders(mut values in prop::collection::vec(0_i64..5, 2..=6)) {
        let p_value = trend(&whole(&values)).p_value.expect("a test");
        let mut scores = Vec::new();
        all_scores(&mut values, 0, &mut scores);
        let as_far = scores.iter().filter(|score| score.abs() >= scores[0].abs()).count();
        prop_assert!((p_value - as_far as f64 / scores.len() as f64).abs() < 1e-12, "{}", p_value);
    }

    /// Neither the unit nor the level matters, and backwards in time is the other way.
    #[test]
    fn the_direction_depends_on_order_alone(values in prop::collection::vec(0_i64..60, 2..50), slope in -2_i64..=2, factor in 1_i64..1_000, shift in -1_000_i64..1_000) {
        let series: Vec<_> = values.iter().zip(0..).map(|(value, day)| Decimal::from(value + slope * day)).collect();
        let forward = trend(&series);
        let moved: Vec<_> = series.iter().map(|value| (*value + Decimal::from(shift)) * Decimal::new(factor, 3)).collect();
        let other = trend(&moved);
        prop_assert_eq!((other.direction, other.p_value), (forward.direction, forward.p_value));
        let mirrored: Vec<_> = series.iter().map(|value| -*value).collect();
        let backward: Vec<_> = series.iter().rev().copied().collect();
        let opposite = match forward.direction {
            Direction::Increasing => Direction::Decreasing,
            Direction::Decreasing => Direction::Increasing,
            Direction::Stable => Direction::Stable,
        };
        for reverse in [trend(&mirrored), trend(&backward)] {
            prop_assert_eq!((reverse.direction, reverse.p_value), (opposite, forward.p_value));
        }
    }

    /// The deviation is the nearest billionth to the root, checked on integers.
    #[test]
    fn figures_are_the_nearest(values in prop::collection::vec(-10_000_i64..10_000, 2..30)) {
        let trend = trend(&whole(&values));
        let n = values.len() as i128;
        let (sum, squares) = values.iter().fold((0, 0), |(sum, squares), value| {
            let value = i128::from(*value);
            (sum + value, squares + value * value)
        });
        let billionths = |value: Decimal| value.mantissa() * 10_i128.pow(9 - value.scale());
        prop_assert_eq!(trend.total, Decimal::from_i128_with_scale(sum, 0));
        prop_assert!((billionths(trend.average) * n - sum * 1_000_000_000).abs() * 2 <= n);
        // (2r − 1)² ≤ 4 × variance × 10^18 ≤ (2r + 1)²
        let (root, divisor) = (billionths(trend.std_dev), n * (n - 1));
        let four = (n * squares - sum * sum) * 4_000_000_000_000_000_000;
        prop_assert!(root >= 0 && four <= (2 * root + 1).pow(2) * divisor);
        prop_assert!(root == 0 || four >= (2 * root - 1).pow(2) * divisor);
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let middle = sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2];
        prop_assert_eq!(trend.median, Decimal::new(middle * 5, 1));
        prop_assert_eq!((trend.min, trend.max), (Decimal::from(sorted[0]), Decimal::from(sorted[sorted.len() - 1])));
    }
}
