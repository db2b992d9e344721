//! What is stored is kept, encrypted, restorable and nobody else's.

use std::collections::BTreeSet;

use serde_norway::Value;

use super::{
    Findings, Subject,
    grants::POLICY_VERSION,
    source::{Resource, references, referred},
};

/// How long reports live.
const REPORTS_DAYS: u64 = 7;

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    for table in subject.source.of_type("AWS::DynamoDB::Table") {
        for (path, problem) in [
            (
                "PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled",
                "it cannot be restored",
            ),
            (
                "SSESpecification/SSEEnabled",
                "it must be encrypted with a key of the account",
            ),
            ("DeletionProtectionEnabled", "it can be deleted by mistake"),
            ("TimeToLiveSpecification/Enabled", "its items never expire"),
        ] {
            findings.unless(table.is_on(path), table.name, problem);
        }
        let on_demand = table.at("BillingMode") == "PAY_PER_REQUEST";
        findings.unless(on_demand, table.name, "its BillingMode must be PAY_PER_REQUEST");
        findings.unless(table.is_retained(), table.name, "it must outlive the stack");
    }
    let policies = subject.source.of_type("AWS::S3::BucketPolicy");
    for bucket in subject.source.of_type("AWS::S3::Bucket") {
        check_bucket(&bucket, findings);
        let over_tls = policies.iter().any(|policy| demands_tls(policy, bucket.name));
        findings.unless(over_tls, bucket.name, "it can be read without TLS");
    }
}

fn check_bucket(bucket: &Resource<'_>, findings: &mut Findings) {
    for block in [
        "BlockPublicAcls",
        "BlockPublicPolicy",
        "IgnorePublicAcls",
        "RestrictPublicBuckets",
    ] {
        let blocks = bucket.is_on(&format!("PublicAccessBlockConfiguration/{block}"));
        findings.unless(blocks, bucket.name, &format!("{block} must be true"));
    }
    for (path, value) in [
        ("OwnershipControls/Rules/0/ObjectOwnership", "BucketOwnerEnforced"),
        (
            "BucketEncryption/ServerSideEncryptionConfiguration/0/ServerSideEncryptionByDefault/SSEAlgorithm",
            "AES256",
        ),
        ("LifecycleConfiguration/Rules/0/Status", "Enabled"),
    ] {
        findings.unless(
            bucket.at(path) == value,
            bucket.name,
            &format!("{path} must be {value}"),
        );
    }
    for (path, days) in [
        ("LifecycleConfiguration/Rules/0/ExpirationInDays", REPORTS_DAYS),
        (
            "LifecycleConfiguration/Rules/0/AbortIncompleteMultipartUpload/DaysAfterInitiation",
            1,
        ),
    ] {
        findings.unless(
            bucket.at(path) == &Value::from(days),
            bucket.name,
            &format!("{path} must be {days}"),
        );
    }
    findings.unless(bucket.is_retained(), bucket.name, "it must outlive the stack");
}

/// Whether a policy refuses whoever comes to the bucket, or to what is in it, without TLS.
fn demands_tls(policy: &Resource<'_>, bucket: &str) -> bool {
    let mut named = BTreeSet::new();
    let statement = |path: &str| policy.at(&format!("PolicyDocument/Statement/0/{path}"));
    let resources = statement("Resource").as_sequence().map_or(0, Vec::len);
    references(statement("Resource"), &mut named);
    referred(policy.at("Bucket")) == Some(bucket)
        && policy.at("PolicyDocument/Version") == POLICY_VERSION
        && named == BTreeSet::from([bucket.to_owned()])
        && resources == 2
        && statement("Effect") == "Deny"
        && statement("Principal") == "*"
        && statement("Action") == "s3:*"
        && statement("Condition/Bool/aws:SecureTransport") == "false"
}
