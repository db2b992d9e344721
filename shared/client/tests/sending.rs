//! The sender: everything that is handed over is told once, whatever happens in between.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use metering_client::{
    Caller, Client, Dead, Error, Metering, Queue, Retry, SendError, Sender, SenderOptions, SpoolOptions, Usage,
};
use usage_local::Options;

use crate::support::{PATIENCE, SERVICE, client, events, stack, stack_with, used};

/// Nobody answers there.
const NOWHERE: &str = "http://127.0.0.1:9";

fn quick() -> SenderOptions {
    let mut options = SenderOptions::default();
    options.batch_age_max = Duration::from_millis(20);
    options
}

fn event(user: &str, number: usize) -> Usage {
    Usage::new(user, "api_calls", 1).keyed(format!("{user}-{number}"))
}

/// A client whose own retries are short.
fn impatient(base: &str) -> Client {
    let client = Client::new(base, SERVICE).expect("a client");
    client.with_retry(Retry {
        attempt: Duration::from_secs(60),
        longest_pause: Duration::from_millis(200),
        ..Retry::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_returns_when_all_before_it_is_counted_whatever_the_batches_are() {
    let stack = stack().await;
    let mut options = quick();
    options.batch_events_max = 7;
    options.batch_age_max = Duration::from_secs(3_600);
    let sender = Sender::start(&impatient(&stack.url()), options).expect("a sender");
    for number in 0..40 {
        sender.try_send(event("1", number)).expect("there is room");
    }
    sender.flush(PATIENCE).await.expect("told");
    assert_eq!(used(&stack.url(), "1", "api_calls").await.0, "40");
    let stats = sender.stats();
    assert_eq!((stats.counted, stats.pending, stats.dead), (40, 0, 0), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_identity_counts_once_by_whichever_way_it_is_told() {
    let stack = stack().await;
    let sender = Sender::start(&impatient(&stack.url()), quick()).expect("a sender");
    let usage = Usage::new("1", "api_calls", 2);
    sender.send(usage.clone()).await.expect("handed over");
    sender.flush(PATIENCE).await.expect("told");
    sender.send(usage.clone()).await.expect("handed over");
    sender.flush(PATIENCE).await.expect("told");
    let client = client(&stack.url(), SERVICE);
    let again = client.track_unenforced(&usage).await.expect("an answer");
    assert!(again.duplicate, "{again:?}");
    assert_eq!(used(&stack.url(), "1", "api_calls").await.0, "2");
    assert_eq!(sender.stats().duplicates, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_by_itself_is_told_once_and_does_not_hold_up_the_rest() {
    let stack = stack().await;
    let folder = tempfile::tempdir().expect("a folder");
    let heard: Arc<Mutex<Vec<Dead>>> = Arc::default();
    let listener = Arc::clone(&heard);
    let mut options = quick();
    options.spool = Some(SpoolOptions::new(folder.path()));
    options.on_dead = Some(Arc::new(move |dead: &Dead| {
        listener.lock().expect("no panic").push(dead.clone())
    }));
    let sender = Sender::start(&impatient(&stack.url()), options).expect("a sender");
    sender.send(event("1", 1)).await.expect("handed over");
    sender
        .send(Usage::new("1", "no_such_metric", 1))
        .await
        .expect("handed over");
    sender.send(event("1", 2)).await.expect("handed over");
    sender.flush(PATIENCE).await.expect("told");
    assert_eq!(used(&stack.url(), "1", "api_calls").await.0, "2");
    let dead = heard.lock().expect("no panic").clone();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].record["track"]["usage"]["metric_type"], "no_such_metric");
    let kept = std::fs::read_to_string(folder.path().join("dead.jsonl")).expect("it is kept");
    assert!(kept.contains("no_such_metric") && kept.lines().count() == 1, "{kept}");
    assert_eq!((sender.stats().dead, sender.stats().counted), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_counts_and_a_sender_that_waits_waits() {
    let mut options = quick();
    options.queue_max = 50;
    // The background takes one, and then waits for company.
    options.batch_age_max = Duration::from_secs(3_600);
    let sender = Sender::start(&impatient(NOWHERE), options).expect("a sender");
    while sender.stats().pending < 51 {
        // Refused where the background has not taken its one yet.
        drop(sender.try_send(event("1", 1)));
        tokio::task::yield_now().await;
    }
    let before = sender.stats();
    for number in 2..100 {
        let refused = sender.try_send(event("1", number));
        assert!(matches!(refused, Err(SendError::Full)), "{refused:?}");
    }
    let stats = sender.stats();
    assert_eq!(
        (stats.pending, stats.refused),
        (before.pending, before.refused + 98),
        "{stats:?}"
    );
    let waiting = tokio::time::timeout(Duration::from_millis(50), sender.send(event("1", 100))).await;
    assert!(waiting.is_err(), "there is no room: {waiting:?}");
    let unsent = sender
        .flush(Duration::from_millis(50))
        .await
        .expect_err("nobody answers");
    assert_eq!(unsent.pending, before.pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_to_the_spool_outlives_its_process_and_counts_once() {
    let stack = stack().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = quick();
    options.spool = Some(SpoolOptions::new(folder.path()));
    // Nobody answers this process, whose runtime ends as if it were killed.
    let (first, path) = (options.clone(), folder.path().to_owned());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("threads");
        runtime.block_on(async {
            let sender = Sender::start(&impatient(NOWHERE), first).expect("a sender");
            for number in 0..30 {
                sender.send(event("1", number)).await.expect("it is in the spool");
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(60));
    })
    .join()
    .expect("it ends");
    assert!(std::fs::read_dir(&path).expect("a folder").count() > 1);

    let sender = Sender::start(&impatient(&stack.url()), options).expect("a sender");
    sender.send(event("1", 0)).await.expect("it is in the spool");
    sender.flush(PATIENCE).await.expect("told");
    assert_eq!(used(&stack.url(), "1", "api_calls").await.0, "30");
    let left: Vec<_> = std::fs::read_dir(&path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["lock"], "what is told is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_restarted_under_load_counts_everything_once() {
    let data = tempfile::tempdir().expect("a folder");
    let options = Options {
        data_dir: Some(data.path().to_owned()),
        ..Options::default()
    };
    let stack = stack_with(options.clone()).await;
    let (url, port) = (
        stack.url(),
        stack
            .url()
            .rsplit(':')
            .next()
            .expect("a port")
            .parse()
            .expect("a number"),
    );
    let mut sending = quick();
    sending.batch_events_max = 20;
    let sender = Sender::start(&impatient(&url), sending).expect("a sender");
    let load = {
        let sender = sender.clone();
        tokio::spawn(async move {
            for number in 0..600 {
                sender
                    .send(event(&format!("{}", number % 3), number))
                    .await
                    .expect("handed over");
                if number % 20 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    while sender.stats().counted < 60 {
        tokio::task::yield_now().await;
    }
    stack.stop().await;
    let stack = loop {
        let again = Options {
            port,
            ..options.clone()
        };
        match usage_local::Stack::start(Options { idle: true, ..again }).await {
            Ok(stack) => break stack,
            // The folder is let go with the last thread of the old one.
            Err(usage_local::StackError::DataDir(_) | usage_local::StackError::Port(_)) => {
                tokio::task::yield_now().await
            }
            Err(error) => panic!("{error}"),
        }
    };
    load.await.expect("it ends");
    sender.flush(PATIENCE).await.expect("told");
    for user in 0..3 {
        let user = user.to_string();
        assert_eq!(
            used(&stack.url(), &user, "api_calls").await.0,
            "200",
            "{:?}",
            sender.stats()
        );
        assert_eq!(events(&stack.url(), &user, "api_calls").await.len(), 200);
    }
    assert_eq!(sender.stats().dead, 0);
}

#[tokio::test]
async fn what_the_service_could_never_take_is_refused_at_once_and_named() {
    let sender = Sender::start(&impatient(NOWHERE), quick()).expect("a sender");
    let refused = |usage: Usage| sender.try_send(usage).expect_err("it is refused").to_string();
    assert!(refused(Usage::new("a b", "api_calls", 1)).starts_with("user_id: "));
    assert!(refused(Usage::new("1", "", 1)).starts_with("metric_type: "));
    assert!(refused(event("1", 1).keyed("")).starts_with("idempotency_key: "));
    assert!(refused(event("1", 1).resource("x".repeat(257))).starts_with("resource_id: "));
    assert!(refused(event("1", 1).with("k", "x".repeat(600))).starts_with("metadata: "));
    assert_eq!(sender.stats().pending, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_way_of_the_queue_everything_counts_once_too_and_commits_go_over_http() {
    let stack = usage_local::Stack::start(Options::default())
        .await
        .expect("the stack starts");
    let sqs = metering_edge::aws::sqs_client(&stack.sqs_endpoint(), None);
    let url = sqs
        .get_queue_url()
        .queue_name("UsageEventsQueue")
        .send()
        .await
        .expect("a queue");
    let mut options = quick();
    options.queue = Some(Queue {
        client: sqs,
        url: url.queue_url.expect("a URL"),
    });
    let metering = Metering::over(impatient(&stack.url()))
        .sender(options)
        .start()
        .expect("a metering");
    for number in 0..40 {
        metering.sender().send(event("1", number)).await.expect("handed over");
    }
    let caller = Caller::new("1");
    let work = |_| async { Ok::<_, std::convert::Infallible>(()) };
    metering
        .reserve(&caller, "ocr_operations", 3, work)
        .await
        .expect("there was room");
    metering.flush(PATIENCE).await.expect("told");
    // The same by the other way is a duplicate.
    let client = client(&stack.url(), SERVICE);
    let drain = reqwest::Client::new().post(format!("{}/_local/drain", stack.url()));
    let drained = drain
        .json(&serde_json::json!({"timeout_seconds": 300}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(drained.status(), 200);
    assert!(
        client
            .track_unenforced(&event("1", 7))
            .await
            .expect("an answer")
            .duplicate
    );
    assert_eq!(used(&stack.url(), "1", "api_calls").await.0, "40");
    assert_eq!(used(&stack.url(), "1", "ocr_operations").await.0, "3");
    let stats = metering.sender().stats();
    assert_eq!((stats.counted, stats.committed, stats.pending), (40, 1, 0), "{stats:?}");
}

/// Answers with these, in order, and the last one for ever; notes what was asked.
async fn scripted(script: Vec<(u16, Option<&'static str>)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&asked);
    let handler = move |headers: http::HeaderMap, body: String| {
        let key = headers
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok())
            .unwrap_or_default();
        let mut notes = notes.lock().expect("no panic");
        let (status, retry_after) = script[notes.len().min(script.len() - 1)];
        notes.push(format!("{key} {body}"));
        let mut answer = axum::response::Response::new(axum::body::Body::from("not the service"));
        *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        if let Some(seconds) = retry_after {
            answer
                .headers_mut()
                .insert("retry-after", seconds.parse().expect("a header"));
        }
        async move { answer }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_tried_again_with_its_identity_if_that_can_help_and_not_otherwise() {
    let temporary = [429, 500, 502, 503, 504];
    let script = temporary
        .iter()
        .map(|status| (*status, None))
        .chain([(400, None)])
        .collect();
    let (base, asked) = scripted(script).await;
    let wanted = metering_client::NewReservation::new("1", "ocr_operations", 1);
    let refused = client(&base, SERVICE)
        .reserve(&wanted)
        .await
        .expect_err("it is refused");
    assert!(
        matches!(refused, Error::Unexpected { status, .. } if status == 400),
        "{refused:?}"
    );
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked.len(), temporary.len() + 1, "and what is wrong is not tried again");
    assert!(
        asked.iter().all(|sent| *sent == asked[0] && !sent.starts_with(' ')),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_obeyed_and_beyond_the_deadline_ends_the_call() {
    let (base, asked) = scripted(vec![(503, Some("1")), (503, Some("3600"))]).await;
    let usage = event("1", 1);
    let refused = client(&base, SERVICE)
        .track_unenforced(&usage)
        .await
        .expect_err("it is refused");
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(3_600)));
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1]);
}
