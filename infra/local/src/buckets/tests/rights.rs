//! What each access key may do, by the policy of its function.

use metering_edge::{
    App,
    aws::Endpoints,
    config::ConfigError,
    lambda::Invoke,
    webhook::{Reach, Webhooks},
};
use metering_store::context::Context;

use super::*;
use crate::functions::{Functions, Outside};

fn code<T: std::fmt::Debug>(answer: Result<T, FileError>) -> String {
    let error = answer.expect_err("refused");
    assert!(!error.retryable(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_function_may_do_what_its_policy_says_and_is_told_what_it_lacks() {
    let rig = Rig::new();
    rig.put("public/a").await;
    for (key, action, resource) in [
        ("Reader", "s3:PutObject", "arn:aws:s3:::reports/public/a"),
        ("Stranger", "s3:PutObject", "arn:aws:s3:::reports/public/a"),
    ] {
        let said = code(put(&rig.files(key), "public/a", "b").await);
        let expected = format!("{key} is not authorized to perform {action} on {resource}");
        assert!(said.contains(&expected), "{said}");
    }
    let said = code(rig.files("Reader").delete("public/a").await);
    assert!(said.contains("s3:DeleteObject"), "{said}");
    let said = code(rig.files("Reader").delete_all("public/").await);
    assert!(said.contains("s3:ListBucket on arn:aws:s3:::reports"), "{said}");
    assert!(rig.files("Reader").exists("public/a").await.expect("it may read it"));
    // Whether a key is there is told only to who may list; so it is in S3.
    code(rig.files("Reader").exists("public/none").await);
    code(rig.files("Stranger").exists("public/a").await);
    let said = code(put(&rig.files("Nobody"), "a", "b").await);
    assert!(said.contains("InvalidAccessKeyId"), "{said}");
    assert_eq!(text(rig.get("public/a").await.expect("there")).await, "a");
    let elsewhere = Files::new(rig.client("Writer"), "kept".to_owned());
    code(put(&elsewhere, "a", "b").await);
}

#[tokio::test]
async fn a_wrong_secret_and_no_signature_are_refused() {
    let rig = Rig::new();
    rig.put("a").await;
    let endpoint = Endpoint {
        secret_access_key: "guessed".to_owned(),
        ..rig.endpoint("Writer")
    };
    let files = Files::new(s3_client(&endpoint, Some(plain_http())), BUCKET.to_owned());
    let said = code(put(&files, "a", "b").await);
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");
    let url = format!("{}/{BUCKET}/a", rig.server.url());
    let plain = reqwest::Client::new();
    for request in [plain.get(&url), plain.delete(&url), plain.put(&url).body("b")] {
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status().as_u16(), 403);
    }
    assert_eq!(text(rig.get("a").await.expect("there")).await, "a");
}

/// The deletion of several asks for each of them; what may not be deleted is named in a good answer.
#[tokio::test]
async fn files_that_may_not_be_deleted_fail_the_deletion_of_a_folder() {
    let mut template = Template::parse(TEMPLATE, &BTreeMap::new(), "http://queues").expect("a template");
    for function in &mut template.functions {
        for statement in &mut function.policy {
            statement.actions.retain(|action| action != "s3:DeleteObject");
        }
    }
    let rig = Rig::new();
    rig.put("1/a").await;
    let runtime = Handle::current();
    let port = Port::hold(0, &runtime).expect("a port");
    let policies = Arc::new(Policies::of(&template.functions));
    let server = port.serve_plainly(router(rig.buckets.clone(), &policies), &runtime);
    let endpoint = Endpoint {
        url: server.as_ref().expect("served").url(),
        ..rig.endpoint("Writer")
    };
    let files = Files::new(s3_client(&endpoint, Some(plain_http())), BUCKET.to_owned());
    let said = code(files.delete_all("1/").await);
    assert!(said.contains("AccessDenied"), "{said}");
    assert_eq!(rig.keys("").await, ["1/a"]);
}

/// A function that puts what it is called with, and answers a link to it.
fn linked(_: &str, app: Arc<App>) -> Option<Result<Invoke, ConfigError>> {
    Some(app.config.reports_bucket().map(|bucket| -> Invoke {
        Arc::new(move |event| {
            let (app, files) = (Arc::clone(&app), Files::new(app.s3.clone(), bucket.clone()));
            Box::pin(async move {
                put(&files, "a", &event).await.map_err(|error| error.to_string())?;
                let url = files.signed_url("a", app.context.now(), 60, "a.csv").await;
                url.map_err(|error| error.to_string())
            })
        })
    }))
}

#[tokio::test]
async fn a_deployed_function_is_known_by_its_own_key() {
    let rig = Rig::new();
    let template = Template::parse(TEMPLATE, &BTreeMap::new(), "http://queues").expect("a template");
    let nowhere = || Endpoint {
        url: "http://127.0.0.1:9".to_owned(),
        ..rig.endpoint(ACCESS_KEY)
    };
    let outside = Outside {
        endpoints: Endpoints {
            dynamodb: nowhere(),
            sqs: nowhere(),
            sesv2: nowhere(),
            sns: nowhere(),
            events: nowhere(),
            s3: rig.endpoint(ACCESS_KEY),
        },
        webhooks: Webhooks::new(Reach::Public, None).expect("a sender"),
    };
    let context = Context::new(Arc::new(rig.clock.clone()));
    rig.clock.advance(TimeDelta::days(-400)).expect("moved");
    let functions = Functions::deploy(&template, &context, &outside, &plain_http(), linked).expect("deployed");
    let url = functions
        .invoke("Writer", "from a function".to_owned())
        .await
        .expect("it may");
    let read = reqwest::get(&url).await.expect("answered").text().await;
    assert_eq!(read.expect("a text"), "from a function");
    let refused = functions
        .invoke("Stranger", "b".to_owned())
        .await
        .expect_err("it may not");
    let expected = "Stranger is not authorized to perform s3:PutObject on arn:aws:s3:::reports/a";
    assert!(refused.to_string().contains(expected), "{refused}");
}
