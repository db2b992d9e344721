//! What the bus tells of subscriptions: repeated, in parallel, out of order, stopped half-way; and what
//! cannot be done, kept.

use std::collections::VecDeque;

use metering_store::audit::AuditRecord;
use serde_json::{Value, json};

use crate::{
    after_the_write::Idle,
    period_close::{line, now, statements},
    renewals::SUBSCRIPTIONS,
    support::{ADMIN, Client},
};

const WAITS_MAX: usize = 120;
const API_CALLS: &str = "api_calls";
const DEAD_LETTERS: &str = "/_local/queues/LifecycleDeadLetters/messages";

/// What is told of `sub_u`, with an instant in January 2026 for its second.
fn told(what: &str, second: u32, more: Value) -> Value {
    let mut detail = json!({"subscription_id": "sub_u", "user_id": "u", "plan": "basic",
        "occurred_at": format!("2026-01-20T00:00:{second:02}Z")});
    let fields = more.as_object().cloned().unwrap_or_default();
    detail.as_object_mut().expect("an object").extend(fields);
    json!({"source": "billing", "detail-type": format!("subscription.{what}"), "detail": detail})
}

async fn found(client: &Client) -> Value {
    client.get(&format!("{SUBSCRIPTIONS}/sub_u"), ADMIN).await.body
}

async fn limit(client: &Client, metric: &str) -> Value {
    client.quota("u", metric).await["quota_limit"].clone()
}

/// Tells through the bus, and waits until it is done.
async fn tell(client: &Client, event: Value) {
    let put = client.post("/_local/bus", "", event).await;
    assert_eq!(put.status, 202, "{put:?}");
    client.drain().await;
}

async fn dead_letters(client: &Client) -> usize {
    let listed = client.get(DEAD_LETTERS, "").await;
    listed.body["messages"].as_array().expect("messages").len()
}

async fn audited(client: &Client) -> Vec<AuditRecord> {
    client.audited(Some("sub_u")).await
}

async fn started() -> Client {
    let client = Client::start().await;
    now(&client, "2026-01-20T12:00:00Z").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_lives_by_what_is_told() {
    let client = started().await;
    let created = json!({"plan": "professional", "timezone": "Europe/Berlin", "billing_anchor": "2026-01-31T00:00:00+01:00",
        "limits": {"api_calls": 7, "ocr_operations": {"quota_limit": 3, "allow_overage": true, "overage_price": "0.25"},
            "storage_usage": null}});
    tell(&client, told("created", 0, created.clone())).await;
    let new = found(&client).await;
    for (name, value) in [
        ("user_id", json!("u")),
        ("plan", json!("professional")),
        ("timezone", json!("Europe/Berlin")),
        ("billing_anchor", json!("2026-01-30T23:00:00Z")),
        ("starts_at", json!("2026-01-20T00:00:00Z")),
        ("status", json!("active")),
    ] {
        assert_eq!(new[name], value, "{name}: {new}");
    }
    let quota = client.quota("u", "ocr_operations").await;
    assert_eq!(
        (&quota["quota_limit"], &quota["overage_price"], &quota["overridden"]),
        (&json!(3), &json!(0.25), &json!(true))
    );
    assert_eq!(limit(&client, API_CALLS).await, json!(7));
    assert_eq!(limit(&client, "storage_usage").await, Value::Null);
    assert_eq!(limit(&client, "document_processing").await, json!(500), "the plan's");
    // Told again, and told what it was before: nothing.
    tell(&client, told("created", 0, created)).await;
    assert_eq!(audited(&client).await.len(), 1);
    // It is there: plan and limits are taken over, nothing else.
    let again = json!({"plan": "basic", "timezone": "UTC", "period_length": "day", "limits": {"api_calls": 9}});
    tell(&client, told("created", 1, again)).await;
    let after = found(&client).await;
    assert_eq!(
        (&after["plan"], &after["timezone"]),
        (&json!("basic"), &json!("Europe/Berlin"))
    );
    assert_eq!(after["period_length"], json!("month"));
    assert_eq!(limit(&client, API_CALLS).await, json!(9));
    assert_eq!(
        limit(&client, "ocr_operations").await,
        json!(3),
        "overrides not named stay"
    );
    tell(&client, told("plan_changed", 2, json!({"plan": "enterprise"}))).await;
    assert_eq!(limit(&client, "document_processing").await, json!(5000));
    client
        .track(json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 4}))
        .await;
    tell(&client, told("renewed", 3, json!({"plan": "enterprise"}))).await;
    let renewed = found(&client).await;
    assert_ne!(renewed["current_period_start"], after["current_period_start"]);
    let billed = statements(&client, "user_id=u").await;
    assert_eq!(
        (billed.len(), &line(&billed[0], API_CALLS)["used"]),
        (1, &json!(4)),
        "{billed:?}"
    );
    tell(&client, told("cancelled", 4, json!({"at_period_end": true}))).await;
    let ending = found(&client).await;
    assert_eq!(ending["cancel_at"], renewed["current_period_end"]);
    tell(&client, told("cancelled", 5, json!({}))).await;
    assert_eq!(found(&client).await["status"], json!("cancelled"));
    let actions: Vec<String> = audited(&client).await.into_iter().map(|entry| entry.action).collect();
    let expected = ["create", "plan", "plan", "renew", "cancel", "cancel"];
    assert_eq!(actions, expected.map(|verb| format!("subscription.{verb}")));
    let entries = audited(&client).await;
    assert!(
        entries
            .iter()
            .all(|entry| entry.actor_type == "system" && entry.actor_id == "bus")
    );
    // Whatever is older comes to nothing, also now.
    for what in ["created", "renewed", "plan_changed", "cancelled"] {
        tell(&client, told(what, 3, json!({"plan": "professional"}))).await;
    }
    assert_eq!(audited(&client).await.len(), 6);
    assert_eq!(dead_letters(&client).await, 0);
    // Newer, it cannot be done.
    tell(&client, told("renewed", 9, json!({}))).await;
    assert_eq!(dead_letters(&client).await, 1);
}

