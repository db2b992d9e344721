//! A user erased: nothing that is stored names them any more, nothing brings them back, and nobody else
//! loses anything.

mod everything;
mod interrupted;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use metering_edge::aws::{dynamodb_client, s3_client};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{ADMIN, Answer, Client, SERVICE, TRACK};
use everything::Lived;

type Item = HashMap<String, AttributeValue>;

const BATCH: &str = "/api/v1/usage/track/batch";

/// All that a stack keeps: items of both tables, entries of all indexes, messages of all queues, files;
/// each as a text, with its key.
struct Kept(BTreeMap<String, String>);

impl Kept {
    async fn of(client: &Client) -> Self {
        let dynamodb = dynamodb_client(&client.stack.dynamodb_endpoint(), None);
        let mut kept = BTreeMap::new();
        let (events, state) = (client.stack.events_table(), client.stack.state_table());
        for (table, index) in [
            (events, None),
            (state, None),
            (events, Some("by_time")),
            (state, Some("due")),
            (state, Some("by_kind")),
        ] {
            let scan = dynamodb
                .scan()
                .table_name(table)
                .set_index_name(index.map(str::to_owned));
            let items: Vec<Item> = scan
                .into_paginator()
                .items()
                .send()
                .try_collect()
                .await
                .expect("a scan");
            for item in items {
                let key = format!("{table}/{}/{}", index.unwrap_or("-"), key_of(&item));
                kept.insert(key, shown(&AttributeValue::M(item)));
            }
        }
        let queues = client.get("/_local/queues", "").await.body;
        for queue in queues["queues"].as_array().expect("queues") {
            let name = queue["name"].as_str().expect("a name");
            let listed = client.get(&format!("/_local/queues/{name}/messages"), "").await.body;
            for message in listed["messages"].as_array().expect("messages") {
                let body = match &message["body"] {
                    Value::String(text) => text.clone(),
                    body => body.to_string(),
                };
                kept.insert(format!("{name}/{}", message["message_id"]), body.replace('\\', ""));
            }
        }
        let s3 = s3_client(&client.stack.endpoints().s3, None);
        let listed = s3.list_objects_v2().bucket("reports").send().await.expect("a list");
        for object in listed.contents() {
            kept.insert(format!("reports/{}", object.key().unwrap_or_default()), String::new());
        }
        Self(kept)
    }

    /// What names one of these.
    fn naming(&self, names: &BTreeSet<String>) -> Vec<String> {
        let named = self
            .0
            .iter()
            .filter(|(key, text)| names.iter().any(|name| mentions(key, name) || mentions(text, name)));
        named.map(|(key, text)| format!("{key}: {text}")).collect()
    }
}

fn key_of(item: &Item) -> String {
    let part = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let names = ["pk", "sk", "ix_pk", "ix_sk", "due_kind", "due_at", "kind", "kind_sort"];
    names.into_iter().filter_map(part).collect::<Vec<_>>().join("/")
}

/// A value with everything in it, in one order; bytes as text, too.
fn shown(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.replace('\\', ""),
        AttributeValue::B(bytes) => String::from_utf8_lossy(bytes.as_ref()).into_owned(),
        AttributeValue::Ss(texts) => texts
            .iter()
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" , "),
        AttributeValue::L(list) => list.iter().map(shown).collect::<Vec<_>>().join(" , "),
        AttributeValue::M(map) => {
            let sorted: BTreeMap<_, _> = map.iter().map(|(name, one)| (name, shown(one))).collect();
            let pairs = sorted.into_iter().map(|(name, one)| format!("{name} = {one}"));
            format!("( {} )", pairs.collect::<Vec<_>>().join(" ; "))
        }
        other => format!("{other:?}"),
    }
}

/// Whether an id stands in a text, not as a part of a longer one.
fn mentions(text: &str, id: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || "._:@|-".contains(c));
    text.match_indices(id)
        .any(|(at, _)| !is_part(text[..at].chars().next_back()) && !is_part(text[at + id.len()..].chars().next()))
}

async fn erase(client: &Client, user: &str) -> Answer {
    let path = format!("/api/v1/usage/admin/users/{}", user.replace('|', "%7C"));
    let url = client.stack.url();
    client.send_to(&url, Method::DELETE, &path, Some(ADMIN), None).await
}

async fn run(client: &Client) -> Value {
    let ran = client.post("/_local/run/ErasureJob", "", json!({})).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    ran.body["result"].clone()
}

