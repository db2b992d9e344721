//! What must hold when everything is quiet, computed plainly from what lies in the tables and from
//! what clients were told.

use std::collections::{BTreeMap, BTreeSet};

use metering_domain::{alert::AlertType, anomaly::ALERT_RISK_MIN};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::{
    engine::{number, text},
    ledger::{Ledger, Reported, Reserved, Told},
    wire::held,
    workload::{DOCUMENTS, STORAGE, STRICT},
    world::World,
};

/// The cap of what is only counted enforced.
pub const STRICT_CAP: u32 = 12;
/// Pages of each document.
const PAGES: u32 = 3;

/// What lies in the tables.
pub struct Tables {
    events: Vec<Value>,
    counters: Vec<Value>,
    alerts: Vec<Value>,
    anomalies: Vec<Value>,
    statements: Vec<Value>,
    records: Vec<Value>,
}

impl Tables {
    /// All of it.
    pub fn read(world: &World) -> Self {
        let state = world.wire.engine.items("State");
        let begins = |name: &'static str, prefix: &'static str| {
            let own = state.iter().filter(move |item| text(item, name).starts_with(prefix));
            own.cloned().collect::<Vec<Value>>()
        };
        let events = world.wire.engine.items("Events");
        Self {
            events: events
                .into_iter()
                .filter(|item| item.get("attempt").is_some())
                .collect(),
            counters: begins("sk", "CTR#"),
            alerts: begins("pk", "ALR#"),
            anomalies: begins("pk", "ANO#"),
            statements: begins("pk", "STM#"),
            records: begins("pk", "RSV#"),
        }
    }