/// What the old period cost is said by the old plan, and the new one is under the new plan at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_onto_another_plan_bills_the_old_one() {
    let client = started().await;
    tell(&client, told("created", 0, json!({}))).await;
    for (metric, value, mode) in [("document_processing", 112, None), ("storage_usage", 7, Some("level"))] {
        let mut event = json!({"user_id": "u", "metric_type": metric, "metric_value": value, "enforce": false});
        if let Some(mode) = mode {
            event["mode"] = json!(mode);
        }
        assert_eq!(client.track(event).await.status, 201);
    }
    let more = json!({"plan": "professional", "limits": {"document_processing": 600}});
    tell(&client, told("renewed", 1, more)).await;
    let billed = statements(&client, "user_id=u").await;
    assert_eq!(
        (billed.len(), &billed[0]["plan"], &billed[0]["total_cost"]),
        (1, &json!("basic"), &json!(10))
    );
    assert_eq!(found(&client).await["plan"], json!("professional"));
    assert_eq!(limit(&client, "document_processing").await, json!(600));
    assert_eq!(limit(&client, "storage_usage").await, json!(50));
    client.track(json!({"user_id": "u", "metric_type": "storage_usage", "metric_value": 60, "mode": "level", "enforce": false})).await;
    now(&client, "2026-03-20T00:00:00Z").await;
    let next = statements(&client, "user_id=u").await.remove(0);
    assert_eq!(
        (&next["plan"], &line(&next, "storage_usage")["cost"]),
        (&json!("professional"), &json!(15))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_kept() {
    let client = started().await;
    tell(&client, told("created", 0, json!({}))).await;
    client.subscribe("v", "basic").await;
    let before = (found(&client).await, audited(&client).await.len());
    let wrong = [
        told("created", 1, json!({"plan": "gold"})),
        told("created", 1, json!({"user_id": null})),
        told("created", 1, json!({"occurred_at": "yesterday"})),
        told("created", 1, json!({"limits": {"teapots": 1}})),
        told("created", 1, json!({"limits": {"api_calls": -1}})),
        told("created", 1, json!({"limits": {"api_calls": {"block_size": 0}}})),
        told("created", 1, json!({"limits": 5})),
        told("created", 1, json!({"nonsense": true})),
        told("created", 1, json!({"subscription_id": "none"})),
        told("plan_changed", 1, json!({"plan": null})),
        told("cancelled", 1, json!({"at_period_end": "yes"})),
        told("renewed", 1, json!({"user_id": "v"})),
        told("created", 1, json!({"user_id": "v"})),
        told("renewed", 1, json!({"subscription_id": "sub_nobody"})),
    ];
    for (number, event) in wrong.into_iter().enumerate() {
        tell(&client, event.clone()).await;
        assert_eq!(dead_letters(&client).await, number + 1, "{event}");
    }
    assert_eq!((found(&client).await, audited(&client).await.len()), before);
    // What others tell each other on the bus is none of this.
    tell(&client, told("teapots", 1, json!({}))).await;
    assert_eq!(dead_letters(&client).await, 14);
}

/// Every order of these, each told twice; what comes before its subscription comes again.
#[tokio::test(flavor = "multi_thread")]
async fn in_any_order_the_newest_holds() {
    let idle = Idle::start().await;
    let client = &idle.client;
    now(client, "2026-01-20T12:00:00Z").await;
    let events = [
        ("created", json!({"plan": "basic", "limits": {"api_calls": 1}})),
        ("plan_changed", json!({"plan": "professional"})),
        ("created", json!({"plan": "enterprise", "limits": {"api_calls": 3}})),
        ("plan_changed", json!({"plan": "basic", "limits": {"api_calls": 4}})),
    ];
    let mut orders = 0;
    for first in permutations(&[0, 1, 2, 3]) {
        let (id, user) = (format!("sub_{orders}"), format!("u{orders}"));
        let of = |index: usize| {
            let (what, more) = &events[index];
            let mut event = told(what, u32::try_from(index).expect("small"), more.clone());
            event["detail"]["subscription_id"] = json!(id);
            event["detail"]["user_id"] = json!(user);
            event.to_string()
        };
        let instance = client.stack.instance(None).expect("an instance");
        let mut waiting: VecDeque<String> = first.iter().chain(&first).map(|index| of(*index)).collect();
        let mut applied = 0;
        for _ in 0..64 {
            let Some(event) = waiting.pop_front() else { break };
            match instance.invoke("LifecycleJob", event.clone()).await {
                Ok(answer) => applied += usize::from(answer.contains("true")),
                Err(_) => waiting.push_back(event),
            }
        }
        assert!(waiting.is_empty(), "{first:?}");
        let found = client.get(&format!("{SUBSCRIPTIONS}/{id}"), ADMIN).await.body;
        assert_eq!(found["plan"], json!("basic"), "{first:?}");
        assert_eq!(
            client.quota(&user, API_CALLS).await["quota_limit"],
            json!(4),
            "{first:?}"
        );
        assert!((1..=4).contains(&applied), "{first:?}: {applied} applied");
        orders += 1;
    }
    assert_eq!(orders, 24);
}

fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for one in of {
        let rest: Vec<usize> = of.iter().copied().filter(|other| other != one).collect();
        all.extend(permutations(&rest).into_iter().map(|rest| [vec![*one], rest].concat()));
    }
    all
}