/// Erases to the end: a pass at once, one after two minutes; of many users a call takes as many as it has
/// time for.
pub async fn erase_all(client: &Client, users: &[&str]) {
    for user in users {
        let erased = erase(client, user).await;
        assert_eq!(
            (erased.status, erased.body),
            (202, json!({"user_id": user, "status": "erasing"}))
        );
    }
    let first = run(client).await;
    assert_eq!(first["finished"], 0, "never at once: {first}");
    let (mut finished, mut calls) = (0, 0);
    while finished < users.len() as u64 {
        client.clock(json!({"advance_seconds": 120})).await;
        let called = run(client).await;
        finished += called["finished"].as_u64().expect("a count");
        calls += 1;
        assert!(calls <= users.len(), "each call finishes one at least: {called}");
    }
    assert_eq!(finished, users.len() as u64);
    assert_eq!(run(client).await["users"], 0, "nothing is left to do");
}

/// A user's id, and what anybody could make of it.
fn names_of(user: &str) -> BTreeSet<String> {
    let sha = Sha256::digest(user.as_bytes());
    let hex: String = sha.iter().map(|byte| format!("{byte:02x}")).collect();
    let short = hex[..32].to_owned();
    BTreeSet::from([user.to_owned(), hex, short])
}

const ZOE: &str = "zoe@example.com|7";
/// Whose id has the other's in it.
const ZOEY: &str = "zoe@example.com|77";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_names_an_erased_user_and_nobody_else_loses_anything() {
    let client = Client::start().await;
    let zoe = Lived::live(&client, ZOE, "sub_zoe").await;
    let zoey = Lived::live(&client, ZOEY, "sub_zoe2").await;
    client.drain().await;
    let before = Kept::of(&client).await;
    let mut names = names_of(ZOE);
    names.extend(zoe.names.clone());
    println!(
        "{} of {} entries name the user",
        before.naming(&names).len(),
        before.0.len()
    );
    assert!(before.naming(&names).len() > 100, "{:?}", before.naming(&names));
    assert!(before.naming(&BTreeSet::from(["erased".to_owned()])).is_empty());

    erase_all(&client, &[ZOE]).await;
    client.drain().await;
    let after = Kept::of(&client).await;
    assert_eq!(after.naming(&names), Vec::<String>::new());
    // What did not name the user is as it was, byte for byte; the tombstone and its audit entry are new.
    let unnamed = |kept: &Kept| -> BTreeMap<String, String> {
        let named: BTreeSet<String> = kept.naming(&names).into_iter().collect();
        let all = kept
            .0
            .iter()
            .filter(|(key, text)| !named.contains(&format!("{key}: {text}")));
        all.map(|(key, text)| (key.clone(), text.clone())).collect()
    };
    let (stayed, now) = (unnamed(&before), unnamed(&after));
    let lost: Vec<_> = stayed
        .iter()
        .filter(|(key, text)| now.get(*key) != Some(*text) && !key.contains("/KEY#"))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    let mut names_of_zoey = names_of(ZOEY);
    names_of_zoey.extend(zoey.names.clone());
    assert_eq!(before.naming(&names_of_zoey).len(), after.naming(&names_of_zoey).len());

    // Audit entries stay, under one pseudonym, without what else could tell who it was.
    let entries = client.audit().await;
    let erased: Vec<&Value> = entries.iter().filter(|entry| entry["action"] == "user.erase").collect();
    assert_eq!(erased.len(), 1, "{erased:?}");
    let pseudonym = erased[0]["target"].as_str().expect("a pseudonym");
    assert!(pseudonym.starts_with("erased_") && pseudonym.len() == 39, "{pseudonym}");
    for action in [
        "subscription.create",
        "event.void",
        "notification_settings.change",
        "threshold.create",
    ] {
        let own = entries.iter().filter(|entry| entry["action"] == action);
        let own: Vec<&Value> = own.filter(|entry| mentions(&entry.to_string(), pseudonym)).collect();
        assert!(!own.is_empty(), "{action}: {entries:?}");
        assert!(
            own.iter().all(|entry| !entry.to_string().contains("192.0.2.77")),
            "{own:?}"
        );
    }
    assert_nothing_comes_back(&client, &zoe, &names).await;
    let summary = client
        .get("/api/v1/usage/summary?user_id=zoe@example.com%7C77", SERVICE)
        .await;
    assert_eq!(summary.status, 200, "{summary:?}");
}

