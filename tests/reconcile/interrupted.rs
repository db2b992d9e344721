//! A repair stopped at each of its waits, sent again, and the stopped one going on last of all; and
//! two at once: one entry in the ledger, and the books exact.

use futures::{StreamExt as _, future::join_all, stream};
use reqwest::Method;

use super::*;
use crate::{books::Books, support::count, wire::Wire};

/// More waits than any repair has.
const WAITS_MAX: usize = 120;
/// Cases at once: each waits for seconds.
const WIDTH: usize = 24;

async fn damaged(client: &Client, user: &str) {
    track(client, user, CALLS, 4.0).await;
    let raw = Raw(client);
    let counter = raw.counter(&Owner::of(user, "none"), CALLS).await;
    let change = "SET used = used + :v, remaining = remaining - :v";
    raw.change(&counter, change, &[(":v", n(7))]).await;
}

async fn repair(client: &Client, base: &str, user: &str) -> Answer {
    let body = Some(json!({"user_id": user, "repair": true}).to_string());
    client.send_to(base, Method::POST, PATH, Some(ADMIN), body).await
}

async fn repaired_once(client: &Client, user: &str) {
    let ledger = repairs(client, user, "none").await;
    assert_eq!(ledger.len(), 1, "{user}: {ledger:?}");
    assert_eq!(ledger[0]["amount"], json!(-7), "{user}");
    assert_eq!(client.used(user, CALLS).await, json!(4), "{user}");
    Books::of(&client.stack, user, "none").await.assert_exact();
}

/// Whether the repair waited so often.
async fn holds(client: &Client, wait: usize) -> bool {
    let user = format!("u{wait}");
    damaged(client, &user).await;
    let (wire, gate) = Wire::stopping(wait);
    let instance = client.stack.instance(Some(wire.http_client())).expect("an instance");
    let base = instance.url();
    let stopped = repair(client, &base, &user);
    tokio::pin!(stopped);
    let answer = tokio::select! {
        () = gate.reached() => None,
        answer = &mut stopped => Some(answer),
    };
    if let Some(answer) = answer {
        assert_eq!(
            (answer.status, &answer.body["repaired"]),
            (200, &json!(1)),
            "{user}: {answer:?}"
        );
        repaired_once(client, &user).await;
        return false;
    }
    let again = repair(client, &client.stack.url(), &user).await;
    assert_eq!(again.status, 200, "{user}: {again:?}");
    repaired_once(client, &user).await;
    gate.open();
    let last = stopped.await;
    assert_eq!(last.status, 200, "{user}: {last:?}");
    repaired_once(client, &user).await;
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_repair_stops_it_is_made_once() {
    let client = Client::start().await;
    let cases = stream::iter(0..WAITS_MAX).map(|wait| holds(&client, wait));
    let held: Vec<bool> = cases.buffered(WIDTH).collect().await;
    let waits = held.iter().filter(|held| **held).count();
    assert!(waits > 20 && waits < WAITS_MAX, "{waits}");
    println!("{waits} interrupted repairs");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_repairs_at_once_one_is_made_and_all_name_it() {
    let client = Client::start().await;
    let other = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), other.url()];
    damaged(&client, "u").await;
    let sends = (0..8).map(|index| repair(&client, &bases[index % 2], "u"));
    let answers = join_all(sends).await;
    assert_eq!(count(&answers, 200), 8, "{answers:?}");
    repaired_once(&client, "u").await;
    let entry = &repairs(&client, "u", "none").await[0]["id"];
    for answer in answers {
        let found = answer.body["drift"].as_array().expect("rows");
        // Who looked when it was repaired already found nothing.
        assert!(found.iter().all(|row| row["adjustment_id"] == *entry), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_gets_the_first_answer() {
    let client = Client::start().await;
    damaged(&client, "u").await;
    let body = json!({"user_id": "u", "repair": true});
    let send = async |body: &Value| {
        let sent = client.keyed(Method::POST, PATH, ADMIN, "k", Some(body.clone()));
        sent.await
    };
    let first = send(&body).await;
    assert_eq!((first.status, &first.body["repaired"]), (200, &json!(1)), "{first:?}");
    let again = send(&body).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(send(&json!({"user_id": "u"})).await.status, 409);
    repaired_once(&client, "u").await;
}
