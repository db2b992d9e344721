//! Every key of both tables, built and parsed in one place.
//!
//! `#` separates parts: no id, metric type or instant contains it. An endpoint's one query is
//! named by the function that builds its key.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use metering_domain::ids::NONE;
use sha2::{Digest as _, Sha256};

/// The sort key of an owner's own item.
pub const OWNER: &str = "SUB";
/// The first sort key after every counter of an owner: its own item.
pub const COUNTERS_END: &str = OWNER;
const COUNTER: &str = "CTR#";
const STANDING: &str = "standing";
const RESERVATION: &str = "RSV#";

/// Who counters belong to: a subscription, or a user's implicit one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A subscription, by its id.
    Subscription(String),
    /// The implicit subscription `none` of a user. Its item lists the user's subscriptions, too.
    None(String),
}

impl Owner {
    /// The owner of a user's subscription; `none` is per user.
    pub fn of(user_id: &str, subscription_id: &str) -> Self {
        if subscription_id == NONE {
            Self::None(user_id.to_owned())
        } else {
            Self::Subscription(subscription_id.to_owned())
        }
    }

    /// The subscription, or `none`.
    pub fn subscription_id(&self) -> &str {
        match self {
            Self::Subscription(id) => id,
            Self::None(_) => NONE,
        }
    }

    /// The partition that holds the owner and its counters.
    pub fn pk(&self) -> String {
        match self {
            Self::Subscription(id) => format!("SUB#{id}"),
            Self::None(user) => format!("NONE#{user}"),
        }
    }

    /// The owner in a partition key.
    pub fn parse(pk: &str) -> Option<Self> {
        match pk.split_once('#')? {
            ("SUB", id) => Some(Self::Subscription(id.to_owned())),
            ("NONE", user) => Some(Self::None(user.to_owned())),
            _ => None,
        }
    }

    /// The partition of the owner's ledger.
    pub fn ledger_pk(&self) -> String {
        format!("LED#{}", self.pk())
    }

    /// The partition of the index `by_time` that holds the owner's events of one metric.
    pub fn events_ix_pk(&self, metric: &str) -> String {
        match self {
            Self::Subscription(id) => format!("{id}#{metric}"),
            Self::None(user) => format!("{NONE}#{user}#{metric}"),
        }
    }
}

/// The key of a counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// Whose usage it counts.
    pub owner: Owner,
    /// The start of the period it counts; none for gauges and leases, whose counter stands.
    pub period_start: Option<DateTime<Utc>>,
    /// What it counts.
    pub metric_type: String,
}

impl CounterKey {
    /// The partition key.
    pub fn pk(&self) -> String {
        self.owner.pk()
    }

    /// The sort key; events name their counter by it.
    pub fn sk(&self) -> String {
        match self.period_start {
            Some(start) => format!("{COUNTER}{}#{}", instant(start), self.metric_type),
            None => format!("{COUNTER}{STANDING}#{}", self.metric_type),
        }
    }

    /// The key with this sort key under `owner`.
    pub fn parse(owner: Owner, sk: &str) -> Option<Self> {
        let (period, metric) = sk.strip_prefix(COUNTER)?.split_once('#')?;
        let period_start = match period {
            STANDING => None,
            start => Some(parse_instant(start)?),
        };
        Some(Self {
            owner,
            period_start,
            metric_type: metric.to_owned(),
        })
    }
}

/// The sort key from which an owner's counters of the period that starts at `start`, of later
/// ones and the standing ones follow, up to [`COUNTERS_END`].
pub fn counters_from(start: DateTime<Utc>) -> String {
    format!("{COUNTER}{}", instant(start))
}

/// Between which sort keys all counters of an owner lie.
pub(crate) fn counters_all() -> (&'static str, &'static str) {
    // '~' sorts after every instant and every metric type.
    (COUNTER, "CTR#~")
}

/// What the sort keys of an owner's counters of the period that starts at `start` begin with.
pub fn counters_of(start: DateTime<Utc>) -> String {
    format!("{}#", counters_from(start))
}

/// What the sort keys of an owner's gauges and leases begin with.
pub fn standing_counters() -> String {
    format!("{COUNTER}{STANDING}#")
}

/// The key of an event, or of the tombstone in its place.
pub fn event(id: &str) -> String {
    format!("EVT#{id}")
}

/// The sort key of an event in the index `by_time`.
pub fn event_ix_sk(timestamp: DateTime<Utc>, id: &str) -> String {
    format!("{}#{id}", timestamp.format("%Y-%m-%dT%H:%M:%S%.9fZ"))
}

/// The sort keys in `by_time` below which (exclusive) or from which (inclusive) an instant lies.
pub fn event_ix_bound(at: DateTime<Utc>) -> String {
    event_ix_sk(at, "")
}

