//! Periods that end early: renewed, cancelled.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    books::Books,
    support::{ADMIN, Answer, Client, SERVICE, count},
};

pub const SUBSCRIPTIONS: &str = "/api/v1/usage/admin/subscriptions";
const API_CALLS: &str = "api_calls";
const STORAGE: &str = "storage_usage";
const MARCH: &str = "2026-03-01T00:00:00.000Z";

/// The tenth of March, noon; a Basic subscription since the first of January.
async fn in_march() -> Client {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-10T12:00:00Z"})).await;
    subscribe(&client, "sub_u").await;
    client
}

async fn subscribe(client: &Client, id: &str) {
    let body = json!({"id": id, "user_id": "u", "plan": "basic", "starts_at": "2026-01-01T00:00:00Z"});
    let created = client.post(SUBSCRIPTIONS, ADMIN, body).await;
    assert_eq!(created.status, 201, "{created:?}");
}

async fn change(client: &Client, what: &str, body: Value) -> Answer {
    client.post(&format!("{SUBSCRIPTIONS}/sub_u/{what}"), ADMIN, body).await
}

async fn keyed(client: &Client, what: &str, body: Value, key: &str) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer mk_dev_admin"),
        ("idempotency-key", key),
    ];
    let path = format!("{SUBSCRIPTIONS}/sub_u/{what}");
    client
        .send_raw(&client.stack.url(), &path, &headers, body.to_string().into())
        .await
}

fn event(more: Value) -> Value {
    let mut event = json!({"user_id": "u", "metric_type": API_CALLS, "metric_value": 1});
    let fields = more.as_object().cloned().unwrap_or_default();
    event.as_object_mut().expect("an object").extend(fields);
    event
}

