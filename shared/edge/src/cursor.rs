//! Cursors: where a list goes on. One holds only a sort key, authenticated together with the caller
//! and the query, so it opens nothing that the caller's own query does not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    App,
    auth::Call,
    problem::{Code, Problem},
};

const TAG_BYTES: usize = 16;

/// Makes and reads the cursors of one query.
pub struct Cursors<'a> {
    secret: &'a [u8],
    about: String,
}

impl<'a> Cursors<'a> {
    /// For the query of a call: its caller, path and parameters but cursor and limit.
    pub async fn of(app: &'a App, call: &Call) -> Result<Self, Problem> {
        let query = call.info.query.as_deref().unwrap_or_default();
        let mut parameters: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .filter(|(name, _)| name != "cursor" && name != "limit")
            .collect();
        parameters.sort();
        let about = format!("{}\n{}\n{parameters:?}", call.caller.principal(), call.info.path);
        Ok(Self {
            secret: app.store.deployment_secret().await?,
            about,
        })
    }

    /// The cursor that goes on after a sort key.
    pub fn after(&self, sort_key: Option<String>) -> Result<Option<String>, Problem> {
        let Some(sort_key) = sort_key else { return Ok(None) };
        let mut bytes = self.tag(&sort_key)?;
        bytes.extend_from_slice(sort_key.as_bytes());
        Ok(Some(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The sort key of a cursor that was given out for this query to this caller.
    pub fn read(&self, cursor: Option<String>) -> Result<Option<String>, Problem> {
        let Some(cursor) = cursor else { return Ok(None) };
        let bad = || Problem::new(Code::MalformedRequest, "The cursor was not given out for this query.");
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
        let (tag, sort_key) = bytes.split_at_checked(TAG_BYTES).ok_or_else(bad)?;
        let sort_key = std::str::from_utf8(sort_key).map_err(|_| bad())?;
        self.mac(sort_key)?.verify_truncated_left(tag).map_err(|_| bad())?;
        Ok(Some(sort_key.to_owned()))
    }

    fn tag(&self, sort_key: &str) -> Result<Vec<u8>, Problem> {
        Ok(self.mac(sort_key)?.finalize().into_bytes()[..TAG_BYTES].to_vec())
    }

    fn mac(&self, sort_key: &str) -> Result<Hmac<Sha256>, Problem> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret).map_err(Problem::internal)?;
        for part in [self.about.as_str(), sort_key] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Ok(mac)
    }
}
