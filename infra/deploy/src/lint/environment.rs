//! Every function has the variables that its code asks for, and no others.
//!
//! Which those are the code says itself: it is started without each of them in turn, and those
//! without which it does not start are needed. What it does without is named here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use metering_edge::{
    App,
    aws::{Clients, Endpoint, Endpoints},
    config::{Config, VARIABLES},
    webhook::{Reach, Webhooks},
};
use metering_store::Context;
use usage_local::{
    linked,
    template::{EMBEDDED, Template},
};

use super::{Findings, Subject};

/// The variables that make a function know whose tokens are good.
const JWT: [&str; 3] = ["JWT_ISSUER", "JWT_AUDIENCE", "JWKS_URL"];
/// What it logs, without which it is not refused.
const LOG_LEVEL: &str = "LOG_LEVEL";
/// What functions start without, and use if it is there, or have to ask for when they are called.
const OPTIONAL: [(&str, &str); 6] = [
    ("AnalyticsApi", "GEO_DATABASE"),
    ("AnomalyJob", "GEO_DATABASE"),
    ("AlertJob", "ADMINISTRATOR_EMAIL"),
    ("ReportJob", "PUBLIC_URL"),
    ("ReportJob", "API_URL"),
    ("ReportsApi", "REPORTS_BUCKET"),
];

/// Function to needed variables, of all functions that are deployed.
static NEEDED: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
    let template = Template::parse(EMBEDDED, &BTreeMap::new(), "http://queues");
    let functions = template.map(|template| template.functions).unwrap_or_default();
    let named = functions.into_iter().map(|function| {
        let needed = needed(&function.name);
        (function.name, needed)
    });
    named.collect()
});

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    for function in &subject.template.functions {
        let found = function.environment.keys().cloned().collect();
        match NEEDED.get(&function.name) {
            Some(needed) => findings.differences(&format!("{}: Environment", function.name), needed, &found),
            None => findings.add(&function.name, "its code is not linked into the local stack"),
        }
    }
    for function in NEEDED.keys() {
        let is_there = subject.template.functions.iter().any(|one| one.name == *function);
        findings.unless(is_there, function, "the function is missing");
    }
}

fn needed(function: &str) -> BTreeSet<String> {
    let is_api = !starts(function, &["JWT_ISSUER"]);
    let needed = VARIABLES.iter().filter(|variable| match **variable {
        LOG_LEVEL => true,
        variable if JWT.contains(&variable) => is_api,
        variable if OPTIONAL.contains(&(function, variable)) => true,
        variable => !starts(function, &[variable]),
    });
    needed.map(|variable| (*variable).to_owned()).collect()
}

/// Whether a function starts without some of its variables.
fn starts(function: &str, without: &[&str]) -> bool {
    let lookup = |name: &str| (!without.contains(&name)).then(|| format!("https://{name}.example"));
    let Ok(config) = Config::from_lookup(&lookup) else {
        return false;
    };
    let nowhere = || Endpoint {
        url: "http://127.0.0.1:9".to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: "nobody".to_owned(),
        secret_access_key: "nobody".to_owned(),
    };
    let endpoints = Endpoints {
        dynamodb: nowhere(),
        sqs: nowhere(),
        sesv2: nowhere(),
        sns: nowhere(),
        events: nowhere(),
        s3: nowhere(),
    };
    let Ok(webhooks) = Webhooks::new(Reach::Public, None) else {
        return false;
    };
    let app = App::new(config, Context::system(), Clients::of(&endpoints, None, webhooks));
    linked(function, app).is_some_and(|handler| handler.is_ok())
}
