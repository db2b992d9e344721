//! The period close: every period of a subscription is sealed, from 24 hours after its end, and gets
//! its one statement. Periods that were over before the subscription was created were billed elsewhere
//! and have one only if something was charged to them.
//!
//! The subscription says up to where it is billed, and when the next period is due; a schedule finds
//! it by that. A period is closed in four steps: `closed_until` on the subscription, after which no
//! counter of the period can be born; its counters sealed, see [`crate::seal`]; the statement, put if
//! absent under a name that subscription and period give it; `billed_until`, with what is due next.
//! What a renewal or a cancellation ended has its note and is billed at once, by a quarter of an hour
//! later if that died; the walk comes by later and finds its statement.
//!
//! Sent twice, or from two workers: each step is conditional on what it changes, the statement of who
//! is first stays. Out of order: periods are closed in theirs; one that a renewal ended may be billed
//! before the one that was over already. Dies half-way: the subscription stays due, and whoever comes
//! next goes on from the first step that is not done.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::period::Period;
use sha2::{Digest as _, Sha256};

use crate::{
    Store, StoreError,
    count::{BACK_OFF_BASE, BACK_OFF_CEILING},
    error::failed,
    item::{Item, Reader, at, s},
    keys::{self, COUNTERS_END, CounterKey, Owner, counters_from},
    mutation::{Transacted, update},
    renewal::REPEATED_WITHIN,
    subscription::Subscription,
};

/// How long after its end, or after the subscription was created, a period still takes usage.
pub const GRACE: TimeDelta = TimeDelta::hours(24);
/// Over how many partitions of the index what is due is spread.
pub const SHARDS: u8 = 8;
/// How many periods of a subscription one visit closes.
const PERIODS_MAX: usize = 24;
/// How many steps one visit takes, those that met another writer included.
const STEPS_MAX: u32 = 64;
/// How many periods after its end a subscription may have usage of: events come five minutes ahead.
const AHEAD_MAX: u32 = 12;
/// How many subscriptions one look at the index finds.
const DUE_PAGE: i32 = 100;

/// Where a look at what is due goes on.
pub type DueCursor = Item;

/// What a visit to a subscription did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Billed {
    /// How many statements it made.
    pub closed: usize,
    /// Whether there may be more to do at once.
    pub more: bool,
}

/// What is to be done next.
enum Step {
    /// What ended early is to be sealed.
    Noted,
    /// Periods that were over before the subscription was created: from there, up to there.
    Skip(DateTime<Utc>, DateTime<Utc>),
    /// A period is to be closed.
    Close(Period),
    /// Nothing, before it is due.
    Wait,
}

impl Subscription {
    /// When it ends, or ended, if that is decided.
    fn end(&self) -> Option<DateTime<Utc>> {
        self.cancelled_at.or(self.cancel_at)
    }

    /// The period that contains an instant, ended by the end of the subscription in it.
    pub(crate) fn billed_period(&self, at: DateTime<Utc>) -> Result<Period, StoreError> {
        let natural = self.timeline.period_at(at).ok_or(StoreError::Corrupt {
            what: "subscription",
            attribute: "billing_anchor".into(),
        })?;
        let own = self.end().filter(|end| natural.contains(*end) && *end > natural.start);
        Ok(Period {
            end: own.unwrap_or(natural.end),
            ..natural
        })
    }

    /// The start of the first period without statement, or the subscription's end.
    pub(crate) fn billed_from(&self) -> Result<DateTime<Utc>, StoreError> {
        match self.billed_until {
            Some(until) => Ok(until),
            None => Ok(self.billed_period(self.starts_at)?.start),
        }
    }

    /// Whether a period has a statement even if nothing was used: not after the subscription's end,
    /// nor if that came before its start.
    fn runs_in(&self, period_start: DateTime<Utc>) -> bool {
        self.end().is_none_or(|end| period_start < end && self.starts_at < end)
    }

    /// From when on a period may be closed: at once where nothing more is taken for it. One that was
    /// over before the subscription was created waits as long, for what is brought along.
    fn closes_at(&self, period: &Period) -> DateTime<Utc> {
        let patience = period.end.max(self.created_at) + GRACE;
        match self.end() {
            _ if self.timeline.is_cut(period) => period.end,
            Some(end) => patience.min(end.max(period.end)),
            None => patience,
        }
    }

