//! Links that carry their signature in the query, checked by the stack's clock.
//!
//! The library would check them by the machine's. So they are checked here, by signing the same
//! request at the same time again, with the SDK's own signer; what is signed rightly goes on
//! without its signature and with a mark instead, which says whose it was.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::Credentials;
use aws_sigv4::{
    http_request::{
        PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use axum::http::{Uri, request::Parts};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use s3s::{S3Result, s3_error};

use super::access::SECRET;

/// S3 takes no link that is good for longer: seven days.
const SECONDS_MAX: i64 = 604_800;
/// How far the signer's clock may be ahead.
const AHEAD_SECONDS_MAX: i64 = 900;
/// What a signature adds to a query.
const ADDED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// The access key that a link was signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer(pub String);

/// What a link says of its signature.
struct Link {
    key: String,
    region: String,
    service: String,
    at: DateTime<Utc>,
    seconds: i64,
    headers: Vec<String>,
    signature: String,
    /// The query without all that.
    rest: String,
}

/// Whether a request is a signed link.
pub fn is_link(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default().as_bytes();
    form_urlencoded::parse(query).any(|(name, _)| name == "X-Amz-Signature")
}

/// Checks a link at `now`; takes its signature off the request, and says whose it was.
pub fn check(parts: &mut Parts, now: DateTime<Utc>) -> S3Result<()> {
    let link = Link::read(parts.uri.query().unwrap_or_default())?;
    if link.at > now + TimeDelta::seconds(AHEAD_SECONDS_MAX) {
        return Err(s3_error!(AccessDenied, "Request is not valid yet"));
    }
    if now > link.at + TimeDelta::seconds(link.seconds) {
        return Err(s3_error!(AccessDenied, "Request has expired"));
    }
    if link.sign(parts)? != link.signature {
        return Err(s3_error!(
            SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and \
             signing method."
        ));
    }
    let target = target(parts.uri.path(), &link.rest);
    parts.uri = target.parse().map_err(|error| s3_error!(error, InvalidURI))?;
    parts.extensions.insert(Signer(link.key));
    Ok(())
}

impl Link {
    fn read(query: &str) -> S3Result<Self> {
        let mut rest = form_urlencoded::Serializer::new(String::new());
        let mut added = std::collections::BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match ADDED.contains(&name.as_ref()) {
                true => drop(added.insert(name.into_owned(), value.into_owned())),
                false => drop(rest.append_pair(&name, &value)),
            }
        }
        let wrong = |what: &str| s3_error!(AuthorizationQueryParametersError, "{what} is missing or wrong");
        let text = |name: &str| added.get(name).map(String::as_str).ok_or_else(|| wrong(name));
        if text("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
            return Err(wrong("X-Amz-Algorithm"));
        }
        let at = NaiveDateTime::parse_from_str(text("X-Amz-Date")?, "%Y%m%dT%H%M%SZ");
        let at = at.map_err(|_| wrong("X-Amz-Date"))?.and_utc();
        let seconds = text("X-Amz-Expires")?.parse().ok();
        let seconds = seconds.filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
        let credential: Vec<&str> = text("X-Amz-Credential")?.split('/').collect();
        let [key, day, region, service @ "s3", "aws4_request"] = credential[..] else {
            return Err(wrong("X-Amz-Credential"));
        };
        if day != at.format("%Y%m%d").to_string() {
            return Err(wrong("X-Amz-Credential"));
        }
        let headers = text("X-Amz-SignedHeaders")?.split(';');
        Ok(Self {
            key: key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            at,
            seconds: seconds.ok_or_else(|| wrong("X-Amz-Expires"))?,
            headers: headers.map(str::to_owned).collect(),
            signature: text("X-Amz-Signature")?.to_owned(),
            rest: rest.finish(),
        })
    }

    /// The signature that the request has if its signer had the secret.
    fn sign(&self, parts: &Parts) -> S3Result<String> {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(self.seconds.unsigned_abs()));
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.excluded_headers = None;
        let identity = Credentials::new(&self.key, SECRET, None, None, "local").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(SystemTime::from(self.at))
            .settings(settings)
            .build();
        let params = params.map_err(|error| s3_error!(error, InternalError))?.into();
        let value = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let headers = self.headers.iter();
        let headers = headers.filter_map(|name| Some((name.as_str(), value(name)?)));
        let host = value("host").unwrap_or_default();
        let url = format!("http://{host}{}", target(parts.uri.path(), &self.rest));
        let request = SignableRequest::new(parts.method.as_str(), url, headers, SignableBody::UnsignedPayload);
        let request = request.map_err(|error| s3_error!(error, InvalidRequest))?;
        let signed = sign(request, &params).map_err(|error| s3_error!(error, InvalidRequest))?;
        Ok(signed.into_parts().1)
    }
}

fn target(path: &str, query: &str) -> String {
    match query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{query}"),
    }
}
