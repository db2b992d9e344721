//! The REST protocol of S3, read and written by the library; what it asks for is done here.

mod download;
mod list;
mod upload;

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Response, StatusCode},
    response::IntoResponse,
};
use s3s::{
    S3, S3Error, S3Request, S3Response, S3Result,
    dto::{
        Bucket as BucketEntry, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, ETag, Error as Kept, GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput,
        GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput,
        ListBucketsOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, Timestamp,
    },
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};

use super::{
    Buckets, Object,
    access::{Caller, Guard, Keys, object_arn},
    signed,
};
use crate::{
    policy::Policies,
    template::{Bucket, REGION, bucket_arn},
};

/// What the library asks.
struct Protocol {
    buckets: Buckets,
}

/// Serves the protocol; each access key may do what its policy says.
pub fn router(buckets: Buckets, policies: &Arc<Policies>) -> Router {
    let mut service = S3ServiceBuilder::new(Protocol {
        buckets: buckets.clone(),
    });
    service.set_auth(Keys(Arc::clone(policies)));
    service.set_access(Guard(Arc::clone(policies)));
    Router::new().fallback(serve).with_state((buckets, service.build()))
}

async fn serve(State((buckets, service)): State<(Buckets, S3Service)>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    if signed::is_link(&parts.uri)
        && let Err(refusal) = signed::check(&mut parts, buckets.now())
    {
        tracing::warn!(%refusal, "a link into a bucket is refused");
        return answer(refusal.to_http_response().map_err(|error| error.to_string()));
    }
    let request = Request::from_parts(parts, body).map(s3s::Body::http_body_unsync);
    answer(service.call(request).await.map_err(|error| format!("{error:?}")))
}

fn answer(answered: Result<s3s::HttpResponse, String>) -> Response<Body> {
    match answered {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::error!(error, "a request to a bucket has no answer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Protocol {
    fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        let found = self.buckets.find(name);
        found.ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))
    }
}

/// What a caller is told of an object that is not there: nothing, unless it may list the bucket.
fn missing<T>(request: &S3Request<T>, bucket: &str) -> S3Error {
    match caller(request).and_then(|caller| caller.may("s3:ListBucket", &bucket_arn(bucket))) {
        Ok(()) => s3_error!(NoSuchKey, "The specified key does not exist."),
        Err(refused) => refused,
    }
}

fn caller<T>(request: &S3Request<T>) -> S3Result<&Caller> {
    let caller = request.extensions.get::<Caller>();
    caller.ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))
}

fn failed(error: super::BucketError) -> S3Error {
    s3_error!(error, InternalError)
}

fn etag(object: &Object) -> ETag {
    ETag::Strong(object.about.etag.clone())
}

fn created(object: &Object) -> Timestamp {
    Timestamp::from(SystemTime::from(object.created))
}

fn size(object: &Object) -> i64 {
    i64::try_from(object.size).unwrap_or(i64::MAX)
}

#[async_trait]
impl S3 for Protocol {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let name = request.input.bucket.clone();
        self.put(self.bucket(&name)?, request).await.map(S3Response::new)
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.get(&request).map(S3Response::new)
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.head(&request).map(S3Response::new)
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = &request.input;
        self.buckets
            .delete(self.bucket(&input.bucket)?, &input.key)
            .map_err(failed)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let caller = caller(&request)?;
        let input = &request.input;
        let bucket = self.bucket(&input.bucket)?;
        let (mut deleted, mut kept) = (Vec::new(), Vec::new());
        for object in &input.delete.objects {
            let key = Some(object.key.clone());
            match caller.may("s3:DeleteObject", &object_arn(&bucket.name, &object.key)) {
                Ok(()) => {
                    self.buckets.delete(bucket, &object.key).map_err(failed)?;
                    deleted.push(DeletedObject {
                        key,
                        ..DeletedObject::default()
                    });
                }
                Err(refused) => kept.push(Kept {
                    key,
                    code: Some("AccessDenied".to_owned()),
                    message: refused.message().map(str::to_owned),
                    ..Kept::default()
                }),
            }
        }
        let is_quiet = input.delete.quiet.unwrap_or_default();
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!is_quiet).then_some(deleted),
            errors: Some(kept),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = self.bucket(&request.input.bucket)?;
        list::page(&self.buckets, bucket, request.input).map(S3Response::new)
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let entry = |bucket: &Bucket| BucketEntry {
            name: Some(bucket.name.clone()),
            ..BucketEntry::default()
        };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(self.buckets.all().map(entry).collect()),
            ..ListBucketsOutput::default()
        }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..HeadBucketOutput::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.bucket(&request.input.bucket)?;
        // None is what S3 says of us-east-1.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }
}