    /// When something is to be done for its statements; none: never again.
    pub(crate) fn due(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        // Whoever ended it may ask again, and is known by the note as long as that lasts.
        if let Some(noted) = self.sealing.first() {
            let ended = self.cancelled_at.unwrap_or(self.billed_period(*noted)?.end);
            return Ok(Some(ended + REPEATED_WITHIN));
        }
        let from = self.billed_from()?;
        if !self.runs_in(from) {
            return Ok(None);
        }
        Ok(Some(self.closes_at(&self.billed_period(from)?)))
    }

    /// The part of the index in which it is due.
    pub(crate) fn shard(&self) -> u8 {
        Sha256::digest(self.id.as_bytes())[0] % SHARDS
    }

    fn next_step(&self, now: DateTime<Utc>) -> Result<Step, StoreError> {
        if !self.sealing.is_empty() {
            return Ok(match self.due()?.is_some_and(|due| due <= now) {
                true => Step::Noted,
                false => Step::Wait,
            });
        }
        let from = self.billed_from()?;
        if !self.runs_in(from) {
            return Ok(Step::Wait);
        }
        let period = self.billed_period(from)?;
        if self.closes_at(&period) > now {
            return Ok(Step::Wait);
        }
        let begun = self.billed_period(self.created_at)?.start;
        Ok(match from < begun {
            true => Step::Skip(from, begun),
            false => Step::Close(period),
        })
    }

    /// The same, taking nothing more for periods before an instant.
    fn shut(&self, until: DateTime<Utc>) -> Self {
        let mut shut = self.clone();
        shut.configuration.closed_until = self.configuration.closed_until.max(Some(until));
        shut
    }
}

