//! The REST protocol of SES, version 2, of which `SendEmail` with a simple content is offered:
//! a mail is checked and noted in the outbox, and goes nowhere.
//!
//! Every sender counts as verified. Of the addresses that SES keeps for tests, at
//! `simulator.amazonses.com`, two are refused here, so that a caller's answer to failures can be
//! tested: `throttle@` always with 429, `reject@` always with 400. A label after a `+` changes
//! nothing. SES takes mails to any of them.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, Method, Response, StatusCode, Uri, header},
    response::IntoResponse,
    routing::post,
};
use metering_store::context::Source as _;
use serde::Deserialize;
use serde_json::json;

use crate::{
    clock::Clock,
    outbox::{Email, Outbox},
};

/// Where `SendEmail` is.
pub const PATH: &str = "/v2/email/outbound-emails";
/// Mails of this size are SES's default limit; JSON may double a body.
const REQUEST_BYTES_MAX: usize = 2 * 10 * 1024 * 1024;
const RECIPIENTS_MAX: usize = 50;
const LOCAL_PART_BYTES_MAX: usize = 64;
const ADDRESS_BYTES_MAX: usize = 320;
const SIMULATOR: &str = "simulator.amazonses.com";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendEmail {
    from_email_address: String,
    destination: Destination,
    content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Destination {
    to_addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Content {
    simple: Simple,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Simple {
    subject: Text,
    body: Bodies,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Bodies {
    text: Option<Text>,
    html: Option<Text>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Text {
    data: String,
    /// SES's default is ASCII, which loses letters without a word; so it must be said.
    #[serde(rename = "Charset")]
    _charset: Charset,
}

#[derive(Deserialize)]
enum Charset {
    #[serde(rename = "UTF-8")]
    Utf8,
}

/// A refused mail, in the words by which the SDK tells errors apart.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// Serves the protocol.
pub fn router(outbox: Outbox, clock: Clock) -> Router {
    Router::new()
        .route(PATH, post(serve))
        .fallback(not_offered)
        .method_not_allowed_fallback(not_offered)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Arc::new((outbox, clock)))
}

async fn not_offered(method: Method, uri: Uri) -> Refusal {
    Refusal::bad(format!("{method} {} is not offered: only SendEmail is", uri.path()))
}

async fn serve(State(state): State<Arc<(Outbox, Clock)>>, body: Bytes) -> Result<Response<Body>, Refusal> {
    let (outbox, clock) = state.as_ref();
    let request: SendEmail = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format!("usage-local does not understand this mail: {error}")))?;
    request.check()?;
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.data.clone());
    let Simple { subject, body } = &request.content.simple;
    for to in &request.destination.to_addresses {
        outbox.email(&Email {
            to: to.clone(),
            subject: subject.data.clone(),
            text: text(&body.text),
            html: text(&body.html),
        });
    }
    let id = format!("{:032x}", clock.random());
    Ok(json_response(json!({"MessageId": id}).to_string()))
}

impl SendEmail {
    fn check(&self) -> Result<(), Refusal> {
        check_address(address(&self.from_email_address))?;
        let recipients = &self.destination.to_addresses;
        if !(1..=RECIPIENTS_MAX).contains(&recipients.len()) {
            return Err(Refusal::bad(format!("Recipient count must be 1 to {RECIPIENTS_MAX}")));
        }
        let Simple { subject, body } = &self.content.simple;
        if subject.data.chars().any(char::is_control) {
            return Err(Refusal::bad("Subject contains control characters".to_owned()));
        }
        if body.text.is_none() && body.html.is_none() {
            return Err(Refusal::bad("Body must have Text or Html".to_owned()));
        }
        recipients.iter().try_for_each(|recipient| {
            check_address(recipient)?;
            simulate(recipient)
        })
    }
}

/// The address in `Name <address>`, or the whole where there is no name.
pub fn address(sender: &str) -> &str {
    match sender.rsplit_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or(rest),
        None => sender,
    }
}

fn check_address(address: &str) -> Result<(), Refusal> {
    let wrong = |problem: &str| Err(Refusal::bad(problem.to_owned()));
    let Some((local, domain)) = address.rsplit_once('@') else {
        return wrong("Missing final '@domain'");
    };
    if local.is_empty() || local.len() > LOCAL_PART_BYTES_MAX || address.len() > ADDRESS_BYTES_MAX {
        return wrong("Local address is missing or too long");
    }
    if !local.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@') {
        return wrong("Local address contains control or whitespace, or is not ASCII");
    }
    let label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    match domain.split('.').all(label) {
        true => Ok(()),
        false => wrong("Domain is not a name"),
    }
}

/// Refuses what the addresses for tests are there to have refused.
fn simulate(recipient: &str) -> Result<(), Refusal> {
    let Some((local, SIMULATOR)) = recipient.rsplit_once('@') else {
        return Ok(());
    };
    match local.split('+').next() {
        Some("throttle") => Err(Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            kind: "TooManyRequestsException",
            message: "Maximum sending rate exceeded.".to_owned(),
        }),
        Some("reject") => Err(Refusal {
            status: StatusCode::BAD_REQUEST,
            kind: "MessageRejected",
            message: "Email address is not verified.".to_owned(),
        }),
        _ => Ok(()),
    }
}

impl Refusal {
    fn bad(message: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "BadRequestException",
            message,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        tracing::error!(kind = self.kind, message = self.message, "a mail is refused");
        let mut response = json_response(json!({"message": self.message}).to_string());
        *response.status_mut() = self.status;
        let kind = HeaderValue::from_static(self.kind);
        response.headers_mut().insert("x-amzn-errortype", kind);
        response
    }
}

fn json_response(body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
