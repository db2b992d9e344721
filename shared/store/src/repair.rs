//! Repairs of what reconciliation found: the counter or aggregate, the ledger entry and the audit
//! entry in one transaction, if the item is still as it was found.
//!
//! Ids derive from the item and the number of its repair, which the transaction counts up. Sent twice,
//! or by two at once: one of them writes, the other finds its entry. Dies half-way: nothing happened.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update, builders::UpdateBuilder};
use chrono::{DateTime, Utc};
use metering_domain::number::plain;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Store, StoreError,
    adjustment::{Adjustment, AdjustmentKind},
    aggregate_drift::AggregateDrift,
    audit::AuditEntry,
    counter::Hold,
    hold::NOTE_LIFE,
    hold_check::Fix,
    item::{Reader, at, int, n, s},
    keys::{self, Owner, hex},
    mutation::{Committed, ONLY, update},
    reconcile::CounterDrift,
    reservation::State,
};

/// How many of the newest repairs are searched for one that another made at the same time.
const SEARCHED_MAX: usize = 50;

/// What is written beside a repair.
struct Note {
    name: String,
    owner: Owner,
    metric_type: String,
    period_start: DateTime<Utc>,
    amount: Decimal,
    reason: String,
    before: Value,
    after: Value,
}

fn name(pk: &str, sk: &str, repaired: u64) -> String {
    hex(&Sha256::digest(format!("{pk}\n{sk}\n{repaired}"))[..16])
}

/// The condition that an item was repaired as often as known.
fn as_often(repaired: u64) -> &'static str {
    match repaired {
        0 => "(attribute_not_exists(repaired) OR repaired = :repaired)",
        _ => "repaired = :repaired",
    }
}

impl Store {
    /// Makes a counter what its records say. `audit` says who, when and from where; its id, action,
    /// target, before and after are filled in. The ledger entry's id; none if the counter changed since
    /// it was found so.
    pub async fn counter_repair(&self, drift: &CounterDrift, audit: &AuditEntry) -> Result<Option<String>, StoreError> {
        let counter = &drift.counter;
        let (pk, sk) = (counter.key.pk(), counter.key.sk());
        let held = drift.live_holds;
        let remaining = counter.cap - drift.expected - held;
        let body = |used: Decimal, held: Decimal| json!({"current_usage": plain(used), "held": plain(held)});
        let note = Note {
            name: name(&pk, &sk, counter.repaired),
            owner: counter.key.owner.clone(),
            metric_type: counter.key.metric_type.clone(),
            period_start: counter.period.start,
            amount: drift.expected - counter.used,
            reason: drift.reason(),
            before: body(counter.used, drift.held()),
            after: body(drift.expected, held),
        };
        let mut changes = vec![update(self.mend_counter(drift, remaining))?];
        for (id, fix) in &drift.holds {
            if let Fix::Unrecorded(hold) = fix {
                changes.push(update(self.give_up(id, hold, audit.at))?);
            }
        }
        self.repair(changes, &note, &counter.user_id, audit).await
    }

    /// Notes in the place of a reservation's record that its hold was given up: who made it and has
    /// not come to write the record is refused.
    fn give_up(&self, id: &str, hold: &Hold, now: DateTime<Utc>) -> UpdateBuilder {
        Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(keys::reservation(id)))
            .key("sk", s(ONLY))
            .update_expression("SET #state = :expired, held_until = :until, expires_at = :life")
            .condition_expression("attribute_not_exists(user_id)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":expired", s(State::Expired.as_str()))
            .expression_attribute_values(":until", at(hold.expires_at))
            .expression_attribute_values(":life", int((now + NOTE_LIFE).timestamp()))
    }