    /// All that is wrong.
    pub fn faults(&self, ledger: &Ledger) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_books(&mut wrong);
        self.check_reported(&ledger.reported(), &mut wrong);
        self.check_reserved(ledger, &mut wrong);
        check_denials(ledger, &mut wrong);
        self.check_alerts(&mut wrong);
        self.check_anomalies(&mut wrong);
        self.check_statements(&mut wrong);
        wrong
    }

    /// A counter is what its events and open entries say, and what is left is what the cap leaves.
    fn check_books(&self, wrong: &mut Vec<String>) {
        for counter in &self.counters {
            let used = number(counter, "used");
            let charged: Decimal = self.charged(counter).map(value).sum();
            let open = self.unconfirmed(counter);
            let key = format!("{} {}", text(counter, "pk"), text(counter, "sk"));
            if used != charged + open {
                wrong.push(format!(
                    "{key}: {used} is used, its events say {charged}, {open} is open"
                ));
            }
            let left = number(counter, "cap") - used - held(counter);
            if number(counter, "remaining") != left {
                wrong.push(format!(
                    "{key}: {} remains instead of {left}",
                    number(counter, "remaining")
                ));
            }
        }
    }

    /// What entries count whose events do not name them: left by the dead on counters that nobody
    /// looked at since.
    fn unconfirmed(&self, counter: &Value) -> Decimal {
        let entries = counter["pending"]["M"].as_object();
        let open = entries.into_iter().flatten().map(|(attempt, entry)| {
            let entry = &entry["M"];
            let kept: Decimal = self
                .events
                .iter()
                .filter(|event| is_of(event, counter) && text(event, "attempt") == attempt)
                .map(value)
                .sum();
            let count = entry["e"]["B"].as_str().map_or(0, |ids| ids.len() / 4 * 3 / 16);
            let total = match entry["vs"]["L"].as_array() {
                Some(values) => values
                    .iter()
                    .filter_map(|one| one["N"].as_str()?.parse::<Decimal>().ok())
                    .sum(),
                None => number(entry, "v") * Decimal::from(count),
            };
            total - kept
        });
        open.sum()
    }

    fn charged<'a>(&'a self, counter: &'a Value) -> impl Iterator<Item = &'a Value> {
        let arm = number(counter, "arm");
        let own = self
            .events
            .iter()
            .filter(move |event| is_of(event, counter) && number(event, "arm") == arm);
        own.filter(|event| !has_flag(event, "voided"))
    }

    /// What a client was told is so, and there is nothing that nobody asked for.
    fn check_reported(&self, reported: &[Reported], wrong: &mut Vec<String>) {
        let mut found: BTreeMap<usize, Vec<&Value>> = BTreeMap::new();
        for event in &self.events {
            let resource = text(event, "resource_id");
            let number = resource.strip_prefix("op-").and_then(|number| number.parse().ok());
            match number {
                Some(number) if text(event, "metric_type") != "document_pages" => {
                    found.entry(number).or_default().push(event);
                }
                Some(_) => {}
                None if resource.starts_with("rsv-") => {}
                None => wrong.push(format!("nobody reported {event}")),
            }
        }
        for (number, one) in reported.iter().enumerate() {
            let events = found.get(&number).map_or(&[][..], Vec::as_slice);
            wrong.extend(
                self.unexplained(one, events)
                    .map(|why| format!("op-{number}: {why}: {one:?}")),
            );
        }
    }

    fn unexplained(&self, one: &Reported, events: &[&Value]) -> Option<String> {
        let most = if one.named { 1 } else { 1 + one.unanswered };
        if events.len() > most {
            return Some(format!("{} events", events.len()));
        }
        if one.told == Told::Recorded && events.is_empty() {
            return Some("it was acknowledged and is not there".to_owned());
        }
        let is_sure = one.unanswered == 0;
        if matches!(one.told, Told::Denied | Told::Refused) && is_sure && !events.is_empty() {
            return Some("it was refused and is there".to_owned());
        }
        let event = events.first()?;
        if number(event, "v") != one.value {
            return Some("its value is another".to_owned());
        }
        let id = text(event, "pk").trim_start_matches("EVT#");
        if one.usage_id.as_deref().is_some_and(|told| told != id) {
            return Some(format!("it is {id}"));
        }
        match (one.voided, has_flag(event, "voided")) {
            ((_, true), false) => return Some("it was taken back and counts".to_owned()),
            ((false, _), true) => return Some("nobody took it back".to_owned()),
            _ => {}
        }
        self.without_pages(one, event)
    }

    /// A document has its pages, and loses them with it.
    fn without_pages(&self, one: &Reported, document: &Value) -> Option<String> {
        if one.metric != DOCUMENTS {
            return None;
        }
        let resource = text(document, "resource_id");
        let own =
            |event: &&Value| text(event, "metric_type") == "document_pages" && text(event, "resource_id") == resource;
        let pages: Vec<&Value> = self.events.iter().filter(own).collect();
        // Where their period was closed before they were taken back, they stay.
        let may_stay = |page: &Value| {
            let mut counters = self.counters.iter().filter(|counter| is_of(page, counter));
            counters.any(|counter| counter.get("sealed").is_some()) && !has_flag(page, "voided")
        };
        let right = |page: &&Value| {
            let agrees = has_flag(page, "voided") == has_flag(document, "voided");
            number(page, "v") == PAGES.into() && (agrees || may_stay(page))
        };
        let documents = self
            .events
            .iter()
            .filter(|event| text(event, "metric_type") == DOCUMENTS && text(event, "resource_id") == resource);
        let expected = documents.count();
        (pages.len() != expected || (expected == 1 && !pages.iter().all(right)))
            .then(|| format!("its pages are {pages:?}"))
    }

    /// What was committed is used, once; what was not is not.
    fn check_reserved(&self, ledger: &Ledger, wrong: &mut Vec<String>) {
        for (number_of, one) in ledger.reserved().iter().enumerate() {
            let resource = format!("rsv-{number_of}");
            let events = self
                .events
                .iter()
                .filter(|event| text(event, "resource_id") == resource);
            let used: Vec<Decimal> = events.map(|event| number(event, "v")).collect();
            if let Some(why) = undecided(one, &used) {
                wrong.push(format!("{resource}: {why}: {one:?}, used {used:?}"));
            }
            let records = self.records.iter();
            let committed = records.filter(|record| text(record, "state") == "committed");
            if one.released && committed.clone().any(|record| text(record, "resource_id") == resource) {
                wrong.push(format!("{resource} was released and is committed: {one:?}"));
            }
        }
    }

    /// Each threshold that was reached was told once, and no other.
    fn check_alerts(&self, wrong: &mut Vec<String>) {
        let mut raised: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        let of_thresholds = |alert: &&Value| text(alert, "metric_type") == STRICT && !is_of_anomaly(alert);
        for alert in self.alerts.iter().filter(of_thresholds) {
            let [subscription, start, kind] = ["subscription_id", "period_start", "alert_type"];
            let key = |name: &str| text(alert, name).to_owned();
            *raised.entry((key(subscription), key(start), key(kind))).or_default() += 1;
        }
        for counter in self.counters.iter().filter(|one| text(one, "metric_type") == STRICT) {
            // What nobody confirmed reaches nothing.
            let used = number(counter, "used") - self.unconfirmed(counter);
            let percent = |percent: u32| used * Decimal::from(100) >= Decimal::from(percent * STRICT_CAP);
            let expected = [
                ("approaching_limit", percent(80)),
                ("soft_limit_reached", percent(90)),
                ("hard_limit_reached", percent(100)),
                ("overage_usage", used > STRICT_CAP.into()),
            ];
            for (kind, reached) in expected {
                let key = (
                    text(counter, "subscription_id").to_owned(),
                    text(counter, "period_start").to_owned(),
                    kind.to_owned(),
                );
                let times = raised.remove(&key).unwrap_or(0);
                if times != usize::from(reached) {
                    wrong.push(format!("{kind} was raised {times} times at {used}: {key:?}"));
                }
            }
        }
        wrong.extend(raised.into_keys().map(|key| format!("an alert of no counter: {key:?}")));
    }

    /// Each anomaly that administrators are told of was told once, and nothing else was.
    fn check_anomalies(&self, wrong: &mut Vec<String>) {
        let told = self.alerts.iter().filter(is_of_anomaly);
        let mut told: Vec<&str> = told.map(|alert| text(alert, "anomaly_id")).collect();
        let risk_min = Decimal::from(ALERT_RISK_MIN);
        let alarming = self.anomalies.iter().filter(|one| number(one, "risk") >= risk_min);
        let mut alarming: Vec<&str> = alarming.map(|one| text(one, "id")).collect();
        told.sort_unstable();
        alarming.sort_unstable();
        if told != alarming {
            wrong.push(format!("anomalies {alarming:?} alarm, and told is of {told:?}"));
        }
    }

    /// A sealed counter is in one statement, with what its events say.
    fn check_statements(&self, wrong: &mut Vec<String>) {
        for statement in &self.statements {
            let of = |counter: &&Value| {
                text(counter, "subscription_id") == text(statement, "subscription_id")
                    && text(counter, "period_start") == text(statement, "period_start")
                    && text(counter, "kind_of") == "sum"
            };
            let counters: Vec<&Value> = self.counters.iter().filter(of).collect();
            let lines = statement["lines"]["L"].as_array().cloned().unwrap_or_default();
            for counter in counters {
                let metric = text(counter, "metric_type");
                let line = lines.iter().find(|line| text(&line["M"], "metric_type") == metric);
                let billed = line.map(|line| number(&line["M"], "used"));
                if billed != Some(number(counter, "used")) || counter.get("sealed").is_none() {
                    wrong.push(format!("{billed:?} is billed of {counter}"));
                }
            }
        }
    }

    /// What aggregates must say of a user and a metric: the sum of what counts, or of a gauge the
    /// level at last.
    pub fn total(&self, user: &str, subscription: &str, metric: &str) -> Decimal {
        let own = self.events.iter().filter(|event| {
            text(event, "user_id") == user
                && text(event, "subscription_id") == subscription
                && text(event, "metric_type") == metric
                && !has_flag(event, "voided")
        });
        own.map(value).sum()
    }

    /// Counters that were above their caps by more than commits explain whose holds a seal had released:
    /// those count on the counter that runs then, whatever its cap is.
    pub fn above_without_reason(&self, above: &BTreeMap<(String, String), Decimal>) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((pk, sk), most) in above {
            let of = |counter: &&Value| text(counter, "pk") == *pk && text(counter, "sk") == *sk;
            let counter = self.counters.iter().find(of);
            // Late, or of a clock that was ahead when it was made; what was held on this counter is neither.
            let late = |event: &&Value| text(event, "source") == "reservation" && has_flag(event, "late");
            let events = counter.into_iter().flat_map(|counter| self.charged(counter));
            let allowed: Decimal = events.filter(late).map(value).sum();
            if *most > allowed {
                wrong.push(format!(
                    "{pk} {sk} was {most} above its cap, of which {allowed} came late"
                ));
            }
        }
        wrong
    }

    /// The statements, by their ids.
    pub fn statement_ids(&self) -> BTreeSet<String> {
        self.statements.iter().map(|one| text(one, "id").to_owned()).collect()
    }

    /// How many of the events that were there before are still there. A commit that was decided is
    /// never given up for its age: its event may be written later.
    pub fn events_left(&self, before: &Self) -> usize {
        let key = |event: &Value| text(event, "pk").to_owned();
        let known: BTreeSet<String> = before.events.iter().map(key).collect();
        self.events.iter().filter(|event| known.contains(&key(event))).count()
    }

    /// Statements that were there before and are not as they were.
    pub fn statements_changed(&self, before: &Self) -> Vec<String> {
        let billed = |one: &Value| (text(one, "id").to_owned(), one["lines"].clone());
        let now: BTreeMap<String, Value> = self.statements.iter().map(billed).collect();
        let changed = before.statements.iter().map(billed);
        let changed = changed.filter(|(id, lines)| now.get(id) != Some(lines));
        changed
            .map(|(id, lines)| format!("the statement {id} was {lines}, now {:?}", now.get(&id)))
            .collect()
    }
}

