//! A stack put together and started, and further instances of its functions beside the first.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use axum::Router;
use chrono::{DateTime, Utc};
use metering_edge::aws::{Endpoint, Endpoints, dynamodb_client};
use metering_store::{
    StoreError,
    context::{Context, Source as _},
    dev::api_key_put,
};
use serde_json::Value;
use tokio::{
    runtime::{self, Handle, Runtime},
    sync::Mutex,
};

use crate::{
    StackError,
    buckets::{self, Buckets},
    bus::{self, Bus},
    clock::Clock,
    control::{self, Control},
    data_dir::DataDir,
    engine::Engine,
    front::{Front, Port, Server},
    functions::{DeployError, Functions, InvokeError, Outside, linked},
    host::{Desk, Host},
    outbox::Outbox,
    policy::Policies,
    queues::Queues,
    routes::Routes,
    services::{self, Services},
    streams::{StreamError, Streams},
    template::{EMBEDDED, Template, Triggers},
    tokens::{AUDIENCE, ISSUER, Issuer},
};

/// The key of an administrator, known to everybody: it exists in local stores only.
pub const ADMIN_KEY: &str = "mk_dev_admin";
/// The key of a service, known to everybody: it exists in local stores only.
pub const SERVICE_KEY: &str = "mk_dev_service";

const EVENTS: &str = "Events";
const STATE: &str = "State";

const ADMIN_SCOPES: [&str; 3] = ["usage:read", "usage:write", "usage:admin"];
const SERVICE_SCOPES: [&str; 2] = ["usage:read", "usage:write"];

/// How a stack is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port of the API on loopback; 0 is any free one.
    pub port: u16,
    /// The folder that keeps the data; none keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// Hand functions nothing of queues, streams, schedules and the bus: who calls them by hand
    /// ([`Instance::invoke`]) is alone with them.
    pub idle: bool,
    /// Whether webhooks may go to this machine, over plain HTTP and to any port.
    pub allow_local_webhooks: bool,
}

/// A running stack; dropping it stops it. It runs on threads of its own, so it may be started in
/// one async runtime and used from another.
pub struct Stack {
    // In the order in which they end.
    server: Server,
    host: Host,
    services: Services,
    background: Background,
    _engine: Engine,
    _data_dir: DataDir,
    parts: Parts,
}

/// A further set of functions over the stack's engine, with clients and caches of its own, on a
/// port of its own; dropping it stops it.
pub struct Instance {
    server: Server,
    functions: Functions,
}

/// The threads of a stack; dropping them waits for nothing, so that it may be done anywhere.
struct Background(Option<Runtime>);

/// What every instance is made from.
struct Parts {
    template: Template,
    routes: Arc<Routes>,
    clock: Clock,
    outside: Outside,
    queues: Queues,
    bus: Bus,
    buckets: Buckets,
    streams: Streams,
    outbox: Outbox,
}

impl Stack {
    /// Starts a stack; when this returns it answers.
    pub async fn start(options: Options) -> Result<Self, StackError> {
        let background = Background::start().map_err(StackError::Threads)?;
        let port = Port::hold(options.port, background.handle())?;
        let url = format!("http://{}", port.address()?);
        let data_dir = DataDir::open(options.data_dir.as_deref())?;
        let clock = Clock::open(&data_dir.clock())?;
        let issuer = Issuer::open(&data_dir.signing_key())?;
        let queue_port = Port::hold(0, background.handle())?;
        let queues_at = format!("http://{}", queue_port.address()?);
        let template = Template::parse(EMBEDDED, &parameters(&url), &queues_at)?;
        let engine = Engine::start(&data_dir.database(), &template.tables)?;
        let kept = [template.queues.clone(), bus::inboxes(&template)].concat();
        let queues = Queues::open(&data_dir.queues(), &kept, &clock, &queues_at)?;
        let outbox = Outbox::new(&clock);
        let bus = Bus::new(&template, &queues, &clock, &outbox);
        let streams = Streams::open(&data_dir.database(), &data_dir.streams())?;
        streams.begin(&template.triggers.streams)?;
        let buckets = Buckets::open(&data_dir.buckets(), &template.buckets, &clock)?;
        let policies = Arc::new(Policies::of(&template.functions));
        let objects = buckets::router(buckets.clone(), &policies);
        let services = Services::start(queue_port, &queues, &bus, objects, &outbox, &clock, background.handle())?;
        let parts = Parts {
            routes: Arc::new(Routes::new(&template.triggers.routes)),
            outside: Outside {
                endpoints: services.endpoints(engine.url()),
                webhooks: services::webhooks(&outbox, options.allow_local_webhooks)?,
            },
            clock,
            queues,
            bus,
            buckets,
            streams,
            outbox,
            template,
        };
        let functions = parts.deploy(&plain_http())?;
        let mut handed = parts.template.clone();
        if options.idle {
            handed.triggers = Triggers::default();
        }
        let host = Host::start(
            &handed,
            &parts.queues,
            &parts.streams,
            &functions,
            &parts.clock,
            background.handle(),
        )?;
        let control = parts.control(url, issuer, host.desk());
        put_keys(background.handle(), &control).await?;
        let local = control::router(Arc::new(control));
        let server = parts.serve(port, local, functions, background.handle())?;
        Ok(Self {
            server,
            host,
            services,
            background,
            _engine: engine,
            _data_dir: data_dir,
            parts,
        })
    }

