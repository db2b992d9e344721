//! Files in a bucket of S3: written whole, fetched by others through a link that is good for minutes.
//!
//! It knows nothing of what is in a file, nor of whose it is: whoever names a key has decided that.
//! A bucket is strongly consistent: what was answered is what everybody sees from then on.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::{
    Client,
    error::{DisplayErrorContext, SdkError},
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{Delete, ObjectIdentifier},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::problem::Problem;

/// A link is good for so long at most: who has it needs nothing else to read the file.
pub const SIGNED_SECONDS_MAX: u32 = 300;
/// What S3 lists and deletes at once, at most.
const PAGE_MAX: i32 = 1_000;
/// How many pages are deleted in one go; more than any user has, and a bound all the same.
const PAGES_MAX: usize = 100;

/// A bucket, and how it is reached.
#[derive(Debug, Clone)]
pub struct Files {
    client: Client,
    bucket: String,
}

/// Why something could not be done to a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// S3 could not be reached, or said "not now". Sending the same again is safe and may succeed.
    #[error("{operation}: the bucket is busy or out of reach: {cause}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why.
        cause: String,
    },
    /// S3 said no: a fault of ours or of the deployment.
    #[error("{operation}: the bucket refused the request: {cause}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// Why.
        cause: String,
    },
    /// A link that would be good for no time, or for too long.
    #[error("a link is good for 1 to {SIGNED_SECONDS_MAX} seconds, not {0}")]
    Validity(u32),
    /// A prefix that may be the beginning of another's, as `reports/1` is of `reports/10/`.
    #[error("what is deleted by its prefix must be a whole folder, named with a / at its end, not {0:?}")]
    NoFolder(String),
}

impl FileError {
    /// Whether sending again may help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } | Self::Validity(_) | Self::NoFolder(_) => false,
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error.retryable() {
            true => Self::unavailable(error),
            false => Self::internal(error),
        }
    }
}

impl Files {
    /// The files of `bucket`.
    pub fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }

    /// Writes a file, in place of what had its key. Needs `s3:PutObject`.
    ///
    /// All or nothing: who dies half-way has written nothing, and readers see the old file until
    /// the new one is whole. Sent twice it is written twice, to the same effect. Of two that write
    /// at once the last one stays, whole. The SDK sends a checksum along, which S3 verifies.
    ///
    /// `disposition` is what browsers do with it, see [`attachment`].
    ///
    /// # Errors
    /// If S3 does not take it; whether it was written is then unknown.
    pub async fn put(&self, key: &str, bytes: Bytes, media_type: &str, disposition: &str) -> Result<(), FileError> {
        let put = self.client.put_object().bucket(&self.bucket).key(key);
        let put = put.content_type(media_type).content_disposition(disposition);
        let sent = put.body(ByteStream::from(bytes)).send().await;
        sent.map(drop).map_err(|error| failed("file_put", error))
    }

    /// Whether there is a file. Needs `s3:GetObject`, and `s3:ListBucket`, without which S3 tells
    /// nobody what is not there.
    ///
    /// # Errors
    /// If S3 does not answer.
    pub async fn exists(&self, key: &str) -> Result<bool, FileError> {
        let sent = self.client.head_object().bucket(&self.bucket).key(key).send().await;
        match sent {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_not_found() => Ok(false),
            Err(error) => Err(failed("file_head", error)),
        }
    }

    /// Deletes a file; one that is not there is as good. Needs `s3:DeleteObject`. Sent twice it
    /// changes nothing more.
    ///
    /// # Errors
    /// If S3 does not answer; whether it was deleted is then unknown.
    pub async fn delete(&self, key: &str) -> Result<(), FileError> {
        let sent = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        sent.map(drop).map_err(|error| failed("file_delete", error))
    }

    /// Deletes every file of a folder, which ends with a `/`; says how many there were. Needs
    /// `s3:ListBucket` and `s3:DeleteObject`.
    ///
    /// Who dies half-way has deleted some, and whoever does it again deletes the rest. What is
    /// written meanwhile may stay: who erases makes sure first that nobody writes, or comes again.
    ///
    /// # Errors
    /// If S3 does not answer, or keeps a file; unavailable, too, if there were more than 100,000
    /// files, of which so many are gone.
    pub async fn delete_all(&self, folder: &str) -> Result<usize, FileError> {
        if !folder.ends_with('/') {
            return Err(FileError::NoFolder(folder.to_owned()));
        }
        let mut deleted = 0;
        for _ in 0..PAGES_MAX {
            // From the start each time: what was listed before is gone.
            let keys = self.list(folder).await?;
            if keys.is_empty() {
                return Ok(deleted);
            }
            deleted += keys.len();
            self.delete_each(keys).await?;
        }
        Err(FileError::Unavailable {
            operation: "file_delete_all",
            cause: format!("{deleted} files are deleted, and there are more"),
        })
    }

    /// The first files of a folder.
    async fn list(&self, folder: &str) -> Result<Vec<String>, FileError> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(folder);
        let page = list.max_keys(PAGE_MAX).send().await;
        let page = page.map_err(|error| failed("file_list", error))?;
        let contents = page.contents.unwrap_or_default();
        Ok(contents.into_iter().filter_map(|object| object.key).collect())
    }

    async fn delete_each(&self, keys: Vec<String>) -> Result<(), FileError> {
        const OPERATION: &str = "file_delete_all";
        let refused = |cause: String| FileError::Refused {
            operation: OPERATION,
            cause,
        };
        let named = keys.into_iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let named: Result<Vec<_>, _> = named.collect();
        let named = named.map_err(|error| refused(error.to_string()))?;
        let delete = Delete::builder().set_objects(Some(named)).quiet(true).build();
        let delete = delete.map_err(|error| refused(error.to_string()))?;
        let sent = self
            .client
            .delete_objects()
            .bucket(&self.bucket)
            .delete(delete)
            .send()
            .await;
        let answer = sent.map_err(|error| failed(OPERATION, error))?;
        // The answer is a good one even if single files were kept.
        match answer.errors.unwrap_or_default().into_iter().next() {
            None => Ok(()),
            Some(kept) => Err(kept_error(OPERATION, kept)),
        }
    }

    /// A link by which anybody reads a file for `seconds` from `now`, saved under `file_name`. It
    /// is made here, without a request: a link to nothing leads to nothing. It reads what its
    /// maker may read (`s3:GetObject`), and no longer than the maker's credentials are good.
    ///
    /// # Errors
    /// If it were to be good for more than [`SIGNED_SECONDS_MAX`] seconds, or no credentials are
    /// there to sign with.
    pub async fn signed_url(
        &self,
        key: &str,
        now: DateTime<Utc>,
        seconds: u32,
        file_name: &str,
    ) -> Result<String, FileError> {
        if !(1..=SIGNED_SECONDS_MAX).contains(&seconds) {
            return Err(FileError::Validity(seconds));
        }
        let valid = PresigningConfig::builder()
            .start_time(SystemTime::from(now))
            .expires_in(Duration::from_secs(seconds.into()))
            .build();
        let valid = valid.map_err(|error| FileError::Refused {
            operation: "file_sign",
            cause: error.to_string(),
        })?;
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        let get = get.response_content_disposition(attachment(file_name));
        let signed = get.presigned(valid).await;
        let signed = signed.map_err(|error| failed("file_sign", error))?;
        Ok(signed.uri().to_owned())
    }
}

