//! Requests as the SDKs send them, against a policy.

use super::*;
use crate::template::{bus_arn, identity_arn, queue_arn, table_arn};

const DYNAMODB: &str = "DynamoDB_20120810";
const SQS: &str = "AmazonSQS";
const EVENTS: &str = "AWSEvents";

fn policy() -> Policy {
    let statement = |actions: &[&str], resource: String| Statement {
        actions: actions.iter().map(|name| format!("dynamodb:{name}")).collect(),
        resources: vec![resource],
    };
    let state = table_arn("State");
    Policy {
        function: "Thing".to_owned(),
        statements: vec![
            statement(&["GetItem", "PutItem", "BatchGetItem"], state.clone()),
            statement(&["Query"], format!("{state}/index/by_kind")),
            Statement {
                actions: vec!["sqs:SendMessage".to_owned(), "sqs:GetQueueUrl".to_owned()],
                resources: vec![queue_arn("Alerts")],
            },
            Statement {
                actions: vec!["events:PutEvents".to_owned()],
                resources: vec![bus_arn("Usage")],
            },
            Statement {
                actions: vec!["ses:SendEmail".to_owned()],
                resources: vec![identity_arn("*@ours.example")],
            },
        ],
    }
}

fn refusal(operation: &str, body: serde_json::Value) -> Option<String> {
    refusal_by(DYNAMODB, operation, body)
}

fn refusal_by(service: &str, operation: &str, body: serde_json::Value) -> Option<String> {
    let mut request = HttpRequest::new(SdkBody::from(body.to_string()));
    request
        .headers_mut()
        .insert("x-amz-target", format!("{service}.{operation}"));
    policy().refuses(&Asked::read(&request))
}

#[test]
fn what_the_policy_names_is_allowed() {
    for (operation, body) in [
        ("GetItem", json!({"TableName": "State", "Key": {"pk": {"S": "a"}}})),
        ("Query", json!({"TableName": "State", "IndexName": "by_kind"})),
        ("BatchGetItem", json!({"RequestItems": {"State": {"Keys": []}}})),
        (
            "TransactGetItems",
            json!({"TransactItems": [{"Get": {"TableName": "State"}}]}),
        ),
        (
            "TransactWriteItems",
            json!({"TransactItems": [{"Put": {"TableName": "State"}}]}),
        ),
    ] {
        assert_eq!(refusal(operation, body), None, "{operation}");
    }
}

#[test]
fn everything_else_is_refused_by_name() {
    let write = |step: &str| {
        json!({"TransactItems": [
            {"Put": {"TableName": "State"}},
            {step: {"TableName": "State"}},
        ]})
    };
    for (operation, body, expected) in [
        ("UpdateItem", json!({"TableName": "State"}), "dynamodb:UpdateItem on"),
        ("GetItem", json!({"TableName": "Events"}), "table/Events"),
        ("Query", json!({"TableName": "State"}), "dynamodb:Query on"),
        ("Query", json!({"TableName": "State", "IndexName": "due"}), "index/due"),
        (
            "BatchGetItem",
            json!({"RequestItems": {"State": {}, "Events": {}}}),
            "table/Events",
        ),
        (
            "TransactWriteItems",
            write("ConditionCheck"),
            "dynamodb:ConditionCheckItem on",
        ),
        ("TransactWriteItems", write("Update"), "dynamodb:UpdateItem on"),
        (
            "DeleteTable",
            json!({"TableName": "State"}),
            "DeleteTable is not understood",
        ),
        ("GetItem", json!({}), "GetItem is not understood"),
    ] {
        let refusal = refusal(operation, body).expect("refused");
        assert!(refusal.contains(expected), "{refusal}\nshould say: {expected}");
    }
}

