//! The buckets through the ordinary AWS SDK, and their links through a plain HTTP client.

mod lifecycle;
mod links;
mod rights;

use std::path::Path;

use aws_sdk_s3::{
    Client,
    error::ProvideErrorMetadata,
    operation::get_object::GetObjectOutput,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use chrono::TimeDelta;
use metering_edge::{
    aws::{Endpoint, s3_client},
    file::{FileError, Files, attachment},
};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::{
    front::{Port, Server},
    policy::{ACCESS_KEY, Policies},
    template::{REGION, Template},
};

const BUCKET: &str = "reports";

/// Two buckets, and functions that may do more and less with the first.
const TEMPLATE: &str = r#"
Globals:
  Function:
    Environment:
      Variables: { EVENTS_TABLE: none, STATE_TABLE: none, REPORTS_BUCKET: !Ref Reports }
Resources:
  Reports:
    Type: AWS::S3::Bucket
    Properties:
      LifecycleConfiguration:
        Rules:
          - { Status: Enabled, ExpirationInDays: 7 }
          - { Status: Enabled, ExpirationInDays: 1, Prefix: drafts/ }
          - { Status: Disabled, ExpirationInDays: 1 }
  Kept:
    Type: AWS::S3::Bucket
  Writer:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 29
      Policies:
        - Statement:
            - Effect: Allow
              Action: [s3:PutObject, s3:GetObject, s3:DeleteObject]
              Resource: !Sub "${Reports.Arn}/*"
            - Effect: Allow
              Action: s3:ListBucket
              Resource: !GetAtt Reports.Arn
  Reader:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 29
      Policies:
        - Statement:
            - Effect: Allow
              Action: s3:GetObject
              Resource: !Sub "${Reports.Arn}/public/*"
  Stranger:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 29
"#;

/// Buckets in a folder of their own, served.
struct Rig {
    clock: Clock,
    buckets: Buckets,
    server: Server,
    dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::over(tempfile::tempdir().expect("a folder"))
    }

    fn over(dir: TempDir) -> Self {
        let template = Template::parse(TEMPLATE, &BTreeMap::new(), "http://queues").expect("a template");
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        let buckets = open(dir.path(), &template, &clock);
        let policies = Arc::new(Policies::of(&template.functions));
        let runtime = Handle::current();
        let port = Port::hold(0, &runtime).expect("a port");
        let server = port.serve_plainly(router(buckets.clone(), &policies), &runtime);
        Self {
            clock,
            buckets,
            server: server.expect("served"),
            dir,
        }
    }

    fn client(&self, key: &str) -> Client {
        s3_client(&self.endpoint(key), Some(plain_http()))
    }

    fn endpoint(&self, key: &str) -> Endpoint {
        Endpoint {
            url: self.server.url(),
            region: REGION.to_owned(),
            access_key_id: key.to_owned(),
            secret_access_key: "local".to_owned(),
        }
    }

    fn files(&self, key: &str) -> Files {
        Files::new(self.client(key), BUCKET.to_owned())
    }

    async fn put(&self, key: &str) {
        put(&self.files(ACCESS_KEY), key, "a").await.expect("put");
    }

    async fn get(&self, key: &str) -> Option<GetObjectOutput> {
        let get = self.client(ACCESS_KEY).get_object().bucket(BUCKET).key(key);
        match get.send().await {
            Ok(object) => Some(object),
            Err(error) => {
                assert!(
                    error.as_service_error().is_some_and(|error| error.is_no_such_key()),
                    "{error:?}"
                );
                None
            }
        }
    }

    /// All keys, a page of two at a time.
    async fn keys(&self, prefix: &str) -> Vec<String> {
        let list = self.client(ACCESS_KEY).list_objects_v2().bucket(BUCKET).prefix(prefix);
        let mut pages = list.into_paginator().page_size(2).send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.expect("a page");
            assert!(page.contents().len() <= 2);
            keys.extend(page.contents().iter().filter_map(|object| object.key.clone()));
        }
        keys
    }
}

fn plain_http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

fn open(dir: &Path, template: &Template, clock: &Clock) -> Buckets {
    Buckets::open(&dir.join("buckets.db"), &template.buckets, clock).expect("buckets")
}

async fn put(files: &Files, key: &str, text: &str) -> Result<(), FileError> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    files.put(key, bytes, "text/csv", &attachment("usage.csv")).await
}

async fn text(object: GetObjectOutput) -> String {
    let body = object.body.collect().await.expect("a body").to_vec();
    String::from_utf8(body).expect("text")
}

