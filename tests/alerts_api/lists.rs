//! Lists of alerts: whose, through filters, page by page.

use metering_domain::alert::{AlertType, Severity};
use serde_json::{Value, json};

use super::{ALERTS, all, code, fault, send};
use crate::support::{ADMIN, Client, SERVICE};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_has_every_field() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-05-01T10:00:00Z"})).await;
    client
        .raise("alr_1", "u", |alert| alert.quota_limit = Some(100.into()))
        .await;
    let answer = client.get(&format!("{ALERTS}?user_id=u"), SERVICE).await;
    assert_eq!((answer.status, &answer.body["next_cursor"]), (200, &Value::Null));
    let mut alert = answer.body["alerts"][0].clone();
    for instant in ["created_at", "period_start", "period_end"] {
        let text = alert[instant].take();
        assert!(
            text.as_str().is_some_and(|text| text.ends_with('Z')),
            "{instant}: {text}"
        );
    }
    let expected = json!({"id": "alr_1", "user_id": "u", "subscription_id": "none", "metric_type": "document_processing",
        "alert_type": "approaching_limit", "severity": "medium", "status": "pending", "threshold_id": null,
        "threshold_value": 80, "quota_percentage": 80, "quota_limit": 100, "current_usage": 80, "action_taken": null,
        "title": "80 %", "message": "80 of 100", "period_start": null, "period_end": null, "anomaly_id": null,
        "created_at": null, "sent_at": null, "acknowledged_at": null, "acknowledged_by": null, "resolved_at": null,
        "deliveries": []});
    assert_eq!(alert, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_their_own_and_administrators_all() {
    let client = Client::start().await;
    client.raise("alr_u", "u", |_| {}).await;
    client.clock(json!({"advance_seconds": 1})).await;
    client.raise("alr_v", "v", |_| {}).await;
    let user = client.token(json!({"user_id": "u"})).await;
    let boss = client.token(json!({"user_id": "boss", "admin": true})).await;
    let ids = async |query: &str, credentials: &str| {
        all(&client, &format!("{ALERTS}{query}"), credentials, "alerts", "id").await
    };
    assert_eq!(ids("", &user).await, ["alr_u"]);
    assert_eq!(ids("?user_id=u", &user).await, ["alr_u"]);
    assert_eq!(ids("?user_id=v", SERVICE).await, ["alr_v"]);
    assert_eq!(ids("", ADMIN).await, ["alr_v", "alr_u"], "newest first");
    assert_eq!(ids("?limit=1", &boss).await, ["alr_v", "alr_u"]);
    assert_eq!(ids("?user_id=boss", &boss).await, [""; 0]);
    assert_eq!(
        code(&client.get(&format!("{ALERTS}?user_id=v"), &user).await),
        (403, "forbidden")
    );
    let unnamed = client.get(ALERTS, SERVICE).await;
    assert_eq!(fault(&unnamed), (422, "?user_id", "required"));
    let own = client.get(ALERTS, &user).await;
    assert_eq!(own.body["next_cursor"], Value::Null, "exactly one page");
}

/// Every seventh of seventy is critical: pages go on through what a filter leaves out.
#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_through_a_filter() {
    let client = Client::start().await;
    for number in 0..70 {
        let critical = number % 7 == 0;
        let change = |alert: &mut metering_store::alert::Alert| {
            if critical {
                alert.severity = Severity::Critical;
                alert.alert_type = AlertType::HardLimitReached;
            }
        };
        client.raise(&format!("alr_{number:02}"), "u", change).await;
        client.clock(json!({"advance_seconds": 1})).await;
    }
    let every_seventh: Vec<String> = (0..10).rev().map(|number| format!("alr_{:02}", number * 7)).collect();
    let of_all = format!("{ALERTS}?severity=critical");
    let of_one = format!("{of_all}&user_id=u");
    for limit in [1, 2, 3, 10, 50] {
        for path in [&of_one, &of_all] {
            let ids = all(&client, &format!("{path}&limit={limit}"), ADMIN, "alerts", "id").await;
            assert_eq!(ids, every_seventh, "{path} by {limit}");
        }
    }
    let ids = all(
        &client,
        &format!("{ALERTS}?user_id=u&limit=35"),
        SERVICE,
        "alerts",
        "id",
    )
    .await;
    assert_eq!((ids.len(), ids[0].as_str(), ids[69].as_str()), (70, "alr_69", "alr_00"));

    let acknowledged = send(&client, &format!("PATCH {ALERTS}/alr_30/acknowledge"), SERVICE, None).await;
    assert_eq!(acknowledged.status, 200);
    let path = format!("{ALERTS}?user_id=u&status=acknowledged&limit=2");
    assert_eq!(all(&client, &path, SERVICE, "alerts", "id").await, ["alr_30"]);
    let path = format!("{ALERTS}?user_id=u&metric_type=api_calls");
    assert_eq!(all(&client, &path, SERVICE, "alerts", "id").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_its_users() {
    let client = Client::start().await;
    let (first, second) = (
        client.subscribe("u", "basic").await,
        client.subscribe("u", "basic").await,
    );
    client
        .raise("alr_1", "u", |alert| alert.subscription_id = first.clone())
        .await;
    client
        .raise("alr_2", "u", |alert| alert.subscription_id = second.clone())
        .await;
    let of = |query: &str| format!("{ALERTS}?subscription_id={query}");
    let ids = all(&client, &of(&format!("{second}&user_id=u")), SERVICE, "alerts", "id").await;
    assert_eq!(ids, ["alr_2"]);
    assert_eq!(all(&client, &of(&first), ADMIN, "alerts", "id").await, ["alr_1"]);
    for query in [format!("{first}&user_id=v"), "sub_nobody&user_id=u".to_owned()] {
        assert_eq!(
            code(&client.get(&of(&query), SERVICE).await),
            (404, "not_found"),
            "{query}"
        );
    }
    assert_eq!(code(&client.get(&of("sub_nobody"), ADMIN).await), (404, "not_found"));
    let summary = format!("/api/v1/usage/summary?user_id=u&subscription_id={first}");
    assert_eq!(client.get(&summary, SERVICE).await.body["alerts_count"], json!(1));
}
