//! Statements: what a closed period cost, written once and never changed.
//!
//! A statement's id derives from the subscription and the start of the period, its key from that and
//! the user: of two that are put, the first stays. Its insertion is what is published, see the relay.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnConsumedCapacity},
};
use chrono::{DateTime, Utc};
use metering_domain::{
    metric::Kind,
    period::Period,
    statement::{Line, total_cost},
};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    counter::Counter,
    error::failed,
    item::{Item, Reader, at, n, put_some, s},
    keys::{self, Owner},
    subscription::Subscription,
};

/// How many pages one listing reads while a filter leaves it unfilled.
const LIST_PAGES_MAX: usize = 10;

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its id.
    pub id: String,
    /// Who it is for.
    pub user_id: String,
    /// Of which subscription.
    pub subscription_id: String,
    /// The plan in force at the period's end.
    pub plan: String,
    /// The period, as it ended.
    pub period: Period,
    /// When it was closed.
    pub closed_at: DateTime<Utc>,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// What was used of each metric.
    pub lines: Vec<Line>,
    /// What the lines cost together.
    pub total_cost: Decimal,
}

/// Where a statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementKey {
    /// The partition key.
    pub pk: String,
    /// The sort key.
    pub sk: String,
}

/// Which statements to list: those of the newest periods first.
#[derive(Debug, Clone, Default)]
pub struct StatementQuery {
    /// Whose; none: everybody's.
    pub user_id: Option<String>,
    /// Only of this subscription.
    pub subscription_id: Option<String>,
    /// Only of periods that begin at this instant or later.
    pub from: Option<DateTime<Utc>>,
    /// Only of periods that begin before this instant.
    pub to: Option<DateTime<Utc>>,
    /// Only what lies before this sort key.
    pub before: Option<String>,
    /// How many at most.
    pub limit: usize,
}

impl Statement {
    fn key(&self) -> StatementKey {
        StatementKey {
            pk: keys::statements(&self.user_id),
            sk: keys::by_instant(self.period.start, &self.id),
        }
    }

    /// How it sorts among those of all users.
    fn kind_sort(&self) -> String {
        format!("{}#{}", self.key().sk, self.user_id)
    }

    fn to_item(&self) -> Item {
        let key = self.key();
        Item::from([
            ("pk".into(), s(key.pk)),
            ("sk".into(), s(key.sk)),
            ("kind".into(), s(keys::STATEMENT_KIND)),
            ("kind_sort".into(), s(self.kind_sort())),
            ("id".into(), s(&self.id)),
            ("user_id".into(), s(&self.user_id)),
            ("subscription_id".into(), s(&self.subscription_id)),
            ("plan".into(), s(&self.plan)),
            ("period_start".into(), at(self.period.start)),
            ("period_end".into(), at(self.period.end)),
            ("closed_at".into(), at(self.closed_at)),
            ("currency".into(), s(&self.currency)),
            (
                "lines".into(),
                AttributeValue::L(self.lines.iter().map(line_value).collect()),
            ),
            ("total_cost".into(), n(self.total_cost)),
        ])
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "statement");
        Ok(Self {
            id: read.text("id")?,
            user_id: read.text("user_id")?,
            subscription_id: read.text("subscription_id")?,
            plan: read.text("plan")?,
            period: Period {
                start: read.instant("period_start")?,
                end: read.instant("period_end")?,
            },
            closed_at: read.instant("closed_at")?,
            currency: read.text("currency")?,
            lines: read.list_of("lines", |line| line_read(&line))?,
            total_cost: read.decimal("total_cost")?,
        })
    }
}

fn line_value(line: &Line) -> AttributeValue {
    let mut item = Item::from([
        ("metric_type".into(), s(&line.metric_type)),
        ("kind".into(), s(line.kind.as_str())),
        ("unit".into(), s(&line.unit)),
        ("used".into(), n(line.used)),
        ("overage".into(), n(line.overage)),
        ("cost".into(), n(line.cost)),
    ]);
    put_some(&mut item, "peak", line.peak.map(n));
    put_some(&mut item, "limit", line.quota_limit.map(n));
    put_some(&mut item, "blocks", line.blocks.map(n));
    put_some(&mut item, "price", line.overage_price.map(n));
    put_some(&mut item, "block", line.block_size.map(n));
    AttributeValue::M(item)
}

fn line_read(read: &Reader<'_>) -> Result<Line, StoreError> {
    Ok(Line {
        metric_type: read.text("metric_type")?,
        kind: Kind::parse(&read.text("kind")?).ok_or_else(|| read.corrupt("kind"))?,
        unit: read.text("unit")?,
        used: read.decimal("used")?,
        peak: read.decimal_opt("peak")?,
        quota_limit: read.decimal_opt("limit")?,
        overage: read.decimal("overage")?,
        blocks: read.decimal_opt("blocks")?,
        overage_price: read.decimal_opt("price")?,
        block_size: read.decimal_opt("block")?,
        cost: read.decimal("cost")?,
    })
}