/// All at once, by many workers: each is applied at most once, and the newest holds.
#[tokio::test(flavor = "multi_thread")]
async fn in_parallel_each_is_applied_once() {
    let idle = Idle::start().await;
    let client = &idle.client;
    now(client, "2026-01-20T12:00:00Z").await;
    let instances: Vec<_> = (0..4)
        .map(|_| client.stack.instance(None).expect("an instance"))
        .collect();
    let created = told("created", 0, json!({})).to_string();
    let creations = instances
        .iter()
        .map(|instance| instance.invoke("LifecycleJob", created.clone()));
    let made: Vec<String> = futures::future::try_join_all(creations).await.expect("answers");
    assert_eq!(
        made.iter().filter(|answer| answer.contains("true")).count(),
        1,
        "{made:?}"
    );
    let plans = ["professional", "enterprise", "basic"];
    let events = (1..=12).map(|second: u32| {
        told(
            "plan_changed",
            second,
            json!({"plan": plans[second as usize % 3], "limits": {"api_calls": second}}),
        )
        .to_string()
    });
    let events: Vec<String> = events.chain([told("renewed", 13, json!({})).to_string()]).collect();
    let mut waiting: Vec<String> = events.iter().cycle().take(events.len() * 3).cloned().collect();
    let mut applied = 0;
    for _ in 0..10 {
        let calls = waiting.iter().zip(instances.iter().cycle());
        let calls = calls.map(|(event, instance)| instance.invoke("LifecycleJob", event.clone()));
        let answers = futures::future::join_all(calls).await;
        applied += answers
            .iter()
            .filter(|answer| answer.as_ref().is_ok_and(|answer| answer.contains("true")))
            .count();
        // Too many at once for one of them: it comes again.
        let failed = waiting.into_iter().zip(answers).filter(|(_, answer)| answer.is_err());
        waiting = failed.map(|(event, _)| event).collect();
    }
    assert!(waiting.is_empty(), "{waiting:?}");
    let entries = audited(client).await;
    assert_eq!(applied, entries.len() - 1, "{entries:?}");
    assert_eq!(
        entries
            .iter()
            .filter(|entry| entry.action == "subscription.renew")
            .count(),
        1
    );
    assert_eq!(statements(client, "user_id=u").await.len(), 1, "one renewal");
    for (second, applied) in [(12, false), (13, false), (14, true)] {
        let event = told("plan_changed", second, json!({"plan": "enterprise"})).to_string();
        assert_eq!(
            idle.call("LifecycleJob", &event).await,
            json!({"applied": applied}),
            "{second}"
        );
    }
    assert_eq!(found(client).await["plan"], json!("enterprise"));
}

