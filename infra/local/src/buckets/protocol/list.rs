//! A page of a bucket's objects, by key, with what lies in folders put together if a delimiter is
//! given.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{
    S3Result,
    dto::{CommonPrefix, EncodingType, ListObjectsV2Input, ListObjectsV2Output, Object as Entry},
    s3_error,
};

use super::{created, etag, failed, size};
use crate::{buckets::Buckets, template::Bucket};

/// What S3 lists at once, at most.
const PAGE_MAX: i32 = 1_000;
/// What stays as it is where keys are asked for in the encoding of URLs.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The page that is asked for.
pub fn page(buckets: &Buckets, bucket: &Bucket, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let wanted = input.max_keys.unwrap_or(PAGE_MAX);
    let most = usize::try_from(wanted.min(PAGE_MAX));
    let most = most.map_err(|_| s3_error!(InvalidArgument, "max-keys must not be negative"))?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let token = input.continuation_token.as_deref().unwrap_or_default();
    let after = token.max(input.start_after.as_deref().unwrap_or_default()).to_owned();
    let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let folder = |key: &str| {
        let delimiter = delimiter?;
        let at = key[prefix.len()..].find(delimiter)?;
        Some(key[..prefix.len() + at + delimiter.len()].to_owned())
    };
    let (mut entries, mut folders, mut last, mut more) = (Vec::new(), Vec::<String>::new(), String::new(), false);
    let take = |object: crate::buckets::Object| {
        let found = folder(&object.key);
        // The page before ended with this folder, or this one has it already.
        if found.is_some() && (found.as_ref() == Some(&after) || found.as_ref() == folders.last()) {
            return true;
        }
        if entries.len() + folders.len() == most {
            more = most > 0;
            return false;
        }
        last = found.clone().unwrap_or_else(|| object.key.clone());
        match found {
            Some(found) => folders.push(found),
            None => entries.push(object),
        }
        true
    };
    buckets.list(bucket, &prefix, &after, take).map_err(failed)?;
    let is_encoded = input
        .encoding_type
        .as_ref()
        .is_some_and(|kind| kind.as_str() == EncodingType::URL);
    let encode = |text: &str| match is_encoded {
        true => utf8_percent_encode(text, ENCODED).to_string(),
        false => text.to_owned(),
    };
    let contents: Vec<Entry> = entries
        .iter()
        .map(|object| Entry {
            key: Some(encode(&object.key)),
            e_tag: Some(etag(object)),
            last_modified: Some(created(object)),
            size: Some(size(object)),
            ..Entry::default()
        })
        .collect();
    let common = folders.iter().map(|folder| CommonPrefix {
        prefix: Some(encode(folder)),
    });
    Ok(ListObjectsV2Output {
        name: Some(bucket.name.clone()),
        key_count: i32::try_from(entries.len() + folders.len()).ok(),
        max_keys: Some(wanted),
        is_truncated: Some(more),
        next_continuation_token: more.then_some(last),
        common_prefixes: Some(common.collect()),
        contents: Some(contents),
        prefix: input.prefix.as_deref().map(encode),
        delimiter: input.delimiter.as_deref().map(encode),
        start_after: input.start_after.as_deref().map(encode),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        ..ListObjectsV2Output::default()
    })
}
