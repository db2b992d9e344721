//! Resets: an administrator takes a counter's usage to 0; history stays.
//!
//! One update does it and notes on the counter what it did, so that the ledger and audit entries,
//! whose ids derive from the counter's arm, can be written by whoever comes next if this writer
//! dies. Sent twice with an idempotency key: the note names the request, so nothing is reset again.

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnConsumedCapacity, ReturnValue},
};
use metering_domain::number::plain;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    Store, StoreError,
    adjustment::{Adjustment, AdjustmentKind},
    audit::{Actor, AuditEntry},
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    counter::Counter,
    error::failed,
    item::{Item, Reader, at, int, n, put_some, s},
    keys::CounterKey,
    mutation::Transacted,
};

/// How often a reset that met another change looks again.
const TURNS_MAX: u32 = 12;

/// What a reset did, as noted on its counter.
#[derive(Debug, Clone)]
pub struct ResetNote {
    /// The id of the ledger entry.
    pub adjustment_id: String,
    /// Usage before it.
    pub previous_usage: Decimal,
    /// The request's idempotency hash, if it had one.
    pub request: Option<String>,
    audit: AuditEntry,
}

impl Store {
    /// Takes one counter's usage to 0. `audit` says who, when and from where; its id, target,
    /// before and after are filled in. None if the counter was never born or is closed.
    pub async fn quota_reset(
        &self,
        key: &CounterKey,
        request: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<Option<ResetNote>, StoreError> {
        for turn in 0..TURNS_MAX {
            let Some(counter) = self.counter_get(key).await?.filter(|counter| !counter.sealed) else {
                return Ok(None);
            };
            if let Some(note) = self.finish_reset(&counter).await?
                && request.is_some()
                && note.request.as_deref() == request
            {
                return Ok(Some(note));
            }
            if let Some(after) = self.reset_try(&counter, request, audit).await? {
                return self.finish_reset(&after).await;
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
        }
        Err(StoreError::busy("quota_reset"))
    }

    /// The reset itself; the counter as noted, or nothing if it changed its arm meanwhile.
    async fn reset_try(
        &self,
        counter: &Counter,
        request: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<Option<Counter>, StoreError> {
        let about = format!("{}\n{}\n{}", counter.key.pk(), counter.key.sk(), counter.arm);
        // It stays in the audit log when the user is erased: nobody must tell the user from it.
        let id = self.keyed("reset", &about).await?[..32].to_owned();
        let mut note = Item::from([
            ("id".into(), s(id)),
            ("at".into(), at(audit.at)),
            ("actor_id".into(), s(&audit.actor.id)),
            ("actor_type".into(), s(audit.actor.kind)),
            ("request_id".into(), s(&audit.request_id)),
        ]);
        put_some(&mut note, "ip", audit.ip.clone().map(s));
        put_some(&mut note, "request", request.map(s));
        let sent = self
            .dynamodb
            .update_item()
            .table_name(&self.tables.state)
            .key("pk", s(counter.key.pk()))
            .key("sk", s(counter.key.sk()))
            .update_expression(
                "SET remaining = remaining + used, previous_usage = used, used = :zero, pending = :empty, \
                 arm = arm + :step, last_reset = :note",
            )
            .condition_expression("arm = :arm AND attribute_not_exists(sealed)")
            .expression_attribute_values(":zero", n(Decimal::ZERO))
            .expression_attribute_values(":empty", AttributeValue::M(Item::new()))
            .expression_attribute_values(":step", int(1))
            .expression_attribute_values(":arm", int(counter.arm))
            .expression_attribute_values(":note", AttributeValue::M(note))
            .return_values(ReturnValue::AllNew)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(sent) => Ok(Some(Counter::from_item(&sent.attributes.unwrap_or_default())?)),
            // Another reset, or this one when its answer was lost: the note tells.
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(UpdateItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(failed("quota_reset", error)),
        }
    }

    /// Writes the ledger and audit entries of the counter's last reset, if they are not there.
    async fn finish_reset(&self, counter: &Counter) -> Result<Option<ResetNote>, StoreError> {
        let Some(note) = counter.last_reset()? else {
            return Ok(None);
        };
        let adjustment = Adjustment {
            id: note.adjustment_id.clone(),
            kind: AdjustmentKind::Reset,
            user_id: counter.user_id.clone(),
            subscription_id: counter.subscription_id.clone(),
            metric_type: counter.key.metric_type.clone(),
            period_start: counter.period.start,
            amount: -note.previous_usage,
            usage_id: None,
            reason: "reset by an administrator".to_owned(),
            actor: note.audit.actor.id.clone(),
            created_at: note.audit.at,
        };
        let items = vec![self.put_new(adjustment.to_item())?, self.put_new(note.audit.to_item())?];
        // Unmet: they are there.
        let (Transacted::Done | Transacted::Unmet(_)) = self.transact("quota_reset", items).await?;
        Ok(Some(note))
    }
}

impl Counter {
    fn last_reset(&self) -> Result<Option<ResetNote>, StoreError> {
        let Some((item, previous_usage)) = &self.last_reset else {
            return Ok(None);
        };
        let read = Reader::new(item, "reset note");
        let id = read.text("id")?;
        let kind = match read.text("actor_type")?.as_str() {
            "user" => "user",
            "system" => "system",
            _ => "api_key",
        };
        let used = |used: Decimal| -> Value { json!({"current_usage": plain(used)}) };
        Ok(Some(ResetNote {
            adjustment_id: format!("adj_{id}"),
            previous_usage: *previous_usage,
            request: read.text_opt("request")?,
            audit: AuditEntry {
                id: format!("aud_{id}"),
                at: read.instant("at")?,
                actor: Actor {
                    kind,
                    id: read.text("actor_id")?,
                },
                action: "quota.reset",
                target: format!("{}/{}", self.subscription_id, self.key.metric_type),
                before: used(*previous_usage),
                after: used(Decimal::ZERO),
                reason: None,
                ip: read.text_opt("ip")?,
                request_id: read.text("request_id")?,
            },
        }))
    }
}
