//! A kill under load loses nothing that was acknowledged.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Process;

/// How many send at once.
const SENDERS: usize = 16;
/// After so many answers the process is killed.
const ANSWERS: usize = 120;
/// This machine is slow, not broken, up to here.
const PATIENCE: Duration = Duration::from_secs(60);

async fn post(http: &reqwest::Client, url: String, key: &str, body: Value) -> reqwest::Result<(u16, Value)> {
    let sent = http.post(url).bearer_auth(key).json(&body).send().await?;
    let status = sent.status().as_u16();
    Ok((status, sent.json().await?))
}

async fn get(http: &reqwest::Client, url: String) -> Value {
    let sent = http.get(url).bearer_auth("mk_dev_service").send().await;
    sent.expect("an answer").json().await.expect("JSON")
}

async fn track(http: &reqwest::Client, base: &str, key: &str) -> reqwest::Result<(u16, Value)> {
    let body = json!({"user_id": "u", "metric_type": "api_calls", "metric_value": 1, "idempotency_key": key});
    post(http, format!("{base}/api/v1/usage/track"), "mk_dev_service", body).await
}

/// Sends until the process dies; the acknowledged keys and their ids.
async fn load(process: Process, round: usize) -> BTreeMap<String, String> {
    let answered = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (base, answered) = (process.url.clone(), Arc::clone(&answered));
        senders.spawn(async move {
            let http = reqwest::Client::new();
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let key = format!("{round}-{sender}-{number}");
                let Ok((status, body)) = track(&http, &base, &key).await else {
                    break;
                };
                assert_eq!(status, 201, "{body}");
                acknowledged.push((key, body["usage_id"].as_str().expect("an id").to_owned()));
                answered.fetch_add(1, Ordering::AcqRel);
            }
            acknowledged
        });
    }
    let began = Instant::now();
    while answered.load(Ordering::Acquire) < ANSWERS && began.elapsed() < PATIENCE {
        tokio::task::yield_now().await;
    }
    drop(process);
    senders.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_under_load_lose_nothing_acknowledged() {
    let data = tempfile::tempdir().expect("a directory");
    let http = reqwest::Client::new();
    let process = Process::start_on(data.path());
    let body = json!({"id": "sub_u", "user_id": "u", "plan": "enterprise"});
    let url = format!("{}/api/v1/usage/admin/subscriptions", process.url);
    let created = post(&http, url, "mk_dev_admin", body).await.expect("an answer");
    assert_eq!(created.0, 201, "{created:?}");

    let mut acknowledged = BTreeMap::new();
    let mut process = Some(process);
    for round in 0..3 {
        let running = process.take().unwrap_or_else(|| Process::start_on(data.path()));
        acknowledged.extend(load(running, round).await);
    }
    assert!(acknowledged.len() >= 3 * ANSWERS, "{}", acknowledged.len());

    let process = Process::start_on(data.path());
    for (key, id) in &acknowledged {
        let (status, body) = track(&http, &process.url, key).await.expect("an answer");
        assert_eq!((status, body["usage_id"].as_str()), (200, Some(id.as_str())), "{key}");
    }
    let clock = format!("{}/_local/clock", process.url);
    let moved = post(&http, clock, "", json!({"advance_seconds": 61})).await;
    moved.expect("the clock moves");
    let counted = events(&http, &process.url).await;
    println!("{} acknowledged, {counted} counted", acknowledged.len());
    assert!(
        counted >= acknowledged.len() && counted <= acknowledged.len() + 3 * SENDERS,
        "{counted}"
    );
    let quota = get(
        &http,
        format!("{}/api/v1/usage/quotas?user_id=u&metric_type=api_calls", process.url),
    )
    .await;
    assert_eq!(quota["quotas"][0]["current_usage"], json!(counted));
}

/// How many events the API lists.
async fn events(http: &reqwest::Client, base: &str) -> usize {
    let mut counted = 0;
    let mut cursor = String::new();
    loop {
        let page = get(http, format!("{base}/api/v1/usage/events?user_id=u&limit=200{cursor}")).await;
        counted += page["events"].as_array().expect("events").len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return counted,
        }
    }
}