/// Whatever still speaks of the user: refused, dropped, or nothing follows from it.
async fn assert_nothing_comes_back(client: &Client, zoe: &Lived, names: &BTreeSet<String>) {
    let again = erase(client, ZOE).await;
    assert_eq!(again.status, 202, "{again:?}");
    let code = |answer: &Answer| (answer.status, answer.body["code"].clone());
    let gone = (410, json!("gone"));
    for event in &zoe.sent {
        assert_eq!(code(&client.track(event.clone()).await), gone, "{event}");
        let batch = client
            .post(BATCH, SERVICE, json!({"events": [event], "enforce": false}))
            .await;
        assert_eq!(
            (batch.status, &batch.body["results"][0]["status"]),
            (200, &json!(410)),
            "{batch:?}"
        );
        let queued = client
            .post("/_local/queues/UsageEventsQueue", "", json!({"body": event}))
            .await;
        assert_eq!(queued.status, 202);
    }
    let wrong = json!({"user_id": ZOE, "metric_type": "teapots", "metric_value": 1});
    let other = json!({"user_id": "somebody", "metric_type": "teapots", "metric_value": 1});
    for body in [wrong.clone(), json!([wrong, other])] {
        client
            .post("/_local/queues/UsageEventsQueue", "", json!({"body": body}))
            .await;
    }
    for (method, path, body) in everything::writes(ZOE) {
        let url = client.stack.url();
        let body = Some(body.to_string());
        let path = format!("/api/v1/usage/{path}");
        let refused = client.send_to(&url, method, &path, Some(ADMIN), body).await;
        assert_eq!(code(&refused), gone, "{path}: {refused:?}");
    }
    let token = client.token(json!({"user_id": ZOE})).await;
    let own = json!({"metric_type": "api_calls", "metric_value": 1});
    assert_eq!(code(&client.post(TRACK, &token, own).await), gone);
    assert_eq!(code(&client.get("/api/v1/usage/summary", &token).await), gone);
    let admin = client.token(json!({"user_id": ZOE, "admin": true})).await;
    assert_eq!(client.get("/api/v1/usage/admin/users", &admin).await.status, 401);

    let replayed = client.post("/_local/streams/replay", "", json!({})).await;
    assert_eq!(replayed.status, 202);
    client.drain().await;
    client.clock(json!({"advance_seconds": 3_600})).await;
    client.post("/_local/run/AlertJob", "", json!({})).await;
    client.drain().await;
    let kept = Kept::of(client).await;
    assert_eq!(kept.naming(names), Vec::<String>::new());
    let letters = client
        .get("/_local/queues/UsageEventsDeadLetters/messages", "")
        .await
        .body;
    let letters: Vec<String> = letters["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(Value::to_string)
        .collect();
    assert!(letters.iter().any(|letter| letter.contains("somebody")), "{letters:?}");
}

/// Users called like what is in keys and values of everybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_everywhere_takes_nobody_elses_along() {
    let client = Client::start().await;
    let names = [
        "1",
        "api_calls",
        "basic",
        "email",
        "SUB",
        "CTR",
        "standing",
        "system",
        "2",
        "NONE",
        "-",
    ];
    let teapots = json!({"name": "1", "scopes": ["usage:read"]});
    client.post("/api/v1/usage/admin/api-keys", ADMIN, teapots).await;
    let gold =
        json!({"name": "1", "currency": "EUR", "quotas": {"api_calls": {"quota_limit": 1, "allow_overage": false}}});
    client.put("/api/v1/usage/admin/plans/gold", gold).await;
    for user in names {
        client
            .track(json!({"user_id": user, "metric_type": "api_calls", "metric_value": 1}))
            .await;
    }
    let bystander = Lived::live(&client, "bystander", "2").await;
    for resource in names {
        let body = json!({"user_id": "bystander", "subscription_id": "2", "metric_type": "ocr_operations", "metric_value": 1,
            "resource_id": resource, "metadata": {"user": resource}});
        assert_eq!(client.track(body).await.status, 201);
    }
    client.drain().await;
    let before = Kept::of(&client).await;
    erase_all(&client, &names).await;
    client.drain().await;
    let after = Kept::of(&client).await;
    let is_of = |key: &str| {
        names.iter().any(|user| {
            let parts = [
                "NONE#",
                "NTF#",
                "ALR#",
                "SNT#",
                "HRS#none#",
                "DAY#none#",
                "none#",
                "LED#NONE#",
            ];
            let parts = parts.iter().map(|part| format!("{part}{user}"));
            parts.into_iter().any(|part| {
                key.match_indices(&part)
                    .any(|(at, _)| !key[at + part.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
            })
        }) || key.contains("/KEY#")
            || key.contains("/by_kind/NONE")
            || key.contains("-/EVT#")
    };
    let lost: Vec<_> = before
        .0
        .iter()
        .filter(|(key, text)| !is_of(key) && after.0.get(*key) != Some(*text))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    let events = client
        .all(
            "/api/v1/usage/admin/metrics?view=events&user_id=bystander&days=90",
            "metrics",
        )
        .await;
    assert_eq!(events.len(), bystander.sent_and_kept + names.len(), "{}", events.len());
    for user in names {
        let body = json!({"user_id": user, "metric_type": "api_calls", "metric_value": 1});
        assert_eq!(client.track(body).await.status, 410, "{user}");
    }
    let gold = client.get("/api/v1/usage/admin/plans/gold", ADMIN).await;
    assert_eq!((gold.status, &gold.body["name"]), (200, &json!("1")));
}

/// An administrator by token is a user, too: what they did to others stays, under a pseudonym.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_erased_administrator_did_stays_without_the_name() {
    let client = Client::start().await;
    let boss = client.token(json!({"user_id": "boss-7", "admin": true})).await;
    client.subscribe("u", "basic").await;
    client.raise("alr_u", "u", |_| {}).await;
    let event = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 3});
    let tracked = client.track(event.clone()).await;
    let id = tracked.body["usage_id"].as_str().expect("an id");
    client.track(event).await;
    let url = client.stack.url();
    for (method, path, body) in [
        (
            Method::POST,
            format!("events/{id}/void"),
            json!({"reason": "boss-7 says so"}),
        ),
        (
            Method::POST,
            "admin/quotas/reset?user_id=u&metric_type=api_calls".to_owned(),
            Value::Null,
        ),
        (Method::PATCH, "alerts/alr_u/acknowledge".to_owned(), Value::Null),
    ] {
        let body = (!body.is_null()).then(|| body.to_string());
        let path = format!("/api/v1/usage/{path}");
        let done = client.send_to(&url, method, &path, Some(&boss), body).await;
        assert_eq!(done.status, 200, "{path}: {done:?}");
    }
    client.drain().await;
    let names = names_of("boss-7");
    assert!(Kept::of(&client).await.naming(&names).len() >= 5);
    erase_all(&client, &["boss-7"]).await;
    let left = Kept::of(&client).await.naming(&names);
    // Words of others about what is not theirs are not looked into, but in their own ledger.
    assert!(left.iter().all(|one| one.contains("boss-7 says so")), "{left:?}");
    let alert = client.get("/api/v1/usage/alerts?user_id=u", SERVICE).await.body["alerts"][0].clone();
    let pseudonym = alert["acknowledged_by"].as_str().expect("a name");
    assert!(pseudonym.starts_with("erased_"), "{alert}");
    let entries = client.audit().await;
    let own = entries.iter().filter(|entry| entry["actor"]["id"] == pseudonym);
    let own: Vec<&Value> = own.collect();
    assert!(
        own.len() >= 2 && own.iter().all(|entry| entry["ip"].is_null()),
        "{entries:?}"
    );
    let ledger = client
        .all("/api/v1/usage/admin/adjustments?user_id=u", "adjustments")
        .await;
    assert!(ledger.iter().all(|entry| entry["actor"] == pseudonym), "{ledger:?}");
    assert_eq!(client.used("u", "api_calls").await, 0);
}

/// Whatever an instance knew for a minute is found by the pass after that.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_in_the_first_minute_is_found_later() {
    let client = Client::start().await;
    client.subscribe("late", "basic").await;
    let body = json!({"user_id": "late", "metric_type": "api_calls", "metric_value": 1});
    assert_eq!(
        client.track(body.clone()).await.status,
        201,
        "the instance knows the subscription now"
    );
    assert_eq!(erase(&client, "late").await.status, 202);
    assert_eq!(client.track(body.clone()).await.status, 201, "and does not ask");
    run(&client).await;
    // Its counter is gone: a new one is born by nobody.
    assert_eq!(client.track(body.clone()).await.status, 410);
    client.clock(json!({"advance_seconds": 30})).await;
    assert_eq!(run(&client).await["users"], 0, "too early to look again");
    client.clock(json!({"advance_seconds": 61})).await;
    assert_eq!(run(&client).await["finished"], 1);
    client.drain().await;
    assert_eq!(Kept::of(&client).await.naming(&names_of("late")), Vec::<String>::new());
    let ids = client.get("/api/v1/usage/admin/users", ADMIN).await;
    assert_eq!(ids.body["users"], json!([]));
}
