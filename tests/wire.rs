//! The functions' connection to the engine, with a script that decides the fate of each request.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use rust_decimal::Decimal;
use serde_json::Value;
use tokio::sync::{Notify, watch};

/// A request as it passes.
#[derive(Debug, Clone)]
pub struct Call {
    /// How many were there before it.
    pub number: usize,
    /// `GetItem`, `UpdateItem`, …
    pub operation: String,
    body: String,
}

impl Call {
    /// Whether its body holds a text.
    pub fn touches(&self, text: &str) -> bool {
        self.body.contains(text)
    }

    /// Whether it only reads.
    pub fn reads(&self) -> bool {
        matches!(self.operation.as_str(), "GetItem" | "Query" | "BatchGetItem")
    }
}

/// What becomes of a request.
#[derive(Clone)]
pub enum Fate {
    /// It is sent, and its answer arrives.
    Pass,
    /// It waits before it is sent.
    HoldBefore(Arc<Gate>),
    /// It is sent, and its answer waits.
    HoldAfter(Arc<Gate>),
    /// It does not reach the engine.
    LoseRequest,
    /// It reaches the engine; its answer is lost.
    LoseAnswer,
    /// It reaches the engine twice; the second answer arrives.
    Double,
    /// Its answer waits for those of others.
    Meet(Arc<Meeting>),
    /// It does not reach the engine, and this is its answer.
    Answer(Value),
}

/// Something shut until it is opened.
#[derive(Debug, Default)]
pub struct Gate {
    reached: Notify,
    open: watch::Sender<bool>,
}

impl Gate {
    /// Returns once somebody waits here.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets all go on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        self.reached.notify_one();
        let mut open = self.open.subscribe();
        // The sender lives as long as this gate.
        let _ = open.wait_for(|open| *open).await;
    }
}

/// Where some wait for each other: `width` of them, or those who are there after a moment.
#[derive(Debug)]
pub struct Meeting {
    width: usize,
    waiting: AtomicUsize,
    complete: Notify,
}

/// How long one waits for the others.
const PATIENCE: Duration = Duration::from_millis(30);

impl Meeting {
    /// A meeting of so many.
    pub fn of(width: usize) -> Arc<Self> {
        Arc::new(Self {
            width,
            waiting: AtomicUsize::new(0),
            complete: Notify::new(),
        })
    }

    async fn wait(&self) {
        let complete = self.complete.notified();
        if self.waiting.fetch_add(1, Ordering::AcqRel) + 1 >= self.width {
            self.waiting.store(0, Ordering::Release);
            self.complete.notify_waiters();
            return;
        }
        let _ = tokio::time::timeout(PATIENCE, complete).await;
    }
}

type Script = Box<dyn Fn(&Call) -> Fate + Send + Sync>;

/// A connection with a script; clones share it.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    script: Script,
    number: AtomicUsize,
    passed: Mutex<Vec<Passed>>,
}

/// A request that was answered, and what it cost.
#[derive(Debug, Clone)]
pub struct Passed {
    pub call: Call,
    /// Capacity units as the engine counts them; none where the request did not ask.
    pub units: Option<Decimal>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// A wire whose requests meet what `script` says.
    pub fn new(script: impl Fn(&Call) -> Fate + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            script: Box::new(script),
            number: AtomicUsize::new(0),
            passed: Mutex::default(),
        }))
    }

    /// A wire that stops before (even) or after (odd) its nth request, n being half of `wait`, until the
    /// gate is opened.
    pub fn stopping(wait: usize) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let wire = Self::new(move |call| match call.number == wait / 2 {
            false => Fate::Pass,
            true if wait.is_multiple_of(2) => Fate::HoldBefore(Arc::clone(&held)),
            true => Fate::HoldAfter(Arc::clone(&held)),
        });
        (wire, gate)
    }

    /// The client that the SDK is given.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Scripted {
            wire: self.clone(),
            inner: aws_smithy_http_client::Builder::new().build_http(),
        })
    }

    /// What passed since this was last asked.
    pub fn passed(&self) -> Vec<Passed> {
        std::mem::take(&mut *self.0.passed.lock().expect("nobody panics with it"))
    }

    async fn carry(self, inner: SharedHttpConnector, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let call = Call {
            number: self.0.number.fetch_add(1, Ordering::AcqRel),
            operation: target.rsplit('.').next().unwrap_or_default().to_owned(),
            body: String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned(),
        };
        let lost = || ConnectorError::timeout("the wire lost it".into());
        match (self.0.script)(&call) {
            Fate::Pass => self.send(&inner, &call, request).await,
            Fate::HoldBefore(gate) => {
                gate.pass().await;
                self.send(&inner, &call, request).await
            }
            Fate::HoldAfter(gate) => {
                let answer = self.send(&inner, &call, request).await;
                gate.pass().await;
                answer
            }
            Fate::LoseRequest => Err(lost()),
            Fate::LoseAnswer => {
                self.send(&inner, &call, request).await?;
                Err(lost())
            }
            Fate::Double => {
                let again = request.try_clone().expect("a body in memory");
                self.send(&inner, &call, request).await?;
                self.send(&inner, &call, again).await
            }
            Fate::Answer(body) => {
                let ok = StatusCode::try_from(200).expect("200 is a status");
                Ok(HttpResponse::new(ok, SdkBody::from(body.to_string())))
            }
            Fate::Meet(meeting) => {
                let answer = self.send(&inner, &call, request).await;
                meeting.wait().await;
                answer
            }
        }
    }

    /// Sends it and notes what it cost.
    async fn send(
        &self,
        inner: &SharedHttpConnector,
        call: &Call,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let mut answer = inner.call(request).await?;
        let body = std::mem::replace(answer.body_mut(), SdkBody::empty());
        let body = body.collect().await.map_err(ConnectorError::io)?.to_bytes();
        let passed = Passed {
            call: call.clone(),
            units: serde_json::from_slice(&body).ok().as_ref().and_then(units),
        };
        self.0.passed.lock().expect("nobody panics with it").push(passed);
        *answer.body_mut() = SdkBody::from(body);
        Ok(answer)
    }
}

/// `ConsumedCapacity` is one object, or one per table.
fn units(body: &Value) -> Option<Decimal> {
    let one = |capacity: &Value| capacity["CapacityUnits"].to_string().parse::<Decimal>().ok();
    match &body["ConsumedCapacity"] {
        Value::Array(tables) => tables.iter().map(one).sum(),
        capacity => one(capacity),
    }
}

#[derive(Debug)]
struct Scripted<Inner> {
    wire: Wire,
    inner: Inner,
}

impl HttpClient for Scripted<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Scripted {
            wire: self.wire.clone(),
            inner: self.inner.http_connector(settings, components),
        })
    }
}

impl HttpConnector for Scripted<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let carried: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(self.wire.clone().carry(self.inner.clone(), request));
        HttpConnectorFuture::new(carried)
    }
}
