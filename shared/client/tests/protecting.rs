//! The tower layer and the guards around futures, against the real service.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt as _, StreamBody};
use metering_client::{
    Caller, Client, Guarded, Metering, OnOutage, Quantity, Rule, SenderOptions, Used, types::EventSource,
};
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _};
use usage_local::Options;

use crate::support::{PATIENCE, SERVICE, events, limit, metering, stack, stack_with, used};

/// Nobody answers there.
const NOWHERE: &str = "http://127.0.0.1:9";

fn user_of(request: &Parts) -> Option<Caller> {
    Some(Caller::new(request.headers.get("x-user")?.to_str().ok()?))
}

/// Serves a router, and gives its address.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn quick() -> SenderOptions {
    let mut options = SenderOptions::default();
    options.batch_age_max = Duration::from_millis(20);
    options
}

async fn flushed(metering: &Metering) {
    metering.flush(PATIENCE).await.expect("told");
    assert_eq!(metering.sender().stats().pending, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_500_that_consume_a_quota_of_100_at_once_exactly_100_handlers_run() {
    let stack = stack().await;
    limit(&stack.url(), "1", "document_processing", 100).await;
    let metering = metering(&stack.url()).start().expect("a metering");
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let handler = move || {
        counter.fetch_add(1, Ordering::AcqRel);
        async { "processed" }
    };
    let layer = metering.layer(user_of).without_bandwidth();
    let layer = layer.route("POST /documents", Rule::consume("document_processing", 1));
    let base = serve(Router::new().route("/documents", post(handler)).layer(layer)).await;
    let mut requests = JoinSet::new();
    let http = reqwest::Client::new();
    for _ in 0..500 {
        let request = http.post(format!("{base}/documents")).header("x-user", "1");
        requests.spawn(async move {
            let answer = request.send().await.expect("an answer");
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            (status, headers, answer.text().await.expect("a body"))
        });
    }
    let answers = requests.join_all().await;
    assert_eq!(ran.load(Ordering::Acquire), 100);
    let refused: Vec<_> = answers.iter().filter(|(status, ..)| *status == 429).collect();
    assert_eq!(refused.len(), 400);
    for (_, headers, body) in refused {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        assert_eq!(header("content-type"), "application/problem+json");
        assert_eq!((header("ratelimit-limit"), header("ratelimit-remaining")), ("100", "0"));
        assert!(
            header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0),
            "{headers:?}"
        );
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&"quota_exceeded".into(), &429.into())
        );
    }
    assert_eq!(used(&stack.url(), "1", "document_processing").await.0, "100");
    flushed(&metering).await;
    // What was refused was not served.
    assert_eq!(used(&stack.url(), "1", "api_calls").await.0, "100");
}

