//! The ledger: every change of a counter that is not an event. Appended, never edited.

use aws_sdk_dynamodb::{operation::put_item::PutItemError, types::ReturnConsumedCapacity};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, at, n, put_some, s},
    keys::{self, Owner},
};

/// Why a counter was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustmentKind {
    /// An administrator took usage to 0.
    Reset,
    /// An event was taken back.
    Void,
    /// Usage of a closed period was charged to a later one.
    Late,
    /// A drift was repaired.
    Reconcile,
}

impl AdjustmentKind {
    const ALL: [Self; 4] = [Self::Reset, Self::Void, Self::Late, Self::Reconcile];

    /// Its name in answers and items.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Void => "void",
            Self::Late => "late",
            Self::Reconcile => "reconcile",
        }
    }

    /// The kind of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// All names, for messages.
    pub fn names() -> Vec<&'static str> {
        Self::ALL.into_iter().map(Self::as_str).collect()
    }
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjustment {
    /// Its id, derived from what it adjusts, so that it is written once.
    pub id: String,
    /// Why.
    pub kind: AdjustmentKind,
    /// Whose counter.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// Of which metric.
    pub metric_type: String,
    /// The start of the period whose counter was changed.
    pub period_start: DateTime<Utc>,
    /// By how much.
    pub amount: Decimal,
    /// The event it is about, if one.
    pub usage_id: Option<String>,
    /// In words.
    pub reason: String,
    /// Who did it.
    pub actor: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl Adjustment {
    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from([
            (
                "pk".into(),
                s(Owner::of(&self.user_id, &self.subscription_id).ledger_pk()),
            ),
            ("sk".into(), s(keys::by_instant(self.created_at, &self.id))),
            ("id".into(), s(&self.id)),
            ("adjustment_kind".into(), s(self.kind.as_str())),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("metric_type".into(), s(&self.metric_type)),
            ("period_start".into(), at(self.period_start)),
            ("amount".into(), n(self.amount)),
            ("reason".into(), s(&self.reason)),
            ("actor".into(), s(&self.actor)),
            ("created_at".into(), at(self.created_at)),
        ]);
        put_some(&mut item, "usage_id", self.usage_id.clone().map(s));
        item
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "adjustment");
        Ok(Self {
            id: read.text("id")?,
            kind: AdjustmentKind::parse(&read.text("adjustment_kind")?)
                .ok_or_else(|| read.corrupt("adjustment_kind"))?,
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            metric_type: read.text("metric_type")?,
            period_start: read.instant("period_start")?,
            amount: read.decimal("amount")?,
            usage_id: read.text_opt("usage_id")?,
            reason: read.text("reason")?,
            actor: read.text("actor")?,
            created_at: read.instant("created_at")?,
        })
    }
}

/// How many pages one listing reads while a filter leaves it unfilled.
const LIST_PAGES_MAX: usize = 10;

impl Store {
    /// Appends an entry, if it is not there.
    pub(crate) async fn adjustment_put(&self, adjustment: &Adjustment) -> Result<(), StoreError> {
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .set_item(Some(adjustment.to_item()))
            .condition_expression("attribute_not_exists(pk)")
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(PutItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(failed("adjustment_put", error)),
        }
    }

    /// The entry with this id, made at `created_at`.
    pub(crate) async fn adjustment_of(
        &self,
        owner: &Owner,
        created_at: Option<DateTime<Utc>>,
        id: &str,
    ) -> Result<Option<Adjustment>, StoreError> {
        let Some(created_at) = created_at else { return Ok(None) };
        let sk = keys::by_instant(created_at, id);
        let item = self.state_get("adjustment_of", &owner.ledger_pk(), &sk).await?;
        item.as_ref().map(Adjustment::from_item).transpose()
    }

    /// An owner's entries, newest first, before a sort key, and the one to go on from.
    pub async fn adjustment_list(
        &self,
        owner: &Owner,
        kind: Option<AdjustmentKind>,
        before: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Adjustment>, Option<String>), StoreError> {
        let mut found = Vec::new();
        let mut before = before.unwrap_or("~").to_owned();
        for _ in 0..LIST_PAGES_MAX {
            let page = self
                .dynamodb
                .query()
                .table_name(&self.tables.state)
                .key_condition_expression("pk = :pk AND sk < :before")
                .expression_attribute_values(":pk", s(owner.ledger_pk()))
                .expression_attribute_values(":before", s(&before))
                .scan_index_forward(false)
                .consistent_read(true)
                .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed("adjustment_list", error))?;
            let items = page.items();
            for item in items {
                let adjustment = Adjustment::from_item(item)?;
                if kind.is_some_and(|kind| kind != adjustment.kind) {
                    before = Reader::new(item, "adjustment").text("sk")?;
                    continue;
                }
                if found.len() == limit {
                    return Ok((found, Some(before)));
                }
                before = Reader::new(item, "adjustment").text("sk")?;
                found.push(adjustment);
            }
            if items.len() <= limit {
                return Ok((found, None));
            }
        }
        Ok((found, Some(before)))
    }
}