#[tokio::test]
async fn what_is_put_is_read_as_it_was_until_it_is_replaced_or_deleted() {
    let rig = Rig::new();
    let files = rig.files("Writer");
    for key in ["a", "a/b", "a/b/c", "../d", "ä ö+%/?&=#.pdf", "a//b", " a"] {
        assert!(!files.exists(key).await.expect("answered"), "{key}");
        put(&files, key, "first").await.expect("put");
        put(&files, key, key).await.expect("put again");
        assert!(files.exists(key).await.expect("answered"), "{key}");
        let object = rig.get(key).await.expect("there");
        assert_eq!(object.content_type(), Some("text/csv"));
        assert_eq!(object.content_disposition(), Some(attachment("usage.csv").as_str()));
        assert_eq!(object.content_length(), i64::try_from(key.len()).ok());
        let made = object.last_modified().expect("a time").secs();
        assert!((rig.clock.now().timestamp() - made).abs() <= 60, "by the stack's clock");
        assert_eq!(text(object).await, key);
        files.delete(key).await.expect("deleted");
        files.delete(key).await.expect("deleted again");
        assert!(rig.get(key).await.is_none(), "{key}");
    }
}

#[tokio::test]
async fn an_empty_object_a_large_one_and_a_part_of_one() {
    let rig = Rig::new();
    let client = rig.client("Writer");
    let large = Bytes::from_iter((0..5 << 20).map(|at: u32| at.to_le_bytes()[1]));
    let files = rig.files("Writer");
    files
        .put("large", large.clone(), "application/pdf", "inline")
        .await
        .expect("put");
    files
        .put("empty", Bytes::new(), "text/plain", "inline")
        .await
        .expect("put");
    let read = rig
        .get("large")
        .await
        .expect("there")
        .body
        .collect()
        .await
        .expect("a body");
    assert!(read.into_bytes() == large);
    assert_eq!(text(rig.get("empty").await.expect("there")).await, "");
    for (range, expected, place) in [
        ("bytes=256-511", 256..512, "bytes 256-511/5242880"),
        ("bytes=5242878-", 5_242_878..5_242_880, "bytes 5242878-5242879/5242880"),
        ("bytes=-2", 5_242_878..5_242_880, "bytes 5242878-5242879/5242880"),
    ] {
        let get = client.get_object().bucket(BUCKET).key("large").range(range);
        let object = get.send().await.expect("a part");
        assert_eq!(object.content_range(), Some(place));
        assert!(
            object.body.collect().await.expect("a body").into_bytes() == large.slice(expected),
            "{range}"
        );
    }
    let beyond = client.get_object().bucket(BUCKET).key("large").range("bytes=5242880-");
    let refused = beyond.send().await.expect_err("beyond its end");
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(416));
}

#[tokio::test]
async fn checksums_are_verified_kept_and_told() {
    let rig = Rig::new();
    let client = rig.client("Writer");
    let put = || {
        client
            .put_object()
            .bucket(BUCKET)
            .key("a")
            .body(ByteStream::from_static(b"abc"))
    };
    let wrong = put()
        .checksum_sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        .send()
        .await;
    assert_eq!(wrong.expect_err("refused").code(), Some("BadDigest"));
    let wrong = put().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await;
    assert_eq!(wrong.expect_err("refused").code(), Some("BadDigest"));
    assert!(rig.get("a").await.is_none(), "nothing was written");
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        let sent = put().checksum_algorithm(algorithm).send().await.expect("put");
        let get = client
            .get_object()
            .bucket(BUCKET)
            .key("a")
            .checksum_mode(ChecksumMode::Enabled);
        let object = get.send().await.expect("there");
        // The MD5 of "abc", by RFC 1321.
        assert_eq!(object.e_tag(), Some("\"900150983cd24fb0d6963f7d28e17f72\""));
        assert_eq!(object.checksum_crc32(), sent.checksum_crc32());
        assert_eq!(object.checksum_crc32_c(), sent.checksum_crc32_c());
        assert_eq!(object.checksum_crc64_nvme(), sent.checksum_crc64_nvme());
        assert_eq!(object.checksum_sha1(), sent.checksum_sha1());
        assert_eq!(object.checksum_sha256(), sent.checksum_sha256());
        assert_eq!(text(object).await, "abc");
    }
}

#[tokio::test]
async fn an_object_that_must_be_new_is_written_once_and_what_is_not_understood_not_at_all() {
    let rig = Rig::new();
    let client = rig.client("Writer");
    let put = |text: &'static str| {
        let put = client.put_object().bucket(BUCKET).key("once").if_none_match("*");
        put.body(ByteStream::from_static(text.as_bytes())).send()
    };
    let (first, second) = tokio::join!(put("a"), put("b"));
    let won = match (first, second) {
        (Ok(_), Err(lost)) => ("a", lost),
        (Err(lost), Ok(_)) => ("b", lost),
        both => panic!("one of two: {both:?}"),
    };
    assert_eq!(won.1.code(), Some("PreconditionFailed"));
    assert_eq!(text(rig.get("once").await.expect("there")).await, won.0);
    let tagged = client
        .put_object()
        .bucket(BUCKET)
        .key("tagged")
        .tagging("a=b")
        .send()
        .await;
    assert_eq!(tagged.expect_err("refused").code(), Some("NotImplemented"));
    assert!(rig.get("tagged").await.is_none());
    let nowhere = client
        .list_objects_v2()
        .bucket("nowhere")
        .send()
        .await
        .expect_err("no bucket");
    assert_eq!(nowhere.code(), Some("AccessDenied"));
    let nowhere = rig.client(ACCESS_KEY).list_objects_v2().bucket("nowhere").send().await;
    assert_eq!(nowhere.expect_err("no bucket").code(), Some("NoSuchBucket"));
}

