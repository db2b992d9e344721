//! Identities: the same parts give the same id, other parts never do, and ids keep their shape.

use metering_domain::{
    ids::{
        NONE, Namespace, event_id, event_id_bits, event_id_from_bits, fingerprint, is_idempotency_key, is_metric_type,
        is_plain_text, is_subject_id, is_subscription_id,
    },
    metric::Mode,
};
use proptest::prelude::*;

use crate::dec;

/// Computed with Python's hashlib: a change of these would break every retry across a deployment.
#[test]
fn ids_never_change() {
    assert_eq!(
        event_id(Namespace::Service, "42", "", "order-7"),
        "evt_5272437d771e67d9f59e7b1e31f1191a"
    );
    assert_eq!(
        fingerprint("api_calls", dec("1.5"), None, Some("sub_1")),
        "98123fcee88d187f"
    );
}

#[test]
fn a_fingerprint_sees_each_part() {
    let base = fingerprint("m", dec("1"), None, None);
    assert_eq!(fingerprint("m", dec("1.0"), None, None), base);
    for other in [
        fingerprint("n", dec("1"), None, None),
        fingerprint("m", dec("-1"), None, None),
        fingerprint("m", dec("1"), Some(Mode::Level), None),
        fingerprint("m", dec("1"), Some(Mode::Delta), None),
        fingerprint("m", dec("1"), None, Some("level")),
        fingerprint("m", dec("1"), None, Some("")),
        fingerprint("m1", dec("1"), None, None),
    ] {
        assert_ne!(other, base);
        assert_eq!(other.len(), 16);
    }
    assert_ne!(
        fingerprint("m", dec("1"), Some(Mode::Level), None),
        fingerprint("m", dec("1"), None, Some("level"))
    );
}

#[test]
fn ids_keep_their_shape() {
    assert_eq!(event_id_from_bits(10), "evt_0000000000000000000000000000000a");
    for wrong in [
        "",
        "evt_",
        "evt_0a",
        "0000000000000000000000000000000a",
        "EVT_0000000000000000000000000000000a",
        "evt_0000000000000000000000000000000A",
        "evt_+000000000000000000000000000000a",
        "evt_0000000000000000000000000000000a0",
    ] {
        assert_eq!(event_id_bits(wrong), None, "{wrong}");
    }
}

#[test]
fn texts_are_judged_to_the_letter() {
    let longest = "a".repeat(128);
    for good in ["1", "auth0|abc.DEF_9-@:x", NONE, &longest] {
        assert!(is_subject_id(good), "{good}");
    }
    for bad in ["", "a b", "a/b", "é", "a\n", "a#b", &format!("{longest}a")] {
        assert!(!is_subject_id(bad), "{bad:?}");
    }
    assert!(is_subscription_id("sub_1") && !is_subscription_id(NONE) && !is_subscription_id(""));

    for good in ["a", "api_calls", "a9_", &"a".repeat(64)] {
        assert!(is_metric_type(good), "{good}");
    }
    for bad in ["", "9a", "_a", "A", "aB", "a-b", "ä", &"a".repeat(65)] {
        assert!(!is_metric_type(bad), "{bad:?}");
    }

    assert!(is_idempotency_key(" ~") && is_idempotency_key(&"k".repeat(255)));
    for bad in ["", "é", "\t", "\u{7f}", &"k".repeat(256)] {
        assert!(!is_idempotency_key(bad), "{bad:?}");
    }

    assert!(is_plain_text("ünï", 3) && is_plain_text(" ", 1));
    for bad in ["", "abcd", "a\nb", "\u{85}", "\u{7f}"] {
        assert!(!is_plain_text(bad, 3), "{bad:?}");
    }
}

fn identity(text: &str, first: usize, second: usize, service: bool) -> (Namespace, &str, &str, &str) {
    let (first, second) = (first.min(second), first.max(second));
    let namespace = if service { Namespace::Service } else { Namespace::User };
    (namespace, &text[..first], &text[first..second], &text[second..])
}

proptest! {
    /// The same characters cut at other places, or in the other namespace, are another event.
    #[test]
    fn no_two_identities_share_an_id(text in "[ -~]{8}", cuts in prop::array::uniform4(0_usize..=8), services in prop::array::uniform2(any::<bool>())) {
        let a = identity(&text, cuts[0], cuts[1], services[0]);
        let b = identity(&text, cuts[2], cuts[3], services[1]);
        prop_assert_eq!(a == b, event_id(a.0, a.1, a.2, a.3) == event_id(b.0, b.1, b.2, b.3));
    }

    #[test]
    fn bits_make_the_round_trip(bits in any::<u128>()) {
        prop_assert_eq!(event_id_bits(&event_id_from_bits(bits)), Some(bits));
    }

    #[test]
    fn a_fingerprint_takes_the_value_as_a_number(mantissa in -1_000_000_i64..=1_000_000, scale in 0_u32..=9, zeros in 0_u32..=9) {
        let short = rust_decimal::Decimal::new(mantissa, scale);
        let long = rust_decimal::Decimal::from_i128_with_scale(i128::from(mantissa) * 10_i128.pow(zeros), scale + zeros);
        prop_assert_eq!(fingerprint("m", short, None, None), fingerprint("m", long, None, None));
    }
}
