//! Judges usage against terms: what is granted, where a counter stands, what overage costs, which
//! thresholds are reached.
//!
//! Pure arithmetic on decimals. Must not know how counters are stored, when periods end or who asks.

mod threshold;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::Serialize;

use crate::{
    metric::Kind,
    number::{self, UNCAPPED, percent, quotient, quotient_ceil},
    plan::{CURRENCY, Override, Plan, QuotaTerms},
};

pub use threshold::{Threshold, reaches_percentage};

/// The terms in force for one metric of one subscription, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The plan's id; None for the implicit subscription.
    pub plan: Option<String>,
    /// The plan's version; 0 without a plan.
    pub plan_version: u64,
    /// ISO 4217 code of the price.
    pub currency: String,
    /// Whether an override replaces some of the plan's terms.
    pub overridden: bool,
    /// Limit and prices, the override already applied.
    pub quota: QuotaTerms,
}

impl Terms {
    /// A plan's terms for a metric with the subscription's override, if it has one.
    pub fn of_plan(plan: &Plan, metric: &str, replaced: Option<&Override>) -> Terms {
        let quota = plan.terms(metric);
        Terms {
            plan: Some(plan.id.clone()),
            plan_version: plan.version,
            currency: plan.currency.clone(),
            overridden: replaced.is_some(),
            quota: replaced.map_or(quota.clone(), |replaced| replaced.apply(&quota)),
        }
    }

    /// No plan, no limit, no price: the implicit subscription.
    pub fn unlimited() -> Terms {
        Terms {
            plan: None,
            plan_version: 0,
            currency: CURRENCY.to_owned(),
            overridden: false,
            quota: QuotaTerms::default(),
        }
    }

    /// What enforced usage may not pass: the limit, or limit + overage limit where overage is allowed.
    ///
    /// None: nothing refuses, because there is no limit or overage is not capped.
    pub fn cap(&self) -> Option<Decimal> {
        let limit = self.quota.quota_limit?;
        if !self.quota.allow_overage {
            return Some(limit);
        }
        Some(limit.saturating_add(self.quota.overage_limit?))
    }

    /// The cap as a condition on a stored number needs it: [`UNCAPPED`] when nothing refuses.
    pub fn stored_cap(&self) -> Decimal {
        self.cap().unwrap_or(UNCAPPED)
    }
}

/// Whether enforced usage of `v` is granted on top of `used` and `held`: `used + held + v ≤ cap`.
///
/// Whole or not at all. What does not raise usage (`v ≤ 0`) is always granted.
pub fn admits(terms: &Terms, used: Decimal, held: Decimal, v: Decimal) -> bool {
    if v <= Decimal::ZERO {
        return true;
    }
    match terms.cap() {
        None => true,
        Some(cap) => used
            .checked_add(held)
            .and_then(|taken| taken.checked_add(v))
            .is_some_and(|total| total <= cap),
    }
}

/// What a counter holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Usage of the period, the gauge's level, or the live leases.
    pub used: Decimal,
    /// Held by live reservations (0 for leases, which count as used).
    pub held: Decimal,
    /// The period's highest level, for gauges and leases.
    pub peak: Option<Decimal>,
}

/// What closing a counter now would charge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charge {
    /// What is billed on: usage of sums, the peak of gauges and leases.
    pub billed: Decimal,
    /// How far that is above the limit, charged or not.
    pub overage: Decimal,
    /// The part of it that has a price: 0 where overage is not allowed, at most the overage limit.
    pub charged_overage: Decimal,
    /// Started blocks of the charged part; None where the price is per unit.
    pub blocks: Option<Decimal>,
    /// Money, not rounded.
    pub cost: Decimal,
}

/// What closing a counter now would charge, exactly (see [`overage_cost`] for how exact).
pub fn charge(kind: Kind, terms: &Terms, usage: &Usage) -> Charge {
    let quota = &terms.quota;
    let billed = match kind {
        Kind::Sum => usage.used,
        Kind::Gauge | Kind::Lease => usage.peak.unwrap_or(usage.used).max(usage.used),
    };
    let overage = above(billed, quota.quota_limit);
    let charged_overage = match (quota.allow_overage, quota.overage_limit) {
        (false, _) => Decimal::ZERO,
        (true, None) => overage,
        (true, Some(most)) => overage.min(most),
    };
    let price = quota.overage_price.unwrap_or_default();
    Charge {
        billed,
        overage,
        charged_overage,
        blocks: quota.block_size.map(|block| quotient_ceil(charged_overage, block)),
        cost: overage_cost(charged_overage, price, quota.block_size),
    }
}

