//! A request that an API served, as its access log tells of it.
//!
//! The log's format is set by whoever runs the API, out of API Gateway's variables ("Variables for
//! access logging" and "Customize HTTP API access logs", API Gateway Developer Guide). A line is a JSON
//! object with these members; it may have others. API Gateway writes "-" for what a variable is not.
//!
//! `extendedRequestId` names the request, and not `requestId`: with REST APIs the caller may choose the
//! latter, and who sent the same twice would be counted once.

use chrono::{DateTime, Utc};
use metering_domain::period::instant_text;
use metering_edge::problem::{Code, FieldCode, FieldError, Problem};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

/// Decimals of a byte in GB, which bandwidth is counted in (1 GB = 10^9 bytes).
const BYTE_SCALE: u32 = 9;
/// The longest member, in bytes: more than any that can be counted has, and 200 events fit into a message.
const BYTES_MAX: usize = 512;
/// From here on an instant is in milliseconds since 1970, below in seconds: 1973 and 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// A request of a caller who is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    user_id: String,
    id: String,
    received_at: DateTime<Utc>,
    method: Option<String>,
    route: Option<String>,
    response_time_ms: Option<u64>,
    response_bytes: Option<u64>,
    has_failed: bool,
}

impl Request {
    /// The request of a line; none if nobody knows who sent it.
    ///
    /// # Errors
    /// If the line is no JSON object, or lacks a member, or one is not what it must be.
    pub fn read(line: &str) -> Result<Option<Self>, Problem> {
        let value: Value = serde_json::from_str(line).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Problem::new(Code::MalformedJson, format!("The line is not JSON: {place}."))
        })?;
        let mut members = Members::of(value)?;
        // Without the member a format is wrong; without a value nobody has signed in.
        if !members.has("user_id") {
            members.wrong(
                "user_id",
                FieldCode::Required,
                "must be in the log's format: who is calling",
            );
        }
        let user_id = members.text("user_id");
        let id = members.needed("extendedRequestId");
        let received_at = members.instant("requestTimeEpoch");
        let status = members.number("status", true);
        let (routed, route) = members.route();
        let method = members.text("httpMethod").or(routed);
        let response_bytes = members.number("responseLength", false);
        let response_time_ms = members.number("responseLatency", false);
        members.finish()?;
        let (Some(id), Some(received_at), Some(status)) = (id, received_at, status) else {
            return Err(Problem::internal("what was asked for is missing"));
        };
        Ok(user_id.map(|user_id| Self {
            user_id,
            id,
            received_at,
            method,
            route,
            response_time_ms,
            response_bytes,
            has_failed: status >= 500,
        }))
    }

    /// What is counted of it: the call, and what was sent for it.
    pub fn usage(&self) -> impl Iterator<Item = Value> {
        let sent = self.response_bytes.filter(|bytes| *bytes > 0);
        let gigabytes = sent.map(|bytes| Decimal::from(bytes) / Decimal::from(10_u64.pow(BYTE_SCALE)));
        let bandwidth = gigabytes.map(|gigabytes| self.event("bandwidth_usage", gigabytes.normalize()));
        [self.event("api_calls", Decimal::ONE)].into_iter().chain(bandwidth)
    }

    fn event(&self, metric: &str, value: Decimal) -> Value {
        json!({
            "user_id": self.user_id,
            "metric_type": metric,
            "metric_value": value.to_string(),
            "idempotency_key": format!("access-log/{}/{metric}", self.id),
            "timestamp": instant_text(self.received_at),
            "endpoint": self.route,
            "operation": self.method,
            "response_time_ms": self.response_time_ms,
            "error_occurred": self.has_failed,
        })
    }
}

fn is_said(text: &str) -> bool {
    !text.is_empty() && text != "-"
}

/// The members of a line, and what is wrong with them.
struct Members {
    members: Map<String, Value>,
    wrong: Vec<FieldError>,
}

