//! A service that is metered and protected: documents are stored, read, scanned and exported.
//!
//! ```sh
//! cargo run                                                          # the metering service
//! cargo run -p metering-client --example document_service            # this one
//! curl -si http://127.0.0.1:3100/documents -H 'X-User: 1' -X POST -d 'a document'
//! ```

use std::{collections::HashSet, convert::Infallible, io::Write as _, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use http_body_util::StreamBody;
use metering_client::{
    Caller, Client, Metering, OnFull, OnOutage, Quantity, Rule, SenderOptions, SpoolOptions, Usage, Used,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Mutex,
};

#[derive(Debug, Parser)]
struct Arguments {
    /// Where this service answers, on loopback; 0 is any free port.
    #[arg(long, default_value_t = 3100)]
    port: u16,
    /// Where the metering service answers.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    metering: String,
    /// An API key with `usage:read` and `usage:write`.
    #[arg(long, default_value = "mk_dev_service")]
    key: String,
    /// Where usage is kept until it is told.
    #[arg(long, default_value = ".local/spool")]
    spool: PathBuf,
    /// Requests may ask for trouble: `X-Fault: fail`, `panic`, `slow`, `hang`, `hang-body`.
    #[arg(long)]
    faults: bool,
}

/// What the handlers share.
struct Documents {
    metering: Metering,
    faults: bool,
    /// The requests that hang on purpose.
    hanging: Mutex<HashSet<String>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    let arguments = Arguments::parse();
    if arguments.faults {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let mut sending = SenderOptions::default();
    sending.spool = Some(SpoolOptions::new(&arguments.spool));
    let metering = Metering::over(Client::new(&arguments.metering, &arguments.key)?)
        .sender(sending)
        .on_outage("export_operations", OnOutage::AllowUpTo(Quantity::from(1_000)))
        .start()?;
    let documents = Arc::new(Documents {
        metering: metering.clone(),
        faults: arguments.faults,
        hanging: Mutex::default(),
    });
    let layer = metering
        .layer(user_of)
        .on_full(OnFull::Wait)
        .without_bandwidth()
        .route("POST /scans", Rule::reserve("ocr_operations", 5))
        .route("POST /exports", Rule::consume("export_operations", 1))
        .skip("GET /hanging/{id}");
    let app = Router::new()
        .route("/documents", post(store))
        .route("/documents/{id}", get(read))
        .route("/scans", post(scan))
        .route("/exports", post(export))
        .route("/hanging/{id}", get(is_hanging))
        .with_state(documents)
        .layer(layer);

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    // Before anybody knows of it, so that it is never ended without having told everything.
    let terminate = signal(SignalKind::terminate())?;
    println!("ready http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    axum::serve(listener, app)
        .with_graceful_shutdown(terminated(terminate))
        .await?;
    // What cannot be told in time stays in the spool.
    match metering.flush(Duration::from_secs(120)).await {
        Ok(()) => eprintln!("{:?}", metering.sender().stats()),
        Err(unsent) => eprintln!("{unsent}: left in {}", arguments.spool.display()),
    }
    Ok(())
}

/// Whose a request is. A real service takes this from what its authentication has found out.
fn user_of(request: &Parts) -> Option<Caller> {
    Some(Caller::new(request.headers.get("x-user")?.to_str().ok()?))
}

/// A document is stored when its usage is in the spool: nobody is told otherwise.
async fn store(State(documents): State<Arc<Documents>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("none")
            .to_owned()
    };
    let usage = Usage::new(text("x-user"), "document_processing", 1)
        .keyed(format!("stored-{}", text("x-document")))
        .with("bytes", body.len());
    match documents.metering.sender().send(usage).await {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn read(State(documents): State<Arc<Documents>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let fault = headers.get("x-fault").filter(|_| documents.faults);
    match fault.and_then(|fault| fault.to_str().ok()) {
        Some(fault) => documents.trouble(fault, id).await,
        None => format!("document {id}").into_response(),
    }
}

/// Scans as many pages as the body says, of at most five; none is a failure.
async fn scan(Extension(used): Extension<Used>, body: String) -> StatusCode {
    match body.trim().parse::<u32>() {
        Ok(0) => panic!("a scan of nothing"),
        Ok(pages @ 1..=5) => {
            used.set("ocr_operations", pages);
            StatusCode::OK
        }
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

async fn export() -> &'static str {
    "exported"
}

async fn is_hanging(State(documents): State<Arc<Documents>>, Path(id): Path<String>) -> StatusCode {
    if documents.hanging.lock().await.contains(&id) {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    }
}

impl Documents {
    #[expect(clippy::disallowed_methods, reason = "slowness that is asked for is real")]
    async fn trouble(&self, fault: &str, id: String) -> Response {
        match fault {
            "fail" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(250)).await;
                "slowly".into_response()
            }
            "hang" => {
                self.hanging.lock().await.insert(id);
                std::future::pending().await
            }
            "hang-body" => {
                let first = futures::stream::iter([Ok::<_, Infallible>(http_body::Frame::data(Bytes::from("first")))]);
                let endless = futures::StreamExt::chain(first, futures::stream::pending());
                Body::new(StreamBody::new(endless)).into_response()
            }
            _ => panic!("as was asked for"),
        }
    }
}

async fn terminated(mut terminate: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