/// The event's id in a sort key of `by_time`.
pub fn event_id_of_ix_sk(sk: &str) -> Option<&str> {
    sk.split_once('#').map(|(_, id)| id)
}

/// The instant in a sort key of `by_time`.
pub fn event_ix_instant(sk: &str) -> Option<DateTime<Utc>> {
    parse_instant(sk.split_once('#')?.0)
}

/// The sort key of a record in a list by time (ledger, audit log, kinds).
pub fn by_instant(at: DateTime<Utc>, id: &str) -> String {
    format!("{}#{id}", instant(at))
}

/// The partition of the audit entries of one UTC day.
pub fn audit_pk(at: DateTime<Utc>) -> String {
    format!("AUD#{}", at.format("%Y-%m-%d"))
}

/// The key of a reservation's record.
pub fn reservation(id: &str) -> String {
    format!("{RESERVATION}{id}")
}

/// The reservation whose record has this key.
pub fn reservation_of(pk: &str) -> Option<&str> {
    pk.strip_prefix(RESERVATION)
}

/// The kind under which a user's reservations are listed.
pub fn reservations(user_id: &str) -> String {
    format!("reservation#{user_id}")
}

/// The key of an API key's record; the id derives from the key's hash.
pub fn api_key(id: &str) -> String {
    format!("KEY#{id}")
}

/// The key of the record of a mutation sent with an idempotency key, by its hash.
pub fn mutation(hash: &str) -> String {
    format!("IDM#{hash}")
}

/// The item that holds the metrics that administrators defined.
pub const METRICS: &str = "CFG#metrics";

/// The item that says how far the nightly reconciliation is.
pub const RECONCILIATION: &str = "CFG#reconcile";

/// The item that says how far the daily refresh of forecasts is.
pub const ANALYTICS_REFRESH: &str = "CFG#analytics_refresh";

/// The partition of the newest version of each plan, by its id.
pub const PLANS: &str = "PLANS";

/// The partition of all versions of a plan, by the instants since when they are in force.
pub fn plan_versions(id: &str) -> String {
    format!("PLAN#{id}")
}

/// The item that holds what one deployment has for itself.
pub const DEPLOYMENT: &str = "CFG#deployment";

/// The item that says where an object is that is known by its id alone.
pub fn locator(id: &str) -> String {
    format!("LOC#{id}")
}

/// The item that says that a threshold was not reached when it was made: see [`crate::judge`].
pub fn armed(alert_id: &str) -> String {
    format!("ARM#{alert_id}")
}

/// The item that holds what a user wants to be told, and where.
pub fn notification(user_id: &str) -> String {
    format!("NTF#{user_id}")
}

/// The item that holds the thresholds of all users.
pub const THRESHOLDS: &str = "CFG#thresholds";

const ALERTS: &str = "ALR#";

/// The partition of a user's alerts, by their creation.
pub fn alerts(user_id: &str) -> String {
    format!("{ALERTS}{user_id}")
}

/// The user whose alerts a partition holds.
pub fn alerts_of(pk: &str) -> Option<&str> {
    pk.strip_prefix(ALERTS)
}

const FORECASTS: &str = "FCT#";

/// The partition of a user's reports, by their making.
pub fn reports(user_id: &str) -> String {
    format!("RPT#{user_id}")
}

/// The partition of a user's schedules of reports, by their creation.
pub fn report_schedules(user_id: &str) -> String {
    format!("SCH#{user_id}")
}

/// The kind of schedules of reports, by their next occurrence.
pub const REPORTS_DUE: &str = "report_schedule";

/// The partition of a user's forecasts, by their creation.
pub fn forecasts(user_id: &str) -> String {
    format!("{FORECASTS}{user_id}")
}

const STATEMENTS: &str = "STM#";

/// The partition of a user's statements, by the starts of their periods.
pub fn statements(user_id: &str) -> String {
    format!("{STATEMENTS}{user_id}")
}

/// The user whose statements a partition holds.
pub fn statements_of(pk: &str) -> Option<&str> {
    pk.strip_prefix(STATEMENTS)
}

const ANOMALIES: &str = "ANO#";

/// The partition of a user's anomalies, by the starts of their windows.
pub fn anomalies(user_id: &str) -> String {
    format!("{ANOMALIES}{user_id}")
}

/// The user whose anomalies a partition holds.
pub fn anomalies_of(pk: &str) -> Option<&str> {
    pk.strip_prefix(ANOMALIES)
}

/// The kind under which anomalies are listed over all users.
pub const ANOMALY_KIND: &str = "anomaly";

