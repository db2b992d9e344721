//! One thing after the other, damaged behind everybody's back.

use std::sync::Arc;

use futures::future::join_all;

use super::*;
use crate::{
    books::Books,
    support::{SERVICE, until},
    wire::{Fate, Gate, Wire},
};

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Used,
    UsedBelow,
    Level,
    Remaining,
    HoldWithoutRecord,
    HoldLost,
    HoldOfAnotherQuantity,
    LeaseWithoutRecord,
    Quarter,
    QuarterThatClaimsMore,
    HourLost,
    Day,
}

const ALL: [Damage; 12] = [
    Damage::Used,
    Damage::UsedBelow,
    Damage::Level,
    Damage::Remaining,
    Damage::HoldWithoutRecord,
    Damage::HoldLost,
    Damage::HoldOfAnotherQuantity,
    Damage::LeaseWithoutRecord,
    Damage::Quarter,
    Damage::QuarterThatClaimsMore,
    Damage::HourLost,
    Damage::Day,
];
const SESSIONS: &str = "user_sessions";
/// 2026-03-10T09:10:00Z in milliseconds: long enough before, so that nobody is about to write its record.
const MADE_AT: i64 = 1_773_133_800_000;

impl Damage {
    fn metric(self) -> &'static str {
        match self {
            Self::Level => STORAGE,
            Self::LeaseWithoutRecord => SESSIONS,
            _ => CALLS,
        }
    }

    /// The row that tells of it, and the ledger's amount: counter, events, held, live holds, amount.
    fn row(self) -> [i64; 5] {
        match self {
            Self::Used => [19, 12, 3, 3, -7],
            Self::UsedBelow => [7, 12, 3, 3, 5],
            Self::Level => [19, 12, 0, 0, -7],
            Self::Remaining => [12, 12, 8, 3, 0],
            Self::HoldWithoutRecord => [12, 12, 8, 3, 0],
            Self::HoldLost => [12, 12, 0, 3, 0],
            Self::HoldOfAnotherQuantity => [12, 12, 9, 3, 0],
            Self::LeaseWithoutRecord => [0, 0, 2, 1, 0],
            Self::Quarter | Self::QuarterThatClaimsMore => [40, 12, 0, 0, -28],
            Self::HourLost => [0, 12, 0, 0, 12],
            Self::Day => [13, 12, 0, 0, -1],
        }
    }

    async fn make(self, client: &Client, owner: &Owner, reservation: &str) {
        let raw = Raw(client);
        let counter = raw.counter(owner, self.metric()).await;
        let hold = AttributeValue::M(Item::from([
            ("q".into(), n(if self == Self::LeaseWithoutRecord { 1 } else { 5 })),
            ("x".into(), s("2099-01-01T00:00:00.000Z")),
            ("m".into(), n(MADE_AT)),
        ]));
        let hour = async || raw.aggregate(owner, CALLS, false).await;
        let quarter = |item: &Item| {
            (0..4)
                .map(|index| format!("q{index}"))
                .find(|name| item.contains_key(name))
        };
        match self {
            Self::Used | Self::Level => {
                let change = "SET used = used + :v, remaining = remaining - :v";
                raw.change(&counter, change, &[(":v", n(7))]).await;
            }
            Self::UsedBelow => {
                let change = "SET used = used - :v, remaining = remaining + :v";
                raw.change(&counter, change, &[(":v", n(5))]).await;
            }
            Self::Remaining => {
                raw.change(&counter, "SET remaining = remaining - :v", &[(":v", n(5))])
                    .await;
            }
            Self::HoldWithoutRecord | Self::LeaseWithoutRecord => {
                let change = "SET holds.rsv_nobodys = :hold, remaining = remaining - :v";
                let quantity = n(if self == Self::LeaseWithoutRecord { 1 } else { 5 });
                raw.change(&counter, change, &[(":hold", hold), (":v", quantity)]).await;
            }
            Self::HoldLost => {
                let change = format!("SET remaining = remaining + :v REMOVE holds.{reservation}");
                raw.change(&counter, &change, &[(":v", n(3))]).await;
            }
            Self::HoldOfAnotherQuantity => {
                let change = format!("SET holds.{reservation}.q = :q, remaining = remaining - :v");
                raw.change(&counter, &change, &[(":q", n(9)), (":v", n(6))]).await;
            }
            Self::Quarter | Self::QuarterThatClaimsMore => {
                let hour = hour().await;
                let name = quarter(&hour).expect("a quarter");
                let claims = if self == Self::Quarter { 12 } else { 100 };
                let change = format!("SET {name}.t = :t, {name}.r = :r");
                raw.change(&hour, &change, &[(":t", n(40)), (":r", n(claims))]).await;
            }
            Self::HourLost => raw.delete(&hour().await).await,
            Self::Day => {
                let mut day = raw.aggregate(owner, CALLS, true).await;
                let mut sum = day["sum"].as_m().expect("a sum").clone();
                sum.insert("t".into(), n(13));
                day.insert("sum".into(), AttributeValue::M(sum));
                raw.put(day).await;
            }
        }
    }
}

