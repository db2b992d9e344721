//! The query protocol of SNS, of which `Publish` to a phone number is offered: a text message is
//! checked and noted in the outbox, and goes nowhere.
//!
//! Two numbers are refused, so that a caller's answer to failures can be tested:
//! `+15555550429` is always throttled, `+15555550400` is always refused for good. Nobody has
//! them: there is no area code 555.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use metering_store::context::Source as _;

use crate::{
    clock::Clock,
    outbox::{Outbox, Sms},
};

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// SNS sends at most so many characters, in several parts.
const TEXT_CHARACTERS_MAX: usize = 1_600;
/// ITU-T E.164: a country code and a number within it.
const DIGITS_MAX: usize = 15;
const THROTTLED: &str = "+15555550429";
const REFUSED: &str = "+15555550400";

/// A refused message, in the words by which the SDK tells errors apart.
struct Refusal {
    code: &'static str,
    message: String,
}

/// Serves the protocol.
pub fn router(outbox: Outbox, clock: Clock) -> Router {
    Router::new()
        .fallback(serve)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Arc::new((outbox, clock)))
}

async fn serve(State(state): State<Arc<(Outbox, Clock)>>, body: Bytes) -> Response<Body> {
    let (outbox, clock) = state.as_ref();
    let id = format!("{:032x}", clock.random());
    match read(&body) {
        Ok(sms) => {
            outbox.sms(&sms);
            let answer = format!(
                "<PublishResponse xmlns=\"{NAMESPACE}\"><PublishResult><MessageId>{id}</MessageId></PublishResult>\
                 <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></PublishResponse>"
            );
            xml(StatusCode::OK, answer)
        }
        Err(refusal) => {
            tracing::error!(
                code = refusal.code,
                message = refusal.message,
                "a text message is refused"
            );
            xml(StatusCode::BAD_REQUEST, error(refusal.code, &refusal.message))
        }
    }
}

/// Reads a request to publish. What says how it is sent is passed over, everything else unknown
/// is refused.
fn read(body: &[u8]) -> Result<Sms, Refusal> {
    let (mut action, mut to, mut text) = (String::new(), String::new(), String::new());
    for (name, value) in form_urlencoded::parse(body) {
        match name.as_ref() {
            "Version" => {}
            "Action" => action = value.into_owned(),
            "PhoneNumber" => to = value.into_owned(),
            "Message" => text = value.into_owned(),
            name if name.starts_with("MessageAttributes.entry.") => {
                if name.ends_with(".Name") && !value.starts_with("AWS.SNS.SMS.") {
                    return Err(invalid(format!("the attribute {value} is not understood")));
                }
            }
            name => return Err(invalid(format!("{name} is not understood by usage-local"))),
        }
    }
    if action != "Publish" {
        let message = format!("{action} is not offered: only Publish to a phone number is");
        return Err(Refusal {
            code: "InvalidAction",
            message,
        });
    }
    if !is_number(&to) {
        return Err(invalid(format!("PhoneNumber Reason: {to} is not valid to publish to")));
    }
    if text.is_empty() {
        return Err(invalid("Empty message".to_owned()));
    }
    if text.chars().count() > TEXT_CHARACTERS_MAX {
        return Err(invalid("Message too long".to_owned()));
    }
    match to.as_str() {
        THROTTLED => Err(Refusal {
            code: "Throttling",
            message: "Rate exceeded".to_owned(),
        }),
        REFUSED => Err(invalid("PhoneNumber Reason: it is there to be refused".to_owned())),
        _ => Ok(Sms { to, text }),
    }
}

fn is_number(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else {
        return false;
    };
    (2..=DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

fn invalid(what: String) -> Refusal {
    Refusal {
        code: "InvalidParameter",
        message: format!("Invalid parameter: {what}"),
    }
}

/// The body of an error, as the query protocol writes it.
pub fn error(code: &str, message: &str) -> String {
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>local</RequestId></ErrorResponse>"
    )
}

fn xml(status: StatusCode, body: String) -> Response<Body> {
    let mut response = (status, body).into_response();
    let kind = HeaderValue::from_static("text/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
