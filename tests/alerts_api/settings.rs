//! Where users are reached.

use reqwest::Method;
use serde_json::{Value, json};

use super::{SETTINGS, code, is_replayed, send};
use crate::support::{ADMIN, Client, SERVICE};

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_replaced() {
    let client = Client::start().await;
    let path = format!("{SETTINGS}?user_id=u");
    let unsaid = json!({"user_id": "u", "email": null, "phone": null, "notification_channels": ["email", "webhook"]});
    assert_eq!(client.get(&path, SERVICE).await.body, unsaid);
    let said =
        json!({"user_id": "u", "email": "a@example.com", "phone": "+4930123456", "notification_channels": ["sms"]});
    let put = send(&client, &format!("PUT {SETTINGS}"), SERVICE, Some(said.clone())).await;
    assert_eq!((put.status, &put.body), (200, &said));
    assert_eq!(client.get(&path, SERVICE).await.body, said);
    let put = send(
        &client,
        &format!("PUT {SETTINGS}"),
        SERVICE,
        Some(json!({"user_id": "u"})),
    )
    .await;
    assert_eq!((put.status, &put.body), (200, &unsaid), "left out is taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_set_channels_and_no_addresses() {
    let client = Client::start().await;
    let user = client.token(json!({"user_id": "u"})).await;
    let put =
        async |credentials: &str, body: Value| send(&client, &format!("PUT {SETTINGS}"), credentials, Some(body)).await;
    let said = json!({"user_id": "u", "email": "a@example.com", "notification_channels": ["email"]});
    assert_eq!(put(SERVICE, said).await.status, 200);
    for body in [
        json!({"email": "b@example.com"}),
        json!({"email": null}),
        json!({"phone": "+4930123456", "notification_channels": ["sms"]}),
        json!({"user_id": "v", "notification_channels": ["sms"]}),
    ] {
        assert_eq!(code(&put(&user, body.clone()).await), (403, "forbidden"), "{body}");
    }
    for body in [
        json!({"notification_channels": ["webhook"]}),
        json!({"email": "a@example.com", "phone": null, "notification_channels": ["webhook"]}),
    ] {
        let changed = put(&user, body).await;
        let expected =
            json!({"user_id": "u", "email": "a@example.com", "phone": null, "notification_channels": ["webhook"]});
        assert_eq!((changed.status, &changed.body), (200, &expected));
    }
    let boss = client.token(json!({"user_id": "u", "admin": true})).await;
    assert_eq!(
        put(&boss, json!({"email": "b@example.com"})).await.body["email"],
        "b@example.com"
    );
    assert_eq!(
        code(&client.get(&format!("{SETTINGS}?user_id=v"), &user).await),
        (403, "forbidden")
    );
    assert_eq!(client.get(SETTINGS, &user).await.body["email"], "b@example.com");
}

/// Who changed them is known, the addresses are in no log.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_holds_no_addresses() {
    let client = Client::start().await;
    let said = json!({"user_id": "u", "email": "private@example.com", "phone": "+4930123456"});
    let put = async || {
        client
            .keyed(Method::PUT, SETTINGS, ADMIN, "k", Some(said.clone()))
            .await
    };
    assert!(!is_replayed(&put().await));
    assert!(is_replayed(&put().await));
    let entries = client.audit().await;
    let entries: Vec<_> = entries.iter().filter(|entry| entry["target"] == "u").collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["action"], "notification_settings.change");
    assert_eq!(
        (&entries[0]["before"]["has_email"], &entries[0]["after"]["has_email"]),
        (&json!(false), &json!(true))
    );
    let text = format!("{entries:?}");
    assert!(!text.contains("private") && !text.contains("4930"), "{text}");
}
