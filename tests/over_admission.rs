//! Nothing is granted above the cap, whoever asks at once, through whichever instance.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::{Client, count};

fn one(value: u32) -> Value {
    json!({"user_id": "u", "metric_type": "ocr_operations", "metric_value": value})
}

#[tokio::test(flavor = "multi_thread")]
async fn of_400_at_once_137_are_admitted() {
    let client = Client::start().await;
    client.subscribe("basic").await;
    client.limit("ocr_operations", 137).await;
    let other = client.stack.instance(None).expect("a second instance");
    let answers = client
        .track_all(&[client.stack.url(), other.url()], vec![one(1); 400], 400)
        .await;
    assert_eq!((count(&answers, 201), count(&answers, 429)), (137, 263));
    for denied in answers.iter().filter(|answer| answer.status == 429) {
        assert!(denied.headers.contains_key("retry-after"));
        assert_eq!(denied.body["quota_info"]["quota_limit"], json!(137));
        assert_eq!(denied.body["code"], json!("quota_exceeded"));
    }
    assert_eq!(client.used("ocr_operations").await, json!(137));
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_sizes_never_pass_the_cap() {
    let client = Client::start().await;
    client.subscribe("basic").await;
    client.limit("ocr_operations", 100).await;
    let bodies: Vec<Value> = (0..120).map(|index| one(1 + index * 7 % 5)).collect();
    let answers = client.track_all(&[client.stack.url()], bodies, 60).await;
    let admitted: Decimal = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| {
            answer.body["metric_value"]
                .to_string()
                .parse::<Decimal>()
                .expect("a number")
        })
        .sum();
    assert!(admitted <= Decimal::from(100), "{admitted}");
    assert_eq!(client.used("ocr_operations").await.to_string(), admitted.to_string());
    assert_eq!(count(&answers, 201) + count(&answers, 429), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_limit_binds_the_next_event() {
    let client = Client::start().await;
    client.subscribe("basic").await;
    client.limit("ocr_operations", 1).await;
    assert_eq!(client.track(one(2)).await.status, 429, "before the counter exists");
    assert_eq!(client.track(one(1)).await.status, 201);
    assert_eq!(client.track(one(1)).await.status, 429);
    client.limit("ocr_operations", 2).await;
    assert_eq!(client.track(one(1)).await.status, 201, "raised");
    client.limit("ocr_operations", 1).await;
    let lowered = client.track(one(1)).await;
    assert_eq!(
        (lowered.status, lowered.body["quota_info"]["is_exceeded"].clone()),
        (429, json!(true)),
        "lowered below usage"
    );
}
