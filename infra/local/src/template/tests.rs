//! The reader against the real template and against what it must refuse.

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
    assert_eq!(names, ["TrackingApi", "AdminApi"]);
    let operations: std::collections::BTreeSet<_> = template.routes.iter().map(|route| &route.operation).collect();
    assert_eq!(operations.len(), template.routes.len(), "each route is declared once");
    let fallbacks: Vec<&Route> = template
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
    assert_eq!(events.indexes[0].included.len(), 8);
    let state = table("State").expect("State");
    assert_eq!(state.key.len(), 2);
    let indexes: Vec<&str> = state.indexes.iter().map(|index| index.name.as_str()).collect();
    assert_eq!(indexes, ["due", "by_kind"]);
}

#[test]
fn every_function_has_exactly_the_registered_environment() {
    let template = parse(EMBEDDED).expect("the real template");
    let mut registered: Vec<&str> = metering_edge::config::VARIABLES.to_vec();
    registered.sort_unstable();
    for function in &template.functions {
        let declared: Vec<&str> = function.environment.keys().map(String::as_str).collect();
        assert_eq!(declared, registered, "{}", function.name);
    }
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
            with("    Type: AWS::S3::Bucket\n    Properties: {}\n"),
            "Thing: the type AWS::S3::Bucket",
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
        (event("Schedule"), "Thing: Events: Nightly: the event type Schedule"),
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
        (variable("!GetAtt Thing.Arn"), "Thing: A: the attribute Thing.Arn"),
        (variable("{\"Fn::Sub\": a}"), "Thing: A: Fn::Sub is not understood"),
        (variable("!Sub \"${open\""), "Thing: A: has a ${ without its }"),
        (statement("dynamodb:*", "arn:aws:x"), "the wildcard dynamodb:*"),
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
