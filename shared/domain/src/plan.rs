//! What a plan grants and charges per metric, the three built-in plans, and overrides of single terms.
//!
//! Limits and prices are those of the requirements ("Usage Metrics Tracked", "Overage Billing Rates"),
//! overage caps those of `semantics.md`, "Plans and prices". Must not know usage, periods or subscriptions.

use std::{collections::BTreeMap, sync::LazyLock};

use rust_decimal::Decimal;
use serde::Serialize;

use crate::number;

/// The currency of the built-in plans (ISO 4217).
pub const CURRENCY: &str = "EUR";

/// What is granted of one metric, and what more of it costs. The default is unlimited.
///
/// All quantities are in the metric's unit and ≥ 0; checking that is the edge's job.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QuotaTerms {
    /// Included per billing period (gauges and leases: at any moment). None: unlimited.
    #[serde(serialize_with = "number::json_option::serialize")]
    pub quota_limit: Option<Decimal>,
    /// Whether usage above the limit is granted and charged.
    pub allow_overage: bool,
    /// Money per unit above the limit, or per started block. None: overage is free.
    #[serde(serialize_with = "number::json_option::serialize")]
    pub overage_price: Option<Decimal>,
    /// Units per block (> 0). None: the price is per unit, pro rata.
    #[serde(serialize_with = "number::json_option::serialize")]
    pub block_size: Option<Decimal>,
    /// How far above the limit enforced usage may go. None: as far as it likes.
    #[serde(serialize_with = "number::json_option::serialize")]
    pub overage_limit: Option<Decimal>,
}

/// One version of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Stable name: "basic".
    pub id: String,
    /// Name for people: "Basic".
    pub name: String,
    /// ISO 4217 code of every price.
    pub currency: String,
    /// From 1, one more with each edit.
    pub version: u64,
    /// Terms by metric type; a metric without an entry is unlimited.
    pub quotas: BTreeMap<String, QuotaTerms>,
}

impl Plan {
    /// The terms of a metric, unlimited when the plan does not name it.
    pub fn terms(&self, metric: &str) -> QuotaTerms {
        self.quotas.get(metric).cloned().unwrap_or_default()
    }
}

/// What a single subscription has instead of its plan's terms.
///
/// The outer `None` of a field means left out: the plan's term holds. The inner `None` is a term of its
/// own: unlimited, uncapped, free, not in blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Override {
    /// Instead of [`QuotaTerms::quota_limit`].
    pub quota_limit: Option<Option<Decimal>>,
    /// Instead of [`QuotaTerms::allow_overage`].
    pub allow_overage: Option<bool>,
    /// Instead of [`QuotaTerms::overage_limit`].
    pub overage_limit: Option<Option<Decimal>>,
    /// Instead of [`QuotaTerms::overage_price`].
    pub overage_price: Option<Option<Decimal>>,
    /// Instead of [`QuotaTerms::block_size`].
    pub block_size: Option<Option<Decimal>>,
}

impl Override {
    /// The plan's terms with this override on top.
    pub fn apply(&self, plan: &QuotaTerms) -> QuotaTerms {
        QuotaTerms {
            quota_limit: self.quota_limit.unwrap_or(plan.quota_limit),
            allow_overage: self.allow_overage.unwrap_or(plan.allow_overage),
            overage_price: self.overage_price.unwrap_or(plan.overage_price),
            block_size: self.block_size.unwrap_or(plan.block_size),
            overage_limit: self.overage_limit.unwrap_or(plan.overage_limit),
        }
    }
}

/// Basic, Professional, Enterprise. Prices in thousandths of EUR; API calls are priced per block of ten.
static BUILT_IN: LazyLock<[Plan; 3]> = LazyLock::new(|| {
    [
        plan(
            "basic",
            "Basic",
            [
                charged(100, 500, 50),
                in_tens(charged(1_000, 10, 500)),
                charged(5, 2_000, 2),
                strict(3),
            ],
        ),
        plan(
            "professional",
            "Professional",
            [
                charged(500, 400, 200),
                in_tens(charged(10_000, 8, 5_000)),
                charged(50, 1_500, 20),
                charged(10, 5_000, 5),
            ],
        ),
        plan(
            "enterprise",
            "Enterprise",
            [
                charged(5_000, 300, 2_000),
                in_tens(charged(100_000, 5, 50_000)),
                charged(500, 1_000, 200),
                charged(100, 4_000, 50),
            ],
        ),
    ]
});

/// The metrics that the built-in plans limit, in the order of each plan's terms.
const LIMITED: [&str; 4] = ["document_processing", "api_calls", "storage_usage", "user_sessions"];

fn plan(id: &str, name: &str, terms: [QuotaTerms; 4]) -> Plan {
    Plan {
        id: id.to_owned(),
        name: name.to_owned(),
        currency: CURRENCY.to_owned(),
        version: 1,
        quotas: LIMITED.iter().map(|metric| (*metric).to_owned()).zip(terms).collect(),
    }
}

/// A limit, and overage at a price up to a cap.
fn charged(limit: i64, price_thousandths: i64, overage_limit: i64) -> QuotaTerms {
    QuotaTerms {
        quota_limit: Some(Decimal::from(limit)),
        allow_overage: true,
        overage_price: Some(Decimal::new(price_thousandths, 3).normalize()),
        block_size: None,
        overage_limit: Some(Decimal::from(overage_limit)),
    }
}

/// The price is per started block of ten units.
fn in_tens(terms: QuotaTerms) -> QuotaTerms {
    QuotaTerms {
        block_size: Some(Decimal::TEN),
        ..terms
    }
}

/// A limit that nothing may pass.
fn strict(limit: i64) -> QuotaTerms {
    QuotaTerms {
        quota_limit: Some(Decimal::from(limit)),
        ..QuotaTerms::default()
    }
}

/// The plans of the requirements, each in version 1.
pub fn built_in() -> &'static [Plan] {
    BUILT_IN.as_slice()
}

/// The built-in plan of that id.
pub fn find_built_in(id: &str) -> Option<&'static Plan> {
    built_in().iter().find(|plan| plan.id == id)
}