/// What is wrong with what became of a reservation.
fn undecided(one: &Reserved, used: &[Decimal]) -> Option<&'static str> {
    let is_told_twice = one.committed.windows(2).any(|pair| pair[0] != pair[1]);
    match used {
        _ if is_told_twice => Some("two quantities were acknowledged"),
        _ if one.released && !one.committed.is_empty() => Some("it was released and committed"),
        [_, _, ..] => Some("two events"),
        [] if !one.committed.is_empty() => Some("its commit was acknowledged and is not there"),
        [_] if one.released => Some("it was released and is used"),
        [own] if !one.asked.contains(own) => Some("nobody committed that"),
        [own] if one.committed.first().is_some_and(|told| told != own) => Some("another quantity is used"),
        _ => None,
    }
}

/// A denial needs a reason: what was or may have been used or held in that moment.
fn check_denials(ledger: &Ledger, wrong: &mut Vec<String>) {
    let (reported, reserved) = (ledger.reported(), ledger.reserved());
    for denial in ledger.denials().iter().filter(|denial| denial.metric == STRICT) {
        let (start, end) = denial.span_ms;
        let used = reported.iter().filter(|one| {
            one.user == denial.user && one.metric == denial.metric && one.from_ms <= end && one.told != Told::Refused
        });
        let used: Decimal = used.map(|one| one.value).sum();
        let holding = reserved.iter().filter(|one| {
            let is_over = one.to_ms < start && one.committed.is_empty();
            one.user == denial.user && one.metric == denial.metric && one.from_ms <= end && !is_over
        });
        let holding: Decimal = holding.map(|one| one.quantity).sum();
        // The denied attempt is among them.
        if used + holding <= STRICT_CAP.into() {
            wrong.push(format!("there was room: at most {} for {denial:?}", used + holding));
        }
    }
}

/// Whether an alert tells of an anomaly, not of a threshold.
fn is_of_anomaly(alert: &&Value) -> bool {
    text(alert, "alert_type") == AlertType::UnusualPattern.as_str()
}

fn is_of(event: &Value, counter: &Value) -> bool {
    let owner = match text(event, "subscription_id") {
        "none" => format!("NONE#{}", text(event, "user_id")),
        id => format!("SUB#{id}"),
    };
    owner == text(counter, "pk") && event.get("counter").is_some() && text(event, "counter") == text(counter, "sk")
}

fn has_flag(event: &Value, flag: &str) -> bool {
    let flags = event["flags"]["SS"].as_array();
    flags.is_some_and(|flags| flags.iter().any(|one| one == flag))
}

fn value(event: &Value) -> Decimal {
    let is_gauge = text(event, "metric_type") == STORAGE;
    number(event, if is_gauge { "applied" } else { "v" })
}
