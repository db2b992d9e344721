//! Webhook endpoints: their URLs, their secrets.

use metering_store::notification::{ENDPOINTS_MAX, ROTATION};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ENDPOINTS, all, code, fault, is_replayed, send};
use crate::support::{ADMIN, Client, SERVICE};

/// An address: nothing needs to be looked up.
const URL: &str = "https://9.9.9.9/usage";

fn secret(body: &Value) -> &str {
    let secret = body["secret"].as_str().expect("a secret");
    let bytes = standardwebhooks::Webhook::new(secret);
    assert!(
        bytes.is_ok() && secret.starts_with("whsec_") && secret.len() == 6 + 44,
        "32 bytes"
    );
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_lives() {
    let client = Client::start().await;
    let made = client
        .post(ENDPOINTS, SERVICE, json!({"user_id": "u", "url": URL}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let first = secret(&made.body).to_owned();
    let id = made.body["id"].as_str().expect("an id").to_owned();
    let expected = json!({"id": id, "user_id": "u", "url": URL, "secret": null, "enabled": true, "created_at": made.body["created_at"]});
    let path = format!("{ENDPOINTS}?user_id=u");
    let listed = client.get(&path, SERVICE).await.body;
    assert_eq!(listed, json!({"webhook_endpoints": [expected], "next_cursor": null}));

    let rotated = send(&client, &format!("POST {ENDPOINTS}/{id}/rotate-secret"), SERVICE, None).await;
    assert_eq!((rotated.status, &rotated.body["id"]), (200, &json!(id)), "{rotated:?}");
    let second = secret(&rotated.body).to_owned();
    assert_ne!(first, second);
    let settings = client.store().notification_get(Some("u")).await.expect("a read");
    let endpoint = &settings.endpoints[&id];
    let now = client.now();
    assert_eq!(endpoint.secrets(now), [second.as_str(), first.as_str()], "both sign");
    assert_eq!(endpoint.secrets(now + ROTATION), [second.as_str()], "for a day");

    assert_eq!(
        send(&client, &format!("DELETE {ENDPOINTS}/{id}"), SERVICE, None)
            .await
            .status,
        204
    );
    for line in [
        format!("DELETE {ENDPOINTS}/{id}"),
        format!("POST {ENDPOINTS}/{id}/rotate-secret"),
    ] {
        assert_eq!(
            code(&send(&client, &line, SERVICE, None).await),
            (404, "not_found"),
            "{line}"
        );
    }
    assert_eq!(client.get(&path, SERVICE).await.body["webhook_endpoints"], json!([]));
    let told = format!("{:?}", client.audit().await);
    assert!(
        told.contains("webhook_endpoint.rotate_secret") && !told.contains("whsec_"),
        "no secret is in the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_must_be_public() {
    let client = Client::start().await;
    for url in [
        "http://9.9.9.9/usage",
        "https://9.9.9.9:8443/usage",
        "https://user:password@9.9.9.9/usage",
        "https://127.0.0.1/usage",
        "https://10.0.0.1/usage",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/usage",
        "https://localhost/usage",
        "ftp://9.9.9.9/usage",
        "nonsense",
    ] {
        let answer = client
            .post(ENDPOINTS, SERVICE, json!({"user_id": "u", "url": url}))
            .await;
        assert_eq!(fault(&answer), (422, "/url", "url_not_allowed"), "{url}");
    }
    let listed = client.get(&format!("{ENDPOINTS}?user_id=u"), SERVICE).await;
    assert_eq!(listed.body["webhook_endpoints"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once() {
    let client = Client::start().await;
    let body = json!({"user_id": "u", "url": URL});
    let make = async |key: &str| {
        client
            .keyed(Method::POST, ENDPOINTS, SERVICE, key, Some(body.clone()))
            .await
    };
    let first = make("k").await;
    secret(&first.body);
    let again = make("k").await;
    let mut expected = first.body.clone();
    expected["secret"] = Value::Null;
    assert_eq!((again.status, is_replayed(&again), &again.body), (201, true, &expected));
    let rotate = format!(
        "{ENDPOINTS}/{}/rotate-secret",
        first.body["id"].as_str().expect("an id")
    );
    let rotate = async || client.keyed(Method::POST, &rotate, SERVICE, "k", None).await;
    let rotated = rotate().await;
    let shown = secret(&rotated.body).to_owned();
    let again = rotate().await;
    assert_eq!((again.status, is_replayed(&again), &again.body), (200, true, &expected));
    let settings = client.store().notification_get(Some("u")).await.expect("a read");
    assert!(
        settings.endpoints.values().all(|endpoint| endpoint.secret == shown),
        "it was rotated once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_and_services_set_them() {
    let client = Client::start().await;
    for _ in 0..ENDPOINTS_MAX {
        let made = client
            .post(ENDPOINTS, SERVICE, json!({"user_id": "u", "url": URL}))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let one_more = client
        .post(ENDPOINTS, SERVICE, json!({"user_id": "u", "url": URL}))
        .await;
    assert_eq!(code(&one_more), (409, "conflict"));
    let path = format!("{ENDPOINTS}?user_id=u&limit=3");
    let mut ids = all(&client, &path, ADMIN, "webhook_endpoints", "id").await;
    assert_eq!(ids.len(), ENDPOINTS_MAX);
    ids.dedup();
    assert_eq!(ids.len(), ENDPOINTS_MAX, "nothing comes twice");
    let user = client.token(json!({"user_id": "u"})).await;
    for (line, body) in [
        (format!("GET {ENDPOINTS}"), None),
        (format!("POST {ENDPOINTS}"), Some(json!({"url": URL}))),
        (format!("DELETE {ENDPOINTS}/{}", ids[0]), None),
        (format!("POST {ENDPOINTS}/{}/rotate-secret", ids[0]), None),
    ] {
        assert_eq!(
            code(&send(&client, &line, &user, body).await),
            (403, "forbidden"),
            "{line}"
        );
    }
    let foreign = send(
        &client,
        &format!("DELETE {ENDPOINTS}/{}?user_id=v", ids[0]),
        SERVICE,
        None,
    )
    .await;
    assert_eq!(code(&foreign), (404, "not_found"));
    // One object's id is none of the other kind.
    let threshold = client
        .get(&format!("/api/v1/usage/thresholds/{}", ids[0]), SERVICE)
        .await;
    assert_eq!(code(&threshold), (404, "not_found"));
}
