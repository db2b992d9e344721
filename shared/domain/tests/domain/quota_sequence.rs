//! Admission over time: no order of grants, holds, commits, releases and voids takes a counter over its cap.

use metering_domain::{
    plan::QuotaTerms,
    quota::{Terms, admits},
};
use proptest::prelude::*;
use rust_decimal::Decimal;

#[derive(Clone, Debug)]
enum Step {
    Consume(Decimal),
    Reserve(Decimal),
    /// Commits the oldest hold with a share of it, in per cent.
    Commit(u32),
    Release,
    Void(Decimal),
}

fn amount() -> impl Strategy<Value = Decimal> {
    let some = (0_i64..=5_000, 0_u32..=3).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale));
    prop_oneof![1 => Just(Decimal::ZERO), 9 => some]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => amount().prop_map(Step::Consume),
        3 => amount().prop_map(Step::Reserve),
        2 => (0_u32..=100).prop_map(Step::Commit),
        1 => Just(Step::Release),
        1 => amount().prop_map(Step::Void),
    ]
}

fn limits() -> impl Strategy<Value = Terms> {
    (amount(), any::<bool>(), amount()).prop_map(|(limit, allow_overage, overage)| {
        let quota = QuotaTerms {
            quota_limit: Some(limit),
            allow_overage,
            overage_limit: Some(overage),
            ..QuotaTerms::default()
        };
        Terms {
            quota,
            ..Terms::unlimited()
        }
    })
}

/// A counter as the store keeps it, granting only what [`admits`] grants.
#[derive(Default)]
struct Counter {
    used: Decimal,
    holds: Vec<Decimal>,
}

impl Counter {
    fn held(&self) -> Decimal {
        self.holds.iter().sum()
    }

    /// Takes one step; the answer is the quantity asked for and whether it was granted.
    fn take(&mut self, terms: &Terms, step: &Step) -> Option<(Decimal, bool)> {
        match step {
            Step::Consume(v) => {
                let granted = admits(terms, self.used, self.held(), *v);
                self.used += if granted { *v } else { Decimal::ZERO };
                return Some((*v, granted));
            }
            Step::Reserve(v) => {
                let granted = admits(terms, self.used, self.held(), *v);
                self.holds.extend(granted.then_some(*v));
                return Some((*v, granted));
            }
            Step::Commit(share) if !self.holds.is_empty() => {
                self.used += self.holds.remove(0) * Decimal::new(i64::from(*share), 2);
            }
            Step::Release => drop(self.holds.pop()),
            Step::Void(v) => self.used = (self.used - v).max(Decimal::ZERO),
            Step::Commit(_) => {}
        }
        None
    }
}

proptest! {
    #[test]
    fn nothing_passes_the_cap(terms in limits(), steps in prop::collection::vec(step(), 1..60)) {
        let cap = terms.quota.quota_limit.unwrap_or_default()
            + if terms.quota.allow_overage { terms.quota.overage_limit.unwrap_or_default() } else { Decimal::ZERO };
        let mut counter = Counter::default();
        for step in &steps {
            let before = counter.used + counter.held();
            if let Some((v, granted)) = counter.take(&terms, step) {
                // Whole or not at all, and never refused while it fits.
                prop_assert_eq!(granted, v.is_zero() || before + v <= cap, "{:?} at {}", step, before);
            }
            prop_assert!(counter.used + counter.held() <= cap, "{:?}", step);
        }
    }

    /// Above the cap (a lowered limit, unenforced usage) only what does not raise usage is granted.
    #[test]
    fn above_the_cap_only_less_is_granted(terms in limits(), beyond in amount(), v in amount()) {
        let used = terms.stored_cap() + beyond;
        prop_assert_eq!(admits(&terms, used, Decimal::ZERO, v), v.is_zero() || (v + beyond).is_zero());
        prop_assert!(admits(&terms, used, Decimal::ZERO, -v));
    }
}
