//! API Gateway's part: an HTTP request becomes the event that a function is handed (payload
//! format 2.0), and its answer becomes an HTTP response.
//!
//! Written after what the service does, with its bodies for what it answers itself. It knows
//! nothing of how a function is run.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::{routes::Match, template::ACCOUNT};

/// What an HTTP API takes at most.
pub const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// The most that request line and header values may come to.
pub const HEAD_BYTES_MAX: usize = 10_240;

const STAGE: &str = "$default";

/// A request with its body read.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, as sent.
    pub uri: &'a Uri,
    /// The headers, as sent.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address of this API.
    pub domain: &'a str,
    /// The name of this request.
    pub id: &'a str,
    /// When it came.
    pub at: DateTime<Utc>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    path_parameters: &'a BTreeMap<&'a str, &'a str>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'static str,
    api_id: &'static str,
    domain_name: &'a str,
    domain_prefix: &'static str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'a str,
    stage: &'static str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: String,
    user_agent: String,
}

/// The path as a route and a function see it: decoded, and cut where decoding brought forth a
/// `?`, as the service does.
pub fn path(uri: &Uri) -> String {
    let decoded = percent_decode_str(uri.path()).decode_utf8_lossy();
    match decoded.split_once('?') {
        Some((path, _)) => path.to_owned(),
        None => decoded.into_owned(),
    }
}

/// The bytes of a request's head that count towards [`HEAD_BYTES_MAX`].
pub fn head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    target + headers.values().map(HeaderValue::len).sum::<usize>()
}

/// The event of a request on its route.
pub fn event(request: &Request<'_>, path: &str, route: &Match<'_>) -> String {
    let query = request.uri.query().unwrap_or_default();
    let (body, is_base64_encoded) = match std::str::from_utf8(request.body) {
        Ok("") => (None, false),
        Ok(text) => (Some(text.to_owned()), false),
        Err(_) => (Some(BASE64.encode(request.body)), true),
    };
    let event = Event {
        version: "2.0",
        route_key: route.key,
        raw_path: path,
        raw_query_string: query,
        cookies: cookies(request.headers),
        headers: headers(request),
        query_string_parameters: query_parameters(query),
        request_context: RequestContext {
            account_id: ACCOUNT,
            api_id: "local",
            domain_name: request.domain,
            domain_prefix: "local",
            http: Http {
                method: request.method.as_str(),
                path,
                protocol: "HTTP/1.1",
                source_ip: request.peer.ip().to_string(),
                user_agent: joined(request.headers, &header::USER_AGENT),
            },
            request_id: request.id,
            route_key: route.key,
            stage: STAGE,
            time: request.at.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            time_epoch: request.at.timestamp_millis(),
        },
        body,
        path_parameters: &route.parameters,
        is_base64_encoded,
    };
    serde_json::to_string(&event).expect("an event is made of texts and numbers")
}

/// Names in lower case, repeated ones joined with commas; cookies have a place of their own. The
/// function sees the service as its host, whatever the caller took for it.
fn headers<'a>(request: &Request<'a>) -> BTreeMap<&'a str, String> {
    let mut headers: BTreeMap<&str, String> = request
        .headers
        .keys()
        .filter(|name| **name != header::COOKIE)
        .map(|name| (name.as_str(), joined(request.headers, name)))
        .collect();
    headers.insert("host", request.domain.to_owned());
    headers.insert(
        "x-forwarded-port",
        request.domain.rsplit(':').next().unwrap_or("").to_owned(),
    );
    headers.insert("x-forwarded-proto", "http".to_owned());
    let peer = request.peer.ip().to_string();
    headers
        .entry("x-forwarded-for")
        .and_modify(|hops| *hops = format!("{hops}, {peer}"))
        .or_insert(peer);
    headers
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    values.join(",")
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .map(|cookie| String::from_utf8_lossy(cookie).trim().to_owned())
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

fn query_parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        parameters
            .entry(name.into_owned())
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    parameters
}

/// What a function answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    multi_value_headers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    cookies: Vec<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The response that a function's answer stands for; an answer that is none is an error of the
/// function, which the caller sees as 500.
pub fn response(answer: &str) -> Response<Body> {
    match read_answer(answer) {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a function's answer is not an HTTP response");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

fn read_answer(text: &str) -> Result<Response<Body>, Box<dyn std::error::Error>> {
    let answer: Answer = serde_json::from_str(text)?;
    let body = answer.body.unwrap_or_default();
    let body = match answer.is_base64_encoded {
        true => BASE64.decode(body)?,
        false => body.into_bytes(),
    };
    let mut response = Response::builder().status(answer.status_code).body(Body::from(body))?;
    let single = answer.headers.into_iter();
    let multiple = answer
        .multi_value_headers
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
    let cookies = answer
        .cookies
        .into_iter()
        .map(|cookie| ("set-cookie".to_owned(), cookie));
    for (name, value) in single.chain(multiple).chain(cookies) {
        let name: HeaderName = name.parse()?;
        // The server measures the body itself.
        if name != header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.parse()?);
        }
    }
    Ok(response)
}

/// What the service answers by itself, before or instead of a function.
pub fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "message": message }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
