//! Quotas: what a plan includes and where usage stands.

use serde::{Deserialize, Serialize};

use super::{Instant, Kind, Quantity};

/// A metric's limit, and where usage stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quota {
    /// The metric.
    pub metric_type: String,
    /// How values combine.
    pub kind: Kind,
    /// Its unit.
    pub unit: String,
    /// What the plan includes; null: unlimited.
    pub quota_limit: Option<Quantity>,
    /// What was used in this period; gauges and leases: the level now.
    pub current_usage: Quantity,
    /// Held by reservations.
    pub held: Quantity,
    /// What enforced usage may still take, overage included.
    pub available: Option<Quantity>,
    /// Of the limit, two decimals.
    pub usage_percentage: Option<Quantity>,
    /// Whether usage is above the limit.
    pub is_exceeded: bool,
    /// Whether usage may go above the limit, at a price.
    pub allow_overage: bool,
    /// How far above the limit enforced usage may go; null: as far as it likes.
    pub overage_limit: Option<Quantity>,
    /// The price of one unit.
    pub overage_rate: Option<Quantity>,
    /// The price of one unit, or of one started block.
    pub overage_price: Option<Quantity>,
    /// Of how many units the price is; none: of one.
    pub block_size: Option<Quantity>,
    /// What was used above the limit.
    pub overage: Quantity,
    /// What closing the period now would cost.
    pub overage_cost: Quantity,
    /// ISO 4217.
    pub currency: String,
    /// How often usage was refused in this period.
    pub denied_count: u64,
    /// The highest level in this period, of gauges and leases.
    pub peak: Option<Quantity>,
    /// Whether this subscription has terms of its own.
    pub overridden: bool,
    /// When the period starts.
    pub period_start: Instant,
    /// When it ends, exclusive.
    pub period_end: Instant,
    /// Null for gauges and leases, which are not reset.
    pub next_reset: Option<Instant>,
}

/// Whether there is room, at this moment: a promise of nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaCheck {
    /// Whether there is room.
    pub is_available: bool,
    /// Why not, in a sentence.
    pub error_message: Option<String>,
    /// Where the quota stands.
    pub quota_info: Quota,
}

/// Where all quotas of a subscription stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: String,
    /// The plan; none without a subscription.
    pub plan: Option<String>,
    /// When the period starts.
    pub period_start: Instant,
    /// When it ends, exclusive.
    pub period_end: Instant,
    /// Of all metrics that are limited, overridden or used in this period.
    pub quotas: Vec<Quota>,
    /// What closing the period now would cost.
    pub total_overage_cost: Quantity,
    /// ISO 4217.
    pub currency: String,
    /// Alerts that are pending or sent.
    pub alerts_count: u32,
}
