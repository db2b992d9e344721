//! The reader against the real template and against what it must refuse.

mod buckets;
mod several;

use super::*;

const QUEUES: &str = "http://127.0.0.1:1";

fn parse(text: &str) -> Result<Template, TemplateError> {
    Template::parse(text, &BTreeMap::new(), QUEUES)
}

fn refused(text: &str) -> String {
    parse(text).expect_err("the template must be refused").to_string()
}

/// A template with one resource.
fn with(resource: &str) -> String {
    format!("Resources:\n  Thing:\n{resource}")
}

const TABLE: &str = "    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
";

const FUNCTION: &str = "    Type: AWS::Serverless::Function
    Properties:
      Timeout: 29
";

#[test]
fn the_template_is_understood_to_the_end() {
    let template = parse(EMBEDDED).expect("the real template");
    let names: Vec<&str> = template.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "TrackingApi",
            "IngestJob",
            "AccessLogJob",
            "AdminApi",
            "AnalyticsApi",
            "ReportsApi",
            "ReportJob",
            "AlertsApi",
            "RelayJob",
            "AggregateJob",
            "AnomalyJob",
            "AlertJob",
            "ErasureJob",
            "LifecycleJob",
            "ReconcileJob",
            "AnalyticsRefreshJob"
        ]
    );
    let handed = |mapping: &QueueMapping| {
        assert!(mapping.reports_failures, "{}", mapping.queue);
        let queue = template.queues.iter().find(|queue| queue.name == mapping.queue);
        let queue = queue.expect("the queue");
        let function = template
            .functions
            .iter()
            .find(|function| function.name == mapping.function);
        let timeout = function.expect("the function").timeout;
        assert!(queue.visibility >= timeout * 6, "{}: as Lambda advises", queue.name);
        let dead = &queue.redrive.as_ref().expect("a dead-letter queue").queue;
        let dead = template.queues.iter().find(|queue| queue.name == *dead);
        assert_eq!(dead.expect("the dead-letter queue").retention.as_secs(), 14 * 86_400);
        (mapping.function.clone(), mapping.queue.clone())
    };
    let mappings: Vec<(String, String)> = template.triggers.queues.iter().map(handed).collect();
    assert_eq!(
        mappings,
        [
            ("IngestJob", "UsageEventsQueue"),
            ("AggregateJob", "AggregationQueue"),
            ("AnomalyJob", "AnomalyQueue"),
            ("AlertJob", "AlertQueue"),
            ("ReconcileJob", "ReconcileQueue"),
            ("AnalyticsRefreshJob", "AnalyticsRefreshQueue")
        ]
        .map(|(function, queue)| (function.to_owned(), queue.to_owned()))
    );
    for stream in &template.triggers.streams {
        assert_eq!(stream.function, "RelayJob");
        assert!(stream.reports_failures && stream.bisects && stream.age_max.is_some());
        assert_eq!(stream.on_failure.as_deref(), Some("RelayDeadLetters"));
    }
    assert_eq!(template.triggers.streams.len(), 2);
    let operations: std::collections::BTreeSet<_> =
        template.triggers.routes.iter().map(|route| &route.operation).collect();
    assert_eq!(
        operations.len(),
        template.triggers.routes.len(),
        "each route is declared once"
    );
    let fallbacks: Vec<&Route> = template
        .triggers
        .routes
        .iter()
        .filter(|route| route.operation.is_none())
        .collect();
    assert_eq!(fallbacks.len(), 1);
    assert_eq!(fallbacks[0].function, "TrackingApi");

    let table = |name: &str| template.tables.iter().find(|table| table.name == name);
    let events = table("Events").expect("Events");
    assert_eq!(events.expiry.as_deref(), Some("expires_at"));
    assert_eq!(events.key.len(), 1);
    assert_eq!(events.indexes[0].name, "by_time");
    assert_eq!(events.indexes[0].included.len(), 10);
    let state = table("State").expect("State");
    assert_eq!(state.key.len(), 2);
    let indexes: Vec<&str> = state.indexes.iter().map(|index| index.name.as_str()).collect();
    assert_eq!(indexes, ["due", "by_kind"]);
}

#[test]
fn functions_have_registered_variables_only_and_each_is_somebodys() {
    let template = parse(EMBEDDED).expect("the real template");
    let mut left: std::collections::BTreeSet<&str> = metering_edge::config::VARIABLES.iter().copied().collect();
    for function in &template.functions {
        for variable in function.environment.keys() {
            let known = metering_edge::config::VARIABLES.contains(&variable.as_str());
            assert!(known, "{} has {variable}", function.name);
            left.remove(variable.as_str());
        }
    }
    assert!(left.is_empty(), "nobody has {left:?}");
}

#[test]
fn no_function_outlives_the_minute_after_which_its_entries_are_undone() {
    for function in parse(EMBEDDED).expect("the real template").functions {
        assert!(function.timeout.as_secs() <= 29, "{}", function.name);
    }
}