/// The `Content-Disposition` of a file that is to be saved under a name: as such for clients of
/// today (RFC 6266 and RFC 8187), and with a `_` for each letter beyond ASCII for those before.
pub fn attachment(file_name: &str) -> String {
    let plain = |letter: char| match letter {
        '"' | '\\' | '%' | '/' => '_',
        letter if letter == ' ' || letter.is_ascii_graphic() => letter,
        _ => '_',
    };
    let ascii: String = file_name.chars().map(plain).collect();
    // What RFC 8187 lets stand is what this leaves, and more.
    let encoded: String = form_urlencoded::byte_serialize(file_name.as_bytes()).collect();
    let encoded = encoded.replace('+', "%20").replace('*', "%2A");
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

/// Sorts an error of the SDK: what never arrived, timed out or was throttled is unavailable. S3
/// throttles with 503.
fn failed<E>(operation: &'static str, error: SdkError<E>) -> FileError
where
    E: std::error::Error + Send + Sync + 'static,
{
    let said = matches!(error, SdkError::ServiceError(_) | SdkError::ConstructionFailure(_));
    let busy = error.raw_response().is_some_and(|answer| {
        let status = answer.status();
        status.is_server_error() || status.as_u16() == 429
    });
    let cause = DisplayErrorContext(error).to_string();
    match said && !busy {
        true => FileError::Refused { operation, cause },
        false => FileError::Unavailable { operation, cause },
    }
}

/// What S3 says of a file that it did not delete, among others that it did.
fn kept_error(operation: &'static str, kept: aws_sdk_s3::types::Error) -> FileError {
    let code = kept.code.unwrap_or_default();
    let cause = format!("{code}: {}", kept.message.unwrap_or_default());
    match code.as_str() {
        "InternalError" | "SlowDown" | "ServiceUnavailable" => FileError::Unavailable { operation, cause },
        _ => FileError::Refused { operation, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_as_it_is_and_in_ascii() {
        for (name, expected) in [
            (
                "usage.pdf",
                "attachment; filename=\"usage.pdf\"; filename*=UTF-8''usage.pdf",
            ),
            (
                "März 2026.csv",
                "attachment; filename=\"M_rz 2026.csv\"; filename*=UTF-8''M%C3%A4rz%202026.csv",
            ),
            (
                "a\"b\\c\r\nd*.csv",
                "attachment; filename=\"a_b_c__d*.csv\"; filename*=UTF-8''a%22b%5Cc%0D%0Ad%2A.csv",
            ),
        ] {
            assert_eq!(attachment(name), expected);
        }
    }
}
