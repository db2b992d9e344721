//! What is tried again ends somewhere, and tries leave each other alone.

use std::{collections::BTreeSet, time::Duration};

use lifecycle_job::TOLD;
use serde_json::{Value as Json, json};

use super::{Findings, Subject, source::entries};

/// How long dead letters are kept: the longest that SQS knows.
const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(14 * 86_400);
/// How much longer a message is hidden than its function may take, as Lambda advises.
const VISIBILITY_FACTOR: u32 = 6;

pub fn check(subject: &Subject<'_>, findings: &mut Findings) {
    handled(subject, findings);
    streams(subject, findings);
    told(subject, findings);
    for function in subject.source.of_type("AWS::Serverless::Function") {
        let says = |property: &str| !function.at(&format!("EventInvokeConfig/{property}")).is_null();
        let ends = says("MaximumRetryAttempts") && says("MaximumEventAgeInSeconds");
        let keeps = !function.at("DeadLetterQueue").is_null();
        findings.unless(!keeps || ends, function.name, "when is an event put aside?");
    }
    let dead = dead_letters(subject);
    for queue in &subject.template.queues {
        let is_handled = subject
            .template
            .triggers
            .queues
            .iter()
            .any(|one| one.queue == queue.name);
        let is_dead = dead.contains(&queue.name);
        findings.unless(is_handled || is_dead, &queue.name, "nothing takes its messages");
        if is_dead {
            findings.unless(
                queue.retention == DEAD_LETTERS_KEPT,
                &queue.name,
                "it must keep 14 days",
            );
        }
    }
    for queue in subject.source.of_type("AWS::SQS::Queue") {
        let is_encrypted = queue.is_on("SqsManagedSseEnabled");
        findings.unless(is_encrypted, queue.name, "it must be encrypted");
        findings.unless(queue.is_retained(), queue.name, "its messages must outlive the stack");
    }
}

/// The queues that something is put into which could not be handled.
pub fn dead_letters(subject: &Subject<'_>) -> BTreeSet<String> {
    let template = &subject.template;
    let redriven = template
        .queues
        .iter()
        .filter_map(|queue| Some(queue.redrive.as_ref()?.queue.clone()));
    let records = template
        .triggers
        .streams
        .iter()
        .filter_map(|stream| stream.on_failure.clone());
    let events = template
        .functions
        .iter()
        .filter_map(|function| function.failure.queue.clone());
    redriven.chain(records).chain(events).collect()
}

fn handled(subject: &Subject<'_>, findings: &mut Findings) {
    for mapping in &subject.template.triggers.queues {
        let place = format!("{}: {}", mapping.function, mapping.queue);
        findings.unless(
            mapping.reports_failures,
            &place,
            "one bad message fails its whole batch",
        );
        findings.unless(
            mapping.concurrency.is_some(),
            &place,
            "a full queue takes all instances",
        );
        let queue = subject.template.queues.iter().find(|one| one.name == mapping.queue);
        let function = subject
            .template
            .functions
            .iter()
            .find(|one| one.name == mapping.function);
        let (Some(queue), Some(function)) = (queue, function) else {
            findings.add(place, "queue or function is missing");
            continue;
        };
        let advised = function.timeout * VISIBILITY_FACTOR;
        findings.unless(
            queue.visibility >= advised,
            &place,
            "its VisibilityTimeout is below six timeouts",
        );
        findings.unless(queue.redrive.is_some(), &place, "it has no dead-letter queue");
        let outlives = queue.retention < DEAD_LETTERS_KEPT;
        findings.unless(outlives, &place, "dead letters must be kept longer than messages");
    }
}

fn streams(subject: &Subject<'_>, findings: &mut Findings) {
    for stream in &subject.template.triggers.streams {
        let place = format!("{}: {}", stream.function, stream.table);
        findings.unless(stream.reports_failures, &place, "one bad record fails its whole batch");
        findings.unless(
            stream.bisects,
            &place,
            "a batch that kills the function is never made smaller",
        );
        findings.unless(stream.retries_max.is_some(), &place, "it is tried again for ever");
        findings.unless(
            stream.age_max.is_some(),
            &place,
            "old records are tried until they are gone",
        );
        findings.unless(stream.on_failure.is_some(), &place, "what fails is lost");
        findings.unless(
            !stream.from_the_end,
            &place,
            "what was written before the mapping is lost",
        );
        findings.unless(
            !stream.filters.is_empty(),
            &place,
            "the function is called for every change",
        );
        for (table, record) in acted_upon() {
            let is_let_through = stream.filters.iter().any(|filter| filter.fits(&record));
            let is_ours = table == stream.table;
            findings.unless(
                !is_ours || is_let_through,
                &place,
                &format!("a filter holds back {record}"),
            );
        }
    }
    for function in subject.source.of_type("AWS::Serverless::Function") {
        for (name, event) in entries(function.at("Events")).filter(|(_, event)| event["Type"] == "DynamoDB") {
            let kind = &event["Properties"]["DestinationConfig"]["OnFailure"]["Type"];
            findings.unless(
                kind == "SQS",
                function.name,
                &format!("{name}: SAM does not let it put aside"),
            );
        }
    }
    for table in &subject.template.tables {
        let mut readers = subject.template.triggers.streams.iter();
        let is_read = readers.any(|stream| stream.table == table.name);
        findings.unless(is_read, &table.name, "nothing is told of its changes");
    }
}

/// Changes that RelayJob acts upon, as its streams tell of them.
fn acted_upon() -> Vec<(&'static str, Json)> {
    let state = |what: &str, key: &str, prefix: &str| {
        let keys = json!({key: {"S": format!("{prefix}1")}});
        ("State", json!({"eventName": what, "dynamodb": {"Keys": keys}}))
    };
    let events = |what: &str| ("Events", json!({"eventName": what, "dynamodb": {}}));
    vec![
        events("INSERT"),
        // Voided.
        events("MODIFY"),
        // A counter, an alert, a statement.
        state("INSERT", "sk", "CTR#"),
        state("MODIFY", "sk", "CTR#"),
        state("INSERT", "pk", "ALR#"),
        state("INSERT", "pk", "STM#"),
        // An anomaly, and one that grew.
        state("INSERT", "pk", "ANO#"),
        state("MODIFY", "pk", "ANO#"),
    ]
}

/// What the bus and logs tell is told once: it must not be lost.
fn told(subject: &Subject<'_>, findings: &mut Findings) {
    for name in &subject.template.triggers.logs {
        let function = subject.template.functions.iter().find(|one| one.name == *name);
        let is_kept = function.is_some_and(|function| function.failure.queue.is_some());
        findings.unless(is_kept, name, "what logs tell and it cannot take is lost");
    }
    for rule in &subject.template.triggers.rules {
        let function = subject.template.functions.iter().find(|one| one.name == rule.function);
        let is_kept = function.is_some_and(|function| function.failure.queue.is_some());
        findings.unless(is_kept, &rule.function, "what the bus tells and it cannot take is lost");
        for kind in TOLD {
            let event = json!({"source": "licences", "detail-type": kind, "detail": {}});
            let is_told = rule.pattern.fits(&event);
            findings.unless(is_told, &rule.function, &format!("it is not told of {kind}"));
        }
        let other = json!({"source": "licences", "detail-type": "other", "detail": {}});
        findings.unless(!rule.pattern.fits(&other), &rule.function, "it is told of everything");
        let on_own_bus = subject.template.buses.contains(&rule.bus);
        findings.unless(
            on_own_bus,
            &rule.function,
            "it listens to a bus that is not this template's",
        );
    }
}