#[test]
fn parameters_and_intrinsics_are_resolved() {
    let text = format!(
        "Parameters:\n  Level:\n    Type: String\n    Default: info\n{}{}",
        with(TABLE),
        "  Fn:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 3
      Environment:
        Variables: {LEVEL: !Ref Level, TABLE: !Ref Thing, PLACE: !Sub \"${AWS::Region}/${Level}\"}
      Policies:
        - Statement:
            - Effect: Allow
              Action: dynamodb:Query
              Resource: [!GetAtt Thing.Arn, !Sub \"${Thing.Arn}/index/by\"]
"
    );
    let overrides = BTreeMap::from([("Level".to_owned(), "debug".to_owned())]);
    let template = Template::parse(&text, &overrides, QUEUES).expect("understood");
    let function = &template.functions[0];
    assert_eq!(function.environment["LEVEL"], "debug");
    assert_eq!(function.environment["TABLE"], "Thing");
    assert_eq!(function.environment["PLACE"], "us-east-1/debug");
    let arn = table_arn("Thing");
    let index = format!("{arn}/index/by");
    assert_eq!(function.policy[0].resources, [arn, index]);
}

const QUEUE: &str = "    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
";

/// A queue called `Thing`, and a function with one event.
fn with_mapping(event: &str) -> String {
    format!(
        "{}  Job:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 10
      Environment: {{Variables: {{URL: !Ref Thing, NAME: !GetAtt Thing.QueueName}}}}
      Policies:
        - Statement: [{{Effect: Allow, Action: sqs:SendMessage, Resource: !GetAtt Thing.Arn}}]
      Events:
        Messages:
          Type: SQS
          Properties: {{Queue: !GetAtt Thing.Arn{event}}}
",
        with(QUEUE)
    )
}

#[test]
fn queues_and_their_mappings_are_read() {
    let mapping = ", BatchSize: 25, MaximumBatchingWindowInSeconds: 2, \
        FunctionResponseTypes: [ReportBatchItemFailures], ScalingConfig: {MaximumConcurrency: 2}";
    let template = parse(&with_mapping(mapping)).expect("understood");
    assert_eq!(template.queues[0].visibility.as_secs(), 60);
    assert_eq!(template.queues[0].retention.as_secs(), 345_600, "the default");
    assert_eq!(
        template.triggers.queues,
        [QueueMapping {
            function: "Job".to_owned(),
            queue: "Thing".to_owned(),
            batch_size: 25,
            window: std::time::Duration::from_secs(2),
            reports_failures: true,
            concurrency: Some(2),
        }]
    );
    let function = &template.functions[0];
    assert_eq!(function.environment["URL"], format!("{QUEUES}/000000000000/Thing"));
    assert_eq!(function.environment["NAME"], "Thing");
    assert_eq!(function.policy[0].resources, [queue_arn("Thing")]);
    let template = parse(&with_mapping("")).expect("understood");
    let mapping = &template.triggers.queues[0];
    assert_eq!(
        (mapping.batch_size, mapping.reports_failures, mapping.concurrency),
        (10, false, None)
    );
    let off = parse(&with_mapping(", Enabled: false")).expect("understood");
    assert!(off.triggers.queues.is_empty());
}

#[test]
fn queues_that_are_not_understood_are_refused_by_name() {
    let queue = |line: &str| with(&format!("{QUEUE}      {line}\n"));
    for (text, expected) in [
        (queue("FifoQueue: true"), "Thing: FifoQueue: this property"),
        (queue("QueueName: mine"), "Thing: QueueName: this property"),
        (
            queue("MessageRetentionPeriod: 59"),
            "must be a number from 60 to 1209600",
        ),
        (
            queue("RedrivePolicy: {deadLetterTargetArn: !GetAtt None.Arn, maxReceiveCount: 5}"),
            "the attribute None.Arn",
        ),
        (
            queue("RedrivePolicy: {deadLetterTargetArn: !GetAtt Thing.Arn}"),
            "maxReceiveCount is missing",
        ),
        (
            with_mapping(", FilterCriteria: {}"),
            "Messages: FilterCriteria: this property",
        ),
        (with_mapping(", BatchSize: 11"), "a BatchSize above 10 needs"),
        (
            with_mapping(", FunctionResponseTypes: [Other]"),
            "Other is not understood",
        ),
        (
            with_mapping(", ScalingConfig: {MaximumConcurrency: 1}"),
            "must be a number from 2 to 1000",
        ),
        (
            with_mapping("").replace("!GetAtt Thing.Arn}", "arn:aws:sqs:us-east-1:1:Other}"),
            "must be the Arn of a queue of this template",
        ),
        (
            with_mapping("").replace("VisibilityTimeout: 60", "VisibilityTimeout: 9"),
            "Thing: VisibilityTimeout is shorter than the Timeout of Job",
        ),
    ] {
        let error = refused(&text);
        assert!(error.contains(expected), "{error}\nshould say: {expected}");
    }
}

#[test]
fn schedules_are_read_and_those_switched_off_are_not_run() {
    let function = |events: &str| with(&format!("{FUNCTION}      Events:\n{events}"));
    let text = function(
        "        Nightly: {Type: Schedule, Properties: {Schedule: cron(0 3 * * ? *), Input: '{}'}}
        Hourly: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour), State: ENABLED}}
        Never: {Type: Schedule, Properties: {Schedule: rate(1 hour), Enabled: false}}
        Nor: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour), State: DISABLED}}
