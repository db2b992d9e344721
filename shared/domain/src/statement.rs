//! Statements: what a closed period costs, line by line.
//!
//! Each line is rounded once, to cents; the total adds rounded lines, so that it is what a reader
//! gets who adds them up. Must not know how counters are stored, nor when periods end.

use rust_decimal::Decimal;

use crate::{
    metric::Kind,
    quota::{Terms, Usage, charge, statement_cents},
};

/// What was used of one metric in a closed period, and what that costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The metric.
    pub metric_type: String,
    /// How it counts.
    pub kind: Kind,
    /// Its unit.
    pub unit: String,
    /// Usage of the period; of gauges and leases the level at its end.
    pub used: Decimal,
    /// The period's highest level, on which gauges and leases are billed; None for sums.
    pub peak: Option<Decimal>,
    /// None: unlimited; then there is no price either.
    pub quota_limit: Option<Decimal>,
    /// How far what is billed on lies above the limit, charged or not.
    pub overage: Decimal,
    /// Started blocks of the charged part; None where the price is per unit.
    pub blocks: Option<Decimal>,
    /// Money per unit above the limit, or per started block.
    pub overage_price: Option<Decimal>,
    /// Units per block; None where the price is per unit.
    pub block_size: Option<Decimal>,
    /// Money, in whole cents.
    pub cost: Decimal,
}

impl Line {
    /// The line of a metric under its terms. `peak` counts for gauges and leases only.
    pub fn of(metric_type: &str, kind: Kind, unit: &str, terms: &Terms, used: Decimal, peak: Option<Decimal>) -> Line {
        let peak = match kind {
            Kind::Sum => None,
            Kind::Gauge | Kind::Lease => Some(peak.unwrap_or(used).max(used)),
        };
        let held = Decimal::ZERO;
        let charged = charge(kind, terms, &Usage { used, held, peak });
        let is_limited = terms.quota.quota_limit.is_some();
        Line {
            metric_type: metric_type.to_owned(),
            kind,
            unit: unit.to_owned(),
            used,
            peak,
            quota_limit: terms.quota.quota_limit,
            overage: charged.overage,
            blocks: charged.blocks.filter(|_| is_limited),
            overage_price: terms.quota.overage_price.filter(|_| is_limited),
            block_size: terms.quota.block_size.filter(|_| is_limited),
            cost: statement_cents(charged.cost),
        }
    }
}

/// What all lines cost together.
pub fn total_cost(lines: &[Line]) -> Decimal {
    lines.iter().map(|line| line.cost).sum::<Decimal>().normalize()
}
