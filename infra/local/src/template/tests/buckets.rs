//! Buckets and their rules.

use super::*;

const BUCKET: &str = "    Type: AWS::S3::Bucket
    Properties:
      BucketEncryption: {}
      OwnershipControls: {}
      PublicAccessBlockConfiguration: {}
      Tags: []
";

/// A bucket called `Thing` with a rule.
fn with_rule(rule: &str) -> String {
    with(&format!(
        "{BUCKET}      LifecycleConfiguration: {{Rules: [{{{rule}}}]}}\n"
    ))
}

#[test]
fn the_bucket_of_reports_keeps_them_for_seven_days() {
    let template = parse(EMBEDDED).expect("the real template");
    let expiries = vec![Expiry {
        prefix: String::new(),
        days: 7,
    }];
    let reports = Bucket {
        resource: "Reports".to_owned(),
        name: "reports".to_owned(),
        expiries,
    };
    assert_eq!(template.buckets, [reports]);
}

#[test]
fn buckets_are_read_and_referred_to() {
    for text in [with(BUCKET), with("    Type: AWS::S3::Bucket\n")] {
        let text = format!(
            "{text}  Job:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 10
      Environment: {{Variables: {{BUCKET: !Ref Thing}}}}
      Policies:
        - Statement:
            - {{Effect: Allow, Action: s3:ListBucket, Resource: !GetAtt Thing.Arn}}
            - {{Effect: Allow, Action: s3:PutObject, Resource: !Sub \"${{Thing.Arn}}/*\"}}
"
        );
        let template = parse(&text).expect("understood");
        assert!(template.buckets[0].expiries.is_empty());
        let function = &template.functions[0];
        assert_eq!(function.environment["BUCKET"], "thing");
        assert_eq!(function.policy[0].resources, ["arn:aws:s3:::thing"]);
        assert_eq!(function.policy[1].resources, ["arn:aws:s3:::thing/*"]);
    }
    for (rule, expected) in [
        ("Status: Enabled, ExpirationInDays: 1, Prefix: a/", Some(("a/", 1))),
        ("Id: a, Status: Enabled, ExpirationInDays: 30", Some(("", 30))),
        ("Status: Disabled, ExpirationInDays: 30", None),
        (
            "Status: Enabled, AbortIncompleteMultipartUpload: {DaysAfterInitiation: 1}",
            None,
        ),
    ] {
        let template = parse(&with_rule(rule)).expect("understood");
        let read = template.buckets[0].expiries.first();
        assert_eq!(read.map(|rule| (rule.prefix.as_str(), rule.days)), expected, "{rule}");
    }
}

#[test]
fn buckets_that_are_not_understood_are_refused_by_name() {
    let bucket = |line: &str| with(&format!("{BUCKET}      {line}\n"));
    for (text, expected) in [
        (bucket("BucketName: mine"), "Thing: BucketName: this property"),
        (
            bucket("VersioningConfiguration: {}"),
            "Thing: VersioningConfiguration: this property",
        ),
        (
            bucket("LifecycleConfiguration: {}"),
            "Thing: LifecycleConfiguration: Rules is missing",
        ),
        (with_rule("ExpirationInDays: 7"), "Status is missing"),
        (
            with_rule("Status: enabled"),
            "Thing: Status: must be Enabled or Disabled",
        ),
        (
            with_rule("Status: Enabled, ExpirationInDays: 0"),
            "must be a number from 1 to 36500",
        ),
        (
            with_rule("Status: Enabled, ExpirationDate: x"),
            "Thing: ExpirationDate: this property",
        ),
        (
            with_rule("Status: Enabled, TagFilters: []"),
            "Thing: TagFilters: this property",
        ),
        (
            with_rule("Status: Enabled, Transitions: []"),
            "Thing: Transitions: this property",
        ),
        (
            with_rule("Status: Enabled, Prefix: !Ref Thing"),
            "Thing: Prefix: must be a plain text",
        ),
        (
            with(BUCKET).replace("Thing", "Up"),
            "Up: a bucket is called by this name",
        ),
        (
            format!("{}  THING:\n{BUCKET}", with(BUCKET)),
            "THING: another bucket has this name",
        ),
    ] {
        let error = refused(&text);
        assert!(error.contains(expected), "{error}\nshould say: {expected}");
    }
}
