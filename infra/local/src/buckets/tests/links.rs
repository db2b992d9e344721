//! Links, followed by a client that knows nothing of S3.

use super::*;

struct Followed {
    status: u16,
    disposition: String,
    kind: String,
    body: String,
}

async fn follow(url: &str) -> Followed {
    let answer = reqwest::get(url).await.expect("answered");
    let header = |name: &str| {
        let value = answer
            .headers()
            .get(name)
            .map(|value| value.to_str().expect("ASCII").to_owned());
        value.unwrap_or_default()
    };
    Followed {
        status: answer.status().as_u16(),
        disposition: header("content-disposition"),
        kind: header("content-type"),
        body: answer.text().await.expect("a text"),
    }
}

async fn link(rig: &Rig, signer: &str, key: &str, seconds: u32) -> String {
    let files = rig.files(signer);
    files
        .signed_url(key, rig.clock.now(), seconds, "März 2026.csv")
        .await
        .expect("signed")
}

/// Now, years ahead, and years back: a link is good from its clock's now to its end, and no longer.
#[tokio::test]
async fn a_link_is_good_for_its_seconds_by_the_stacks_clock_whatever_the_machines_shows() {
    let rig = Rig::new();
    for shown in [None, Some("2014-04-25T00:00:00Z"), Some("2033-04-25T00:00:00Z")] {
        let shown = shown.map(|shown| shown.parse().expect("an instant"));
        rig.clock.set(shown).expect("set");
        let key = "reports/ä b+c/usage.csv";
        rig.put(key).await;
        let url = link(&rig, "Writer", key, 300).await;
        let followed = follow(&url).await;
        assert_eq!((followed.status, followed.body.as_str()), (200, "a"), "{shown:?}");
        assert_eq!(followed.kind, "text/csv");
        assert_eq!(followed.disposition, attachment("März 2026.csv"));
        rig.clock.advance(TimeDelta::seconds(240)).expect("moved");
        assert_eq!(follow(&url).await.status, 200, "and again, {shown:?}");
        rig.clock.advance(TimeDelta::seconds(62)).expect("moved");
        let late = follow(&url).await;
        assert_eq!(late.status, 403, "{shown:?}");
        assert!(
            late.body
                .contains("<Code>AccessDenied</Code><Message>Request has expired"),
            "{}",
            late.body
        );
        rig.clock.advance(TimeDelta::days(-1)).expect("moved");
        let early = follow(&url).await;
        assert_eq!(early.status, 403, "{shown:?}");
        assert!(early.body.contains("not valid yet"), "{}", early.body);
    }
}

#[tokio::test]
async fn a_link_that_was_changed_is_refused() {
    let rig = Rig::new();
    for key in ["reports/1/a.csv", "reports/2/a.csv"] {
        rig.put(key).await;
    }
    let url = link(&rig, "Writer", "reports/1/a.csv", 60).await;
    assert_eq!(follow(&url).await.status, 200);
    let signature = url.split("X-Amz-Signature=").nth(1).expect("a signature");
    let signature = signature.split('&').next().expect("a signature");
    let other = format!("{:0>64}", signature.chars().rev().collect::<String>());
    for (changed, code) in [
        (url.replace("reports/1/", "reports/2/"), "SignatureDoesNotMatch"),
        (url.replace("a.csv?", "b.csv?"), "SignatureDoesNotMatch"),
        (url.replace(signature, &other), "SignatureDoesNotMatch"),
        (url.replace(signature, ""), "SignatureDoesNotMatch"),
        (
            url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"),
            "SignatureDoesNotMatch",
        ),
        (url.replace("M_rz", "X"), "SignatureDoesNotMatch"),
        (url.replace("=Writer%2F", "=local%2F"), "SignatureDoesNotMatch"),
        (
            format!("{url}&response-content-type=text%2Fhtml"),
            "SignatureDoesNotMatch",
        ),
        (
            url.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"),
            "AuthorizationQueryParametersError",
        ),
        (
            url.replace("X-Amz-Date=", "X-Amz-Date=x"),
            "AuthorizationQueryParametersError",
        ),
        (url.replace("X-Amz-Signature=", "Signed="), "AccessDenied"),
        (url.split('?').next().expect("a path").to_owned(), "AccessDenied"),
    ] {
        assert_ne!(changed, url);
        let followed = follow(&changed).await;
        assert!(matches!(followed.status, 400 | 403), "{changed}: {}", followed.body);
        assert!(
            followed.body.contains(&format!("<Code>{code}</Code>")),
            "{changed}: {}",
            followed.body
        );
    }
    let deleted = reqwest::Client::new().delete(&url).send().await.expect("answered");
    assert_eq!(deleted.status().as_u16(), 403, "another method");
    assert_eq!(rig.keys("").await.len(), 2);
}

#[tokio::test]
async fn a_link_does_what_its_maker_may_and_leads_to_what_is_there() {
    let rig = Rig::new();
    for key in ["public/a", "private/a"] {
        rig.put(key).await;
    }
    assert_eq!(follow(&link(&rig, "Reader", "public/a", 60).await).await.status, 200);
    for (signer, key) in [
        ("Reader", "private/a"),
        ("Stranger", "public/a"),
        ("Nobody", "public/a"),
        ("Reader", "public/none"),
    ] {
        let followed = follow(&link(&rig, signer, key, 60).await).await;
        assert_eq!(followed.status, 403, "{signer} {key}");
        assert!(followed.body.contains("AccessDenied"), "{}", followed.body);
    }
    assert_eq!(follow(&link(&rig, "Writer", "public/none", 60).await).await.status, 404);
    let url = link(&rig, "Writer", "public/a", 60).await;
    rig.files("Writer").delete("public/a").await.expect("deleted");
    let gone = follow(&url).await;
    assert_eq!(gone.status, 404);
    assert!(gone.body.contains("NoSuchKey"), "{}", gone.body);
}

#[tokio::test]
async fn no_link_is_good_for_more_than_five_minutes() {
    let rig = Rig::new();
    for seconds in [0, 301, u32::MAX] {
        let refused = rig.files("Writer").signed_url("a", rig.clock.now(), seconds, "a").await;
        assert!(matches!(refused, Err(FileError::Validity(named)) if named == seconds));
    }
}
