//! What expires by the template's rules, and when.

use super::*;

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

#[test]
fn an_object_expires_at_the_midnight_after_its_days() {
    let template = Template::parse(TEMPLATE, &BTreeMap::new(), "http://queues").expect("a template");
    let bucket = |name: &str| {
        template
            .buckets
            .iter()
            .find(|bucket| bucket.name == name)
            .expect("a bucket")
    };
    for (key, created, expected) in [
        // Amazon's own example is of three days: from 10:30 on the 15th to midnight of the 19th.
        ("a", "2014-01-15T10:30:00Z", "2014-01-23T00:00:00Z"),
        ("a", "2014-01-15T23:59:59.999Z", "2014-01-23T00:00:00Z"),
        ("a", "2014-01-16T00:00:00Z", "2014-01-24T00:00:00Z"),
        ("drafts/a", "2014-01-15T10:30:00Z", "2014-01-17T00:00:00Z"),
    ] {
        let expires = bucket(BUCKET).expires_at(key, instant(created));
        assert_eq!(expires, Some(instant(expected)), "{key} {created}");
    }
    assert_eq!(bucket("kept").expires_at("a", instant("2014-01-15T10:30:00Z")), None);
}

#[tokio::test]
async fn it_is_there_to_its_last_second_by_the_stacks_clock_and_gone_after() {
    let rig = Rig::new();
    let show = |text: &str| rig.clock.set(Some(instant(text))).expect("set");
    show("2014-01-15T10:30:00Z");
    rig.put("a").await;
    rig.put("drafts/a").await;
    let kept = rig.client(ACCESS_KEY).put_object().bucket("kept").key("a");
    kept.body(ByteStream::from_static(b"a")).send().await.expect("put");
    show("2014-01-16T23:59:00Z");
    assert_eq!(rig.keys("").await, ["a", "drafts/a"]);
    assert_eq!(rig.buckets.expire().expect("expired"), 0);
    show("2014-01-17T00:00:00Z");
    assert_eq!(rig.keys("").await, ["a"], "before anybody deletes it");
    assert!(rig.get("drafts/a").await.is_none());
    assert_eq!(rig.buckets.expire().expect("expired"), 1);
    show("2014-01-22T23:59:00Z");
    assert!(rig.get("a").await.is_some());
    rig.put("b").await;
    show("2014-01-23T00:00:00Z");
    assert_eq!(rig.buckets.expire().expect("expired"), 1);
    assert_eq!(rig.keys("").await, ["b"], "its days begin when it is put");
    assert!(!rig.files(ACCESS_KEY).exists("a").await.expect("answered"));
    let kept = rig.client(ACCESS_KEY).get_object().bucket("kept").key("a").send().await;
    assert!(kept.is_ok(), "no rule is about it");
}

#[tokio::test]
async fn what_expired_may_be_new_again() {
    let rig = Rig::new();
    rig.put("a").await;
    rig.clock.advance(TimeDelta::days(9)).expect("moved");
    let again = rig
        .client("Writer")
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .if_none_match("*");
    again
        .body(ByteStream::from_static(b"b"))
        .send()
        .await
        .expect("it is not there");
    assert_eq!(text(rig.get("a").await.expect("there")).await, "b");
}