/// An instant to the minute: the stack's clock ticks on.
fn minute(instant: &Value) -> &str {
    instant.as_str().and_then(|text| text.get(..16)).unwrap_or_default()
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_ends_the_period_and_anchors_the_next() {
    let client = in_march().await;
    client.track(event(json!({}))).await;
    let renewed = change(&client, "renew", json!({})).await;
    let expected = [
        ("billing_anchor", "2026-03-10T12:00"),
        ("current_period_start", "2026-03-10T12:00"),
        ("current_period_end", "2026-04-10T12:00"),
        ("cancel_at", ""),
    ];
    assert_eq!(renewed.body["status"], "active");
    for (field, value) in expected {
        assert_eq!(
            (renewed.status, minute(&renewed.body[field])),
            (200, value),
            "{field}: {renewed:?}"
        );
    }
    let quota = client.quota("u", API_CALLS).await;
    assert_eq!(
        (&quota["current_usage"], minute(&quota["next_reset"])),
        (&json!(0), "2026-04-10T12:00")
    );
    client.clock(json!({"now": "2026-04-10T12:01:00Z"})).await;
    let next = client.quota("u", API_CALLS).await;
    assert_eq!(minute(&next["period_end"]), "2026-05-10T12:00", "the anchor stays");
    let books = Books::read(&client.stack).await;
    books.assert_closed(MARCH);
    books.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_before_a_renewal_and_comes_after_it_is_late() {
    let client = in_march().await;
    let other = client.stack.instance(None).expect("an instance");
    // Both instances know the period that ends.
    client.track(event(json!({}))).await;
    client.track_at(&other.url(), event(json!({}))).await;
    client.clock(json!({"advance_seconds": 10})).await;
    let renewed = change(&client, "renew", json!({})).await.body;
    let before = json!({"timestamp": "2026-03-10T11:59:00Z", "idempotency_key": "before"});
    for base in [client.stack.url(), other.url()] {
        let late = client.track_at(&base, event(before.clone())).await;
        assert_eq!(late.body["late"], json!(true), "{late:?}");
        assert_eq!(late.body["quota"]["period_start"], renewed["current_period_start"]);
        // What is of the new period is not late, though one instance does not know of it yet.
        let present = client.track_at(&base, event(json!({"metric_type": API_CALLS}))).await;
        assert_eq!(
            (present.status, &present.body["late"]),
            (201, &json!(false)),
            "{present:?}"
        );
    }
    // A metric without a counter in the ended period gets none there any more.
    let unborn = event(json!({"metric_type": "ocr_operations", "timestamp": "2026-03-05T00:00:00Z"}));
    let unborn = client.track_at(&other.url(), unborn).await;
    assert_eq!((unborn.status, &unborn.body["late"]), (201, &json!(true)));
    // The period before was not ended by anybody.
    let february = client.track(event(json!({"timestamp": "2026-02-20T00:00:00Z"}))).await;
    assert_eq!((february.status, &february.body["late"]), (201, &json!(false)));
    assert_eq!(february.body["quota"]["period_start"], json!("2026-02-01T00:00:00Z"));
    assert_eq!(client.used("u", API_CALLS).await, json!(3));
    let ledger = client
        .get("/api/v1/usage/admin/adjustments?user_id=u", ADMIN)
        .await
        .body;
    assert_eq!(ledger["adjustments"].as_array().map(Vec::len), Some(2), "{ledger}");
    let books = Books::read(&client.stack).await;
    books.assert_closed(MARCH);
    books.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_one_per_key() {
    let client = in_march().await;
    let first = keyed(&client, "renew", json!({}), "k").await;
    client.clock(json!({"advance_seconds": 60})).await;
    let again = keyed(&client, "renew", json!({}), "k").await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let another = keyed(&client, "renew", json!({}), "l").await;
    assert_eq!(minute(&another.body["current_period_start"]), "2026-03-10T12:01");
    client.clock(json!({"advance_seconds": 60})).await;
    let (path, body) = ("renew", json!({}));
    let sends = (0..6).map(|_| keyed(&client, path, body.clone(), "m"));
    let answers = futures::future::join_all(sends).await;
    assert!(
        answers.iter().all(|answer| answer.body == answers[0].body),
        "{answers:?}"
    );
    let found = client.get(&format!("{SUBSCRIPTIONS}/sub_u"), ADMIN).await.body;
    assert_eq!(found["current_period_start"], answers[0].body["current_period_start"]);
    assert_eq!(minute(&found["current_period_start"]), "2026-03-10T12:02");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_show_the_new_period_at_once() {
    let client = in_march().await;
    let other = client.stack.instance(None).expect("an instance");
    let paths = [
        "/api/v1/usage/check-quota/api_calls?user_id=u",
        "/api/v1/usage/summary?user_id=u",
        "/api/v1/usage/check-quota/ocr_operations?user_id=u",
    ];
    let shown = async |path: &str| {
        let answer = client
            .send_to(&other.url(), Method::GET, path, Some(SERVICE), None)
            .await
            .body;
        [&answer["quota_info"]["period_start"], &answer["period_start"]]
            .into_iter()
            .find_map(|start| start.as_str().map(str::to_owned))
    };
    client.track_at(&other.url(), event(json!({}))).await;
    for path in paths {
        assert_eq!(shown(path).await.as_deref(), Some("2026-03-01T00:00:00Z"));
    }
    let renewed = change(&client, "renew", json!({})).await.body["current_period_start"].clone();
    for path in paths {
        assert_eq!(shown(path).await.as_deref(), renewed.as_str(), "{path}");
    }
    // Limits are changed in it, too.
    assert_eq!(client.limit("u", API_CALLS, 3).await["period_start"], renewed);
    let reset = "/api/v1/usage/admin/quotas/reset?user_id=u&metric_type=api_calls";
    client.track(event(json!({}))).await;
    let reset = client
        .send_to(&other.url(), Method::POST, reset, Some(ADMIN), None)
        .await;
    assert_eq!(reset.body["reset"][0]["previous_usage"], json!(1), "{reset:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_goes_on_while_periods_end() {
    let client = in_march().await;
    let other = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), other.url()];
    let mut recorded = 0;
    for _ in 0..4 {
        let bodies = vec![event(json!({})); 60];
        let (answers, renewed) = tokio::join!(client.track_all(&bases, bodies, 20), async {
            let renewed = change(&client, "renew", json!({})).await;
            client.clock(json!({"advance_seconds": 1})).await;
            renewed
        });
        assert_eq!(renewed.status, 200, "{renewed:?}");
        assert_eq!(
            count(&answers, 201),
            60,
            "{:?}",
            answers.iter().find(|one| one.status != 201)
        );
        recorded += 60;
        let books = Books::read(&client.stack).await;
        books.assert_exact();
        books.assert_closed(MARCH);
        assert_eq!((books.events(), books.used()), (recorded, recorded.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gauge_carries_on_over_a_renewal_with_a_peak_of_its_own() {
    let client = in_march().await;
    let level = |value: u32| event(json!({"metric_type": STORAGE, "metric_value": value, "mode": "level"}));
    client.track(level(5)).await;
    client.track(level(4)).await;
    change(&client, "renew", json!({})).await;
    let quota = client.quota("u", STORAGE).await;
    assert_eq!((&quota["current_usage"], &quota["peak"]), (&json!(4), &json!(4)));
    client.clock(json!({"advance_seconds": 1})).await;
    let moved = client.track(level(3)).await;
    assert_eq!((moved.status, &moved.body["quota"]["current_usage"]), (201, &json!(3)));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_edited_before_a_renewal_binds_after_it() {
    let client = in_march().await;
    client.track(event(json!({}))).await;
    let plan =
        json!({"name": "Basic", "currency": "EUR", "quotas": {API_CALLS: {"quota_limit": 7, "allow_overage": false}}});
    client.put("/api/v1/usage/admin/plans/basic", plan).await;
    assert_eq!(client.quota("u", API_CALLS).await["quota_limit"], json!(1000));
    change(&client, "renew", json!({})).await;
    assert_eq!(client.quota("u", API_CALLS).await["quota_limit"], json!(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_renewed_before_its_start_or_after_usage_ahead() {
    let client = Client::start().await;
    client.clock(json!({"now": "2026-03-31T23:58:00Z"})).await;
    subscribe(&client, "sub_u").await;
    let ahead = client.track(event(json!({"timestamp": "2026-04-01T00:00:30Z"}))).await;
    assert_eq!(ahead.body["quota"]["period_start"], json!("2026-04-01T00:00:00Z"));
    assert_eq!(code(&change(&client, "renew", json!({})).await), (409, "conflict"));
    client.clock(json!({"now": "2026-04-01T00:00:00Z"})).await;
    let renewed = change(&client, "renew", json!({})).await;
    assert_eq!(
        minute(&renewed.body["current_period_start"]),
        "2026-04-01T00:00",
        "{renewed:?}"
    );
    let later = json!({"id": "later", "user_id": "v", "plan": "basic", "starts_at": "2026-05-01T00:00:00Z"});
    client.post(SUBSCRIPTIONS, ADMIN, later).await;
    let path = format!("{SUBSCRIPTIONS}/later/renew");
    assert_eq!(code(&client.post(&path, ADMIN, json!({})).await), (409, "conflict"));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_subscription_takes_no_more() {
    let client = in_march().await;
    let other = client.stack.instance(None).expect("an instance");
    let level = event(json!({"metric_type": STORAGE, "metric_value": 4, "mode": "level"}));
    client.track(event(json!({"idempotency_key": "k"}))).await;
    client.track_at(&other.url(), level.clone()).await;
    let cancelled = change(&client, "cancel", json!({})).await;
    let body = &cancelled.body;
    assert_eq!(
        (cancelled.status, &body["status"]),
        (200, &json!("cancelled")),
        "{cancelled:?}"
    );
    assert_eq!(minute(&body["cancelled_at"]), "2026-03-10T12:00");
    client.clock(json!({"advance_seconds": 1})).await;
    assert_eq!(
        change(&client, "cancel", json!({})).await.body["cancelled_at"],
        body["cancelled_at"]
    );
    for what in [event(json!({})), level] {
        for base in [client.stack.url(), other.url()] {
            let refused = client.track_at(&base, what.clone()).await;
            assert_eq!(code(&refused), (409, "subscription_inactive"), "{what}: {refused:?}");
        }
    }
    assert_eq!(
        client.track(event(json!({"idempotency_key": "k"}))).await.status,
        200,
        "a retry is a duplicate"
    );
    let done = client.track(event(json!({"enforce": false}))).await;
    assert_eq!(
        (done.status, &done.body["quota"]["quota_limit"]),
        (201, &Value::Null),
        "{done:?}"
    );
    let summary = client.get("/api/v1/usage/summary?user_id=u", SERVICE).await.body;
    assert_eq!(summary["subscription_id"], json!("none"));
    let named = "/api/v1/usage/check-quota/storage_usage?user_id=u&subscription_id=sub_u";
    let check = client.get(named, SERVICE).await.body;
    assert_eq!(
        (&check["is_available"], &check["quota_info"]["current_usage"]),
        (&json!(false), &json!(4))
    );
    assert_eq!(
        code(&change(&client, "renew", json!({})).await),
        (409, "subscription_inactive")
    );
    let path = format!("{SUBSCRIPTIONS}/sub_u");
    let moved = client.patch(&path, json!({"plan": "professional"})).await;
    assert_eq!(code(&moved), (409, "subscription_inactive"));
    // Another subscription takes its place; usage for the ended one is not charged to it.
    subscribe(&client, "sub_2").await;
    let present = client.track(event(json!({}))).await;
    assert_eq!(present.body["quota"]["current_usage"], json!(1));
    for enforce in [true, false] {
        let named = event(json!({"subscription_id": "sub_u", "enforce": enforce}));
        assert_eq!(code(&client.track(named).await), (409, "subscription_inactive"));
    }
    Books::of(&client.stack, "u", "sub_u").await.assert_closed(MARCH);
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_may_end_with_its_period() {
    let client = in_march().await;
    subscribe(&client, "sub_2").await;
    let other = client.stack.instance(None).expect("an instance");
    let bases = [client.stack.url(), other.url()];
    client.track_all(&bases, vec![event(json!({})); 2], 1).await;
    let decided = change(&client, "cancel", json!({"at_period_end": true})).await;
    let body = &decided.body;
    assert_eq!(
        (&body["status"], &body["cancel_at"]),
        (&json!("active"), &json!("2026-04-01T00:00:00Z"))
    );
    assert_eq!((decided.status, &body["cancelled_at"]), (200, &Value::Null));
    let again = change(&client, "cancel", json!({"at_period_end": true})).await;
    assert_eq!((again.status, &again.body), (200, body));
    client.clock(json!({"now": "2026-03-31T23:59:59Z"})).await;
    let last = client.track(event(json!({}))).await;
    assert_eq!(last.body["quota"]["current_usage"], json!(3));
    // What is reported for a moment after the end is of the last period.
    let ahead = client.track(event(json!({"timestamp": "2026-04-01T00:00:10Z"}))).await;
    assert_eq!(
        (ahead.status, &ahead.body["quota"]["current_usage"]),
        (201, &json!(4)),
        "{ahead:?}"
    );
    client.clock(json!({"now": "2026-04-01T00:00:00Z"})).await;
    let found = client.get(&format!("{SUBSCRIPTIONS}/sub_u"), ADMIN).await.body;
    assert_eq!(
        (&found["status"], &found["cancelled_at"]),
        (&json!("cancelled"), &json!("2026-04-01T00:00:00Z"))
    );
    assert_eq!(found["current_period_end"], json!("2026-04-01T00:00:00Z"));
    for base in &bases {
        // The next active one is the default now, without any job having run.
        let next = client.track_at(base, event(json!({}))).await;
        assert_eq!(
            next.body["quota"]["period_start"],
            json!("2026-04-01T00:00:00Z"),
            "{next:?}"
        );
        let named = client.track_at(base, event(json!({"subscription_id": "sub_u"}))).await;
        assert_eq!(code(&named), (409, "subscription_inactive"));
    }
    let summary = client.get("/api/v1/usage/summary?user_id=u", SERVICE).await.body;
    assert_eq!(summary["subscription_id"], json!("sub_2"));
    Books::read(&client.stack).await.assert_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_renews_goes_on() {
    let client = in_march().await;
    let level = event(json!({"metric_type": STORAGE, "metric_value": 4, "mode": "level"}));
    client.track(level.clone()).await;
    change(&client, "cancel", json!({"at_period_end": true})).await;
    let renewed = change(&client, "renew", json!({})).await;
    assert_eq!((renewed.status, &renewed.body["cancel_at"]), (200, &Value::Null));
    client.clock(json!({"now": "2026-04-01T00:00:00Z"})).await;
    for event in [event(json!({})), level] {
        let tracked = client.track(event).await;
        assert_eq!(tracked.status, 201, "{tracked:?}");
    }
    let now = change(&client, "cancel", json!({"at_period_end": false})).await;
    assert_eq!(minute(&now.body["cancelled_at"]), "2026-04-01T00:00");
    Books::read(&client.stack).await.assert_exact();
}