/// Scans that end as their body says.
async fn scan(Extension(used): Extension<Used>, body: String) -> Response {
    match body.as_str() {
        "ok" => {
            used.set("ocr_operations", 3);
            StatusCode::OK.into_response()
        }
        "all" => StatusCode::OK.into_response(),
        "fail" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "reject" => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        "hang" => std::future::pending().await,
        _ => panic!("as was asked for"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_fail_panic_or_are_cancelled_leave_no_hold() {
    let stack = stack().await;
    limit(&stack.url(), "1", "ocr_operations", 1_000).await;
    let metering = metering(&stack.url()).sender(quick()).start().expect("a metering");
    let layer = metering
        .layer(user_of)
        .route("POST /scans", Rule::reserve("ocr_operations", 5));
    let base = serve(Router::new().route("/scans", post(scan)).layer(layer)).await;
    let mut requests = JoinSet::new();
    for kind in ["ok", "all", "fail", "reject", "panic", "hang"].repeat(10) {
        let request = reqwest::Client::new()
            .post(format!("{base}/scans"))
            .header("x-user", "1")
            .body(kind);
        requests.spawn(request.send());
    }
    // Only those that hang are left.
    let mut answered = 0;
    while answered < 50 {
        drop(requests.join_next().await.expect("they are asked"));
        answered += 1;
    }
    while used(&stack.url(), "1", "ocr_operations").await.1 != "50" {
        tokio::task::yield_now().await;
    }
    requests.shutdown().await;
    while used(&stack.url(), "1", "ocr_operations").await.1 != "0" {
        tokio::task::yield_now().await;
    }
    flushed(&metering).await;
    assert_eq!(
        used(&stack.url(), "1", "ocr_operations").await,
        ("80".to_owned(), "0".to_owned())
    );
    let stats = metering.sender().stats();
    assert_eq!((stats.committed, stats.released, stats.dead), (20, 40, 0), "{stats:?}");
    let events = events(&stack.url(), "1", "ocr_operations").await;
    assert!(events.iter().all(|event| event.endpoint.as_deref() == Some("/scans")));
    assert!(events.iter().all(|event| event.source == EventSource::Reservation));
}

async fn echo(headers: HeaderMap, body: Bytes) -> Response {
    match headers.get("x-fault").map(|fault| fault.as_bytes()) {
        Some(b"fail") => (StatusCode::INTERNAL_SERVER_ERROR, "sorry").into_response(),
        Some(b"panic") => panic!("as was asked for"),
        Some(b"reject") => StatusCode::NOT_FOUND.into_response(),
        _ => body.into_response(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_known_caller_counts_with_what_is_known_of_it() {
    let stack = stack().await;
    let metering = metering(&stack.url()).sender(quick()).start().expect("a metering");
    let layer = metering
        .layer(user_of)
        .route("POST /echo/{id}", Rule::count("document_processing", 2));
    let layer = layer.skip("GET /health");
    let router = Router::new()
        .route("/echo/{id}", post(echo))
        .route("/health", get(|| async { "ok" }));
    let base = serve(router.layer(layer)).await;
    let http = reqwest::Client::new();
    let send = |fault: &'static str| {
        http.post(format!("{base}/echo/17"))
            .header("x-user", "1")
            .header("x-fault", fault)
    };
    for fault in ["none", "none", "fail", "reject"] {
        send(fault)
            .body("1234567")
            .send()
            .await
            .expect("an answer")
            .bytes()
            .await
            .expect("a body");
    }
    send("panic").body("1234567").send().await.expect_err("no answer");
    let of_nobody = http
        .post(format!("{base}/echo/17"))
        .body("1")
        .send()
        .await
        .expect("an answer");
    assert_eq!(of_nobody.status(), 200);
    let health = http
        .get(format!("{base}/health"))
        .header("x-user", "1")
        .send()
        .await
        .expect("an answer");
    assert_eq!(health.status(), 200);
    let lost = http
        .get(format!("{base}/nothing/17"))
        .header("x-user", "1")
        .send()
        .await
        .expect("an answer");
    assert_eq!(lost.status(), 404);
    flushed(&metering).await;

    let calls = events(&stack.url(), "1", "api_calls").await;
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| call.response_time_ms.is_some()));
    let named = calls
        .iter()
        .filter(|call| call.endpoint.as_deref() == Some("/echo/{id}"))
        .count();
    assert_eq!(
        (named, calls.iter().filter(|call| call.endpoint.is_none()).count()),
        (5, 1)
    );
    let posted = calls.iter().filter(|call| call.operation.as_deref() == Some("POST"));
    assert_eq!(posted.count(), 5);
    assert_eq!(
        calls.iter().filter(|call| call.error_occurred).count(),
        2,
        "one failed, one panicked"
    );
    // Seven bytes in, five times, and out: twice seven, and "sorry".
    assert_eq!(
        used(&stack.url(), "1", "bandwidth_usage").await.0,
        Quantity::gigabytes(5 * 7 + 2 * 7 + 5).to_string()
    );
    assert_eq!(used(&stack.url(), "1", "document_processing").await.0, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_with_its_body_and_counts_if_its_client_goes_away_before() {
    let metering = metering(NOWHERE).start().expect("a metering");
    let (frames, more) = tokio::sync::mpsc::channel::<Result<http_body::Frame<Bytes>, Infallible>>(4);
    let more = Arc::new(std::sync::Mutex::new(Some(more)));
    let handler = tower::service_fn(move |_: http::Request<metering_client::CountedBody<Body>>| {
        let more = more.lock().expect("no panic").take().expect("asked once");
        let frames = Box::pin(futures::stream::unfold(more, |mut more| async move {
            Some((more.recv().await?, more))
        }));
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(frames))) }
    });
    let layer = metering
        .layer(user_of)
        .without_bandwidth()
        .endpoint(|_| Some("/stream".into()));
    let pending = || metering.sender().stats().pending;
    let request = || {
        http::Request::builder()
            .header("x-user", "1")
            .body(Body::empty())
            .expect("a request")
    };
    let mut answer = layer.layer(handler).oneshot(request()).await.expect("an answer");
    frames
        .send(Ok(http_body::Frame::data(Bytes::from("abc"))))
        .await
        .expect("it is read");
    assert!(answer.body_mut().frame().await.is_some());
    assert_eq!(pending(), 0, "its body has not ended");
    drop(frames);
    assert!(answer.body_mut().frame().await.is_none());
    assert_eq!(pending(), 1, "its body has ended");
    drop(answer);
    assert_eq!(pending(), 1);

    // Dropped in the body, and dropped in the handler.
    let endless = tower::service_fn(|_: http::Request<metering_client::CountedBody<Body>>| async {
        let frames = futures::stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    });
    drop(layer.layer(endless).oneshot(request()).await.expect("an answer"));
    assert_eq!(pending(), 2);
    let stuck = tower::service_fn(|_: http::Request<metering_client::CountedBody<Body>>| async {
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    let call = layer.layer(stuck).oneshot(request());
    assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
    assert_eq!(pending(), 3);
    let broken = tower::service_fn(|_: http::Request<metering_client::CountedBody<Body>>| async {
        Err::<Response<Body>, _>("broken")
    });
    assert!(layer.layer(broken).oneshot(request()).await.is_err());
    assert_eq!(pending(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_each_metric_follows_its_policy_and_what_was_allowed_is_settled() {
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
    limit(&url, "1", "export_operations", 3).await;
    let metering = Metering::over(Client::new(&url, SERVICE).expect("a client"))
        .sender(quick())
        .on_outage("export_operations", OnOutage::AllowUpTo(5.into()))
        .verdict_deadline(Duration::from_millis(300))
        .silence(Duration::ZERO)
        .start()
        .expect("a metering");
    stack.stop().await;

    let caller = Caller::new("1");
    let mut ran = 0;
    for _ in 0..8 {
        let done = metering
            .consume(&caller, "export_operations", 1, async { Ok::<_, Infallible>(()) })
            .await;
        match done {
            Ok(()) => ran += 1,
            Err(Guarded::Refused(refusal)) => {
                let response = refusal.response();
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert!(response.headers().contains_key("retry-after"));
            }
            Err(Guarded::Failed(never)) => match never {},
        }
    }
    assert_eq!(ran, 5, "as many as the allowance");
    // Without a policy: refused.
    let done = metering
        .consume(&caller, "document_processing", 1, async { Ok::<_, Infallible>(()) })
        .await;
    assert!(matches!(done, Err(Guarded::Refused(_))), "{done:?}");
    let outages = metering.outages();
    assert_eq!((outages.allowed, outages.refused), (5, 4), "{outages:?}");

    let _stack = restarted(options, port).await;
    flushed(&metering).await;
    // All of it is counted, over the limit too; and the allowance is there again.
    assert_eq!(used(&url, "1", "export_operations").await.0, "5");
    let refused = metering
        .consume(&caller, "export_operations", 1, async { Ok::<_, Infallible>(()) })
        .await;
    let Err(Guarded::Refused(refusal)) = refused else {
        panic!("the quota has no room");
    };
    assert_eq!(refusal.status(), StatusCode::TOO_MANY_REQUESTS);
}

async fn restarted(options: Options, port: u16) -> usage_local::Stack {
    loop {
        let again = Options {
            port,
            idle: true,
            ..options.clone()
        };
        match usage_local::Stack::start(again).await {
            Ok(stack) => return stack,
            // The folder is let go with the last thread of the old one.
            Err(usage_local::StackError::DataDir(_) | usage_local::StackError::Port(_)) => {
                tokio::task::yield_now().await
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Hands requests on, and loses every answer of a POST that is not a batch.
async fn lossy(upstream: String) -> String {
    let handler = move |request: axum::extract::Request| {
        let upstream = upstream.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            let mut headers = parts.headers.clone();
            headers.remove("host");
            let sent = reqwest::Client::new().request(parts.method, format!("{upstream}{}", parts.uri));
            let answer = sent.headers(headers).body(body).send().await.expect("an answer");
            if !parts.uri.path().ends_with("/batch") {
                return StatusCode::BAD_GATEWAY.into_response();
            }
            (answer.status(), answer.bytes().await.expect("a body")).into_response()
        }
    };
    serve(Router::new().fallback(handler)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_though_its_answer_was_lost_is_settled_as_the_same_event() {
    let stack = stack().await;
    let proxy = lossy(stack.url()).await;
    let metering = Metering::over(Client::new(&proxy, SERVICE).expect("a client"))
        .sender(quick())
        .on_outage("export_operations", OnOutage::AllowUpTo(5.into()))
        .verdict_deadline(Duration::from_secs(2))
        .start()
        .expect("a metering");
    let caller = Caller::new("1");
    let done = metering.consume(&caller, "export_operations", 1, async { Ok::<_, Infallible>(()) });
    assert!(done.await.is_ok());
    flushed(&metering).await;
    assert_eq!(used(&stack.url(), "1", "export_operations").await.0, "1");
    assert_eq!(metering.sender().stats().duplicates, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guards_do_around_any_future_what_the_layer_does_around_handlers() {
    let stack = stack().await;
    limit(&stack.url(), "1", "ocr_operations", 10).await;
    let metering = metering(&stack.url()).sender(quick()).start().expect("a metering");
    let caller = Caller::new("1");
    let scanned = metering.reserve(&caller, "ocr_operations", 8, |used| async move {
        used.set("ocr_operations", 6);
        Ok::<_, &str>("text")
    });
    assert_eq!(scanned.await.expect("there was room"), "text");
    flushed(&metering).await;
    let failed = metering
        .reserve(&caller, "ocr_operations", 4, |_| async { Err::<(), _>("unreadable") })
        .await;
    assert!(matches!(failed, Err(Guarded::Failed("unreadable"))), "{failed:?}");
    flushed(&metering).await;
    let panicking = metering.clone();
    let panicked = tokio::spawn(async move {
        let work = |_| async { panic!("as was asked for") };
        panicking
            .reserve::<(), (), _>(&Caller::new("1"), "ocr_operations", 4, work)
            .await
    });
    assert!(panicked.await.is_err());
    flushed(&metering).await;
    assert_eq!(
        used(&stack.url(), "1", "ocr_operations").await,
        ("6".to_owned(), "0".to_owned())
    );

    let ran = AtomicUsize::new(0);
    let work = async || {
        ran.fetch_add(1, Ordering::AcqRel);
        Ok::<_, Infallible>(())
    };
    assert!(metering.check(&caller, "ocr_operations", 4, work()).await.is_ok());
    let refused = metering.check(&caller, "ocr_operations", 5, work()).await;
    let Err(Guarded::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.response().headers()["ratelimit-remaining"], "4");
    assert!(metering.consume(&caller, "ocr_operations", 4, work()).await.is_ok());
    assert!(metering.consume(&caller, "ocr_operations", 1, work()).await.is_err());
    assert_eq!(ran.load(Ordering::Acquire), 2);

    metering
        .track_document_processing(&caller, "doc_1", Some(3), work())
        .await
        .expect("it works");
    let failed = metering
        .track(&caller, "document_processing", 1, async { Err::<(), _>("no") })
        .await;
    assert_eq!(failed, Err("no"));
    metering
        .track_storage_usage(&caller, 2, work())
        .await
        .expect("it works");
    metering
        .track_storage_usage(&caller, -1, work())
        .await
        .expect("it works");
    flushed(&metering).await;
    assert_eq!(used(&stack.url(), "1", "document_processing").await.0, "1");
    let document = events(&stack.url(), "1", "document_processing").await.remove(0);
    assert_eq!(document.metadata["pages"], 3);
    assert_eq!(used(&stack.url(), "1", "storage_usage").await.0, "1");
}
