//! Judges a counter against its thresholds and raises what was reached, each once per counter,
//! threshold and arming.
//!
//! It goes by the level, not by the edge, so that nothing is lost if a change was not seen: whoever
//! looks at the counter after it finds the threshold reached and not claimed. What is pending counts
//! only once its event is there. Judged twice, or by two at once: the alert's id is taken. Dies
//! half-way: the next look does the rest.
//!
//! A custom threshold does not fire for what had reached it when it was made. A counter that began
//! later had not; of one that ran already, the first change after that tells: see [`Change`].

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    alert::{self, AlertStatus, AlertType, Facts, Severity, ThresholdType},
    metric::Kind,
    period::Period,
    quota::Threshold,
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    alert::{Alert, alert_id},
    counter::Counter,
    error::failed,
    event::Stored,
    item::{Item, Reader, s},
    keys::{self, CounterKey},
    mutation::ONLY,
    notification::{CustomThreshold, Notification},
    resolve::STALE,
    subscription::Target,
};

/// After how long what could not be decided is looked at again: no attempt is open longer.
pub const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(90);
/// How many taken ids an instance remembers.
const TAKEN_MAX: usize = 20_000;

/// A change of a counter, as its table's stream tells it.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What it found.
    pub before: Standing,
    /// What it left.
    pub after: Standing,
}

/// What a threshold is compared with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// Usage.
    pub used: Decimal,
    /// The limit, if there is one.
    pub limit: Option<Decimal>,
}

/// Whether a judgement is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Everything reached is raised: so many alerts by this call.
    Done(u32),
    /// Whether something was reached depends on writers that are still at work: look again after
    /// [`LOOK_AGAIN`].
    Undecided,
}

/// Alerts that this instance knows to be raised, or never to be.
#[derive(Debug, Default)]
pub(crate) struct Taken(Mutex<HashSet<String>>);

impl Taken {
    pub fn has(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    pub fn add(&self, id: String) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= TAKEN_MAX {
            taken.clear();
        }
        taken.insert(id);
    }
}

/// A threshold of a counter.
#[derive(Debug, Clone)]
enum Watched<'a> {
    BuiltIn(Threshold),
    Custom(&'a CustomThreshold),
}

impl Watched<'_> {
    fn reached(&self, Standing { used, limit }: Standing) -> bool {
        match self {
            Self::BuiltIn(threshold) => limit.is_some_and(|limit| threshold.reached(used, limit)),
            Self::Custom(own) => own.threshold_type.reached(own.value, used, limit),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::BuiltIn(threshold) => threshold.name(),
            Self::Custom(own) => &own.id,
        }
    }
}

/// A threshold and the id that its alert has, or would have.
struct Claim<'a> {
    watched: Watched<'a>,
    id: String,
}

impl Counter {
    /// Usage as thresholds see it: of a lease what is held now.
    pub fn level(&self, now: DateTime<Utc>) -> Decimal {
        match self.kind {
            Kind::Sum | Kind::Gauge => self.used,
            Kind::Lease => self.held(now),
        }
    }

    /// What its thresholds are compared with.
    pub fn standing(&self, now: DateTime<Utc>) -> Standing {
        self.at_level(self.level(now))
    }

    fn at_level(&self, used: Decimal) -> Standing {
        let limit = self.terms.quota.quota_limit;
        Standing { used, limit }
    }
}

impl Store {
    /// Raises what a counter has reached. `changes` are what the stream told of it, in order; they
    /// decide what custom thresholds had been reached before they were made.
    pub async fn thresholds_judge(
        &self,
        key: &CounterKey,
        user_id: &str,
        changes: &[Change],
        now: DateTime<Utc>,
    ) -> Result<Judged, StoreError> {
        let (item, own, all) = self.watched(Some(key), user_id).await?;
        let Some(item) = item else { return Ok(Judged::Done(0)) };
        let counter = Counter::from_item(&item)?;
        let standing = counter.standing(now);
        let is_reached =
            |one: &Watched<'_>| one.reached(standing) || changes.iter().any(|change| one.reached(change.after));
        let reached: Vec<Watched<'_>> = watched(&counter, &own, &all).into_iter().filter(is_reached).collect();
        if reached.is_empty() {
            return Ok(Judged::Done(0));
        }
        let Some(target) = self.target_of(&counter, now).await? else {
            return Ok(Judged::Done(0));
        };
        let period = match counter.kind {
            Kind::Sum => counter.period,
            Kind::Gauge | Kind::Lease => target.period_at(now)?,
        };
        let claims = reached.into_iter().map(|watched| {
            let id = claim_id(&counter, &watched, &period);
            Claim { watched, id }
        });
        let open = self.unclaimed(claims.collect()).await?;
        let open = self.armed(open, user_id, &period, changes).await?;
        if open.is_empty() {
            return Ok(Judged::Done(0));
        }
        self.claims_raise(&counter, &open, period, target.timeline.zone(), now)
            .await
    }

