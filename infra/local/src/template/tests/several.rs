//! Functions that several things call, with all that a mapping may say.

use std::time::Duration;

use serde_json::json;

use super::*;

const TEMPLATE: &str = r#"
Parameters:
  MailSender: {Type: String, Default: usage@mail.example}
Resources:
  Events:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      StreamSpecification: {StreamViewType: NEW_IMAGE}
  State:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
  Work:
    Type: AWS::SQS::Queue
    Properties: {VisibilityTimeout: 180}
  Dead:
    Type: AWS::SQS::Queue
  Bus:
    Type: AWS::Events::EventBus
    Properties: {Name: usage}
  Relay:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 29
      ReservedConcurrentExecutions: 3
      Environment:
        Variables: {EVENT_BUS_NAME: !Ref Bus, MAIL_SENDER: !Ref MailSender}
      Policies:
        - Statement:
            - Effect: Allow
              Action: ses:SendEmail
              Resource: !Sub "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*"
            - Effect: Allow
              Action: sns:Publish
              Resource: "*"
            - Effect: Allow
              Action: [sqs:SendMessage, sqs:ChangeMessageVisibility]
              Resource: !GetAtt Work.Arn
            - Effect: Allow
              Action: events:PutEvents
              Resource: !Sub "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default"
      Events:
        Counted:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Events.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 100
            MaximumBatchingWindowInSeconds: 0
            BisectBatchOnFunctionError: true
            MaximumRetryAttempts: 10
            MaximumRecordAgeInSeconds: 86400
            FunctionResponseTypes: [ReportBatchItemFailures]
            DestinationConfig:
              OnFailure: {Type: SQS, Destination: !GetAtt Dead.Arn}
            FilterCriteria:
              Filters:
                - Pattern: >-
                    {"eventName":["INSERT","MODIFY"],
                     "dynamodb":{"Keys":{"pk":{"S":[{"prefix":"EVT#"}]}},
                                 "NewImage":{"counter":{"S":[{"exists":true}]},
                                             "flags":{"S":[{"anything-but":["undone"]}]}}}}
                - Pattern: '{"eventName":["REMOVE"]}'
        Changed:
          Type: DynamoDB
          Properties: {Stream: !GetAtt State.StreamArn, StartingPosition: LATEST, MaximumRetryAttempts: -1}
  Job:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 29
      Events:
        Queued:
          Type: SQS
          Properties:
            Queue: !GetAtt Work.Arn
            BatchSize: 10
            MaximumBatchingWindowInSeconds: 0
            FunctionResponseTypes: [ReportBatchItemFailures]
            ScalingConfig: {MaximumConcurrency: 2}
        Hourly:
          Type: Schedule
          Properties: {Schedule: rate(1 hour)}
"#;

fn template() -> Template {
    let overrides = BTreeMap::from([("MailSender".to_owned(), "usage@localhost.example".to_owned())]);
    Template::parse(TEMPLATE, &overrides, QUEUES).expect("understood")
}

#[test]
fn two_streams_of_one_function_are_two_mappings() {
    let streams = template().triggers.streams;
    let [counted, changed] = streams.as_slice() else {
        panic!("two mappings: {streams:?}");
    };
    assert_eq!(
        (counted.name.as_str(), changed.name.as_str()),
        ("Relay/Counted", "Relay/Changed")
    );
    assert_eq!((counted.table.as_str(), changed.table.as_str()), ("Events", "State"));
    assert_eq!(
        (counted.view.as_str(), changed.view.as_str()),
        ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
    );
    assert_eq!((counted.from_the_end, changed.from_the_end), (false, true));
    assert_eq!((counted.batch_size, counted.window), (100, Duration::ZERO));
    assert!(counted.bisects && counted.reports_failures);
    assert_eq!((counted.retries_max, changed.retries_max), (Some(10), None));
    assert_eq!(
        (counted.age_max, changed.age_max),
        (Some(Duration::from_secs(86_400)), None)
    );
    assert_eq!(
        (counted.on_failure.as_deref(), changed.on_failure.as_deref()),
        (Some("Dead"), None)
    );
    assert!(!changed.bisects && !changed.reports_failures && changed.filters.is_empty());
}

#[test]
fn a_filter_looks_at_keys_and_images() {
    let streams = template().triggers.streams;
    let record = |name: &str, key: &str, image: serde_json::Value| json!({"eventName": name, "dynamodb": {"Keys": {"pk": {"S": key}}, "NewImage": image}});
    let counted = json!({"counter": {"S": "c"}, "flags": {"S": "late"}});
    for (record, expected) in [
        (record("INSERT", "EVT#1", counted.clone()), true),
        (record("MODIFY", "EVT#1", counted.clone()), true),
        (record("INSERT", "SUB#1", counted), false),
        (record("INSERT", "EVT#1", json!({"flags": {"S": "late"}})), false),
        (
            record(
                "INSERT",
                "EVT#1",
                json!({"counter": {"S": "c"}, "flags": {"S": "undone"}}),
            ),
            false,
        ),
        // As in AWS, what is not there is not anything but something either.
        (record("INSERT", "EVT#1", json!({"counter": {"S": "c"}})), false),
        (json!({"eventName": "REMOVE"}), true),
    ] {
        let fits = streams[0].filters.iter().any(|filter| filter.fits(&record));
        assert_eq!(fits, expected, "{record}");
    }
}

#[test]
fn a_queue_and_a_schedule_call_one_function() {
    let triggers = template().triggers;
    let mapping = QueueMapping {
        function: "Job".to_owned(),
        queue: "Work".to_owned(),
        batch_size: 10,
        window: Duration::ZERO,
        reports_failures: true,
        concurrency: Some(2),
    };
    assert_eq!(triggers.queues, [mapping]);
    let scheduled: Vec<&str> = triggers
        .schedules
        .iter()
        .map(|schedule| schedule.function.as_str())
        .collect();
    assert_eq!(scheduled, ["Job"]);
}

#[test]
fn senders_buses_and_reserved_concurrency_are_read() {
    let template = template();
    let [relay, job] = template.functions.as_slice() else {
        panic!("two functions");
    };
    assert_eq!((relay.concurrency, job.concurrency), (Some(3), None));
    assert_eq!(relay.environment["MAIL_SENDER"], "usage@localhost.example");
    assert_eq!(
        relay.environment["EVENT_BUS_NAME"], "Bus",
        "buses go by their logical names here"
    );
    assert_eq!(template.buses, ["Bus"]);
    let resources: Vec<&str> = relay
        .policy
        .iter()
        .map(|statement| statement.resources[0].as_str())
        .collect();
    let expected = [
        "arn:aws:ses:us-east-1:000000000000:identity/*",
        "*",
        "arn:aws:sqs:us-east-1:000000000000:Work",
        "arn:aws:events:us-east-1:000000000000:event-bus/default",
    ];
    assert_eq!(resources, expected);
    let none = TEMPLATE.replace("ReservedConcurrentExecutions: 3", "ReservedConcurrentExecutions: 0");
    assert!(refused(&none).contains("Relay: ReservedConcurrentExecutions: must be a number from 1 to 1000"));
}
