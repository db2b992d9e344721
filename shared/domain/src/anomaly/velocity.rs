//! Growth over the hour before: 500 % or more.
//!
//! Must not know how much usage there is in all, only how it jumps.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

use rust_decimal::Decimal;

use super::{AnomalyType, Bucket, Evidence, Grain, HISTORY_MIN, Method, float, tail::as_f64};

/// Six times as much is a growth of 500 %.
const TIMES_MIN: Decimal = Decimal::from_parts(6, 0, 0, false, 0);
/// A growth of 500 % is a risk of 60; each further 378 % halves the distance to 100.
const GROWTH_HALVING: f64 = 3.782;
/// Hours of a day, by which habits repeat.
const DAY: usize = 24;
/// So many days before are looked at for a habit, and so many make one.
const HABIT_DAYS: usize = 7;
const HABIT_DAYS_MIN: usize = 3;
/// What is taken off where the user has had such an hour before.
const SEEN_BEFORE: f64 = 20.0;

/// What an hour is compared with: the hour before, but at least half of a typical hour with usage, and one unit,
/// so that hours without usage are no base from which everything is infinite growth.
fn base(before: Decimal, typical: Decimal) -> Decimal {
    before.max(typical / Decimal::TWO).max(Decimal::ONE)
}

/// Whether the user does about as much, at least half, at this time of most days: each morning begins with a jump.
fn is_habit(hours: &[Bucket], index: usize) -> bool {
    let earlier = (1..=HABIT_DAYS).filter_map(|days| Some(hours.get(index.checked_sub(DAY * days)?)?.value));
    let mut earlier: Vec<Decimal> = earlier.collect();
    earlier.sort_unstable();
    let usual = earlier.get(earlier.len() / 2).copied().unwrap_or_default();
    earlier.len() >= HABIT_DAYS_MIN && usual >= hours[index].value / Decimal::TWO
}

/// Hours that grew by 500 % or more.
pub(super) fn look(hours: &[Bucket]) -> Vec<Evidence> {
    let mut used: Vec<Decimal> = Vec::new();
    let mut found = Vec::new();
    for (index, hour) in hours.iter().enumerate() {
        if index >= HISTORY_MIN {
            let before = hours[index - 1].value;
            let typical = used.get(used.len() / 2).copied().unwrap_or_default();
            let base = base(before, typical);
            let has_grown = base.checked_mul(TIMES_MIN).is_some_and(|least| hour.value >= least);
            if has_grown && !is_habit(hours, index) {
                let largest = used.last().copied().unwrap_or_default();
                found.push(evidence(index, hour.value, base, before, largest));
            }
        }
        if hour.value > Decimal::ZERO {
            let place = used.partition_point(|value| *value < hour.value);
            used.insert(place, hour.value);
        }
    }
    found
}

fn evidence(index: usize, value: Decimal, base: Decimal, before: Decimal, largest: Decimal) -> Evidence {
    let growth = float(value) / float(base) - 1.0;
    let by_growth = 100.0 * (1.0 - (-growth / GROWTH_HALVING).exp2());
    let (seen, points) = if value <= largest {
        ("; there was such an hour before", (by_growth - SEEN_BEFORE).max(0.0))
    } else {
        ("", by_growth)
    };
    let history = as_f64(index);
    Evidence {
        anomaly_type: AnomalyType::VelocitySpike,
        method: Method::Velocity,
        grain: Grain::Hour,
        index,
        code: "growth",
        detail: format!(
            "{} after {} in the hour before: {:.0} % more than {}{seen}",
            value.normalize(),
            before.normalize(),
            growth * 100.0,
            base.normalize()
        ),
        points,
        confidence: (1.0 - 1.0 / (1.0 + growth)) * history / (history + 1.0),
        expected: float(base),
        lower: 0.0,
        upper: float(base) * float(TIMES_MIN),
    }
}