/// Each stopped at each of its waits and told again, the stopped one going on last: applied once.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_stops_it_is_applied_once() {
    let idle = Idle::start().await;
    let client = &idle.client;
    now(client, "2026-01-20T12:00:00Z").await;
    let mut waits = 0;
    for (what, more) in [
        ("created", json!({"limits": {"api_calls": 5}})),
        ("plan_changed", json!({"plan": "professional"})),
        ("renewed", json!({"plan": "professional"})),
        ("cancelled", json!({})),
    ] {
        for wait in 0..WAITS_MAX {
            let own = json!({"subscription_id": format!("sub_{what}_{wait}"), "user_id": format!("u_{what}_{wait}")});
            let of = |what: &str, second: u32, more: &Value| {
                let mut event = told(what, second, more.clone());
                let detail = event["detail"].as_object_mut().expect("an object");
                detail.extend(own.as_object().cloned().expect("an object"));
                event.to_string()
            };
            if what != "created" {
                idle.call("LifecycleJob", &of("created", 0, &json!({}))).await;
            }
            let event = of(what, 1, &more);
            let stopped = idle.stopped("LifecycleJob", &event, wait).await;
            let ended = stopped.is_none();
            idle.call("LifecycleJob", &event).await;
            let path = format!("{SUBSCRIPTIONS}/{}", own["subscription_id"].as_str().expect("an id"));
            let after = client.get(&path, ADMIN).await.body;
            if let Some(stopped) = stopped {
                stopped.go_on().await;
            }
            assert_eq!(client.get(&path, ADMIN).await.body, after, "{what} {wait}");
            let entries = client.audited(own["subscription_id"].as_str()).await;
            assert_eq!(
                entries.len(),
                if what == "created" { 1 } else { 2 },
                "{what} {wait}: {entries:?}"
            );
            let closed = statements(client, &format!("user_id={}", own["user_id"].as_str().expect("an id"))).await;
            let ends = matches!(what, "renewed" | "cancelled");
            assert_eq!(closed.len(), usize::from(ends), "{what} {wait}: {closed:?}");
            if ended {
                assert!(wait > 4, "{what} has more waits than {wait}");
                break;
            }
            waits += 1;
        }
    }
    println!("{waits} interrupted events");
}
