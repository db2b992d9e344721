//! The HTTP server in front of the functions, in API Gateway's place.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, State},
    http::{Request, Response, StatusCode},
};
use metering_store::context::Source as _;
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

use crate::{
    clock::Clock,
    engine::listen,
    functions::{Functions, InvokeError},
    gateway::{self, BODY_BYTES_MAX, HEAD_BYTES_MAX},
    routes::Routes,
};

/// How long requests under way may still take when the server stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What a request needs to be served.
#[derive(Clone)]
pub struct Front {
    /// Where it listens, as `host:port`.
    pub domain: Arc<str>,
    /// The template's routes.
    pub routes: Arc<Routes>,
    /// Who serves them.
    pub functions: Functions,
    /// The stack's clock.
    pub clock: Clock,
}

/// A server; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Its end is what stops the server.
    running: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// A port that is held but not served yet.
pub struct Port(tokio::net::TcpListener);

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Someone else has it.
    #[error("port {0} is taken: stop what listens there, or choose another with --port")]
    Taken(u16),
    /// The system says no.
    #[error("port {port} cannot be listened on")]
    Io {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
}

impl Port {
    /// Holds a port of the loopback interface; 0 is any free one.
    pub fn hold(port: u16, runtime: &Handle) -> Result<Self, PortError> {
        let _inside = runtime.enter();
        match listen(port) {
            Ok(listener) => Ok(Self(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(PortError::Taken(port)),
            Err(source) => Err(PortError::Io { port, source }),
        }
    }

    /// Where it is.
    pub fn address(&self) -> Result<SocketAddr, PortError> {
        let address = self.0.local_addr();
        address.map_err(|source| PortError::Io { port: 0, source })
    }

    /// Serves the API, and `local` beside it, until the server is dropped.
    pub fn serve(self, front: Front, local: Router, runtime: &Handle) -> Result<Server, PortError> {
        self.serve_plainly(Router::new().fallback(serve).with_state(front).merge(local), runtime)
    }

    /// Serves `app` as it is, until the server is dropped.
    pub fn serve_plainly(self, app: Router, runtime: &Handle) -> Result<Server, PortError> {
        let address = self.address()?;
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let (running, ended) = oneshot::channel::<()>();
        let server = axum::serve(self.0, service).with_graceful_shutdown(async move {
            // Nothing is ever sent: the sender's end is what is waited for.
            ended.await.unwrap_or_default();
        });
        let task = runtime.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the HTTP server failed");
            }
        });
        Ok(Server {
            address,
            running: Some(running),
            task,
        })
    }
}

impl Server {
    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes no more requests and waits a moment for those under way.
    pub async fn stop(&mut self) {
        drop(self.running.take());
        if tokio::time::timeout(STOP_MAX, &mut self.task).await.is_err() {
            tracing::warn!("the HTTP server stopped with requests under way");
        }
    }
}

async fn serve(
    State(front): State<Front>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    if gateway::head_bytes(&head.uri, &head.headers) > HEAD_BYTES_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return gateway::refusal(status, "Request Header Fields Too Large");
    }
    // A body that breaks off has nobody left to be answered.
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return gateway::refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let path = gateway::path(&head.uri);
    let Some(route) = front.routes.find(head.method.as_str(), &path) else {
        return gateway::refusal(StatusCode::NOT_FOUND, "Not Found");
    };
    let id = format!("{:032x}", front.clock.random());
    let event = gateway::event(
        &gateway::Request {
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            body: &body,
            peer,
            domain: &front.domain,
            id: &id,
            at: front.clock.now(),
        },
        &path,
        &route,
    );
    match front.functions.invoke(route.function, event).await {
        Ok(answer) => gateway::response(&answer),
        Err(error) => failure(route.function, &error),
    }
}

/// What the caller sees when a function does not answer.
fn failure(function: &str, error: &InvokeError) -> Response<Body> {
    tracing::error!(function, %error, "a function did not answer");
    match error {
        InvokeError::TimedOut(_) => gateway::refusal(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        InvokeError::Unknown(_) | InvokeError::Panicked(_) | InvokeError::Failed(_) => {
            gateway::refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}