#[test]
fn queues_are_allowed_by_the_single_action_and_by_name() {
    let url = |queue: &str| json!({"QueueUrl": format!("http://127.0.0.1:1/000000000000/{queue}")});
    for operation in ["SendMessage", "SendMessageBatch"] {
        assert_eq!(refusal_by(SQS, operation, url("Alerts")), None, "{operation}");
    }
    let by_name = json!({"QueueName": "Alerts"});
    assert_eq!(refusal_by(SQS, "GetQueueUrl", by_name), None);
    for (operation, body, expected) in [
        (
            "SendMessage",
            url("Other"),
            "sqs:SendMessage on arn:aws:sqs:us-east-1:000000000000:Other",
        ),
        ("SendMessageBatch", url("Other"), "sqs:SendMessage on"),
        ("ReceiveMessage", url("Alerts"), "sqs:ReceiveMessage on"),
        ("DeleteMessageBatch", url("Alerts"), "sqs:DeleteMessage on"),
        (
            "ChangeMessageVisibility",
            url("Alerts"),
            "sqs:ChangeMessageVisibility on",
        ),
        (
            "ChangeMessageVisibilityBatch",
            url("Alerts"),
            "sqs:ChangeMessageVisibility on",
        ),
        ("SendMessage", json!({}), "SendMessage is not understood"),
        ("ListQueues", json!({}), "ListQueues is not understood"),
    ] {
        let refusal = refusal_by(SQS, operation, body).expect("refused");
        assert!(refusal.contains(expected), "{refusal}\nshould say: {expected}");
    }
    let mistaken = refusal_by("Other", "GetItem", json!({"TableName": "State"}));
    assert!(mistaken.is_some(), "another service with an operation of the same name");
}

#[test]
fn buses_are_allowed_by_name_entry_by_entry() {
    let put = |buses: &[Option<String>]| {
        let entry = |bus: &Option<String>| json!({"EventBusName": bus});
        let entries: Vec<_> = buses.iter().map(entry).collect();
        refusal_by(EVENTS, "PutEvents", json!({"Entries": entries}))
    };
    let own = || Some("Usage".to_owned());
    assert_eq!(put(&[own(), Some(bus_arn("Usage"))]), None);
    assert!(put(&[own(), None]).is_some_and(|refusal| refusal.contains("event-bus/default")));
    assert!(put(&[Some("Other".to_owned())]).is_some_and(|refusal| refusal.contains("event-bus/Other")));
    assert!(refusal_by(EVENTS, "DeleteRule", json!({})).is_some());
}

fn mail_from(sender: &str) -> HttpRequest {
    let mut request = HttpRequest::new(SdkBody::from(json!({"FromEmailAddress": sender}).to_string()));
    request.set_method("POST").expect("a method");
    request
        .set_uri("http://127.0.0.1:1/v2/email/outbound-emails")
        .expect("an address");
    request
}

#[test]
fn mails_are_allowed_by_the_address_of_their_sender() {
    let refusal = |request: &HttpRequest| policy().refuses(&Asked::read(request));
    for sender in ["usage@ours.example", "Usage <usage@ours.example>"] {
        assert_eq!(refusal(&mail_from(sender)), None, "{sender}");
    }
    let other = refusal(&mail_from("usage@ours.example.net")).expect("refused");
    let expected = "ses:SendEmail on arn:aws:ses:us-east-1:000000000000:identity/usage@ours.example.net";
    assert!(other.contains(expected), "{other}");
    let mut elsewhere = mail_from("usage@ours.example");
    elsewhere
        .set_uri("http://127.0.0.1:1/v2/email/identities")
        .expect("an address");
    let elsewhere = refusal(&elsewhere).expect("refused");
    assert!(
        elsewhere.contains("POST /v2/email/identities is not understood"),
        "{elsewhere}"
    );
}

#[test]
fn text_messages_are_allowed_by_a_resource_that_is_anything() {
    let form = |body: &'static str| {
        let mut request = HttpRequest::new(SdkBody::from(body));
        let kind = "application/x-www-form-urlencoded";
        request.headers_mut().insert("content-type", kind);
        Asked::read(&request)
    };
    let text = form("Action=Publish&Version=2010-03-31&PhoneNumber=%2B15555550100&Message=a");
    let refused = policy().refuses(&text).expect("nothing allows it");
    assert!(refused.contains("sns:Publish on *"), "{refused}");
    let allowing = |resource: &str| Policy {
        function: "Thing".to_owned(),
        statements: vec![Statement {
            actions: vec!["sns:Publish".to_owned()],
            resources: vec![resource.to_owned()],
        }],
    };
    assert_eq!(allowing("*").refuses(&text), None);
    assert!(
        allowing("arn:aws:sns:us-east-1:000000000000:*")
            .refuses(&text)
            .is_some()
    );
    for other in ["Action=Publish&TopicArn=a", "Action=CreateTopic&Name=a", ""] {
        assert!(allowing("*").refuses(&form(other)).is_some(), "{other}");
    }
}

#[test]
fn a_star_stands_for_any_text_and_nothing_else_does() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("ab", "a", false),
        ("*", "", true),
        ("a*", "a/b/c", true),
        ("a*", "ba", false),
        ("*c", "a/b/c", true),
        ("a*c", "ac", true),
        ("a*a", "a", false),
        ("a*b*c", "a-c-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("a?", "ab", false),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}
