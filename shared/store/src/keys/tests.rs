//! Keys come back from their parsers, sort, and say whose they are.

use super::*;

#[test]
fn keys_come_back_from_their_parsers() {
    let start = parse_instant("2014-04-01T00:00:00.000Z");
    for owner in [Owner::of("u|1", "sub_1"), Owner::of("u|1", NONE)] {
        assert_eq!(Owner::parse(&owner.pk()), Some(owner.clone()));
        for period_start in [start, None] {
            let key = CounterKey {
                owner: owner.clone(),
                period_start,
                metric_type: "api_calls".into(),
            };
            assert_eq!(CounterKey::parse(owner.clone(), &key.sk()), Some(key));
        }
    }
}

#[test]
fn counters_sort_before_their_owner_and_standing_ones_after_periods() {
    let start = parse_instant("2014-04-01T00:00:00.000Z").expect("an instant");
    let owner = Owner::of("u", "s");
    let sk = |period_start| {
        CounterKey {
            owner: owner.clone(),
            period_start,
            metric_type: "m".into(),
        }
        .sk()
    };
    assert!(counters_from(start) < sk(Some(start)));
    assert!(sk(Some(start)) < sk(None));
    assert!(*sk(None) < *COUNTERS_END);
    assert!(sk(Some(start)).starts_with(&counters_of(start)));
}

#[test]
fn a_key_says_whose_it_is_by_its_place_not_by_its_text() {
    let start = parse_instant("2014-04-01T00:00:00.000Z").expect("an instant");
    for (owner, whose) in [
        (Owner::of("u", "SUB"), Subject::Subscription("SUB")),
        (Owner::of("u", "api_calls"), Subject::Subscription("api_calls")),
        (Owner::of("api_calls", NONE), Subject::User("api_calls")),
        (Owner::of("CTR", NONE), Subject::User("CTR")),
    ] {
        for pk in [
            owner.pk(),
            owner.ledger_pk(),
            hours(&owner, "api_calls"),
            days(&owner, "api_calls"),
            cooldown(&owner, "thr_1", "api_calls"),
        ] {
            assert_eq!(subject_of(&pk), Some(whose), "{pk}");
        }
        assert_eq!(subject_of_series(&owner.events_ix_pk("api_calls")), Some(whose));
    }
    for pk in [
        notification("u"),
        alerts("u"),
        forecasts("u"),
        reports("u"),
        report_schedules("u"),
        sent("u", start, "email").0,
    ] {
        assert_eq!(subject_of(&pk), Some(Subject::User("u")), "{pk}");
    }
    for pk in [
        plan_versions("u"),
        api_key("u"),
        locator("u"),
        event("u"),
        audit_pk(start),
        METRICS.to_owned(),
    ] {
        assert_eq!(subject_of(&pk), None, "{pk}");
    }
    assert_eq!(remains(&erasure("0")), Remains::Tombstone);
    assert_eq!(remains(&audit_pk(start)), Remains::Audit);
    assert_eq!(remains(&mutation("0")), Remains::Answer);
}

#[test]
fn a_subscription_cannot_share_the_implicit_ones_index() {
    let implicit = Owner::of("bob", NONE).events_ix_pk("api_calls");
    for id in ["bob", "none|bob", "bob|none", "none.bob"] {
        assert_ne!(Owner::of("eve", id).events_ix_pk("api_calls"), implicit);
    }
}
