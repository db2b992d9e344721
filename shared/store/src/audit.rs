//! The audit log: who changed what, from what to what, when, from where. Appended in the same
//! transaction as the change; never edited.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde_json::Value;

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, at, put_some, s},
    keys,
};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `api_key`, `user` or `system`.
    pub kind: &'static str,
    /// The key's or the user's id, or the job's name.
    pub id: String,
}

/// One change.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Who made it.
    pub actor: Actor,
    /// What was done, `entity.verb`.
    pub action: &'static str,
    /// What it was done to.
    pub target: String,
    /// The state before it, null where there was none.
    pub before: Value,
    /// The state after it, null where there is none.
    pub after: Value,
    /// Why, if somebody said.
    pub reason: Option<String>,
    /// From which address.
    pub ip: Option<String>,
    /// In which request.
    pub request_id: String,
}

impl AuditEntry {
    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from([
            ("pk".into(), s(keys::audit_pk(self.at))),
            ("sk".into(), s(keys::by_instant(self.at, &self.id))),
            ("id".into(), s(&self.id)),
            ("at".into(), at(self.at)),
            ("actor_type".into(), s(self.actor.kind)),
            ("actor_id".into(), s(&self.actor.id)),
            ("action".into(), s(self.action)),
            ("target".into(), s(&self.target)),
            ("before".into(), s(self.before.to_string())),
            ("after".into(), s(self.after.to_string())),
            ("request_id".into(), s(&self.request_id)),
        ]);
        put_some(&mut item, "reason", self.reason.clone().map(s));
        put_some(&mut item, "ip", self.ip.clone().map(s));
        item
    }
}

/// An entry as read back.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// `api_key`, `user` or `system`.
    pub actor_type: String,
    /// Who made it.
    pub actor_id: String,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// The state before it.
    pub before: Value,
    /// The state after it.
    pub after: Value,
    /// Why, if somebody said.
    pub reason: Option<String>,
    /// From which address.
    pub ip: Option<String>,
    /// In which request.
    pub request_id: String,
}

/// Which entries to list: newest first.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    /// Only of whoever has this id.
    pub actor: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only about this.
    pub target: Option<String>,
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until when, exclusive.
    pub to: DateTime<Utc>,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

impl AuditQuery {
    fn fits(&self, record: &AuditRecord) -> bool {
        let text = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|wanted| wanted == own);
        text(&self.actor, &record.actor_id) && text(&self.action, &record.action) && text(&self.target, &record.target)
    }

    /// The day to begin with, and the sort key before which its entries lie.
    fn first(&self) -> Option<(DateTime<Utc>, String)> {
        let end = keys::instant(self.to);
        let before = match &self.before {
            Some(before) => before.min(&end).clone(),
            None => end,
        };
        let at = before.split('#').next().and_then(keys::parse_instant)?;
        // Nothing of a day lies before its first instant.
        let whole = before.contains('#');
        Some((day_of(if whole { at } else { at - TimeDelta::milliseconds(1) }), before))
    }
}

/// How many queries one listing sends: a day without entries takes one.
const LIST_PAGES_MAX: usize = 40;
/// Entries that one query reads while it looks for those that are meant.
const PAGE: i32 = 200;

impl Store {
    /// Entries, newest first, and the sort key to go on from if there may be more.
    pub async fn audit_list(&self, query: &AuditQuery) -> Result<(Vec<AuditRecord>, Option<String>), StoreError> {
        let Some((mut day, mut before)) = query.first() else {
            return Ok((Vec::new(), None));
        };
        let from = keys::instant(query.from);
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            if before <= from {
                return Ok((found, None));
            }
            let (page, more) = self.audit_page(day, &from, &before).await?;
            for (sk, record) in page {
                if found.len() == query.limit {
                    return Ok((found, Some(before)));
                }
                found.extend(query.fits(&record).then_some(record));
                before = sk;
            }
            if !more {
                before = keys::instant(day);
                day -= TimeDelta::days(1);
            }
        }
        Ok((found, Some(before)))
    }

    /// Entries of one UTC day between two sort keys, newest first, with their own, and whether there
    /// are more.
    async fn audit_page(
        &self,
        day: DateTime<Utc>,
        from: &str,
        before: &str,
    ) -> Result<(Vec<(String, AuditRecord)>, bool), StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :before")
            .expression_attribute_values(":pk", s(keys::audit_pk(day)))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":before", s(before))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(PAGE)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("audit_list", error))?;
        let more = page.last_evaluated_key().is_some();
        let entries = page.items.unwrap_or_default().into_iter().map(|item| {
            let read = Reader::new(&item, "audit entry");
            Ok((read.text("sk")?, record(&read)?))
        });
        let entries = entries.collect::<Result<Vec<_>, StoreError>>()?;
        // Both ends of BETWEEN are inclusive.
        Ok((entries.into_iter().filter(|(sk, _)| sk != before).collect(), more))
    }
}

fn day_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().and_time(NaiveTime::MIN).and_utc()
}

fn record(read: &Reader<'_>) -> Result<AuditRecord, StoreError> {
    let json = |name: &str| serde_json::from_str(&read.text(name)?).map_err(|_| read.corrupt(name));
    Ok(AuditRecord {
        id: read.text("id")?,
        at: read.instant("at")?,
        actor_type: read.text("actor_type")?,
        actor_id: read.text("actor_id")?,
        action: read.text("action")?,
        target: read.text("target")?,
        before: json("before")?,
        after: json("after")?,
        reason: read.text_opt("reason")?,
        ip: read.text_opt("ip")?,
        request_id: read.text("request_id")?,
    })
}