#[tokio::test]
async fn lists_are_paged_in_order_and_folders_are_put_together() {
    let rig = Rig::new();
    for key in ["b/2", "b/1", "a", "c/x/1", "c/x/2", "c/y", "ä", "b"] {
        rig.put(key).await;
    }
    assert_eq!(
        rig.keys("").await,
        ["a", "b", "b/1", "b/2", "c/x/1", "c/x/2", "c/y", "ä"]
    );
    assert_eq!(rig.keys("b/").await, ["b/1", "b/2"]);
    assert_eq!(rig.keys("b/1").await, ["b/1"]);
    assert!(rig.keys("nothing").await.is_empty());
    let list = rig.client(ACCESS_KEY).list_objects_v2().bucket(BUCKET).delimiter("/");
    let mut pages = list.into_paginator().page_size(1).send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.expect("a page");
        assert_eq!(page.key_count(), Some(1));
        found.extend(page.contents().iter().filter_map(|object| object.key.clone()));
        found.extend(page.common_prefixes().iter().filter_map(|folder| folder.prefix.clone()));
    }
    assert_eq!(found, ["a", "b", "b/", "c/", "ä"]);
    let buckets = rig.client(ACCESS_KEY).list_buckets().send().await.expect("buckets");
    let names: Vec<_> = buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, ["kept", BUCKET]);
}

#[tokio::test]
async fn a_folder_is_deleted_whole_and_nothing_else_however_many_files_it_has() {
    let rig = Rig::new();
    let files = rig.files("Writer");
    let (bucket, about) = (rig.buckets.find(BUCKET).expect("a bucket"), About::default());
    for count in 0..2_001 {
        let key = format!("1/{count}");
        assert!(rig.buckets.put(bucket, &key, &about, b"a", false).expect("put"));
    }
    for other in ["1", "10/a", "2/1/a"] {
        rig.put(other).await;
    }
    let refused = files.delete_all("1").await.expect_err("10/ begins so, too");
    assert!(matches!(refused, FileError::NoFolder(_)) && !refused.retryable());
    assert_eq!(files.delete_all("1/").await.expect("deleted"), 2_001);
    assert_eq!(rig.keys("").await, ["1", "10/a", "2/1/a"]);
    assert_eq!(files.delete_all("1/").await.expect("nothing to delete"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_write_one_key_at_once_one_stays_whole() {
    let rig = Rig::new();
    let files = rig.files("Writer");
    let writing: Vec<_> = (0..32_u8)
        .map(|number| {
            let (files, bytes) = (files.clone(), Bytes::from(vec![number; 100_000]));
            tokio::spawn(async move { files.put("one", bytes, "text/plain", "inline").await })
        })
        .collect();
    for written in writing {
        written.await.expect("ran").expect("put");
    }
    let read = rig
        .get("one")
        .await
        .expect("there")
        .body
        .collect()
        .await
        .expect("a body")
        .into_bytes();
    assert_eq!(read.len(), 100_000);
    assert!(read.iter().all(|byte| *byte == read[0]));
    assert_eq!(rig.keys("").await, ["one"]);
}

#[tokio::test]
async fn a_restart_keeps_objects_and_what_is_known_of_them() {
    let rig = Rig::new();
    rig.put("kept").await;
    let before = rig
        .buckets
        .head(rig.buckets.find(BUCKET).expect("a bucket"), "kept")
        .expect("read");
    let Rig {
        mut server,
        dir,
        buckets,
        ..
    } = rig;
    server.stop().await;
    drop(buckets);
    let rig = Rig::over(dir);
    let after = rig
        .buckets
        .head(rig.buckets.find(BUCKET).expect("a bucket"), "kept")
        .expect("read");
    assert!(before.is_some());
    assert_eq!(before, after);
    assert_eq!(text(rig.get("kept").await.expect("there")).await, "a");
}

/// What a writer leaves behind that dies half-way: what was there before.
#[tokio::test]
async fn an_upload_that_breaks_off_writes_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let rig = Rig::new();
    rig.put("a").await;
    let valid = PresigningConfig::expires_in(std::time::Duration::from_secs(60)).expect("a minute");
    let put = rig.client("Writer").put_object().bucket(BUCKET).key("a");
    let url = put.presigned(valid).await.expect("signed").uri().to_owned();
    let target = url.split_once(&rig.server.url()).expect("its address").1;
    let host = rig.server.url().replace("http://", "");
    for (body, expected) in [("bbb", "a"), ("bbbbbbbbbb", "bbbbbbbbbb")] {
        let mut socket = tokio::net::TcpStream::connect(&host).await.expect("connected");
        let head =
            format!("PUT {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{body}");
        socket.write_all(head.as_bytes()).await.expect("sent");
        socket.shutdown().await.expect("ended");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("the server ends, too");
        assert_eq!(
            text(rig.get("a").await.expect("there")).await,
            expected,
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}
