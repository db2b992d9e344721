//! What overage costs: the worked numbers of the requirements, then any numbers.

use metering_domain::{
    metric::Kind,
    number::plain,
    quota::{Terms, Usage, charge, overage_cost, standing, statement_cents},
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::{
    dec,
    quota::{quantity, terms, used},
};

/// What a standing says, as text.
fn overage_and_cost(kind: Kind, terms: &Terms, usage: &str) -> (String, String) {
    let standing = standing(kind, terms, &used(usage));
    (plain(standing.overage), plain(standing.overage_cost))
}

fn pair(overage: &str, cost: &str) -> (String, String) {
    (overage.to_owned(), cost.to_owned())
}

#[test]
fn overage_costs_what_the_requirements_say() {
    let documents = terms("basic", "document_processing");
    assert_eq!(overage_and_cost(Kind::Sum, &documents, "100"), pair("0", "0"));
    assert_eq!(overage_and_cost(Kind::Sum, &documents, "112"), pair("12", "6"));
    let calls = terms("basic", "api_calls");
    assert_eq!(overage_and_cost(Kind::Sum, &calls, "1010"), pair("10", "0.01"));
    assert_eq!(overage_and_cost(Kind::Sum, &calls, "1011"), pair("11", "0.02"));
    assert_eq!(charge(Kind::Sum, &calls, &used("1011")).blocks, Some(Decimal::TWO));
    let storage = terms("basic", "storage_usage");
    assert_eq!(overage_and_cost(Kind::Gauge, &storage, "5.1"), pair("0.1", "0.2"));
    assert_eq!(charge(Kind::Gauge, &storage, &used("5.1")).blocks, None);
}

#[test]
fn what_may_not_be_charged_is_flagged_only() {
    // 60 over where 50 are allowed: flagged in full, charged to the cap.
    assert_eq!(
        overage_and_cost(Kind::Sum, &terms("basic", "document_processing"), "160"),
        pair("60", "25")
    );
    assert_eq!(
        overage_and_cost(Kind::Lease, &terms("basic", "user_sessions"), "5"),
        pair("2", "0")
    );
    let mut strict = terms("basic", "document_processing");
    strict.quota.allow_overage = false;
    assert_eq!(overage_and_cost(Kind::Sum, &strict, "112"), pair("12", "0"));
    let mut free = terms("basic", "document_processing");
    free.quota.overage_price = None;
    assert_eq!(overage_and_cost(Kind::Sum, &free, "112"), pair("12", "0"));
}

#[test]
fn gauges_and_leases_are_charged_on_their_peak() {
    let usage = Usage {
        used: dec("4"),
        held: Decimal::ZERO,
        peak: Some(dec("6.5")),
    };
    let storage = standing(Kind::Gauge, &terms("basic", "storage_usage"), &usage);
    assert_eq!((plain(storage.overage), plain(storage.overage_cost)), pair("0", "3"));
    let above_peak = Usage {
        used: dec("7"),
        ..usage
    };
    assert_eq!(
        charge(Kind::Gauge, &terms("basic", "storage_usage"), &above_peak).billed,
        dec("7")
    );
    // A sum has no peak to be charged on.
    assert_eq!(
        charge(Kind::Sum, &terms("basic", "storage_usage"), &usage).cost,
        Decimal::ZERO
    );
}

#[test]
fn statements_round_to_cents_half_even() {
    for (exact, cents) in [
        ("0.005", "0"),
        ("0.015", "0.02"),
        ("0.025", "0.02"),
        ("0.0251", "0.03"),
        ("6.0", "6"),
    ] {
        assert_eq!(plain(statement_cents(dec(exact))), cents, "{exact}");
    }
}

proptest! {
    /// More usage never costs less, and a block costs the same from its first unit to its last.
    #[test]
    fn cost_is_monotone_in_whole_blocks(a in quantity(), b in quantity(), price in 0_i64..=1_000_000, block in 1_i64..=1_000) {
        let (low, high) = (a.min(b), a.max(b));
        let price = Decimal::new(price, 6);
        let block = Decimal::new(block, 1);
        prop_assert!(overage_cost(low, price, None) <= overage_cost(high, price, None));
        prop_assert_eq!(overage_cost(low, price, None), low * price);
        let cost = overage_cost(high, price, Some(block));
        prop_assert!(overage_cost(low, price, Some(block)) <= cost);
        let blocks = (0..).map(Decimal::from).find(|blocks| *blocks * block >= low.min(Decimal::TEN));
        prop_assert_eq!(Some(overage_cost(low.min(Decimal::TEN), price, Some(block))), blocks.map(|blocks| blocks * price));
    }
}
