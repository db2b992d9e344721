//! What is renewed: reservations for a day in all, leases without end; and how many holds there may be.

use serde_json::json;

use crate::{
    reservations::{OCR, code, held, one, reserve, standing, step},
    support::Client,
};

const SESSIONS: &str = "user_sessions";

#[tokio::test(flavor = "multi_thread")]
async fn three_sessions_stay_three_of_three_over_a_boundary() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-01-31T23:58:00Z"})).await;
    client.subscribe("u", "basic").await;
    let session = json!({"metric_type": SESSIONS, "ttl_seconds": 600});
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(held(&client, session.clone()).await);
    }
    let quota = async || client.quota("u", SESSIONS).await;
    let full = quota().await;
    assert_eq!(
        (&full["current_usage"], &full["held"], &full["quota_limit"]),
        (&json!(3), &json!(0), &json!(3))
    );
    let refused = reserve(&client, session.clone()).await;
    assert_eq!(code(&refused), (429, "quota_exceeded"));
    assert_eq!(refused.headers["retry-after"], "600", "until the next one expires");

    client.clock(json!({"now": "2026-02-01T00:01:00Z"})).await;
    let next = quota().await;
    assert_eq!(next["period_start"], json!("2026-02-01T00:00:00Z"));
    assert_eq!(
        (&next["current_usage"], &next["peak"]),
        (&json!(3), &json!(3)),
        "carried over"
    );
    assert_eq!(reserve(&client, session.clone()).await.status, 429, "three of three");
    for id in &sessions {
        assert_eq!(
            step(&client, id, "renew", json!({"ttl_seconds": 600})).await.status,
            200
        );
    }
    assert_eq!(
        code(&step(&client, &sessions[0], "commit", json!({})).await),
        (422, "metric_kind_mismatch")
    );
    assert_eq!(step(&client, &sessions[0], "release", json!({})).await.status, 200);
    assert_eq!(quota().await["current_usage"], json!(2));
    let another = held(&client, session.clone()).await;

    // Nobody renews: a day later all are gone, but the peak of the period is known.
    client.clock(json!({"advance_seconds": 86_400})).await;
    let idle = quota().await;
    assert_eq!((&idle["current_usage"], &idle["peak"]), (&json!(0), &json!(3)));
    assert_eq!(one(&client, &another).await["status"], json!("expired"));
    for _ in 0..3 {
        held(&client, session.clone()).await;
    }
    let tracked = client
        .track(json!({"user_id": "u", "metric_type": SESSIONS, "metric_value": 1}))
        .await;
    assert_eq!(code(&tracked), (422, "metric_kind_mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lives_as_long_as_it_is_renewed() {
    let client = Client::start().await;
    let id = held(&client, json!({"metric_type": SESSIONS, "ttl_seconds": 86_400})).await;
    for _ in 0..3 {
        client.clock(json!({"advance_seconds": 80_000})).await;
        let renewed = step(&client, &id, "renew", json!({"ttl_seconds": 86_400})).await;
        assert_eq!(renewed.status, 200, "{renewed:?}");
    }
    assert_eq!(client.used("u", SESSIONS).await, json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_takes_200_holds_and_no_more() {
    let client = Client::start().await;
    for _ in 0..200 {
        held(&client, json!({"ttl_seconds": 600})).await;
    }
    let refused = reserve(&client, json!({})).await;
    assert_eq!(code(&refused), (429, "too_many_holds"));
    let seconds = refused.headers["retry-after"].to_str().expect("a text").parse::<u32>();
    assert!(seconds.expect("a number") <= 600);
    assert_eq!(
        client
            .track(json!({"user_id": "u", "metric_type": OCR, "metric_value": 1}))
            .await
            .status,
        201
    );
    client.clock(json!({"advance_seconds": 700})).await;
    assert_eq!(
        reserve(&client, json!({})).await.status,
        201,
        "expired ones do not count"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_lasts_from_now_and_a_day_in_all() {
    let client = Client::start().await;
    let id = held(&client, json!({"ttl_seconds": 60})).await;
    client.clock(json!({"advance_seconds": 50})).await;
    let renewed = step(&client, &id, "renew", json!({"ttl_seconds": 100})).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    client.clock(json!({"advance_seconds": 90})).await;
    assert_eq!(one(&client, &id).await["status"], json!("held"));
    assert_eq!(standing(&client, OCR).await.1, json!(1));
    let renewed = step(&client, &id, "renew", json!({"ttl_seconds": 86_000})).await;
    assert_eq!(renewed.status, 200);
    let refused = step(&client, &id, "renew", json!({"ttl_seconds": 86_400})).await;
    assert_eq!(
        (refused.status, &refused.body["errors"][0]["code"]),
        (422, &json!("out_of_range"))
    );
    assert_eq!(refused.body["errors"][0]["pointer"], json!("/ttl_seconds"));
    client.clock(json!({"advance_seconds": 86_001})).await;
    assert_eq!(
        code(&step(&client, &id, "renew", json!({})).await),
        (409, "reservation_expired")
    );
}