    /// Raises what is surely reached of these.
    async fn claims_raise(
        &self,
        counter: &Counter,
        claims: &[Claim<'_>],
        period: Period,
        zone: Tz,
        now: DateTime<Utc>,
    ) -> Result<Judged, StoreError> {
        let (sure, undecided) = self.sure_level(counter, claims, now).await?;
        let standing = counter.standing(now);
        let (mut waiting, mut raised_now) = (false, 0);
        for claim in claims {
            if claim.watched.reached(sure) {
                // Each at its own moment, so that lists have them in order.
                let alert = raised(counter, claim, sure.used, period, zone, self.context.now());
                raised_now += u32::from(self.alert_raise(&alert).await?);
                self.taken.add(claim.id.clone());
            } else {
                waiting |= claim.watched.reached(standing);
            }
        }
        Ok(if undecided && waiting {
            Judged::Undecided
        } else {
            Judged::Done(raised_now)
        })
    }

    pub(crate) async fn target_of(
        &self,
        counter: &Counter,
        now: DateTime<Utc>,
    ) -> Result<Option<std::sync::Arc<Target>>, StoreError> {
        let subscription = Some(counter.subscription_id.as_str());
        self.subscription_resolve(&counter.user_id, subscription, false, now)
            .await
    }

    /// The claims whose ids are not taken.
    async fn unclaimed<'a>(&self, claims: Vec<Claim<'a>>) -> Result<Vec<Claim<'a>>, StoreError> {
        let unknown: Vec<Claim<'a>> = claims.into_iter().filter(|claim| !self.taken.has(&claim.id)).collect();
        let taken = self
            .present(unknown.iter().map(|claim| keys::locator(&claim.id)))
            .await?;
        let (known, open): (Vec<_>, Vec<_>) = unknown
            .into_iter()
            .partition(|claim| taken.contains(&keys::locator(&claim.id)));
        for claim in known {
            self.taken.add(claim.id);
        }
        Ok(open)
    }

    /// Which of these partitions have their one item.
    async fn present(&self, pks: impl Iterator<Item = String>) -> Result<HashSet<String>, StoreError> {
        let wanted: Vec<Item> = pks
            .map(|pk| Item::from([("pk".into(), s(pk)), ("sk".into(), s(ONLY))]))
            .collect();
        if wanted.is_empty() {
            return Ok(HashSet::new());
        }
        let found = self.batch_get(&self.tables.state, &wanted).await?;
        found.iter().map(|item| Reader::new(item, "claim").text("pk")).collect()
    }

    /// The claims that may be raised: of custom thresholds younger than their counter's period those
    /// that had not been reached when they were made.
    async fn armed<'a>(
        &self,
        claims: Vec<Claim<'a>>,
        user_id: &str,
        period: &Period,
        changes: &[Change],
    ) -> Result<Vec<Claim<'a>>, StoreError> {
        let mut open = Vec::new();
        for claim in claims {
            let Watched::Custom(own) = &claim.watched else {
                open.push(claim);
                continue;
            };
            if own.since <= period.start || !self.present([keys::armed(&claim.id)].into_iter()).await?.is_empty() {
                open.push(claim);
                continue;
            }
            // The first change since then that ends above it tells.
            let telling = changes
                .iter()
                .find(|change| change.at > own.since && claim.watched.reached(change.after));
            let Some(change) = telling else { continue };
            if claim.watched.reached(change.before) {
                self.mark(keys::locator(&claim.id), user_id).await?;
                self.taken.add(claim.id);
            } else {
                self.mark(keys::armed(&claim.id), user_id).await?;
                open.push(claim);
            }
        }
        Ok(open)
    }

    /// Puts an item that only says that it is there, and whose it is.
    async fn mark(&self, pk: String, user_id: &str) -> Result<(), StoreError> {
        self.dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .item("pk", s(pk))
            .item("sk", s(ONLY))
            .item("user_id", s(user_id))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await
            .map(drop)
            .or_else(|error| {
                let unmet = error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception());
                if unmet { Ok(()) } else { Err(failed("mark", error)) }
            })
    }

    /// What of the level is confirmed, and whether the rest is open: entries whose events are not
    /// there. They are looked at only where they could decide.
    async fn sure_level(
        &self,
        counter: &Counter,
        claims: &[Claim<'_>],
        now: DateTime<Utc>,
    ) -> Result<(Standing, bool), StoreError> {
        let level = counter.level(now);
        let pending: Decimal = counter.pending.values().map(|entry| entry.total()).sum();
        let least = counter.at_level(level - pending);
        if claims.iter().all(|claim| claim.watched.reached(least)) {
            return Ok((counter.at_level(level), false));
        }
        let (mut sure, mut undecided) = (level, false);
        for (attempt, entry) in &counter.pending {
            if now - entry.at > STALE {
                self.resolve(&counter.key, attempt, entry).await?;
            }
            let ids: Vec<u128> = entry.events.iter().map(|(event, _)| *event).collect();
            let stored = self.events_stored(&ids, now).await?;
            for (event, value) in &entry.events {
                match stored.get(event) {
                    Some(Stored::Event(event)) if event.is_of(attempt, &counter.key) => {}
                    Some(Stored::Event(_)) => sure -= value,
                    Some(Stored::Tombstone { .. }) | None => {
                        sure -= value;
                        undecided |= now - entry.at <= STALE;
                    }
                }
            }
        }
        Ok((counter.at_level(sure), undecided))
    }
}

