//! What leaves a stack, through the clients that its functions have.

use std::sync::Mutex;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
use axum::{body::Bytes, http::HeaderMap, routing::post};
use metering_edge::{
    aws::Clients,
    webhook::{Secret, SendError},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::*;

fn clients(stack: &Stack) -> Clients {
    let outside = &stack.parts.outside;
    Clients::of(&outside.endpoints, Some(plain_http()), outside.webhooks.clone())
}

async fn outbox(stack: &Stack) -> Value {
    call(stack, Method::GET, "/_local/outbox", "").await.1
}

#[tokio::test]
async fn events_that_are_taken_are_in_the_outbox_and_others_are_named() {
    let stack = Stack::start(Options::default()).await.expect("started");
    let entry = |kind: Option<&str>, detail: &str| {
        let entry = PutEventsRequestEntry::builder().source("usage").detail(detail);
        entry.set_detail_type(kind.map(str::to_owned)).build()
    };
    let put = clients(&stack).events.put_events();
    let put = put
        .entries(entry(Some("closed"), r#"{"a":1}"#))
        .entries(entry(None, "{}"))
        .entries(entry(Some("closed"), "["));
    let answer = put.send().await.expect("answered");
    assert_eq!(answer.failed_entry_count(), 2);
    let codes: Vec<_> = answer.entries().iter().map(|entry| entry.error_code()).collect();
    assert_eq!(codes, [None, Some("InvalidArgument"), Some("MalformedDetail")]);
    assert!(answer.entries()[0].event_id().is_some());

    let (status, sent) = call(
        &stack,
        Method::POST,
        "/_local/bus",
        r#"{"id":"e1","source":"crm","detail-type":"subscription.created","detail":{}}"#,
    )
    .await;
    assert_eq!((status, &sent["id"]), (202, &json!("e1")));
    let (status, problem) = call(&stack, Method::POST, "/_local/bus", r#"{"source":"","bus":"None"}"#).await;
    let errors = problem["errors"].as_array().map(Vec::len);
    assert_eq!((status, errors), (422, Some(4)), "{problem}");

    let shown = outbox(&stack).await;
    assert_eq!(shown["bus"].as_array().map(Vec::len), Some(1), "{shown}");
    let event = &shown["bus"][0];
    let said = (&event["source"], &event["detail-type"], &event["detail"]);
    assert_eq!(said, (&json!("usage"), &json!("closed"), &json!({"a": 1})));
    let (status, _) = call(&stack, Method::POST, "/_local/streams/replay", "{}").await;
    assert_eq!(status, 202);
}

#[tokio::test]
async fn mails_and_text_messages_are_in_the_outbox_until_it_is_emptied() {
    let stack = Stack::start(Options::default()).await.expect("started");
    let clients = clients(&stack);
    let part = |text: &str| Content::builder().data(text).charset("UTF-8").build().expect("built");
    let body = Body::builder().text(part("80 %")).build();
    let message = Message::builder().subject(part("Usage")).body(body).build();
    let send = clients.sesv2.send_email().from_email_address("usage@localhost.example");
    let send = send.content(EmailContent::builder().simple(message).build());
    let to = Destination::builder()
        .to_addresses("a@example.com")
        .to_addresses("b@example.com");
    send.destination(to.build()).send().await.expect("sent");
    let publish = clients.sns.publish().phone_number("+15555550100");
    publish.message("80 %").send().await.expect("sent");

    let shown = outbox(&stack).await;
    let mail = |to: &str, index: usize| {
        let at = &shown["emails"][index]["at"];
        json!({"to": to, "subject": "Usage", "text": "80 %", "html": null, "at": at})
    };
    assert_eq!(
        shown["emails"],
        json!([mail("a@example.com", 0), mail("b@example.com", 1)])
    );
    let at = &shown["sms"][0]["at"];
    assert_eq!(shown["sms"], json!([{"to": "+15555550100", "text": "80 %", "at": at}]));
    assert!(at.is_string());
    let emptied = reqwest::Client::new().delete(format!("{}/_local/outbox", stack.url()));
    assert_eq!(emptied.send().await.expect("answered").status(), 204);
    let empty = json!({"emails": [], "sms": [], "webhooks": [], "bus": []});
    assert_eq!(outbox(&stack).await, empty);
}

#[tokio::test]
async fn a_webhook_to_this_machine_goes_out_if_it_may_and_is_noted() {
    let heard: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
    let note = Arc::clone(&heard);
    let hear = post(async move |headers: HeaderMap, body: Bytes| {
        note.lock().expect("no panic").push((headers, body));
    });
    let receiver = Port::hold(0, &Handle::current()).expect("a port");
    let receiver = receiver.serve_plainly(Router::new().route("/hook", hear), &Handle::current());
    let url = format!("{}/hook", receiver.as_ref().expect("served").url());
    for allowed in [false, true] {
        let stack = Stack::start(Options {
            allow_local_webhooks: allowed,
            ..Options::default()
        });
        let stack = stack.await.expect("started");
        let webhooks = clients(&stack).webhooks;
        let secret = Secret::parse(&Secret::generate([7; 32])).expect("a secret");
        let sent = webhooks.send(&url, "msg_1", stack.clock().now(), "{}", &[secret]).await;
        let shown = outbox(&stack).await["webhooks"].clone();
        let heard = heard.lock().expect("no panic");
        if !allowed {
            assert!(matches!(sent, Err(SendError::NotAllowed(_))), "{sent:?}");
            assert_eq!((heard.len(), shown), (0, json!([])));
            continue;
        }
        assert_eq!(sent.expect("sent"), 200);
        assert_eq!(heard.len(), 1);
        let (headers, body) = &heard[0];
        assert_eq!(body.as_ref(), b"{}");
        let webhook = &shown[0];
        assert_eq!(webhook["url"], json!(url));
        assert_eq!((&webhook["body"], &webhook["status"]), (&json!("{}"), &json!(200)));
        let told = webhook["headers"].as_object().expect("an object");
        assert_eq!(told["webhook-id"], json!("msg_1"));
        for (name, value) in told {
            let came = headers.get(name).map(|value| value.to_str().expect("a text"));
            assert_eq!((Some(name.to_lowercase()), came), (Some(name.clone()), value.as_str()));
        }
        assert!(webhook["at"].is_string());
    }
}