/// The attribute of what stays of an erased user under a pseudonym: since when.
pub const ANONYMISED: &str = "anonymised_at";

/// The kind under which statements are listed over all users.
pub const STATEMENT_KIND: &str = "statement";

/// What is due of subscriptions: periods to be closed, in shards by a hash of the id.
pub fn periods_to_close(shard: u8) -> String {
    format!("close#{shard}")
}

/// The kind under which users are listed: by their own items.
pub const USER_KIND: &str = "user";

/// The kind under which alerts are listed over all users.
pub const ALERT_KIND: &str = "alert";

/// What is due of an owner: alerts that somebody has to look at.
pub fn open_alerts(owner: &Owner) -> String {
    format!("alert#{}", owner.pk())
}

/// When an alert of this threshold was last delivered.
pub fn cooldown(owner: &Owner, threshold_id: &str, metric: &str) -> String {
    format!("CDN#{threshold_id}#{metric}#{}", owner.pk())
}

/// What was sent to a user on one UTC day.
pub fn sent(user_id: &str, day: DateTime<Utc>, channel: &str) -> (String, String) {
    (
        format!("SNT#{user_id}"),
        format!("{}#{channel}", day.format("%Y-%m-%d")),
    )
}

/// The kind of what waits for its daily digest.
pub const DIGESTS: &str = "digest";

/// The partition of an owner's hours of one metric, by their start.
pub fn hours(owner: &Owner, metric: &str) -> String {
    format!("HRS#{}", owner.events_ix_pk(metric))
}

/// The partition of an owner's UTC days of one metric, by their start.
pub fn days(owner: &Owner, metric: &str) -> String {
    format!("DAY#{}", owner.events_ix_pk(metric))
}

/// The tombstone of an erased user, by the digits of a keyed hash of the id.
pub fn erasure(digits: &str) -> String {
    format!("{ERASURE}{digits}")
}

const ERASURE: &str = "ERA#";

/// The kind of what waits for the erasing of a user.
pub const ERASURES: &str = "erasure";

/// What a partition is made of, as far as erasing a user goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Audit entries: they stay, without saying of whom.
    Audit,
    /// Statements: they stay, without saying of whom.
    Statement,
    /// The answer to a request, which may name anybody.
    Answer,
    /// The tombstone of an erased user.
    Tombstone,
    /// Anything else: it goes with whoever it belongs to.
    Nothing,
}

/// What becomes of the items of a partition whose user is erased.
pub fn remains(pk: &str) -> Remains {
    match pk.split_once('#').map_or(pk, |(kind, _)| kind) {
        "AUD" => Remains::Audit,
        "STM" => Remains::Statement,
        "IDM" => Remains::Answer,
        "ERA" => Remains::Tombstone,
        _ => Remains::Nothing,
    }
}

/// Whom a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A user.
    User(&'a str),
    /// A subscription.
    Subscription(&'a str),
}

/// Whose a partition is, as far as its key says; of others an attribute does.
pub fn subject_of(pk: &str) -> Option<Subject<'_>> {
    let (kind, rest) = pk.split_once('#')?;
    match kind {
        "SUB" => Some(Subject::Subscription(rest)),
        "NONE" | "NTF" | "ALR" | "FCT" | "SNT" | "STM" | "ANO" | "RPT" | "SCH" => Some(Subject::User(rest)),
        "LED" => subject_of(rest),
        "HRS" | "DAY" => subject_of_series(rest),
        "CDN" => subject_of(rest.splitn(3, '#').nth(2)?),
        _ => None,
    }
}

/// Whose a partition of the index `by_time` is.
pub fn subject_of_series(ix_pk: &str) -> Option<Subject<'_>> {
    match ix_pk.split_once('#')? {
        (NONE, rest) => Some(Subject::User(rest.split_once('#')?.0)),
        (subscription, _) => Some(Subject::Subscription(subscription)),
    }
}

/// An instant as stored: UTC, milliseconds, fixed width, so that it sorts.
pub fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The instant in a stored text.
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

/// An id that what it names gives it, and nothing else: `prefix`, `_` and 32 hexadecimal digits of
/// SHA-256 over the parts, each with its length.
pub(crate) fn derived_id(prefix: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("{prefix}_{}", hex(&hash.finalize()[..16]))
}

/// Whether DynamoDB takes such a key: 1 to 2,048 bytes, and 1 to 1,024 for the sort key (Amazon
/// DynamoDB Developer Guide, "Quotas", partition keys and sort keys).
pub(crate) fn is_possible(pk: &str, sk: &str) -> bool {
    (1..=2_048).contains(&pk.len()) && (1..=1_024).contains(&sk.len())
}

/// Hexadecimal digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
