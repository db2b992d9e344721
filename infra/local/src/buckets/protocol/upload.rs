//! An object that is put: read whole, held against the checksums that came with it, kept.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::TryStreamExt as _;
use s3s::{
    S3Request, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    dto::{Checksum, ETag, PutObjectInput, PutObjectOutput, StreamingBlob},
    s3_error,
};

use super::{Protocol, failed};
use crate::{buckets::About, template::Bucket};

/// An object is held in memory here while it is written; S3 takes 5 GB at once.
const OBJECT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What S3 gives an object that says nothing of itself.
const UNKNOWN_TYPE: &str = "binary/octet-stream";

impl Protocol {
    /// Keeps an object.
    pub(super) async fn put(
        &self,
        bucket: &Bucket,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<PutObjectOutput> {
        understood(&request.input)?;
        let body = match request.input.body.take() {
            Some(body) => read(body).await?,
            None => Vec::new(),
        };
        let trailers = request.trailing_headers.take();
        let input = request.input;
        if input
            .content_length
            .is_some_and(|length| usize::try_from(length) != Ok(body.len()))
        {
            return Err(s3_error!(IncompleteBody));
        }
        let digest = md5::compute(&body);
        if input
            .content_md5
            .as_ref()
            .is_some_and(|sent| *sent != BASE64_STANDARD.encode(digest.0))
        {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        let sums = checked(&input, trailers, &body)?;
        let only_new = input.if_none_match.as_ref().is_some_and(|condition| condition.is_any());
        let about = About {
            etag: format!("{digest:x}"),
            headers: headers(&input),
            metadata: input.metadata.into_iter().flatten().collect(),
            checksums: named(&sums),
        };
        let put = self.buckets.put(bucket, &input.key, &about, &body, only_new);
        if !put.map_err(failed)? {
            return Err(s3_error!(
                PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold"
            ));
        }
        Ok(PutObjectOutput {
            e_tag: Some(ETag::Strong(about.etag)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..PutObjectOutput::default()
        })
    }
}

/// Refuses what would be lost here without a word.
fn understood(input: &PutObjectInput) -> S3Result<()> {
    let not = |what: &str| {
        Err(s3_error!(
            NotImplemented,
            "usage-local does not understand {what} of an object"
        ))
    };
    if input.if_match.is_some()
        || input
            .if_none_match
            .as_ref()
            .is_some_and(|condition| !condition.is_any())
    {
        return not("a condition other than If-None-Match: *");
    }
    if input.acl.is_some() {
        return not("the access list");
    }
    if input.tagging.is_some() {
        return not("the tags");
    }
    if input.sse_customer_algorithm.is_some() {
        return not("the customer's own encryption key");
    }
    if input.write_offset_bytes.is_some() {
        return not("a part");
    }
    Ok(())
}

async fn read(mut body: StreamingBlob) -> S3Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        // Whatever breaks off has nobody left to be answered; a wrong chunk's signature has.
        let next = body.try_next().await;
        let Some(chunk) = next.map_err(|error| s3_error!(IncompleteBody, "{error}"))? else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.len() > OBJECT_BYTES_MAX {
            return Err(s3_error!(EntityTooLarge, "usage-local takes 256 MiB at most"));
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// The headers that the object is served with.
fn headers(input: &PutObjectInput) -> BTreeMap<String, String> {
    let kind = input.content_type.clone().unwrap_or_else(|| UNKNOWN_TYPE.to_owned());
    let given = [
        ("content-type", Some(&kind)),
        ("content-disposition", input.content_disposition.as_ref()),
        ("content-encoding", input.content_encoding.as_ref()),
        ("content-language", input.content_language.as_ref()),
        ("cache-control", input.cache_control.as_ref()),
    ];
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
        .collect()
}

/// The checksums that came with a body, before it or after it, if they are its own.
fn checked(input: &PutObjectInput, trailers: Option<TrailingHeaders>, body: &[u8]) -> S3Result<Checksum> {
    let trailers = trailers.and_then(|trailers| trailers.take()).unwrap_or_default();
    let trailer = |name: &str| {
        let value = trailers.get(format!("x-amz-checksum-{name}"))?;
        value.to_str().ok().map(str::to_owned)
    };
    let sent = Checksum {
        checksum_crc32: input.checksum_crc32.clone().or_else(|| trailer("crc32")),
        checksum_crc32c: input.checksum_crc32c.clone().or_else(|| trailer("crc32c")),
        checksum_crc64nvme: input.checksum_crc64nvme.clone().or_else(|| trailer("crc64nvme")),
        checksum_sha1: input.checksum_sha1.clone().or_else(|| trailer("sha1")),
        checksum_sha256: input.checksum_sha256.clone().or_else(|| trailer("sha256")),
        ..Checksum::default()
    };
    let mut hasher = ChecksumHasher {
        crc32: sent.checksum_crc32.as_ref().map(|_| Default::default()),
        crc32c: sent.checksum_crc32c.as_ref().map(|_| Default::default()),
        crc64nvme: sent.checksum_crc64nvme.as_ref().map(|_| Default::default()),
        sha1: sent.checksum_sha1.as_ref().map(|_| Default::default()),
        sha256: sent.checksum_sha256.as_ref().map(|_| Default::default()),
    };
    hasher.update(body);
    match hasher.finalize() == sent {
        true => Ok(sent),
        false => Err(s3_error!(
            BadDigest,
            "The checksum you specified did not match what we received."
        )),
    }
}

fn named(sums: &Checksum) -> BTreeMap<String, String> {
    let sums = [
        ("crc32", &sums.checksum_crc32),
        ("crc32c", &sums.checksum_crc32c),
        ("crc64nvme", &sums.checksum_crc64nvme),
        ("sha1", &sums.checksum_sha1),
        ("sha256", &sums.checksum_sha256),
    ];
    let sums = sums.into_iter();
    sums.filter_map(|(name, sum)| Some((name.to_owned(), sum.clone()?)))
        .collect()
}