    fn mend_counter(&self, drift: &CounterDrift, remaining: Decimal) -> UpdateBuilder {
        let counter = &drift.counter;
        let mut expression = "SET used = :expected, remaining = :left, version = version + :step, \
             repaired = if_not_exists(repaired, :zero) + :step"
            .to_owned();
        let mut condition = "used = :used AND remaining = :remaining AND #cap = :cap AND arm = :arm \
             AND version = :version AND size(pending) = :zero AND size(holds) = :holds \
             AND attribute_not_exists(sealed) AND "
            .to_owned();
        condition.push_str(as_often(counter.repaired));
        let mut builder = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(counter.key.pk()))
            .key("sk", s(counter.key.sk()))
            .expression_attribute_names("#cap", "cap")
            .expression_attribute_values(":expected", n(drift.expected))
            .expression_attribute_values(":left", n(remaining))
            .expression_attribute_values(":used", n(counter.used))
            .expression_attribute_values(":remaining", n(counter.remaining))
            .expression_attribute_values(":cap", n(counter.cap))
            .expression_attribute_values(":arm", int(counter.arm))
            .expression_attribute_values(":version", int(counter.version))
            .expression_attribute_values(":repaired", int(counter.repaired))
            .expression_attribute_values(":holds", int(counter.holds.len()))
            .expression_attribute_values(":zero", int(0))
            .expression_attribute_values(":step", int(1));
        let mut removed = Vec::new();
        for (index, (id, fix)) in drift.holds.iter().enumerate() {
            builder = builder.expression_attribute_names(format!("#h{index}"), id);
            match counter.holds.get(id) {
                Some(hold) => {
                    condition.push_str(&format!(" AND holds.#h{index}.q = :q{index}"));
                    builder = builder.expression_attribute_values(format!(":q{index}"), n(hold.quantity));
                }
                None => condition.push_str(&format!(" AND attribute_not_exists(holds.#h{index})")),
            }
            match fix {
                Fix::Recorded(hold) => {
                    expression.push_str(&format!(", holds.#h{index} = :h{index}"));
                    builder = builder.expression_attribute_values(format!(":h{index}"), hold.to_value());
                }
                Fix::Unrecorded(_) | Fix::Foreign => removed.push(format!("holds.#h{index}")),
            }
        }
        if !removed.is_empty() {
            expression.push_str(&format!(" REMOVE {}", removed.join(", ")));
        }
        builder.update_expression(expression).condition_expression(condition)
    }

    /// Replaces an hour or a day by what its events say, as [`Store::counter_repair`] does.
    pub async fn aggregate_repair(
        &self,
        drift: &AggregateDrift,
        user_id: &str,
        audit: &AuditEntry,
    ) -> Result<Option<String>, StoreError> {
        let (pk, sk) = (drift.pk(), keys::instant(drift.start));
        let repaired = match &drift.item {
            Some(item) => Reader::new(item, "aggregate").integer_opt("repaired")?.unwrap_or(0),
            None => 0,
        };
        let total = |total: Decimal| json!({"span": drift.span(), "total": plain(total)});
        let note = Note {
            name: name(&pk, &sk, repaired),
            owner: drift.series.owner.clone(),
            metric_type: drift.series.metric_type.clone(),
            period_start: drift.start,
            amount: drift.truth - drift.stored,
            reason: format!(
                "the aggregate of {} of the {} from {sk} was not what its events say: total {} instead of {}",
                drift.series.metric_type,
                drift.span(),
                plain(drift.stored),
                plain(drift.truth),
            ),
            before: total(drift.stored),
            after: total(drift.truth),
        };
        let change = self.mend_aggregate(drift, repaired);
        self.repair(vec![update(change)?], &note, user_id, audit).await
    }

    fn mend_aggregate(&self, drift: &AggregateDrift, repaired: u64) -> UpdateBuilder {
        let (mut sets, mut removes, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
        let mut values: BTreeMap<String, AttributeValue> = BTreeMap::new();
        let mut builder = Update::builder()
            .table_name(&self.tables.state)
            .key("pk", s(drift.pk()))
            .key("sk", s(keys::instant(drift.start)));
        for (index, (name, old, new)) in drift.attributes().into_iter().enumerate() {
            builder = builder.expression_attribute_names(format!("#a{index}"), name);
            match old {
                Some(old) => {
                    conditions.push(format!("#a{index} = :o{index}"));
                    values.insert(format!(":o{index}"), old);
                }
                None => conditions.push(format!("attribute_not_exists(#a{index})")),
            }
            match new {
                Some(new) => {
                    sets.push(format!("#a{index} = :n{index}"));
                    values.insert(format!(":n{index}"), new);
                }
                None => removes.push(format!("#a{index}")),
            }
        }
        sets.push("repaired = if_not_exists(repaired, :zero) + :step".to_owned());
        conditions.push(as_often(repaired).to_owned());
        values.extend([
            (":zero".to_owned(), int(0)),
            (":step".to_owned(), int(1)),
            (":repaired".to_owned(), int(repaired)),
        ]);
        let mut expression = format!("SET {}", sets.join(", "));
        if !removes.is_empty() {
            expression.push_str(&format!(" REMOVE {}", removes.join(", ")));
        }
        builder
            .set_expression_attribute_values(Some(values.into_iter().collect()))
            .update_expression(expression)
            .condition_expression(conditions.join(" AND "))
    }

    /// Writes a repair with its entries.
    async fn repair(
        &self,
        mut changes: Vec<TransactWriteItem>,
        note: &Note,
        user_id: &str,
        audit: &AuditEntry,
    ) -> Result<Option<String>, StoreError> {
        let subscription_id = note.owner.subscription_id().to_owned();
        let adjustment = Adjustment {
            id: format!("adj_{}", note.name),
            kind: AdjustmentKind::Reconcile,
            user_id: user_id.to_owned(),
            subscription_id: subscription_id.clone(),
            metric_type: note.metric_type.clone(),
            period_start: note.period_start,
            amount: note.amount,
            usage_id: None,
            reason: note.reason.clone(),
            actor: audit.actor.id.clone(),
            created_at: audit.at,
        };
        let audit = AuditEntry {
            id: format!("aud_{}", note.name),
            action: "usage.reconcile",
            target: format!("{subscription_id}/{}", note.metric_type),
            before: note.before.clone(),
            after: note.after.clone(),
            reason: Some(note.reason.clone()),
            ..audit.clone()
        };
        changes.push(self.put_new(adjustment.to_item())?);
        match self.mutation_commit(changes, &audit, None).await? {
            Committed::Done | Committed::Before => Ok(Some(adjustment.id)),
            Committed::Unmet(_) => {
                // It changed, or another repaired it from the same find.
                let kind = Some(AdjustmentKind::Reconcile);
                let (newest, _) = self.adjustment_list(&note.owner, kind, None, SEARCHED_MAX).await?;
                let own = newest.into_iter().find(|entry| entry.id == adjustment.id);
                Ok(own.map(|entry| entry.id))
            }
        }
    }
}

impl CounterDrift {
    fn reason(&self) -> String {
        let counter = &self.counter;
        let mut parts = Vec::new();
        if self.expected != counter.used {
            let (was, is) = (plain(counter.used), plain(self.expected));
            parts.push(format!("the counter said {was}, its events {is}"));
        }
        if self.held() != self.live_holds {
            let (held, live) = (plain(self.held()), plain(self.live_holds));
            parts.push(format!("it kept back {held}, its reservations hold {live}"));
        }
        if !self.holds.is_empty() {
            let wrong = self.holds.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            parts.push(format!("wrong holds: {wrong}"));
        }
        parts.join("; ")
    }
}
