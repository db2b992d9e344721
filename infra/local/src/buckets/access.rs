//! Who asks, and whether they may: the access key says which function it is, and the function's
//! policy in the template what it may do, as IAM decides for S3. A link may do what its maker may.

use std::sync::Arc;

use async_trait::async_trait;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    path::S3Path,
    s3_error,
};

use super::signed::Signer;
use crate::{policy::Policies, template::bucket_arn};

/// The secret of every access key.
pub const SECRET: &str = "local";

/// The access keys.
pub struct Keys(pub Arc<Policies>);

/// The policies, asked for each request.
pub struct Guard(pub Arc<Policies>);

/// By whose key a request was signed; a mark on it.
#[derive(Clone)]
pub struct Caller {
    key: String,
    policies: Arc<Policies>,
}

#[async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.knows(access_key) {
            true => Ok(SecretKey::from(SECRET)),
            false => Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            )),
        }
    }
}

#[async_trait]
impl S3Access for Guard {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let signer = context.extensions_mut().get::<Signer>().map(|signer| signer.0.clone());
        let key = match (context.credentials(), signer) {
            (Some(credentials), _) => credentials.access_key.clone(),
            (None, Some(signer)) => signer,
            (None, None) => return Err(s3_error!(AccessDenied, "Access Denied")),
        };
        let caller = Caller {
            key,
            policies: Arc::clone(&self.0),
        };
        let operation = context.s3_op().name();
        match context.s3_path() {
            S3Path::Root => caller.may("s3:ListAllMyBuckets", "*")?,
            S3Path::Bucket { bucket } => match operation {
                "ListObjectsV2" | "HeadBucket" => caller.may("s3:ListBucket", &bucket_arn(bucket))?,
                "GetBucketLocation" => caller.may("s3:GetBucketLocation", &bucket_arn(bucket))?,
                // Asked for each of its objects.
                "DeleteObjects" => {}
                _ => caller.may(&format!("s3:{operation}"), &bucket_arn(bucket))?,
            },
            S3Path::Object { bucket, key } => {
                let action = match operation {
                    "HeadObject" => "GetObject",
                    other => other,
                };
                caller.may(&format!("s3:{action}"), &object_arn(bucket, key))?;
            }
        }
        context.extensions_mut().insert(caller);
        Ok(())
    }
}

impl Caller {
    /// Refuses what the caller's policy does not allow.
    pub fn may(&self, action: &str, resource: &str) -> S3Result<()> {
        match self.policies.refuses(&self.key, action, resource) {
            None => Ok(()),
            Some(message) => Err(s3_error!(AccessDenied, "{message}")),
        }
    }
}

/// The name by which policies know an object.
pub fn object_arn(bucket: &str, key: &str) -> String {
    format!("{}/{key}", bucket_arn(bucket))
}
