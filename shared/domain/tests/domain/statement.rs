//! Statements against the worked numbers of the requirements, and against integers for any numbers.

use metering_domain::{
    metric::Kind,
    number::plain,
    plan::QuotaTerms,
    quota::Terms,
    statement::{Line, total_cost},
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::{dec, quota::terms};

fn line(metric: &str, kind: Kind, used: &str, peak: Option<&str>) -> Line {
    Line::of(metric, kind, "units", &terms("basic", metric), dec(used), peak.map(dec))
}

#[test]
fn lines_cost_what_the_requirements_say() {
    let documents = line("document_processing", Kind::Sum, "112", None);
    assert_eq!([documents.overage, documents.cost].map(plain), ["12", "6"]);
    let calls = line("api_calls", Kind::Sum, "1011", None);
    assert_eq!([calls.overage, calls.cost].map(plain), ["11", "0.02"]);
    assert_eq!(calls.blocks, Some(Decimal::TWO));
    // The level fell again: its peak is billed.
    let storage = line("storage_usage", Kind::Gauge, "3", Some("5.1"));
    assert_eq!(
        [storage.used, storage.overage, storage.cost].map(plain),
        ["3", "0.1", "0.2"]
    );
    assert_eq!(storage.peak, Some(dec("5.1")));
    let sessions = line("user_sessions", Kind::Lease, "0", Some("5"));
    assert_eq!(
        [sessions.overage, sessions.cost].map(plain),
        ["2", "0"],
        "flagged, not charged"
    );
    assert_eq!(plain(total_cost(&[documents, calls, storage, sessions])), "6.22");
    let unlimited = line("ocr_operations", Kind::Sum, "5", None);
    assert_eq!(
        (unlimited.quota_limit, unlimited.overage_price, unlimited.peak),
        (None, None, None)
    );
    assert_eq!(plain(unlimited.cost), "0");
}

#[test]
fn each_line_is_rounded_once_half_even_and_the_total_adds_lines() {
    let priced = |price: &str| {
        let mut terms = terms("basic", "document_processing");
        terms.quota.overage_price = Some(dec(price));
        Line::of("document_processing", Kind::Sum, "documents", &terms, dec("101"), None)
    };
    let lines = [priced("0.005"), priced("0.015"), priced("0.004"), priced("0.004")];
    assert_eq!(lines.each_ref().map(|line| plain(line.cost)), ["0", "0.02", "0", "0"]);
    assert_eq!(plain(total_cost(&lines)), "0.02", "not 0.03, which 0.028 would be");
    assert_eq!(plain(total_cost(&[])), "0");
}

/// Hundredths of a cent that `over` thousandths cost, per unit or per started block.
fn cost(over: i128, price: i128, block: Option<i128>) -> i128 {
    // Price is in hundredths of a cent; thousandths of a unit are left in the product.
    match block {
        Some(block) => (over + block - 1) / block * price * 1_000,
        None => over * price,
    }
}

/// Half even, from thousandths of hundredths of a cent to cents.
fn cents(exact: i128) -> i128 {
    let (whole, rest) = (exact / 100_000, exact % 100_000);
    match rest.cmp(&50_000) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole % 2,
    }
}

proptest! {
    /// The same in whole numbers: thousandths of a unit, hundredths of a cent.
    #[test]
    fn any_line_agrees_with_integers(
        used in 0_i64..3_000_000,
        peak in 0_i64..3_000_000,
        limit in 0_i64..2_000_000,
        price in 0_i64..90_000,
        block in prop::option::of(1_i64..50_000),
        allowed in any::<bool>(),
        most in prop::option::of(0_i64..500_000),
        kind in prop::sample::select(vec![Kind::Sum, Kind::Gauge, Kind::Lease]),
    ) {
        let quota = QuotaTerms {
            quota_limit: Some(Decimal::new(limit, 3)),
            allow_overage: allowed,
            overage_price: Some(Decimal::new(price, 4)),
            block_size: block.map(|block| Decimal::new(block, 3)),
            overage_limit: most.map(|most| Decimal::new(most, 3)),
        };
        let terms = Terms { quota, ..Terms::unlimited() };
        let line = Line::of("m", kind, "u", &terms, Decimal::new(used, 3), Some(Decimal::new(peak, 3)));
        let billed = if kind == Kind::Sum { used } else { used.max(peak) };
        let over = (billed - limit).max(0);
        let charged = if allowed { most.map_or(over, |most| over.min(most)) } else { 0 };
        let expected = cents(cost(charged.into(), price.into(), block.map(i128::from)));
        prop_assert_eq!(line.overage, Decimal::new(over, 3));
        prop_assert_eq!(line.cost, Decimal::from_i128_with_scale(expected, 2));
        prop_assert_eq!(line.peak.is_some(), kind != Kind::Sum);
    }
}