impl Store {
    /// The statement of a period whose counters are closed: sums under the terms on their counters,
    /// gauges and leases, whose counters may be under later ones, under those at the period's end.
    pub(crate) async fn statement_of(
        &self,
        subscription: &Subscription,
        period: &Period,
        counters: &[Counter],
        now: DateTime<Utc>,
    ) -> Result<Statement, StoreError> {
        let owner = Owner::Subscription(subscription.id.clone());
        let limits = subscription.configuration.limits_until(period.end);
        let versions = self.versions_of(limits, period.start, now).await?;
        let terms = |metric: &str| limits.terms(&versions, metric, period.start, now);
        let of_sum = |one: &Counter| Line::of(&one.key.metric_type, one.kind, &one.unit, &one.terms, one.used, None);
        let mut lines: Vec<Line> = counters.iter().map(of_sum).collect();
        for one in self.counters_under(&owner, &keys::standing_counters()).await? {
            // Born later, it is none of this period's.
            let Some(peak) = one.peak_in(period) else { continue };
            let level = one.level_at_end(period);
            if peak.max(level) > Decimal::ZERO {
                let (metric, terms) = (&one.key.metric_type, terms(&one.key.metric_type)?);
                lines.push(Line::of(metric, one.kind, &one.unit, &terms, level, Some(peak)));
            }
        }
        lines.sort_by(|a, b| a.metric_type.cmp(&b.metric_type));
        Ok(Statement {
            id: keys::derived_id("stm", &[&owner.pk(), &keys::instant(period.start)]),
            user_id: subscription.user_id.clone(),
            subscription_id: subscription.id.clone(),
            plan: limits.plan.clone().ok_or(StoreError::Corrupt {
                what: "subscription",
                attribute: "plan".into(),
            })?,
            period: *period,
            closed_at: now,
            currency: terms("")?.currency,
            total_cost: total_cost(&lines),
            lines,
        })
    }

    /// Puts a statement, if its period has none; whether it had none.
    pub(crate) async fn statement_put(&self, statement: &Statement) -> Result<bool, StoreError> {
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .set_item(Some(statement.to_item()))
            .condition_expression("attribute_not_exists(pk)")
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
            _ => Err(failed("statement_put", error)),
        }
    }

    /// A statement, strongly read.
    pub async fn statement_get(&self, key: &StatementKey) -> Result<Option<Statement>, StoreError> {
        let item = self.state_get("statement_get", &key.pk, &key.sk).await?;
        item.as_ref().map(Statement::from_item).transpose()
    }

    /// Statements, those of the newest periods first, and the sort key to go on from if there may be
    /// more. Those of everybody come from an index, so one may be missing for some milliseconds after
    /// it was made.
    pub async fn statement_list(&self, query: &StatementQuery) -> Result<(Vec<Statement>, Option<String>), StoreError> {
        let bound = query.to.map(keys::instant).into_iter();
        let mut before = bound.chain(query.before.clone()).min();
        let from = query.from.map(keys::instant);
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let (page, next) = match &query.user_id {
                Some(user) => self.statements_of(user, before.as_deref(), query.limit).await?,
                None => self.statements_of_all(before.as_deref(), query.limit).await?,
            };
            for (sort_key, statement) in page {
                if from.as_ref().is_some_and(|from| sort_key < *from) {
                    return Ok((found, None));
                }
                let own = query.subscription_id.as_ref();
                if own.is_some_and(|id| *id != statement.subscription_id) {
                    continue;
                }
                if found.len() == query.limit {
                    return Ok((found, before));
                }
                before = Some(sort_key);
                found.push(statement);
            }
            if next.is_none() {
                return Ok((found, None));
            }
            before = next;
        }
        Ok((found, before))
    }

    /// A page of a user's statements with their sort keys, and the one to go on from.
    async fn statements_of(&self, user: &str, before: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk < :before")
            .expression_attribute_values(":pk", s(keys::statements(user)))
            // '~' sorts after every instant.
            .expression_attribute_values(":before", s(before.unwrap_or("~")))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("statement_list", error))?;
        let mut statements = Vec::new();
        for item in page.items() {
            let statement = Statement::from_item(item)?;
            statements.push((statement.key().sk, statement));
        }
        let more = page.last_evaluated_key().is_some();
        let next = statements.last().filter(|_| more).map(|(sort_key, _)| sort_key.clone());
        Ok((statements, next))
    }

    async fn statements_of_all(&self, before: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let (sort_keys, next) = self.kind_list(keys::STATEMENT_KIND, before, limit).await?;
        let key = |sort_key: &String| {
            let (sk, user) = sort_key.rsplit_once('#')?;
            Some(Item::from([
                ("pk".into(), s(keys::statements(user))),
                ("sk".into(), s(sk)),
            ]))
        };
        let wanted: Vec<Item> = sort_keys.iter().filter_map(key).collect();
        let mut statements = Vec::new();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            let statement = Statement::from_item(&item)?;
            statements.push((statement.kind_sort(), statement));
        }
        statements.sort_by(|a, b| b.0.cmp(&a.0));
        Ok((statements, next))
    }
}

/// Statements with their sort keys, and the sort key to go on from if there are more.
type Page = (Vec<(String, Statement)>, Option<String>);