/// What watches a counter, rates apart: they are judged on hours.
fn watched<'a>(counter: &Counter, own: &'a Notification, all: &'a Notification) -> Vec<Watched<'a>> {
    let limited = counter.terms.quota.quota_limit.is_some();
    let built_in = Threshold::all().into_iter().filter(|_| limited).map(Watched::BuiltIn);
    let (metric, subscription) = (&counter.key.metric_type, &counter.subscription_id);
    let custom = own.thresholds.values().chain(all.thresholds.values());
    let custom = custom.filter(|one| one.threshold_type != ThresholdType::Rate && one.watches(metric, subscription));
    built_in.chain(custom.map(Watched::Custom)).collect()
}

/// The id of the alert of a threshold at a counter as it is armed now.
fn claim_id(counter: &Counter, watched: &Watched<'_>, period: &Period) -> String {
    let arms = counter.arms.get(watched.name()).copied().unwrap_or(0);
    let revision = match watched {
        Watched::BuiltIn(_) => 0,
        Watched::Custom(own) => own.revision,
    };
    alert_id(&[
        &counter.key.pk(),
        &counter.key.sk(),
        &keys::instant(period.start),
        watched.name(),
        &revision.to_string(),
        &counter.arm.to_string(),
        &arms.to_string(),
    ])
}

/// The alert of a claim.
fn raised(counter: &Counter, claim: &Claim<'_>, used: Decimal, period: Period, zone: Tz, now: DateTime<Utc>) -> Alert {
    let (alert_type, severity, value, custom) = match &claim.watched {
        Watched::BuiltIn(threshold) => {
            let (alert_type, severity, value) = alert::built_in(*threshold);
            (alert_type, severity, value, None)
        }
        Watched::Custom(own) => (AlertType::CustomThreshold, own.severity, own.value, Some(*own)),
    };
    let action = match &claim.watched {
        Watched::BuiltIn(threshold) => alert::action_taken(*threshold, counter.kind, &counter.terms),
        Watched::Custom(_) => None,
    };
    let facts = Facts {
        alert_type,
        metric_type: &counter.key.metric_type,
        unit: &counter.unit,
        kind: counter.kind,
        used,
        custom: custom.map(|own| (own.threshold_type, own.value)),
        terms: &counter.terms,
        period,
        zone,
    };
    let subject = Subject {
        id: &claim.id,
        user_id: &counter.user_id,
        subscription_id: &counter.subscription_id,
    };
    alert_of(&subject, &facts, severity, value, custom, action, now)
}

/// The alert's id, and whose it is.
pub(crate) struct Subject<'a> {
    pub id: &'a str,
    pub user_id: &'a str,
    pub subscription_id: &'a str,
}

/// A new alert about these facts.
pub(crate) fn alert_of(
    subject: &Subject<'_>,
    facts: &Facts<'_>,
    severity: Severity,
    value: Decimal,
    custom: Option<&CustomThreshold>,
    action: Option<&str>,
    now: DateTime<Utc>,
) -> Alert {
    Alert {
        id: subject.id.to_owned(),
        user_id: subject.user_id.to_owned(),
        subscription_id: subject.subscription_id.to_owned(),
        metric_type: facts.metric_type.to_owned(),
        alert_type: facts.alert_type,
        severity,
        status: AlertStatus::Pending,
        threshold_id: custom.map(|own| own.id.clone()),
        threshold_value: Some(value),
        quota_percentage: facts.percentage(),
        quota_limit: facts.terms.quota.quota_limit,
        current_usage: facts.used,
        action_taken: action.map(str::to_owned),
        title: facts.title(),
        message: facts.message(),
        period_start: facts.period.start,
        period_end: facts.period.end,
        anomaly_id: None,
        created_at: now,
        sent_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        resolved_at: None,
        deliveries: Vec::new(),
        channels: custom.map(|own| own.channels.clone()),
        published_at: None,
        cooldown_minutes: custom.map_or(0, |own| own.cooldown_minutes),
    }
}
