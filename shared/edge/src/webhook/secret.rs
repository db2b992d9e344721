//! The secret that an endpoint and this system share, and what it signs.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use standardwebhooks::{Webhook, WebhookError};

/// What a secret's text begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a key, after Standard Webhooks 1.0 (192 to 512 bits).
const KEY_BYTES_MIN: usize = 24;
/// See [`KEY_BYTES_MIN`].
const KEY_BYTES_MAX: usize = 64;
/// Bytes of the keys made here: what HMAC-SHA256 has to give.
const KEY_BYTES: usize = 32;
const _: () = assert!(KEY_BYTES_MIN <= KEY_BYTES && KEY_BYTES <= KEY_BYTES_MAX);

/// A text is no secret. It does not say which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a webhook secret: whsec_ and 24 to 64 bytes in base64")]
pub struct SecretFault;

/// A signing key. It never shows itself.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// Another prefix, other characters, or less than 24 or more than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, SecretFault> {
        let key = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        key.filter(|key| (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()))
            .map(Self)
            .ok_or(SecretFault)
    }

    /// A new secret's text, to be shown to its owner once and stored, from unpredictable bytes.
    pub fn generate(random: [u8; KEY_BYTES]) -> String {
        format!("{PREFIX}{}", STANDARD.encode(random))
    }

    /// `v1,` and the base64 of the HMAC-SHA256 over `id.seconds.body`.
    pub(super) fn sign(&self, id: &str, at_seconds: i64, body: &str) -> Result<String, WebhookError> {
        Webhook::from_bytes(self.0.clone())?.sign(id, at_seconds, body.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_read_again() {
        let random = std::array::from_fn(|i| u8::try_from(i * 7).expect("a byte"));
        let text = Secret::generate(random);
        assert_eq!(Secret::parse(&text).expect("a secret").0, random);
        assert_ne!(text, Secret::generate([7; KEY_BYTES]));
    }

    #[test]
    fn other_texts_are_no_secrets() {
        let of = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![1; bytes]));
        for bytes in [24, 32, 64] {
            assert!(Secret::parse(&of(bytes)).is_ok(), "{bytes}");
        }
        for bytes in [0, 16, 23, 65] {
            assert_eq!(Secret::parse(&of(bytes)).err(), Some(SecretFault), "{bytes}");
        }
        let bare = of(32).replace(PREFIX, "");
        for text in [
            bare.as_str(),
            "",
            PREFIX,
            "whsk_AAAA",
            "whsec_not base64 at all, though long enough",
        ] {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::parse(&Secret::generate([65; KEY_BYTES])).expect("a secret");
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    /// The example of the reference libraries, which sign and verify after the specification.
    #[test]
    fn signs_as_the_reference_does() {
        let secret = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a secret");
        let body = r#"{"email":"test@example.com","username":"test_user"}"#;
        let signature = secret.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(
            signature.expect("a signature"),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }
}