",
    );
    let schedules = parse(&text).expect("understood").triggers.schedules;
    let read: Vec<_> = schedules
        .iter()
        .map(|schedule| (schedule.arn.as_str(), schedule.input.as_deref(), schedule.scheduler))
        .collect();
    assert_eq!(
        read,
        [
            (
                "arn:aws:events:us-east-1:000000000000:rule/ThingNightly",
                Some("{}"),
                false
            ),
            (
                "arn:aws:scheduler:us-east-1:000000000000:schedule/default/ThingHourly",
                None,
                true
            ),
        ]
    );
    for (event, expected) in [
        (
            "{Type: Schedule, Properties: {Schedule: rate(1 hours)}}",
            "E: Schedule: the schedule rate(1 hours)",
        ),
        ("{Type: Schedule, Properties: {}}", "E: Properties: Schedule is missing"),
        (
            "{Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour), ScheduleExpressionTimezone: Europe/Berlin}}",
            "only UTC is understood",
        ),
        (
            "{Type: Schedule, Properties: {Schedule: rate(1 hour), RetryPolicy: {}}}",
            "E: RetryPolicy: this property",
        ),
    ] {
        let error = refused(&function(&format!("        E: {event}\n")));
        assert!(error.contains(expected), "{error}\nshould say: {expected}");
    }
}

#[test]
fn an_unknown_parameter_is_refused() {
    let overrides = BTreeMap::from([("Nothing".to_owned(), String::new())]);
    let text = format!("Parameters: {{}}\n{}", with(TABLE));
    let error = Template::parse(&text, &overrides, QUEUES).expect_err("refused");
    assert!(error.to_string().contains("no parameter Nothing"), "{error}");
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let function = |line: &str| with(&format!("{FUNCTION}{line}"));
    let event = |kind: &str| {
        function(&format!(
            "      Events:\n        Nightly: {{Type: {kind}, Properties: {{}}}}\n"
        ))
    };
    let statement = |action: &str, resource: &str| {
        function(&format!(
            "      Policies:\n        - Statement:\n            - {{Effect: Allow, Action: \
             \"{action}\", Resource: {resource}}}\n"
        ))
    };
    let variable = |value: &str| function(&format!("      Environment: {{Variables: {{A: {value}}}}}\n"));
    for (text, expected) in [
        (
            with("    Type: AWS::S3::AccessPoint\n    Properties: {}\n"),
            "Thing: the type AWS::S3::AccessPoint",
        ),
        (
            with(&format!("{TABLE}      TableClass: STANDARD\n")),
            "Thing: TableClass: this property",
        ),
        (
            with(&format!("{TABLE}    Condition: Rarely\n")),
            "Thing: Condition: this property",
        ),
        (
            with(&TABLE.replace("PAY_PER_REQUEST", "PROVISIONED")),
            "Thing: BillingMode: only",
        ),
        (function("      VpcConfig: {}\n"), "Thing: VpcConfig: this property"),
        (event("Kinesis"), "Thing: Events: Nightly: the event type Kinesis"),
        (variable("!Join [a, b]"), "Thing: A: the intrinsic function !Join"),
        (
            variable("!Sub [a, {}]"),
            "Thing: A: !Sub is understood with a plain text only",
        ),
        (
            variable("!ImportValue a"),
            "Thing: A: the intrinsic function !ImportValue",
        ),
        (variable("!Ref Nothing"), "Thing: A: a reference to Nothing"),
        (
            variable("!GetAtt Thing.Version"),
            "Thing: A: the attribute Thing.Version",
        ),
        (variable("{\"Fn::Sub\": a}"), "Thing: A: Fn::Sub is not understood"),
        (variable("!Sub \"${open\""), "Thing: A: has a ${ without its }"),
        (statement("dynamodb:*", "arn:aws:x"), "the wildcard dynamodb:*"),
        (statement("dynamodb:Query", "\"*\""), "Thing: Resource: the wildcard *"),
        (
            statement("sns:Publish", "\"arn:aws:sns:?\""),
            "the wildcard arn:aws:sns:?",
        ),
        ("Transform: x\n".to_owned(), "template: Resources is missing"),
        (
            format!("Mappings: {{}}\n{}", with(TABLE)),
            "template: Mappings: this property",
        ),
    ] {
        let error = refused(&text);
        assert!(error.contains(expected), "{error}\nshould say: {expected}");
    }
}
