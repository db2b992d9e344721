//! The issuer of user tokens: signs them with a key of its own, which the functions fetch as
//! they would fetch an identity provider's.
//!
//! The key is made once and kept beside the data, readable by its owner only, so that a token
//! outlives a restart of the stack.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Value, json};

/// The `iss` of every token.
pub const ISSUER: &str = "urn:usage-local";
/// The `aud` of every token.
pub const AUDIENCE: &str = "usage-metering";
/// The scope of an administrator's token.
const ADMIN_SCOPE: &str = "usage:admin";

/// Signs tokens.
pub struct Issuer {
    key: EncodingKey,
    key_id: String,
    keys: Value,
}

/// Why no token can be signed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file that keeps the key.
    #[error("the signing key cannot be kept in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key itself.
    #[error("the signing key in {} is not usable: delete it to have a new one made", .0.display())]
    Key(PathBuf),
    /// Signing.
    #[error("the token cannot be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: &'static str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    scope: &'static str,
}

impl Issuer {
    /// The issuer whose key is kept in `file`; the key is made if there is none yet.
    pub fn open(file: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File {
            path: file.to_owned(),
            source,
        };
        let pkcs8 = match fs::read(file) {
            Ok(pkcs8) => pkcs8,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pkcs8 = generate(file)?;
                store(file, &pkcs8).map_err(failed)?;
                pkcs8
            }
            Err(error) => return Err(failed(error)),
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| TokenError::Key(file.to_owned()))?;
        let (x, y) = coordinates(pair.public_key().as_ref()).ok_or_else(|| TokenError::Key(file.to_owned()))?;
        let key_id = thumbprint(&x, &y);
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": key_id, "x": x, "y": y,
        }]});
        let key = EncodingKey::from_ec_der(&pkcs8);
        Ok(Self { key, key_id, keys })
    }

    /// The public keys (RFC 7517).
    pub fn keys(&self) -> &Value {
        &self.keys
    }

    /// A token that names `user`.
    pub fn sign(
        &self,
        user: &str,
        admin: bool,
        issued: DateTime<Utc>,
        expires: DateTime<Utc>,
    ) -> Result<String, TokenError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        let claims = Claims {
            iss: ISSUER,
            aud: AUDIENCE,
            sub: user,
            iat: issued.timestamp(),
            exp: expires.timestamp(),
            scope: if admin { ADMIN_SCOPE } else { "" },
        };
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }
}

fn generate(file: &Path) -> Result<Vec<u8>, TokenError> {
    let random = SystemRandom::new();
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map(|document| document.as_ref().to_vec())
        .map_err(|_| TokenError::Key(file.to_owned()))
}

/// Whole or not at all, and never readable by others, not even for a moment.
fn store(file: &Path, pkcs8: &[u8]) -> io::Result<()> {
    let fresh = file.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut opened = options.write(true).create_new(true).mode(0o600).open(&fresh)?;
    opened.write_all(pkcs8)?;
    opened.sync_all()?;
    fs::rename(&fresh, file)
}

/// The coordinates of an uncompressed point (SEC 1): a mark, then both in 32 bytes.
fn coordinates(point: &[u8]) -> Option<(String, String)> {
    let (mark, coordinates) = point.split_first()?;
    let (x, y) = coordinates.split_at_checked(32)?;
    (*mark == 4 && y.len() == 32).then(|| (BASE64URL.encode(x), BASE64URL.encode(y)))
}

/// The name of a key (RFC 7638).
fn thumbprint(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64URL.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use chrono::TimeDelta;
    use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};

    use super::*;

    #[test]
    fn a_token_is_verified_with_the_published_key_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("key");
        let now = DateTime::from_timestamp(1_398_384_000, 0).expect("an instant");
        let issuer = Issuer::open(&file).expect("an issuer");
        let token = issuer
            .sign("auth0|1", true, now, now + TimeDelta::hours(1))
            .expect("signed");
        let mode = fs::metadata(&file).expect("the key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let again = Issuer::open(&file).expect("an issuer");
        let keys: JwkSet = serde_json::from_value(again.keys().clone()).expect("keys");
        let key = DecodingKey::from_jwk(&keys.keys[0]).expect("a key");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("a valid token");
        assert_eq!(decoded.header.kid, keys.keys[0].common.key_id);
        assert_eq!(decoded.claims["sub"], "auth0|1");
        assert_eq!(decoded.claims["scope"], "usage:admin");
        assert_eq!(decoded.claims["iat"].as_i64(), Some(1_398_384_000));
        assert_eq!(decoded.claims["exp"].as_i64(), Some(1_398_387_600));
    }

    #[test]
    fn a_damaged_key_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("key");
        fs::write(&file, "no key").expect("written");
        assert!(matches!(Issuer::open(&file), Err(TokenError::Key(path)) if path == file));
    }
}