impl Members {
    fn of(value: Value) -> Result<Self, Problem> {
        let error = FieldError {
            pointer: String::new(),
            code: FieldCode::WrongType,
            detail: "must be an object".to_owned(),
        };
        match value {
            Value::Object(members) => Ok(Self {
                members,
                wrong: Vec::new(),
            }),
            _ => Err(Problem::fields(vec![error])),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    fn wrong(&mut self, name: &str, code: FieldCode, detail: &str) {
        self.wrong.push(FieldError {
            pointer: format!("/{name}"),
            code,
            detail: detail.to_owned(),
        });
    }

    /// A text, or a number that stands without quotation marks in the log's format.
    fn text(&mut self, name: &str) -> Option<String> {
        match self.members.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.len() > BYTES_MAX => {
                self.wrong(
                    name,
                    FieldCode::TooLong,
                    &format!("must be at most {BYTES_MAX} bytes long"),
                );
                None
            }
            Some(Value::String(text)) => is_said(text).then(|| text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) => {
                self.wrong(name, FieldCode::WrongType, "must be a text or a number");
                None
            }
        }
    }

    fn needed(&mut self, name: &str) -> Option<String> {
        let (before, text) = (self.wrong.len(), self.text(name));
        if text.is_none() && self.wrong.len() == before {
            self.wrong(name, FieldCode::Required, "must be in the log's format, with a value");
        }
        text
    }

    fn number(&mut self, name: &str, is_needed: bool) -> Option<u64> {
        let text = match is_needed {
            true => self.needed(name),
            false => self.text(name),
        }?;
        let number = text.parse().ok();
        if number.is_none() {
            self.wrong(name, FieldCode::InvalidFormat, "must be a whole number, 0 or more");
        }
        number
    }

    fn instant(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let number = i64::try_from(self.number(name, true)?).ok();
        let instant = number.and_then(|number| match number < MILLISECONDS_FROM {
            true => DateTime::from_timestamp(number, 0),
            false => DateTime::from_timestamp_millis(number),
        });
        if instant.is_none() {
            self.wrong(
                name,
                FieldCode::OutOfRange,
                "must be an instant, in milliseconds since 1970",
            );
        }
        instant
    }

    /// The method and the path that were declared, of an HTTP API's route ("GET /items/{id}") or a REST
    /// API's resource ("/items/{id}").
    fn route(&mut self) -> (Option<String>, Option<String>) {
        match self.text("routeKey") {
            None => (None, self.text("resourcePath")),
            Some(key) => match key.split_once(' ') {
                Some((method, path)) => (Some(method.to_owned()), Some(path.to_owned())),
                None => (None, Some(key)),
            },
        }
    }

    fn finish(self) -> Result<(), Problem> {
        match self.wrong.is_empty() {
            true => Ok(()),
            false => Err(Problem::fields(self.wrong)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a good request, with other values of some members; null takes one out.
    fn line(changes: Value) -> String {
        let mut members = json!({
            "user_id": "7", "extendedRequestId": "JKJaXmPLvHcESHA=", "requestTimeEpoch": "1767225600250",
            "routeKey": "GET /documents/{id}", "status": "200", "responseLength": "1500", "responseLatency": "38",
        });
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(members.as_object_mut().expect("an object").remove(name)),
                value => members[name] = value.clone(),
            }
        }
        members.to_string()
    }

    fn usage(changes: Value) -> Vec<Value> {
        let request = Request::read(&line(changes)).expect("a request").expect("a caller");
        request.usage().collect()
    }

    #[test]
    fn a_request_is_a_call_and_its_bytes() {
        let event = |metric: &str, value: &str| {
            json!({
                "user_id": "7", "metric_type": metric, "metric_value": value,
                "idempotency_key": format!("access-log/JKJaXmPLvHcESHA=/{metric}"),
                "timestamp": "2026-01-01T00:00:00.250Z", "endpoint": "/documents/{id}", "operation": "GET",
                "response_time_ms": 38, "error_occurred": false,
            })
        };
        assert_eq!(
            usage(json!({})),
            [event("api_calls", "1"), event("bandwidth_usage", "0.0000015")]
        );
        // Numbers may stand without quotation marks, and an instant in seconds.
        let bare =
            json!({"requestTimeEpoch": 1_767_225_600, "status": 200, "responseLength": 1_500, "responseLatency": 38});
        assert_eq!(usage(bare)[0]["timestamp"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let rest = json!({
            "routeKey": null, "httpMethod": "POST", "resourcePath": "/documents/{id}", "status": "504",
            "responseLength": "-", "responseLatency": "-",
        });
        let events = usage(rest);
        assert_eq!(events.len(), 1, "nothing was sent");
        let event = &events[0];
        assert_eq!(
            (
                &event["endpoint"],
                &event["operation"],
                &event["response_time_ms"],
                &event["error_occurred"]
            ),
            (&json!("/documents/{id}"), &json!("POST"), &Value::Null, &json!(true))
        );
        assert_eq!(usage(json!({"status": "499"}))[0]["error_occurred"], false);
        assert_eq!(usage(json!({"routeKey": "$default"}))[0]["endpoint"], "$default");
        let routed = usage(json!({"routeKey": "ANY /documents", "httpMethod": "PUT"}));
        assert_eq!(
            (&routed[0]["operation"], &routed[0]["endpoint"]),
            (&json!("PUT"), &json!("/documents"))
        );
        assert_eq!(usage(json!({"responseLength": "1"}))[1]["metric_value"], "0.000000001");
    }

    #[test]
    fn who_has_not_signed_in_uses_nothing() {
        for user in ["-", ""] {
            assert_eq!(
                Request::read(&line(json!({"user_id": user}))).expect("a request"),
                None,
                "{user}"
            );
        }
    }

    #[test]
    fn each_wrong_member_is_named() {
        let said = |text: &str| Request::read(text).expect_err("refused").item().to_string();
        for (changes, pointer, code) in [
            (json!({"user_id": null}), "/user_id", "required"),
            (json!({"user_id": {}}), "/user_id", "wrong_type"),
            (json!({"extendedRequestId": null}), "/extendedRequestId", "required"),
            (json!({"extendedRequestId": "-"}), "/extendedRequestId", "required"),
            (
                json!({"requestTimeEpoch": "01/Jan/2026"}),
                "/requestTimeEpoch",
                "invalid_format",
            ),
            (
                json!({"requestTimeEpoch": u64::MAX}),
                "/requestTimeEpoch",
                "out_of_range",
            ),
            (json!({"status": "-"}), "/status", "required"),
            (json!({"status": {}}), "/status", "wrong_type"),
            (json!({"responseLength": "-5"}), "/responseLength", "invalid_format"),
            (json!({"responseLatency": "x"}), "/responseLatency", "invalid_format"),
            (json!({"routeKey": []}), "/routeKey", "wrong_type"),
            (json!({"user_id": "u".repeat(513)}), "/user_id", "too_long"),
            (
                json!({"extendedRequestId": "r".repeat(513)}),
                "/extendedRequestId",
                "too_long",
            ),
        ] {
            let said = said(&line(changes));
            assert!(
                said.contains(&format!("\"{pointer}\"")) && said.contains(code),
                "{pointer}: {said}"
            );
            assert_eq!(said.matches("\"pointer\"").count(), 1, "{said}");
        }
        let both = said(&line(json!({"status": null, "responseLength": "x"})));
        assert_eq!(both.matches("\"pointer\"").count(), 2, "{both}");
        assert!(said("[]").contains("must be an object"));
        assert!(said("{\"user_id\":\"7\",\"sta").contains("line 1, column 19"));
    }
}
