//! The events in `events/`, handed to the functions as Lambda would.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use metering_edge::{
    App,
    aws::Clients,
    config::Config,
    lambda::{Invoke, handler},
    webhook::{Reach, Webhooks},
};
use metering_store::Context;
use serde_json::{Value, json};
use usage_local::{Options, Stack};

/// What each sample is answered with, first and when it is sent again.
fn expected(name: &str) -> [Value; 2] {
    let status = |status: u16| json!({"statusCode": status});
    match name {
        "admin-create-subscription.json" => [status(201), status(201)],
        "alerts-create-threshold.json" => [status(201), status(201)],
        "alerts-list.json" => [status(200), status(200)],
        "analytics-aggregations.json" | "analytics-trends.json" => [status(200), status(200)],
        // There is no usage yet to forecast from.
        "analytics-forecast.json" => [status(422), status(422)],
        "check-quota.json" => [status(200), status(200)],
        "ingest.json" => [json!({"batchItemFailures": []}), json!({"batchItemFailures": []})],
        "track.json" => [status(201), status(200)],
        other => panic!("events/{other} is in no test"),
    }
}

/// The function that a sample is for.
fn function(name: &str, app: Arc<App>) -> Invoke {
    match name {
        "ingest.json" => ingest_job::handler(app).expect("a configuration"),
        name if name.starts_with("admin-") => handler(admin_api::router(app)),
        name if name.starts_with("alerts-") => handler(alerts_api::router(app)),
        name if name.starts_with("analytics-") => handler(analytics_api::router(app)),
        _ => handler(tracking_api::router(app)),
    }
}

fn app(stack: &Stack) -> Arc<App> {
    let environment = BTreeMap::from([
        ("EVENTS_TABLE", stack.events_table()),
        ("STATE_TABLE", stack.state_table()),
        ("JWT_ISSUER", "https://issuer.example"),
        ("JWT_AUDIENCE", "usage-metering"),
        ("JWKS_URL", "https://issuer.example/.well-known/jwks.json"),
        ("LOG_LEVEL", "info"),
        ("USAGE_EVENTS_DEAD_LETTERS_URL", "http://127.0.0.1/dead-letters"),
    ]);
    let config = Config::from_lookup(&|name| environment.get(name).map(|value| (*value).to_owned()));
    let context = Context::new(Arc::new(stack.clock().clone()));
    let webhooks = Webhooks::new(Reach::Public, None).expect("a sender");
    let clients = Clients::of(&stack.endpoints(), None, webhooks);
    App::new(config.expect("a configuration"), context, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sample_is_understood() {
    let stack = Stack::start(Options::default()).await.expect("the stack starts");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut seen = 0;
    for file in fs::read_dir(folder).expect("the folder of samples") {
        let file = file.expect("a file");
        let name = file.file_name().to_string_lossy().into_owned();
        let event = fs::read_to_string(file.path()).expect("a sample");
        let function = function(&name, app(&stack));
        for expected in expected(&name) {
            let answer = function(event.clone()).await.expect("an answer");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            for (field, value) in expected.as_object().expect("an object") {
                assert_eq!(answer[field], *value, "{name}: {answer}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 9);
}