impl Store {
    /// Subscriptions of a shard that are due at `now`, and where to go on. From an index: one may be
    /// named for some milliseconds after it was done.
    pub async fn subscriptions_due(
        &self,
        shard: u8,
        now: DateTime<Utc>,
        after: Option<DueCursor>,
    ) -> Result<(Vec<String>, Option<DueCursor>), StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .index_name("due")
            .key_condition_expression("due_kind = :kind AND due_at <= :now")
            .expression_attribute_values(":kind", s(keys::periods_to_close(shard)))
            .expression_attribute_values(":now", at(now))
            .limit(DUE_PAGE)
            .set_exclusive_start_key(after)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("subscriptions_due", error))?;
        let mut ids = Vec::new();
        for item in page.items() {
            let read = Reader::new(item, "subscription");
            match Owner::parse(&read.text("pk")?) {
                Some(Owner::Subscription(id)) => ids.push(id),
                _ => return Err(read.corrupt("pk")),
            }
        }
        Ok((ids, page.last_evaluated_key))
    }

    /// Closes what can be closed of a subscription at `now`, some periods at most.
    pub async fn subscription_bill(&self, id: &str, now: DateTime<Utc>) -> Result<Billed, StoreError> {
        let mut closed = 0;
        for turn in 0..STEPS_MAX {
            let Some(found) = self.subscription_get(id).await? else {
                break;
            };
            let done = match found.next_step(now)? {
                Step::Noted => self.seals_finish(found, now).await.map(|(_, made)| Some(made))?,
                Step::Skip(from, until) => self.periods_skip(&found, from, until, now).await?,
                Step::Close(period) => self.period_close(&found, &period, now).await?,
                Step::Wait => return Ok(Billed { closed, more: false }),
            };
            closed += done.unwrap_or_default();
            if closed >= PERIODS_MAX {
                return Ok(Billed { closed, more: true });
            }
            if done.is_none() {
                self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
            }
        }
        Ok(Billed { closed, more: true })
    }

    /// Leaves out periods that were over before the subscription was created, which are billed
    /// elsewhere, but those to which something was charged. None: somebody else changed it.
    async fn periods_skip(
        &self,
        found: &Subscription,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<usize>, StoreError> {
        let used = self.first_charged(found, from).await?.filter(|start| *start < until);
        let to = match used {
            Some(start) => found.billed_period(start)?.start,
            None => until,
        };
        if to == from {
            return self.period_close(found, &found.billed_period(from)?, now).await;
        }
        let after = Subscription {
            billed_until: Some(to),
            ..found.shut(to)
        };
        Ok(self.billing_put(found, after).await?.map(|_| 0))
    }

    /// Closes a period; how many statements that made. None: somebody else changed the subscription.
    async fn period_close(
        &self,
        found: &Subscription,
        period: &Period,
        now: DateTime<Utc>,
    ) -> Result<Option<usize>, StoreError> {
        let found = if found.configuration.closed_until >= Some(period.end) {
            found.clone()
        } else {
            match self.billing_put(found, found.shut(period.end)).await? {
                Some(shut) => shut,
                None => return Ok(None),
            }
        };
        let mut made = self.period_bill(&found, period, now).await?;
        if found.end() == Some(period.end) {
            made += self.rest_bill(&found, period.end, now).await?;
        }
        let after = Subscription {
            billed_until: Some(period.end),
            ..found.clone()
        };
        // If it has changed, the next look finds the statement and comes here again.
        self.billing_put(&found, after).await?;
        Ok(Some(made))
    }

    /// Bills what was counted ahead of a subscription's end, whose next period never came.
    async fn rest_bill(
        &self,
        found: &Subscription,
        end: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let (mut from, mut made) = (end, 0);
        for _ in 0..AHEAD_MAX {
            let Some(start) = self.first_charged(found, from).await? else {
                return Ok(made);
            };
            let period = found.billed_period(start)?;
            made += self.period_bill(found, &period, now).await?;
            from = period.end;
        }
        Err(StoreError::busy("rest_bill"))
    }

    /// Seals a period, of which no counter can be born any more, and puts its statement; 1 if there
    /// was none.
    async fn period_bill(
        &self,
        found: &Subscription,
        period: &Period,
        now: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let owner = Owner::Subscription(found.id.clone());
        let counters = self.period_seal(&owner, period.start).await?;
        if counters.is_empty() && !found.runs_in(period.start) {
            return Ok(0);
        }
        let statement = self.statement_of(found, period, &counters, now).await?;
        Ok(usize::from(self.statement_put(&statement).await?))
    }

    /// The start of the first period from an instant on that has a counter.
    async fn first_charged(
        &self,
        found: &Subscription,
        from: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let owner = Owner::Subscription(found.id.clone());
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :end")
            .expression_attribute_values(":pk", s(owner.pk()))
            .expression_attribute_values(":from", s(counters_from(from)))
            .expression_attribute_values(":end", s(COUNTERS_END))
            .consistent_read(true)
            .limit(1)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("first_charged", error))?;
        let first = page.items().first().and_then(|item| item.get("sk"));
        let sk = first.and_then(|sk: &AttributeValue| sk.as_s().ok());
        let key = sk.and_then(|sk| CounterKey::parse(owner, sk));
        Ok(key.and_then(|key| key.period_start))
    }

    /// Seals and bills what is noted on a subscription, and takes the note off; the subscription as it
    /// is then, and how many statements that made.
    pub async fn seals_finish(
        &self,
        mut found: Subscription,
        now: DateTime<Utc>,
    ) -> Result<(Subscription, usize), StoreError> {
        let mut made = 0;
        for turn in 0..STEPS_MAX {
            if found.sealing.is_empty() {
                return Ok((found, made));
            }
            let mut until = found.billed_from()?;
            for start in &found.sealing {
                let period = found.billed_period(*start)?;
                made += self.period_bill(&found, &period, now).await?;
                if period.start == until {
                    until = period.end;
                }
            }
            let after = Subscription {
                sealing: Vec::new(),
                billed_until: Some(until),
                ..found.clone()
            };
            if let Some(after) = self.billing_put(&found, after).await? {
                return Ok((after, made));
            }
            self.context.back_off(turn, BACK_OFF_BASE, BACK_OFF_CEILING).await;
            let again = self.subscription_get(&found.id).await?;
            found = again.ok_or(StoreError::busy("seals_finish"))?;
        }
        Err(StoreError::busy("seals_finish"))
    }

    /// Makes a subscription what it is to be, if nobody changed it and no counter was born since it was
    /// read; as it is then.
    async fn billing_put(
        &self,
        before: &Subscription,
        mut after: Subscription,
    ) -> Result<Option<Subscription>, StoreError> {
        after.configuration.version = before.configuration.version + 1;
        let items = vec![update(after.change(&self.tables.state, before)?)?];
        Ok(match self.transact("billing_put", items).await? {
            Transacted::Done => Some(after),
            Transacted::Unmet(_) => None,
        })
    }
}
