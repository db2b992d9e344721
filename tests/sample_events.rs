//! The events in `events/`, handed to the functions as Lambda would.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use usage_deploy::lint::handed_to;
use usage_local::{
    Options, Stack,
    template::{EMBEDDED, Template},
};

/// What each sample is answered with, first and when it is sent again.
fn expected(name: &str) -> [Value; 2] {
    let status = |status: u16| json!({"statusCode": status});
    let same = |value: Value| [value.clone(), value];
    match name {
        "admin-create-subscription.json" => same(status(201)),
        "alerts-create-threshold.json" => same(status(201)),
        "alerts-list.json" => same(status(200)),
        "analytics-aggregations.json" | "analytics-anomalies.json" | "analytics-trends.json" => same(status(200)),
        // There is no usage yet to forecast from.
        "analytics-forecast.json" => same(status(422)),
        "check-quota.json" => same(status(200)),
        "track.json" => [status(201), status(200)],
        // Of the caller's events both are told again: the queue's other end knows them.
        "access-log-http.json" => same(json!({"events": 3, "anonymous": 1, "unread": 0})),
        "access-log-rest.json" => same(json!({"events": 4, "anonymous": 0, "unread": 0})),
        "access-log-cut.json" => same(json!({"events": 4, "anonymous": 0, "unread": 1})),
        "aggregate.json"
        | "alert.json"
        | "analytics-refresh-goes-on.json"
        | "anomaly.json"
        | "ingest.json"
        | "reconcile-goes-on.json"
        | "relay-usage.json" => same(json!({"batchItemFailures": []})),
        "analytics-refresh-nightly.json" => same(json!({"more": false})),
        "alert-digests.json" => same(json!({"digests": 0})),
        "report-job.json" => same(json!({"made": 0, "failed": 0, "more": false})),
        "reports-list.json" => same(status(200)),
        "erasure.json" => same(json!({"users": 0, "finished": 0})),
        "lifecycle-hourly.json" => same(json!({"failed": 0, "more": false})),
        "lifecycle-told.json" => [json!({"applied": true}), json!({"applied": false})],
        "reconcile-nightly.json" => same(json!({"more": false})),
        other => panic!("events/{other} is in no test"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sample_is_understood() {
    let template = Template::parse(EMBEDDED, &BTreeMap::new(), "http://queues").expect("the template");
    // Idle: what the samples bring about must not be handled beside them.
    let options = Options {
        idle: true,
        ..Options::default()
    };
    let stack = Stack::start(options).await.expect("the stack starts");
    let functions = stack.instance(None).expect("an instance");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut seen = 0;
    for file in fs::read_dir(folder).expect("the folder of samples") {
        let file = file.expect("a file");
        let name = file.file_name().to_string_lossy().into_owned();
        let event = fs::read_to_string(file.path()).expect("a sample");
        let told: Value = serde_json::from_str(&event).expect("JSON");
        let function = handed_to(&template, &told).unwrap_or_else(|| panic!("events/{name} is for no function"));
        for expected in expected(&name) {
            let answer = functions.invoke(function, event.clone()).await.expect("an answer");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            for (field, value) in expected.as_object().expect("an object") {
                assert_eq!(answer[field], *value, "{name}: {answer}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 27);
}