/// `max(0, value - limit)`; 0 without a limit.
fn above(value: Decimal, limit: Option<Decimal>) -> Decimal {
    limit
        .map_or(Decimal::ZERO, |limit| value.saturating_sub(limit).max(Decimal::ZERO))
        .normalize()
}

/// The price of `over` units: pro rata, or every started block of `block` units (> 0).
///
/// Not rounded while the product has at most 28 digits, which every built-in price is far from; a longer
/// one is rounded by the decimal type, one beyond its range becomes its largest value.
pub fn overage_cost(over: Decimal, price: Decimal, block: Option<Decimal>) -> Decimal {
    let priced = block.map_or(over, |block| quotient_ceil(over, block));
    priced.max(Decimal::ZERO).saturating_mul(price).normalize()
}

/// An exact amount as a line of a statement: to cents, half even.
pub fn statement_cents(exact: Decimal) -> Decimal {
    exact
        .round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven)
        .normalize()
}

/// Where a counter stands against its terms: the numbers of the Quota object (`api.md`, section B).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// None: unlimited; then percentage, available, rate and price are None too.
    #[serde(serialize_with = "number::json_option::serialize")]
    pub quota_limit: Option<Decimal>,
    /// Usage, level or live leases.
    #[serde(serialize_with = "number::json::serialize")]
    pub current_usage: Decimal,
    /// Held by reservations; 0 for leases.
    #[serde(serialize_with = "number::json::serialize")]
    pub held: Decimal,
    /// What is left of the limit (not of the cap), at least 0.
    #[serde(serialize_with = "number::json_option::serialize")]
    pub available: Option<Decimal>,
    /// As [`percent`].
    #[serde(serialize_with = "number::json_option::serialize")]
    pub usage_percentage: Option<Decimal>,
    /// Usage is above the limit.
    pub is_exceeded: bool,
    /// As in [`QuotaTerms`].
    pub allow_overage: bool,
    /// As in [`QuotaTerms`].
    #[serde(serialize_with = "number::json_option::serialize")]
    pub overage_limit: Option<Decimal>,
    /// Money per unit: price ÷ block to 9 places, or the price.
    #[serde(serialize_with = "number::json_option::serialize")]
    pub overage_rate: Option<Decimal>,
    /// As in [`QuotaTerms`].
    #[serde(serialize_with = "number::json_option::serialize")]
    pub overage_price: Option<Decimal>,
    /// As in [`QuotaTerms`].
    #[serde(serialize_with = "number::json_option::serialize")]
    pub block_size: Option<Decimal>,
    /// How far current usage is above the limit, charged or not.
    #[serde(serialize_with = "number::json::serialize")]
    pub overage: Decimal,
    /// What closing now would cost, as [`charge`] says.
    #[serde(serialize_with = "number::json::serialize")]
    pub overage_cost: Decimal,
}

/// Judges a counter against its terms.
pub fn standing(kind: Kind, terms: &Terms, usage: &Usage) -> Standing {
    let quota = &terms.quota;
    let used = usage.used;
    let held = match kind {
        Kind::Sum | Kind::Gauge => usage.held,
        Kind::Lease => Decimal::ZERO,
    };
    let limit = quota.quota_limit;
    let price = quota.overage_price.filter(|_| limit.is_some());
    let left = |limit: Decimal| limit.saturating_sub(used).saturating_sub(held).max(Decimal::ZERO);
    Standing {
        quota_limit: limit,
        current_usage: used,
        held,
        available: limit.map(left),
        usage_percentage: limit.map(|limit| percent(used, limit)),
        is_exceeded: limit.is_some_and(|limit| used > limit),
        allow_overage: quota.allow_overage,
        overage_limit: quota.overage_limit,
        overage_rate: price.map(|price| quota.block_size.map_or(price, |block| quotient(price, block))),
        overage_price: price,
        block_size: quota.block_size,
        overage: above(used, limit),
        overage_cost: charge(kind, terms, usage).cost,
    }
}
