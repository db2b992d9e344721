//! What the layer adds to a request, and what memory it takes while the service is away.
//! `cargo bench -p metering-client`; numbers are printed, never asserted.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    http::{Request, request::Parts},
    routing::{get, post},
};
use metering_client::{Caller, Metering, SenderOptions};
use serde_json::{Value, json};
use tower::{Service, ServiceExt as _};

/// Requests of one round; the queue holds them all.
const ROUND: usize = 20_000;
/// Rounds with and without, in turns.
const ROUNDS: usize = 15;
/// How long the service is away.
const AWAY: Duration = Duration::from_secs(60);

fn user_of(request: &Parts) -> Option<Caller> {
    Some(Caller::new(request.headers.get("x-user")?.to_str().ok()?))
}

/// A service that counts everything at once.
async fn counts_everything() -> String {
    let batch = |Json(body): Json<Value>| async move {
        let events = body["events"].as_array().map_or(0, Vec::len);
        let results: Vec<Value> = (0..events)
            .map(|index| {
                json!({"index": index, "status": 201, "usage_id": "evt_1", "duplicate": false, "late": false,
                       "over_limit": false, "error": null})
            })
            .collect();
        Json(json!({"accepted": events, "duplicates": 0, "denied": 0, "failed": 0, "results": results}))
    };
    let router = Router::new().route("/api/v1/usage/track/batch", post(batch));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn application() -> Router {
    Router::new().route("/documents/{id}", get(|| async { "a document" }))
}

/// One request, its answer read to the end.
async fn request<S, B>(service: &mut S)
where
    S: Service<Request<Body>, Response = http::Response<B>, Error = Infallible>,
    B: http_body::Body<Data = axum::body::Bytes>,
    B::Error: std::fmt::Debug,
{
    let request = Request::builder().uri("/documents/17").header("x-user", "1");
    let request = request.body(Body::empty()).expect("a request");
    let Ok(answer) = service.ready().await.expect("it is ready").call(request).await;
    http_body_util::BodyExt::collect(answer.into_body())
        .await
        .expect("a body");
}

/// Microseconds for each request of a round.
async fn round(service: &mut Router) -> f64 {
    let started = Instant::now();
    for _ in 0..ROUND {
        request(service).await;
    }
    micros(started.elapsed(), ROUND)
}

#[expect(clippy::float_arithmetic, reason = "a measurement")]
fn micros(elapsed: Duration, calls: usize) -> f64 {
    elapsed.as_secs_f64() * 1e6 / calls as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What the process has in memory, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

#[expect(clippy::float_arithmetic, reason = "a measurement")]
async fn overhead(base: &str, has_bandwidth: bool) {
    let mut options = SenderOptions::default();
    options.queue_max = 2 * ROUND;
    let metering = Metering::builder(base, "mk_test")
        .expect("a client")
        .sender(options)
        .start()
        .expect("a metering");
    let mut layer = metering.layer(user_of);
    if !has_bandwidth {
        layer = layer.without_bandwidth();
    }
    let (mut bare, mut metered) = (application(), application().layer(layer));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(round(&mut bare).await);
        with.push(round(&mut metered).await);
        metering.flush(Duration::from_secs(60)).await.expect("it is told");
    }
    let (without, with) = (median(without), median(with));
    let what = if has_bandwidth {
        "api_calls and bandwidth_usage"
    } else {
        "api_calls"
    };
    println!(
        "{what}: {without:.2} µs a request without the layer, {with:.2} µs with it: {:.2} times, {:.2} µs added; {} refused",
        with / without,
        with - without,
        metering.sender().stats().refused
    );
}

async fn away() {
    // Nobody answers there.
    let metering = Metering::builder("http://127.0.0.1:9", "mk_test")
        .expect("a client")
        .start()
        .expect("a metering");
    let mut metered = application().layer(metering.layer(user_of));
    let (before, started) = (resident_mib(), Instant::now());
    let (mut most, mut requests) = (before, 0_u64);
    while started.elapsed() < AWAY {
        for _ in 0..1_000 {
            request(&mut metered).await;
        }
        requests += 1_000;
        most = most.max(resident_mib());
    }
    let stats = metering.sender().stats();
    println!(
        "service away for {} s: {requests} requests served, {} events wait, {} refused and counted; {before} MiB before, {most} MiB at most",
        AWAY.as_secs(),
        stats.pending,
        stats.refused
    );
}

#[tokio::main]
async fn main() {
    let base = counts_everything().await;
    overhead(&base, false).await;
    overhead(&base, true).await;
    away().await;
}
