//! A message opened: its elements as drafts, or what is wrong with each.

use std::sync::Arc;

use metering_domain::ids::Namespace;
use metering_edge::{
    App,
    cloud_event::CloudEvent,
    fields::Fields,
    problem::{Code, FieldCode, FieldError, Problem},
    queue::Message,
    report::{Report, Rules, Sent},
};
use metering_store::{
    StoreError,
    event::{Draft, Source},
    metric::Catalogue,
};
use serde_json::Value;

use crate::dead_letter;

/// The most elements of one message.
const ELEMENTS_MAX: usize = 1_000;

/// A message with its elements.
pub struct Received {
    /// Under which id it was delivered.
    pub delivery: String,
    /// The message: what was put aside and sent again is the one it was.
    pub message: Message,
    /// Its elements, in their order.
    pub elements: Vec<Element>,
}

/// An element of a message.
pub enum Element {
    /// It can be counted.
    Draft(Box<Draft>),
    /// It never can.
    Wrong(Arc<Problem>),
}

impl Received {
    /// The drafts among its elements.
    pub fn drafts(&self) -> impl Iterator<Item = &Draft> {
        self.elements.iter().filter_map(|element| match element {
            Element::Draft(draft) => Some(&**draft),
            Element::Wrong(_) => None,
        })
    }
}

/// Opens all messages of a batch.
pub async fn open(app: &App, messages: Vec<Message>) -> Result<Vec<Received>, StoreError> {
    let parsed: Vec<_> = messages
        .into_iter()
        .map(|delivered| {
            let delivery = delivered.id.clone();
            let message = dead_letter::unwrapped(delivered);
            let values = elements(&message.body);
            (delivery, message, values)
        })
        .collect();
    let named = parsed
        .iter()
        .flat_map(|(_, _, values)| values.iter().flatten())
        .filter_map(metric_of);
    let now = app.context.now();
    let metrics = app.store.metrics(named, now).await?;
    let received = parsed.into_iter().map(|(delivery, message, values)| {
        let elements = match values {
            Ok(values) => values
                .into_iter()
                .enumerate()
                .map(|(position, value)| element(app, &metrics, &message, position, value))
                .collect(),
            Err(problem) => vec![Element::Wrong(Arc::new(problem))],
        };
        Received {
            delivery,
            message,
            elements,
        }
    });
    Ok(received.collect())
}

/// The elements of a body: an array's, or itself.
fn elements(body: &str) -> Result<Vec<Value>, Problem> {
    let value = serde_json::from_str(body).map_err(|error| {
        let detail = format!(
            "The body is not JSON: line {}, column {}.",
            error.line(),
            error.column()
        );
        Problem::new(Code::MalformedJson, detail)
    })?;
    match value {
        Value::Array(elements) if elements.len() > ELEMENTS_MAX => Err(Problem::fields(vec![FieldError {
            pointer: String::new(),
            code: FieldCode::TooManyItems,
            detail: format!("must hold at most {ELEMENTS_MAX} events"),
        }])),
        Value::Array(elements) => Ok(elements),
        one => Ok(vec![one]),
    }
}

fn metric_of(element: &Value) -> Option<&str> {
    let field = if is_cloud_event(element) { "type" } else { "metric_type" };
    element[field].as_str()
}

/// A track body has no version.
fn is_cloud_event(element: &Value) -> bool {
    element.get("specversion").is_some()
}

fn element(app: &App, metrics: &Catalogue, message: &Message, position: usize, value: Value) -> Element {
    match draft(app, metrics, message, position, value) {
        Ok(draft) => Element::Draft(Box::new(draft)),
        Err(problem) => Element::Wrong(Arc::new(problem)),
    }
}

/// Judged as it was sent: what waited is not too old for that.
fn draft(app: &App, metrics: &Catalogue, message: &Message, position: usize, value: Value) -> Result<Draft, Problem> {
    let (mut report, origin) = if is_cloud_event(&value) {
        let CloudEvent { source, report } = CloudEvent::read(value, "", metrics, message.sent_at)?;
        (report, source)
    } else {
        let rules = Rules {
            metrics,
            now: message.sent_at,
            names_user: true,
            says_enforce: false,
        };
        (Report::read(Fields::body(value)?, rules)?, String::new())
    };
    report.require_trackable()?;
    let user = report
        .user_id
        .clone()
        .ok_or_else(|| Problem::internal("a user was not asked for"))?;
    if report.details.idempotency_key.is_none() {
        report.details.idempotency_key = Some(format!("{}/{position}", message.id));
    }
    let sent = Sent {
        namespace: Namespace::Service,
        origin: &origin,
        source: Source::Queue,
        received_at: message.sent_at,
        now: app.context.now(),
    };
    Ok(report.draft(&app.context, user, false, sent))
}
