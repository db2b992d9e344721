//! Says how a series of totals moves: its figures, its direction, and how sure that is.
//!
//! Must not know what the totals are of, nor which days they belong to: a series is what it is given.

mod mann_kendall;
mod spread;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::number::{percent, quotient};

/// A change by more than this share of the base is one: ± 5 % (`api.md`, section E).
const STABLE_SHARE_MAX: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

const TWO: Decimal = Decimal::TWO;

/// Where a series goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Up.
    Increasing,
    /// Down.
    Decreasing,
    /// Neither, as far as can be told.
    Stable,
}

impl Direction {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Increasing => "increasing",
            Direction::Decreasing => "decreasing",
            Direction::Stable => "stable",
        }
    }
}

/// `(after − before) ÷ |before| × 100` to 2 places, half up (away from zero); None where `before` is 0.
pub fn change_percentage(before: Decimal, after: Decimal) -> Option<Decimal> {
    (!before.is_zero()).then(|| percent(after.saturating_sub(before), before.abs()))
}

/// Whether the change is beyond ± 5 %, by the exact ratio: 5 % is stable, 5.000001 % is not.
///
/// From 0, every increase is one and all else is stable.
pub fn direction_of_change(before: Decimal, after: Decimal) -> Direction {
    if before.is_zero() {
        return if after > Decimal::ZERO {
            Direction::Increasing
        } else {
            Direction::Stable
        };
    }
    let change = after.saturating_sub(before);
    let bound = before.abs().saturating_mul(STABLE_SHARE_MAX);
    if change > bound {
        Direction::Increasing
    } else if change < -bound {
        Direction::Decreasing
    } else {
        Direction::Stable
    }
}

/// The figures of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// The sum, exact.
    pub total: Decimal,
    /// total ÷ length; 9 places, half even; 0 without values.
    pub average: Decimal,
    /// The middle value, or the mean of the two middle ones (9 places, half even); 0 without values.
    pub median: Decimal,
    /// The smallest value; 0 without values.
    pub min: Decimal,
    /// The largest value; 0 without values.
    pub max: Decimal,
    /// Sample standard deviation (÷ length − 1); 9 places, half even; 0 with less than two values.
    pub std_dev: Decimal,
    /// Where it goes, by `test` at a significance of 5 %.
    pub direction: Direction,
    /// The test: `mann_kendall_exact` up to 27 values, `mann_kendall_hamed_rao` above, `none` below two.
    pub test: &'static str,
    /// How likely a series without any trend looks at least this much like one, two-sided; None where
    /// there is no test.
    pub p_value: Option<f64>,
}

/// The figures of a series in the order of time: daily totals, evenly weighted, whatever days lie between.
///
/// Made for a year of days: time and memory grow with the square of the length. Fewer than five values are
/// always `stable`: even in perfect order they come about by chance too often. Sums, averages and
/// deviations are exactly rounded up to 7.9·10^19; beyond, they have 28 digits, or are the largest
/// [`Decimal`].
pub fn trend(values: &[Decimal]) -> Trend {
    let total = values
        .iter()
        .fold(Decimal::ZERO, |sum, value| sum.saturating_add(*value));
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let verdict = mann_kendall::test(values);
    Trend {
        total,
        average: quotient(total, Decimal::from(values.len())),
        median: median(&sorted),
        min: sorted.first().copied().unwrap_or_default(),
        max: sorted.last().copied().unwrap_or_default(),
        std_dev: spread::std_dev(values),
        direction: verdict.direction,
        test: verdict.test,
        p_value: verdict.p_value,
    }
}

/// Of values in ascending order.
fn median(sorted: &[Decimal]) -> Decimal {
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let lower = sorted
        .len()
        .checked_sub(1)
        .and_then(|last| sorted.get(last / 2))
        .copied()
        .unwrap_or_default();
    quotient(lower.saturating_add(upper), TWO)
}
