//! Counters that are older than their events are kept.

use metering_store::void::{VoidOrder, Voided};

use super::*;

async fn days(client: &Client, days: i64) {
    client.clock(json!({"advance_seconds": days * 86_400})).await;
    client.drain().await;
}

/// Of the counter of `at` some calls, and a level.
async fn use_some(client: &Client, at: &str, calls: u32) -> String {
    let body = json!({"user_id": "u", "metric_type": CALLS, "metric_value": calls, "timestamp": at, "backfill": true});
    let tracked = client.track(body).await;
    assert_eq!(tracked.status, 201, "{tracked:?}");
    track(client, "u", STORAGE, 1.5).await;
    tracked.body["usage_id"].as_str().expect("an id").to_owned()
}

async fn void(client: &Client, id: &str) {
    let order = VoidOrder {
        id: id.to_owned(),
        reason: "a test".to_owned(),
        actor: "key_test".to_owned(),
    };
    let voided = client.store().event_void(&order, client.now()).await.expect("a void");
    assert!(matches!(voided, Voided::Done { .. }), "{voided:?}");
}

const FIRST: &str = "2026-01-10T00:00:00Z";

/// Nights now and then keep what the events were: they are known when all of them are gone, though
/// some came later and one that was kept was taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_outlives_the_events() {
    let client = Client::start().await;
    client.clock(json!({"now": FIRST})).await;
    use_some(&client, FIRST, 100).await;
    let voided = use_some(&client, FIRST, 20).await;
    days(&client, 45).await;
    let night = run(&client).await;
    assert_eq!(
        (&night["checked"], &night["unverifiable"]),
        (&json!(2), &json!(0)),
        "{night}"
    );
    let raw = Raw(&client);
    let owner = Owner::of("u", "none");
    let kept = |counter: &Item| counter["checked_sum"].as_m().expect("a checkpoint").clone();
    let calls = raw.counter(&owner, CALLS).await;
    assert_eq!((&kept(&calls)["u"], &calls["used"]), (&n(120), &n(120)));
    // Another night notes nothing new.
    run(&client).await;
    assert_eq!(raw.counter(&owner, CALLS).await, calls);

    // One that is in the checkpoint, one that is not.
    void(&client, &voided).await;
    assert_eq!(kept(&raw.counter(&owner, CALLS).await)["u"], n(100));
    let also_voided = use_some(&client, FIRST, 3).await;
    use_some(&client, FIRST, 7).await;
    void(&client, &also_voided).await;
    assert_clean(&client, "u").await;

    days(&client, 47).await;
    // The first events are gone.
    let events = crate::books::Books::read(&client.stack).await.events();
    assert_eq!(events, 4);
    let found = assert_clean(&client, "u").await;
    assert_eq!(found["checked"], json!(2));
    for (metric, change) in [(CALLS, 7), (STORAGE, -2)] {
        let counter = raw.counter(&owner, metric).await;
        let damage = "SET used = used + :v, remaining = remaining - :v";
        raw.change(&counter, damage, &[(":v", n(change))]).await;
    }
    let found = reconcile(&client, "u", true).await;
    assert_eq!(found["repaired"], json!(2), "{found}");
    let mut rows: Vec<_> = found["drift"].as_array().expect("rows").iter().collect();
    rows.sort_by_key(|row| row["metric_type"].to_string());
    assert_eq!(
        (&rows[0]["counter"], &rows[0]["events"]),
        (&json!(114), &json!(107)),
        "{found}"
    );
    assert_eq!(
        (&rows[1]["counter"], &rows[1]["events"]),
        (&json!(4), &json!(6)),
        "{found}"
    );

    // A new one takes its place, until all events are gone.
    assert_eq!(run(&client).await["checked"], json!(2));
    assert_eq!(kept(&raw.counter(&owner, CALLS).await)["u"], n(107));
    days(&client, 75).await;
    assert_eq!(crate::books::Books::read(&client.stack).await.events(), 0);
    let found = assert_clean(&client, "u").await;
    assert_eq!(found["checked"], json!(2));
}

/// Nobody looked while they were there.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_checkpoint_it_cannot_be_said() {
    let client = Client::start().await;
    client.clock(json!({"now": FIRST})).await;
    use_some(&client, FIRST, 100).await;
    days(&client, 91).await;
    use_some(&client, FIRST, 7).await;
    let night = run(&client).await;
    let numbers = ["checked", "unverifiable", "drifted", "busy"].map(|name| night[name].clone());
    assert_eq!(numbers, [0, 2, 0, 0].map(Value::from), "{night}");
    let found = assert_clean(&client, "u").await;
    assert_eq!(found["checked"], json!(0));
    // A reset begins anew: what came since is all there.
    let reset = format!("/api/v1/usage/admin/quotas/reset?user_id=u&metric_type={CALLS}");
    client.post(&reset, ADMIN, json!({})).await;
    track(&client, "u", CALLS, 2.0).await;
    let night = run(&client).await;
    assert_eq!(
        (&night["checked"], &night["unverifiable"]),
        (&json!(1), &json!(2)),
        "{night}"
    );
}
