//! An object that is read: whole or a part of it, or what is known of it.

use s3s::{
    S3Request, S3Result,
    dto::{
        Checksum, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, Metadata,
        StreamingBlob,
    },
    s3_error,
};

use super::{Protocol, created, etag, failed, missing, size};
use crate::buckets::Object;

impl Protocol {
    /// An object with its body.
    pub(super) fn get(&self, request: &S3Request<GetObjectInput>) -> S3Result<GetObjectOutput> {
        let input = &request.input;
        let found = self
            .buckets
            .get(self.bucket(&input.bucket)?, &input.key)
            .map_err(failed)?;
        let (object, body) = found.ok_or_else(|| missing(request, &input.bucket))?;
        conditions(input, &object)?;
        let range = input.range.map(|range| range.check(object.size)).transpose()?;
        let range = range.filter(|range| !range.is_empty());
        let content_range = range
            .as_ref()
            .map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, object.size));
        let part = match &range {
            Some(range) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                body.get(place(range.start)..place(range.end))
                    .unwrap_or_default()
                    .to_vec()
            }
            None => body,
        };
        // A checksum is that of the whole.
        let sums = match range.is_none() && input.checksum_mode.is_some() {
            true => checksums(&object),
            false => Checksum::default(),
        };
        Ok(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(part.len()).ok(),
            body: Some(StreamingBlob::from(s3s::Body::from(part))),
            content_range,
            content_type: header(&object, "content-type"),
            content_disposition: header(&object, "content-disposition"),
            content_encoding: header(&object, "content-encoding"),
            content_language: header(&object, "content-language"),
            cache_control: header(&object, "cache-control"),
            e_tag: Some(etag(&object)),
            last_modified: Some(created(&object)),
            metadata: metadata(&object),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..GetObjectOutput::default()
        })
    }

    /// An object without its body.
    pub(super) fn head(&self, request: &S3Request<HeadObjectInput>) -> S3Result<HeadObjectOutput> {
        let input = &request.input;
        let found = self
            .buckets
            .head(self.bucket(&input.bucket)?, &input.key)
            .map_err(failed)?;
        let object = found.ok_or_else(|| missing(request, &input.bucket))?;
        Ok(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(size(&object)),
            content_type: header(&object, "content-type"),
            content_disposition: header(&object, "content-disposition"),
            content_encoding: header(&object, "content-encoding"),
            content_language: header(&object, "content-language"),
            cache_control: header(&object, "cache-control"),
            e_tag: Some(etag(&object)),
            last_modified: Some(created(&object)),
            metadata: metadata(&object),
            ..HeadObjectOutput::default()
        })
    }
}

fn header(object: &Object, name: &str) -> Option<String> {
    object.about.headers.get(name).cloned()
}

/// Refuses an object that is not as its reader demands it, or that the reader has already.
fn conditions(input: &GetObjectInput, object: &Object) -> S3Result<()> {
    let etag = etag(object);
    let holds = |wanted: &ETagCondition| wanted.as_etag().is_none_or(|wanted| etag.strong_cmp(wanted));
    if !input.if_match.as_ref().is_none_or(holds) {
        return Err(s3_error!(PreconditionFailed));
    }
    let has = |known: &ETagCondition| known.as_etag().is_none_or(|known| etag.weak_cmp(known));
    match input.if_none_match.as_ref().is_some_and(has) {
        true => Err(s3_error!(NotModified)),
        false => Ok(()),
    }
}

fn metadata(object: &Object) -> Option<Metadata> {
    let metadata = &object.about.metadata;
    (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect())
}

fn checksums(object: &Object) -> Checksum {
    let sum = |name: &str| object.about.checksums.get(name).cloned();
    Checksum {
        checksum_crc32: sum("crc32"),
        checksum_crc32c: sum("crc32c"),
        checksum_crc64nvme: sum("crc64nvme"),
        checksum_sha1: sum("sha1"),
        checksum_sha256: sum("sha256"),
        ..Checksum::default()
    }
}
