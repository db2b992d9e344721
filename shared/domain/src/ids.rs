//! Derives identities and says which texts may be ids.
//!
//! The same event always gets the same id, so that a retry finds what the first attempt wrote. This
//! module must not know how ids are stored or which objects exist.

use std::fmt::Write;

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use crate::{metric::Mode, number::plain};

/// The id of the implicit subscription of a user who has no other.
pub const NONE: &str = "none";

/// The longest user or subscription id, in characters (`api.md`, section A).
pub const SUBJECT_ID_CHARS_MAX: usize = 128;

/// The longest metric name, in characters.
pub const METRIC_TYPE_CHARS_MAX: usize = 64;

/// The longest idempotency key, in characters (`api.md`, section A).
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

const EVENT_PREFIX: &str = "evt_";
const EVENT_HEX_DIGITS: usize = 32;
const FINGERPRINT_BYTES: usize = 8;

/// Who chose the key of an event: keys of one namespace cannot collide with those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A user's own token.
    User,
    /// API keys, the queue and access logs.
    Service,
    /// The system, for events that follow from others.
    Derived,
}

impl Namespace {
    /// The name that enters the identity; it must never change.
    pub fn as_str(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Service => "service",
            Namespace::Derived => "derived",
        }
    }
}

/// The id of an event: `evt_` and 32 hex digits, the first 128 bits of SHA-256 over its identity.
///
/// `source` is empty except for CloudEvents. Each part is prefixed with its length, so no two
/// identities read as the same bytes.
pub fn event_id(namespace: Namespace, user: &str, source: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    for part in [namespace.as_str(), user, source, key] {
        add_part(&mut hash, part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let bits = digest
        .iter()
        .take(16)
        .fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    event_id_from_bits(bits)
}

/// The id with these 128 bits, for events whose identity is not derived (a random one per call).
pub fn event_id_from_bits(bits: u128) -> String {
    format!("{EVENT_PREFIX}{bits:032x}")
}

/// The id of a subscription that was given none, from all that was said about it: `sub_` and 32 hex
/// digits. The same again is the same subscription.
pub fn subscription_id_of(said: &str) -> String {
    let digest = Sha256::digest(said.as_bytes());
    let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("sub_{}", hex.collect::<String>())
}

/// The 128 bits of an event's id; None when the text is not exactly what [`event_id_from_bits`] writes.
pub fn event_id_bits(id: &str) -> Option<u128> {
    let hex = id.strip_prefix(EVENT_PREFIX)?;
    let lowercase_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != EVENT_HEX_DIGITS || !hex.bytes().all(lowercase_hex) {
        return None;
    }
    u128::from_str_radix(hex, 16).ok()
}

/// What a retry must repeat: 16 hex digits of SHA-256 over metric, value, mode and requested subscription.
///
/// The value counts as a number (1, 1.0 and 1e0 agree); a mode or subscription left out differs from
/// every one given.
pub fn fingerprint(
    metric: &str,
    value: Decimal,
    mode: Option<Mode>,
    subscription_as_requested: Option<&str>,
) -> String {
    let mut hash = Sha256::new();
    add_part(&mut hash, metric.as_bytes());
    add_part(&mut hash, plain(value).as_bytes());
    add_optional_part(&mut hash, mode.map(Mode::as_str));
    add_optional_part(&mut hash, subscription_as_requested);
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .iter()
        .take(FINGERPRINT_BYTES)
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Length (unsigned 64 bits, big endian), then the bytes.
fn add_part(hash: &mut Sha256, part: &[u8]) {
    hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(part);
}

/// An absent part is a length that no present one has.
fn add_optional_part(hash: &mut Sha256, part: Option<&str>) {
    match part {
        Some(part) => add_part(hash, part.as_bytes()),
        None => hash.update(u64::MAX.to_be_bytes()),
    }
}

/// Whether a text may be a user's id: `[A-Za-z0-9._:@|-]{1,128}`.
pub fn is_subject_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@|-".contains(&byte);
    (1..=SUBJECT_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a text may be the id of a real subscription: as [`is_subject_id`], but not [`NONE`].
pub fn is_subscription_id(text: &str) -> bool {
    is_subject_id(text) && text != NONE
}

/// Whether a text may name a metric: `[a-z][a-z0-9_]{0,63}`.
pub fn is_metric_type(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    text.len() <= METRIC_TYPE_CHARS_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(allowed)
}

/// Whether a text may be an idempotency key: 1–255 printable ASCII characters, blanks included.
pub fn is_idempotency_key(text: &str) -> bool {
    let allowed = |byte: u8| (0x20..=0x7e).contains(&byte);
    (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a text has 1 to `chars_max` characters (Unicode scalar values) and no control characters.
pub fn is_plain_text(text: &str, chars_max: usize) -> bool {
    !text.is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}
