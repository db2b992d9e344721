//! Standings, caps and thresholds: the worked numbers of the requirements, then any numbers.

use metering_domain::{
    metric::Kind,
    number::UNCAPPED,
    plan::{self, Override, QuotaTerms},
    quota::{Standing, Terms, Threshold, Usage, admits, reaches_percentage, standing},
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::dec;

/// The terms of a built-in plan.
pub fn terms(plan: &str, metric: &str) -> Terms {
    Terms::of_plan(plan::find_built_in(plan).expect("a built-in plan"), metric, None)
}

/// A counter with this usage and nothing held.
pub fn used(text: &str) -> Usage {
    Usage {
        used: dec(text),
        ..Usage::default()
    }
}

#[test]
fn a_standing_has_the_numbers_of_the_contract() {
    let usage = Usage {
        used: dec("350"),
        held: dec("100.0"),
        peak: None,
    };
    let json = serde_json::to_string(&standing(
        Kind::Sum,
        &terms("professional", "document_processing"),
        &usage,
    ));
    assert_eq!(
        json.expect("JSON"),
        r#"{"quota_limit":500,"current_usage":350,"held":100,"available":50,"usage_percentage":70,"is_exceeded":false,"allow_overage":true,"overage_limit":200,"overage_rate":0.4,"overage_price":0.4,"block_size":null,"overage":0,"overage_cost":0}"#
    );
    let calls = standing(Kind::Sum, &terms("basic", "api_calls"), &used("1"));
    assert_eq!(
        (calls.overage_rate, calls.overage_price),
        (Some(dec("0.001")), Some(dec("0.01")))
    );
    let leases = standing(
        Kind::Lease,
        &terms("basic", "user_sessions"),
        &Usage {
            held: dec("2"),
            ..used("2")
        },
    );
    assert_eq!((leases.held, leases.available), (Decimal::ZERO, Some(Decimal::ONE)));
}

#[test]
fn unlimited_has_no_limit_to_stand_against() {
    let overridden = Override {
        quota_limit: Some(None),
        ..Override::default()
    };
    let basic = plan::find_built_in("basic").expect("a built-in plan");
    let by_override = Terms::of_plan(basic, "document_processing", Some(&overridden));
    assert!(by_override.overridden);
    for terms in [Terms::unlimited(), by_override] {
        let Standing {
            quota_limit,
            available,
            usage_percentage,
            overage_rate,
            overage_price,
            ..
        } = standing(Kind::Sum, &terms, &used("1000000"));
        assert_eq!(
            [quota_limit, available, usage_percentage, overage_rate, overage_price],
            [None; 5]
        );
        let standing = standing(Kind::Sum, &terms, &used("1000000"));
        assert!(!standing.is_exceeded);
        assert_eq!(
            (standing.overage, standing.overage_cost),
            (Decimal::ZERO, Decimal::ZERO)
        );
        assert_eq!((terms.cap(), terms.stored_cap()), (None, UNCAPPED));
    }
}

#[test]
fn the_151st_of_160_documents_is_refused() {
    let terms = terms("basic", "document_processing");
    let mut documents = Decimal::ZERO;
    let first_refused = (1..=160).find(|_| {
        let granted = admits(&terms, documents, Decimal::ZERO, Decimal::ONE);
        documents += Decimal::ONE;
        !granted
    });
    assert_eq!(first_refused, Some(151));
}

#[test]
fn caps_follow_the_terms() {
    let with = |limit: Option<i64>, allow_overage, overage_limit: Option<i64>| {
        let quota = QuotaTerms {
            quota_limit: limit.map(Decimal::from),
            allow_overage,
            overage_limit: overage_limit.map(Decimal::from),
            ..QuotaTerms::default()
        };
        Terms {
            quota,
            ..Terms::unlimited()
        }
        .cap()
    };
    assert_eq!(with(Some(10), false, Some(5)), Some(dec("10")));
    assert_eq!(with(Some(10), true, Some(5)), Some(dec("15")));
    assert_eq!(with(Some(10), true, None), None);
    assert_eq!(with(None, true, Some(5)), None);
}

#[test]
fn thresholds_fire_at_the_exact_unit() {
    let limit = dec("100");
    for (usage, names) in [
        ("79.999999999", vec![]),
        ("80", vec!["80"]),
        ("89", vec!["80"]),
        ("90", vec!["80", "90"]),
        ("100", vec!["80", "90", "100"]),
        ("100.000000001", vec!["80", "90", "100", "overage"]),
        ("101", vec!["80", "90", "100", "overage"]),
    ] {
        let documents = standing(Kind::Sum, &terms("basic", "document_processing"), &used(usage));
        assert_eq!(documents.is_exceeded, names.contains(&"overage"), "{usage}");
        let reached = Threshold::all()
            .into_iter()
            .filter(|threshold| threshold.reached(dec(usage), limit));
        assert_eq!(reached.map(Threshold::name).collect::<Vec<_>>(), names, "{usage}");
    }
    for threshold in Threshold::all() {
        assert!(!threshold.reached(Decimal::ZERO, Decimal::ZERO));
        assert!(threshold.reached(Decimal::ONE, Decimal::ZERO));
    }
    assert!(!reaches_percentage(Decimal::ONE, Decimal::ZERO, dec("100.01")));
}

#[test]
fn the_largest_numbers_do_not_panic() {
    let quota = QuotaTerms {
        quota_limit: Some(dec("0.000000001")),
        allow_overage: true,
        overage_price: Some(dec("1000000000000")),
        block_size: Some(dec("0.000000001")),
        overage_limit: None,
    };
    let terms = Terms {
        quota,
        ..Terms::unlimited()
    };
    for usage in [Decimal::MAX, UNCAPPED, Decimal::MIN] {
        let usage = Usage {
            used: usage,
            held: usage,
            peak: Some(usage),
        };
        let _ = standing(Kind::Gauge, &terms, &usage);
        let _ = admits(&terms, usage.used, usage.held, Decimal::MAX);
        let _ = Threshold::all().map(|threshold| threshold.reached(usage.used, Decimal::MAX));
    }
}

/// Quantities with any number of decimals.
pub fn quantity() -> impl Strategy<Value = Decimal> {
    (0_i64..=1_000_000_000_000, 0_u32..=9).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
}

proptest! {
    /// The parts of a standing agree with each other.
    #[test]
    fn a_standing_is_consistent(limit in quantity(), usage in quantity(), held in quantity(), overage_limit in prop::option::of(quantity())) {
        let quota = QuotaTerms {
            quota_limit: Some(limit),
            allow_overage: true,
            overage_price: Some(Decimal::ONE),
            overage_limit,
            block_size: None,
        };
        let terms = Terms { quota, ..Terms::unlimited() };
        let standing = standing(Kind::Sum, &terms, &Usage { used: usage, held, peak: None });
        prop_assert_eq!(standing.is_exceeded, standing.overage > Decimal::ZERO);
        prop_assert_eq!(standing.is_exceeded, Threshold::Overage.reached(usage, limit));
        prop_assert_eq!(standing.available, Some((limit - usage - held).max(Decimal::ZERO)));
        prop_assert_eq!(standing.overage_cost, overage_limit.map_or(standing.overage, |most| standing.overage.min(most)));
        prop_assert_eq!(standing.is_exceeded || usage == limit, usage + standing.overage * Decimal::NEGATIVE_ONE == limit);
    }
}
