//! What a function is called by: routes of the HTTP API, queues, schedules, streams,
//! rules of a bus, logs.

use std::time::Duration;

use super::{
    TemplateError,
    node::Node,
    queue::whole,
    rule::{self, Rule},
    schedule::{self, Schedule, is_on},
    scope::Scope,
    stream::{self, StreamMapping},
};

const QUEUE_PROPERTIES: [&str; 6] = [
    "BatchSize",
    "Enabled",
    "FunctionResponseTypes",
    "MaximumBatchingWindowInSeconds",
    "Queue",
    "ScalingConfig",
];

/// All that functions are called by.
#[derive(Debug, Clone, Default)]
pub struct Triggers {
    /// Requests.
    pub routes: Vec<Route>,
    /// Messages.
    pub queues: Vec<QueueMapping>,
    /// Times.
    pub schedules: Vec<Schedule>,
    /// Changes of items.
    pub streams: Vec<StreamMapping>,
    /// Events of a bus.
    pub rules: Vec<Rule>,
    /// Lines of a log: the functions that are handed them.
    pub logs: Vec<String>,
}

/// A route of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The function that serves it.
    pub function: String,
    /// Method and path; none for `$default`, which serves what no other route does.
    pub operation: Option<(String, String)>,
}

/// A queue whose messages a function is handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMapping {
    /// The function.
    pub function: String,
    /// The queue.
    pub queue: String,
    /// How many messages at once, at most.
    pub batch_size: usize,
    /// How long to wait for a full batch.
    pub window: Duration,
    /// Whether the answer says which messages failed; otherwise it is not read.
    pub reports_failures: bool,
    /// How many batches at the same time, at most, if the template says.
    pub concurrency: Option<usize>,
}

impl Triggers {
    /// Adds what the function `name` is called by.
    pub fn read(&mut self, name: &str, properties: Node<'_>, scope: &Scope) -> Result<(), TemplateError> {
        let Some(events) = properties.child("Events")? else {
            return Ok(());
        };
        for (event_name, declared) in events.entries()? {
            let place = format!("{name}: Events: {event_name}");
            let event = Node::new(&place, declared);
            event.only(&["Properties", "Type"])?;
            let kind = event.required("Type")?.plain()?;
            let properties = || event.required("Properties");
            let scheduled = |scheduler| schedule::read(name, event_name, properties()?, scheduler, scope);
            match kind {
                "HttpApi" => self.routes.push(read_route(name, properties()?)?),
                "SQS" => self.queues.extend(read_queue(name, properties()?, scope)?),
                "DynamoDB" => self
                    .streams
                    .extend(stream::read(name, event_name, properties()?, scope)?),
                "EventBridgeRule" => self.rules.extend(rule::read(name, properties()?, scope)?),
                "Schedule" => self.schedules.extend(scheduled(false)?),
                "ScheduleV2" => self.schedules.extend(scheduled(true)?),
                _ => return Err(event.wrong(&format!("the event type {kind} is not understood"))),
            }
        }
        Ok(())
    }
}

/// Reads the function that is subscribed to a log group. Which group does not matter here: there is none.
pub fn read_subscription(properties: Node<'_>, scope: &Scope) -> Result<String, TemplateError> {
    properties.only(&["DestinationArn", "FilterPattern", "LogGroupName"])?;
    scope.function(properties.required("DestinationArn")?)
}

fn read_route(function: &str, properties: Node<'_>) -> Result<Route, TemplateError> {
    properties.only(&["ApiId", "Method", "Path"])?;
    let operation = match (properties.child("Method")?, properties.child("Path")?) {
        (None, None) => None,
        (Some(method), Some(path)) => {
            if path.plain()?.contains("+}") {
                return Err(path.wrong("a greedy path parameter is not understood"));
            }
            Some((method.plain()?.to_uppercase(), path.plain()?.to_owned()))
        }
        _ => return Err(properties.wrong("Method and Path go together")),
    };
    Ok(Route {
        function: function.to_owned(),
        operation,
    })
}

/// None if the mapping is switched off.
fn read_queue(function: &str, properties: Node<'_>, scope: &Scope) -> Result<Option<QueueMapping>, TemplateError> {
    properties.only(&QUEUE_PROPERTIES)?;
    let window = whole(properties, "MaximumBatchingWindowInSeconds", 0, 300)?.unwrap_or(0);
    let batch_size = whole(properties, "BatchSize", 1, 10_000)?.unwrap_or(10);
    if batch_size > 10 && window == 0 {
        return Err(properties.wrong("a BatchSize above 10 needs a MaximumBatchingWindowInSeconds"));
    }
    let concurrency = match properties.child("ScalingConfig")? {
        Some(scaling) => {
            scaling.only(&["MaximumConcurrency"])?;
            whole(scaling, "MaximumConcurrency", 2, 1_000)?
        }
        None => None,
    };
    let mapping = QueueMapping {
        function: function.to_owned(),
        queue: scope.queue(properties.required("Queue")?)?,
        batch_size: usize::try_from(batch_size).unwrap_or(usize::MAX),
        window: Duration::from_secs(window),
        reports_failures: read_reports(properties)?,
        concurrency: concurrency.and_then(|most| usize::try_from(most).ok()),
    };
    Ok(is_on(properties)?.then_some(mapping))
}

/// Whether answers say which records failed.
pub fn read_reports(properties: Node<'_>) -> Result<bool, TemplateError> {
    let Some(types) = properties.child("FunctionResponseTypes")? else {
        return Ok(false);
    };
    let mut reports = false;
    for kind in types.items()? {
        match kind.plain()? {
            "ReportBatchItemFailures" => reports = true,
            other => return Err(kind.wrong(&format!("{other} is not understood"))),
        }
    }
    Ok(reports)
}