/// Twelve of a metric, and a reservation.
async fn use_some(client: &Client, user: &str, metric: &str) -> String {
    if metric != SESSIONS {
        for _ in 0..12 {
            track(client, user, metric, 1.0).await;
        }
    }
    if metric == STORAGE {
        return String::new();
    }
    let quantity = if metric == SESSIONS { 1 } else { 3 };
    let body = json!({"user_id": user, "metric_type": metric, "quantity": quantity, "ttl_seconds": 86400});
    let made = client.post("/api/v1/usage/reservations", SERVICE, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().expect("an id").to_owned()
}

async fn case(client: &Client, damage: Damage, reservation: &str) {
    let user = format!("{damage:?}");
    let owner = Owner::of(&user, "none");
    let before = assert_clean(client, &user).await;
    assert_eq!(before["checked"], json!(1), "{user}");
    damage.make(client, &owner, reservation).await;

    let [counter, events, held, live_holds, amount] = damage.row();
    let looked = reconcile(client, &user, false).await;
    assert_eq!(
        (&looked["drifted"], &looked["repaired"]),
        (&json!(1), &json!(0)),
        "{user}: {looked}"
    );
    let row = &looked["drift"][0];
    assert_eq!(
        (&row["subscription_id"], &row["metric_type"], &row["adjustment_id"]),
        (&json!("none"), &json!(damage.metric()), &Value::Null),
        "{user}"
    );
    let numbers = |row: &Value| ["counter", "events", "held", "live_holds"].map(|name| row[name].clone());
    assert_eq!(
        numbers(row),
        [counter, events, held, live_holds].map(Value::from),
        "{user}"
    );
    assert_eq!(
        repairs(client, &user, "none").await,
        Vec::<Value>::new(),
        "{user}: it only looked"
    );

    let repaired = reconcile(client, &user, true).await;
    assert_eq!(
        (&repaired["drifted"], &repaired["repaired"]),
        (&json!(1), &json!(1)),
        "{user}: {repaired}"
    );
    assert_eq!(numbers(&repaired["drift"][0]), numbers(row), "{user}");
    let ledger = repairs(client, &user, "none").await;
    assert_eq!(ledger.len(), 1, "{user}: {ledger:?}");
    assert_eq!(ledger[0]["id"], repaired["drift"][0]["adjustment_id"], "{user}");
    assert_eq!(
        (&ledger[0]["amount"], &ledger[0]["metric_type"]),
        (&json!(amount), &row["metric_type"]),
        "{user}"
    );
    assert_eq!(ledger[0]["period_start"], row["period_start"], "{user}");

    assert_clean(client, &user).await;
    Books::of(&client.stack, &user, "none").await.assert_exact();
    // The same once more is another repair.
    damage.make(client, &owner, reservation).await;
    let again = reconcile(client, &user, true).await;
    assert_eq!(again["repaired"], json!(1), "{user}: {again}");
    assert_eq!(repairs(client, &user, "none").await.len(), 2, "{user}");
    assert_clean(client, &user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_found_and_repaired_with_an_entry_in_the_ledger() {
    let client = Client::start().await;
    // All within one hour, and it goes on for as long as this takes.
    client.clock(json!({"now": "2026-03-10T09:05:00Z"})).await;
    let mut reservations = Vec::new();
    for damage in ALL {
        reservations.push(use_some(&client, &format!("{damage:?}"), damage.metric()).await);
    }
    client.drain().await;
    // Until then an hour may not know its last events.
    client.clock(json!({"advance_seconds": 25 * 60})).await;
    client.drain().await;
    let cases = ALL.iter().zip(&reservations);
    join_all(cases.map(|(damage, reservation)| case(&client, *damage, reservation))).await;

    let entries = client.audited(None).await;
    let repaired = entries.iter().filter(|entry| entry.action == "usage.reconcile");
    assert_eq!(repaired.count(), 2 * ALL.len());
    let used = entries
        .iter()
        .find(|entry| entry.before["current_usage"] == json!("19"));
    let used = used.expect("the counter's entry");
    assert_eq!(
        (&used.after["current_usage"], used.actor_type.as_str()),
        (&json!("12"), "api_key")
    );
}

/// Who is under way with a hold that was given up is refused; it is not held behind the books.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_given_up_gets_no_record_afterwards() {
    let client = Client::start().await;
    track(&client, "u", CALLS, 1.0).await;
    let gate = Arc::new(Gate::default());
    let held = gate.clone();
    let wire = Wire::new(move |call| match call.operation == "PutItem" && call.touches("RSV#") {
        true => Fate::HoldBefore(held.clone()),
        false => Fate::Pass,
    });
    let slow = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let base = slow.url();
    let body = json!({"user_id": "u", "metric_type": CALLS, "quantity": 5}).to_string();
    let path = "/api/v1/usage/reservations";
    let making = client.send_to(&base, reqwest::Method::POST, path, Some(SERVICE), Some(body));
    tokio::pin!(making);
    until(&mut making, gate.reached()).await;
    // For a minute it is its maker's.
    assert_clean(&client, "u").await;
    client.clock(json!({"advance_seconds": 61})).await;
    let found = reconcile(&client, "u", true).await;
    assert_eq!(
        (&found["repaired"], &found["drift"][0]["held"]),
        (&json!(1), &json!(5)),
        "{found}"
    );
    gate.open();
    let made = making.await;
    assert_ne!(made.body["status"], json!("held"), "{made:?}");
    Books::read(&client.stack).await.assert_unheld();
    assert_clean(&client, "u").await;
}

/// What is sealed has its statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_counter_is_left_alone() {
    let client = Client::start().await;
    let subscription = client.subscribe("u", "basic").await;
    client.clock(json!({"advance_seconds": 1})).await;
    track(&client, "u", CALLS, 4.0).await;
    let renew = format!("/api/v1/usage/admin/subscriptions/{subscription}/renew");
    assert_eq!(client.post(&renew, ADMIN, json!({})).await.status, 200);
    let raw = Raw(&client);
    let owner = Owner::of("u", &subscription);
    let sealed = raw.of(&owner.pk(), "CTR#").await.into_iter().next().expect("a counter");
    assert!(sealed.contains_key("sealed"));
    raw.change(&sealed, "SET used = used + :v", &[(":v", n(7))]).await;
    let found = assert_clean(&client, "u").await;
    assert_eq!(found["checked"], json!(0));
    assert_eq!(run(&client).await["drifted"], json!(0));
}
