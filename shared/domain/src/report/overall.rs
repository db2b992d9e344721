//! All users of a report together.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::Account;
use crate::metric::Kind;

/// An amount of money.
#[derive(Clone, Debug, PartialEq)]
pub struct Money {
    /// ISO 4217 code.
    pub currency: String,
    /// How much.
    pub amount: Decimal,
}

/// What all users used of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct OverallLine {
    /// The metric.
    pub metric_type: String,
    /// What one is.
    pub unit: String,
    /// How it counts.
    pub kind: Kind,
    /// Users with usage.
    pub users: usize,
    /// Events.
    pub event_count: u64,
    /// The sum of the users' totals: of gauges that of their levels, of leases that of their peaks.
    pub total: Decimal,
}

/// One user beside the others.
#[derive(Clone, Debug, PartialEq)]
pub struct UserLine {
    /// The user.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// The plan's name; None without one.
    pub plan: Option<String>,
    /// The highest percentage of any quota; None without limits.
    pub highest_percentage: Option<Decimal>,
    /// Anomalies.
    pub anomalies: usize,
    /// What closing the running periods now would cost.
    pub overage_cost: Decimal,
    /// What the billing periods shown cost.
    pub total_cost: Decimal,
    /// ISO 4217 code of both.
    pub currency: String,
}

/// All users together.
#[derive(Clone, Debug, PartialEq)]
pub struct Overall {
    /// Each metric, in the order of its first appearance.
    pub lines: Vec<OverallLine>,
    /// Each user, in the report's order.
    pub users: Vec<UserLine>,
    /// [`UserLine::overage_cost`] of all, by currency.
    pub overage_cost: Vec<Money>,
    /// [`UserLine::total_cost`] of all, by currency.
    pub total_cost: Vec<Money>,
}

/// All users together.
pub(super) fn overall(accounts: &[Account]) -> Overall {
    let mut lines: Vec<OverallLine> = Vec::new();
    for usage in accounts.iter().flat_map(|account| &account.usage) {
        let at = lines.iter().position(|line| line.metric_type == usage.metric_type);
        let at = at.unwrap_or_else(|| {
            lines.push(OverallLine {
                metric_type: usage.metric_type.clone(),
                unit: usage.unit.clone(),
                kind: usage.kind,
                users: 0,
                event_count: 0,
                total: Decimal::ZERO,
            });
            lines.len() - 1
        });
        let line = &mut lines[at];
        line.users += 1;
        line.event_count = line.event_count.saturating_add(usage.totals.count);
        line.total = line.total.saturating_add(usage.totals.total);
    }
    Overall {
        lines,
        users: accounts.iter().map(user).collect(),
        overage_cost: by_currency(accounts, |account| account.overage_cost),
        total_cost: by_currency(accounts, |account| account.total_cost),
    }
}

fn user(account: &Account) -> UserLine {
    UserLine {
        user_id: account.user_id.clone(),
        subscription_id: account.subscription_id.clone(),
        plan: account.plan.clone(),
        highest_percentage: account.quotas.iter().filter_map(|quota| quota.percentage).max(),
        anomalies: account.anomalies.len(),
        overage_cost: account.overage_cost,
        total_cost: account.total_cost,
        currency: account.currency.clone(),
    }
}

fn by_currency(accounts: &[Account], of: impl Fn(&Account) -> Decimal) -> Vec<Money> {
    let mut sums: BTreeMap<&str, Decimal> = BTreeMap::new();
    for account in accounts {
        let sum = sums.entry(&account.currency).or_default();
        *sum = sum.saturating_add(of(account));
    }
    let money = |(currency, amount): (&str, Decimal)| Money {
        currency: currency.to_owned(),
        amount: amount.normalize(),
    };
    sums.into_iter().map(money).collect()
}
