//! Says which thresholds usage has reached.
//!
//! Must not know alerts, arming or who is told: only usage and a limit.

use rust_decimal::Decimal;

const HUNDRED: Decimal = Decimal::ONE_HUNDRED;

/// The built-in thresholds of every limited counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Threshold {
    /// 80 % of the limit.
    Soft80,
    /// 90 % of the limit.
    Soft90,
    /// All of the limit.
    Hard100,
    /// The first unit above the limit.
    Overage,
}

impl Threshold {
    /// The name in storage and events.
    pub fn name(self) -> &'static str {
        match self {
            Threshold::Soft80 => "80",
            Threshold::Soft90 => "90",
            Threshold::Hard100 => "100",
            Threshold::Overage => "overage",
        }
    }

    /// Every threshold, lowest first.
    pub fn all() -> [Threshold; 4] {
        [
            Threshold::Soft80,
            Threshold::Soft90,
            Threshold::Hard100,
            Threshold::Overage,
        ]
    }

    /// Whether usage has reached it, by the exact ratio. Holds are no usage.
    ///
    /// A limit of 0 is 0 % used while nothing is used and 100 % from the first unit on, as in [`crate::number::percent`]:
    /// that unit reaches all four.
    pub fn reached(self, used: Decimal, limit: Decimal) -> bool {
        match self {
            Threshold::Soft80 => reaches_percentage(used, limit, Decimal::from(80)),
            Threshold::Soft90 => reaches_percentage(used, limit, Decimal::from(90)),
            Threshold::Hard100 => reaches_percentage(used, limit, HUNDRED),
            Threshold::Overage => used > limit,
        }
    }
}

/// Whether usage is at least `percentage` per cent of the limit, without a division: 79.999 % is not 80 %.
///
/// A limit of 0 counts as 100 % used from the first unit on.
pub fn reaches_percentage(used: Decimal, limit: Decimal, percentage: Decimal) -> bool {
    if limit.is_zero() {
        return used > Decimal::ZERO && percentage <= HUNDRED;
    }
    used.saturating_mul(HUNDRED) >= limit.saturating_mul(percentage)
}