    /// Where the API answers.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Where every service answers, and as whom.
    pub fn endpoints(&self) -> Endpoints {
        self.parts.outside.endpoints.clone()
    }

    /// Where the engine answers, and as whom.
    pub fn dynamodb_endpoint(&self) -> Endpoint {
        self.endpoints().dynamodb
    }

    /// Where the queues answer, and as whom.
    pub fn sqs_endpoint(&self) -> Endpoint {
        self.endpoints().sqs
    }

    /// The name of the table of events.
    pub fn events_table(&self) -> &str {
        EVENTS
    }

    /// The name of the table of everything else.
    pub fn state_table(&self) -> &str {
        STATE
    }

    /// What a table's stream tells, as the records of its mapping's function; all that is kept.
    pub fn records(&self, table: &str) -> Result<Vec<Value>, StreamError> {
        let mappings = &self.parts.template.triggers.streams;
        let mapping = mappings.iter().find(|mapping| mapping.table == table);
        let view = mapping.map_or("", |mapping| mapping.view.as_str());
        let kept = self.parts.streams.read(table, 0, usize::MAX)?;
        Ok(kept
            .iter()
            .map(|record| record.to_value(table, view, &self.parts.clock))
            .collect())
    }

    /// The clock that the functions read.
    pub fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    /// Starts a further instance; its clients reach the engine through `http_client` if given.
    pub fn instance(&self, http_client: Option<SharedHttpClient>) -> Result<Instance, StackError> {
        let runtime = self.background.handle();
        let port = Port::hold(0, runtime)?;
        let http_client = http_client.unwrap_or_else(plain_http);
        let functions = self.parts.deploy(&http_client)?;
        let server = self.parts.serve(port, Router::new(), functions.clone(), runtime)?;
        Ok(Instance { server, functions })
    }

    /// Stops the stack, giving the requests under way a moment to end.
    pub async fn stop(mut self) {
        self.server.stop().await;
        self.host.stop().await;
        self.services.stop().await;
    }
}

impl Instance {
    /// Where its API answers.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Calls one of its functions, with an event as its trigger would hand it over.
    pub async fn invoke(&self, function: &str, event: String) -> Result<String, InvokeError> {
        self.functions.invoke(function, event).await
    }
}

impl Background {
    fn start() -> io::Result<Self> {
        let mut threads = runtime::Builder::new_multi_thread();
        let runtime = threads.thread_name("usage-local").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("the threads run until this is dropped").handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Parts {
    fn control(&self, api: String, issuer: Issuer, host: Desk) -> Control {
        let functions = self.template.functions.iter();
        Control {
            api,
            endpoints: self.outside.endpoints.clone(),
            tables: self.template.tables.clone(),
            functions: functions.map(|function| function.name.clone()).collect(),
            clock: self.clock.clone(),
            moving: Mutex::new(()),
            queues: self.queues.clone(),
            bus: self.bus.clone(),
            buckets: self.buckets.clone(),
            outbox: self.outbox.clone(),
            host,
            issuer,
            client: dynamodb_client(&self.outside.endpoints.dynamodb, Some(plain_http())),
        }
    }

    fn deploy(&self, http_client: &SharedHttpClient) -> Result<Functions, DeployError> {
        let context = Context::new(Arc::new(self.clock.clone()));
        Functions::deploy(&self.template, &context, &self.outside, http_client, linked)
    }

    fn serve(&self, port: Port, local: Router, functions: Functions, runtime: &Handle) -> Result<Server, StackError> {
        let front = Front {
            domain: port.address()?.to_string().into(),
            routes: Arc::clone(&self.routes),
            functions,
            clock: self.clock.clone(),
        };
        Ok(port.serve(front, local, runtime)?)
    }
}

/// The parameters of the template that differ here: users are known by the stack's own tokens,
/// and mails come from nobody's address.
fn parameters(url: &str) -> BTreeMap<String, String> {
    let text = |value: &str| value.to_owned();
    BTreeMap::from([
        (text("JwtIssuer"), text(ISSUER)),
        (text("JwtAudience"), text(AUDIENCE)),
        (text("JwksUrl"), format!("{url}/_local/jwks.json")),
        (text("PublicUrl"), url.to_owned()),
        (text("MailSender"), text("usage@localhost.example")),
        (text("AdministratorEmail"), text("administrators@localhost.example")),
    ])
}

/// Connections without TLS, which loopback does not need; each client has its own.
fn plain_http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

async fn put_keys(runtime: &Handle, control: &Control) -> Result<(), StackError> {
    let (client, now) = (control.client.clone(), control.clock.now());
    let put = runtime.spawn(async move {
        put_key(&client, ADMIN_KEY, &ADMIN_SCOPES, now).await?;
        put_key(&client, SERVICE_KEY, &SERVICE_SCOPES, now).await
    });
    match put.await {
        Ok(stored) => Ok(stored?),
        Err(stopped) => Err(StackError::Threads(io::Error::other(stopped))),
    }
}

async fn put_key(client: &Client, key: &str, scopes: &[&str], now: DateTime<Utc>) -> Result<(), StoreError> {
    api_key_put(client, STATE, key, key, scopes, now).await
}

#[cfg(test)]
mod tests;
