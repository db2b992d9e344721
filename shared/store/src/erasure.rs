//! Users who are erased: the tombstone that keeps them so, and how far erasing them has come.
//!
//! The tombstone is put first, under a keyed hash of the id, and stays for ever. From then on nothing
//! new is kept of the user: within [`SETTLED`] everybody has met it, as instances know for a minute
//! that a user is not erased and no request runs longer than half of one. Passes over all that is
//! stored delete what they find ([`crate::erasure_sweep`]). Only a pass that began after that time and
//! found nothing ends it; then the tombstone forgets the id, too.
//!
//! Asked twice, or by two at once: the second finds the tombstone. Dies half-way, or works twice at
//! once: how far it is stands on the tombstone with a version, so one goes on; deleting twice is
//! deleting once, and a pseudonym is always the same.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    error::failed,
    item::{Item, Reader, at, int, put_some, s},
    keys,
    mutation::{Committed, ONLY},
    traces::Traces,
};

/// How long after its tombstone nothing new is written of a user: caches of 60 s, calls of 29 s.
pub const SETTLED: TimeDelta = TimeDelta::seconds(90);
/// How long an instance may act on a user's not being erased.
const CACHE_LIFE: TimeDelta = TimeDelta::seconds(60);
/// How many users an instance remembers.
const CACHED_MAX: usize = 20_000;
/// What the keyed hashes of erased ids are for.
pub(crate) const PURPOSE: &str = "erasure";
/// The digits of a pseudonym.
pub(crate) const PSEUDONYM_DIGITS: usize = 32;

/// What an instance knows of users: erased, or not at some instant.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<String, Option<DateTime<Utc>>>>);

impl Known {
    fn get(&self, user_id: &str, now: DateTime<Utc>) -> Option<bool> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).get(user_id)? {
            None => Some(true),
            // A clock that was moved back makes it old, too.
            Some(since) if (TimeDelta::zero()..CACHE_LIFE).contains(&(now - *since)) => Some(false),
            Some(_) => None,
        }
    }

    fn put(&self, user_id: String, not_at: Option<DateTime<Utc>>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED_MAX {
            known.clear();
        }
        known.insert(user_id, not_at);
    }
}

/// What a pass looks through, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The table of events.
    Events,
    /// The table of everything else.
    State,
    /// The dead-letter queues.
    Queues,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::State => "state",
            Self::Queues => "queues",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Events, Self::State, Self::Queues]
            .into_iter()
            .find(|stage| stage.as_str() == name)
    }
}

/// A user who is being erased, and how far that is.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// Who.
    pub user_id: String,
    /// The user's subscriptions, as far as they are known.
    pub subscriptions: BTreeSet<String>,
    /// What stands for the user where something stays.
    pub pseudonym: String,
    /// When the tombstone was put.
    pub requested_at: DateTime<Utc>,
    /// Which pass it is, from 1.
    pub pass: u64,
    /// When this pass began.
    pub began_at: DateTime<Utc>,
    /// What it looks through.
    pub stage: Stage,
    /// What this pass has found so far.
    pub found: u64,
    /// The key after which it goes on.
    pub(crate) position: Option<Item>,
    pk: String,
    version: u64,
}

/// What follows the end of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next stage.
    Stage,
    /// Another pass, from this instant on.
    Pass(DateTime<Utc>),
    /// Nothing: the user is erased.
    Finished,
}

impl Erasure {
    /// A pass that begins now, over all subscriptions that are known by then.
    fn begin(&mut self, subscriptions: impl IntoIterator<Item = String>, now: DateTime<Utc>) {
        self.subscriptions.extend(subscriptions);
        self.pass += 1;
        self.began_at = now;
        self.stage = Stage::Events;
        self.position = None;
        self.found = 0;
    }

    /// What names the user; `secret` makes the pseudonyms.
    pub fn traces<'a>(&'a self, secret: &'a [u8]) -> Traces<'a> {
        Traces::new(secret, &self.user_id, &self.subscriptions)
    }

    /// Whether it is between two passes.
    fn rests(&self) -> bool {
        self.stage == Stage::Queues && self.position.as_ref().is_some_and(Item::is_empty)
    }

    /// Goes on to what follows the stage that ended.
    pub fn advance(&mut self, now: DateTime<Utc>) -> Next {
        self.position = None;
        match self.stage {
            Stage::Events => self.stage = Stage::State,
            Stage::State => self.stage = Stage::Queues,
            Stage::Queues => {
                let settled_at = self.requested_at + SETTLED;
                if self.found == 0 && self.began_at >= settled_at {
                    return Next::Finished;
                }
                self.position = Some(Item::new());
                return Next::Pass(settled_at.max(now));
            }
        }
        Next::Stage
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "tombstone");
        Ok(Self {
            user_id: read.text("user_id")?,
            subscriptions: read.list_of_texts("subscriptions")?.into_iter().collect(),
            pseudonym: read.text("pseudonym")?,
            requested_at: read.instant("requested_at")?,
            pass: read.integer("pass")?,
            began_at: read.instant("began_at")?,
            stage: Stage::parse(&read.text("stage")?).ok_or_else(|| read.corrupt("stage"))?,
            found: read.integer("found")?,
            position: match read.has("position") {
                true => Some(read.map("position")?),
                false => None,
            },
            pk: read.text("pk")?,
            version: read.integer("version")?,
        })
    }

    fn to_item(&self, due_at: DateTime<Utc>) -> Item {
        let subscriptions = self.subscriptions.iter().map(s).collect();
        let mut item = Item::from([
            ("pk".into(), s(&self.pk)),
            ("sk".into(), s(ONLY)),
            ("state".into(), s("erasing")),
            ("due_kind".into(), s(keys::ERASURES)),
            ("due_at".into(), s(keys::by_instant(due_at, &self.pseudonym))),
            ("user_id".into(), s(&self.user_id)),
            ("subscriptions".into(), AttributeValue::L(subscriptions)),
            ("pseudonym".into(), s(&self.pseudonym)),
            ("requested_at".into(), at(self.requested_at)),
            ("pass".into(), int(self.pass)),
            ("began_at".into(), at(self.began_at)),
            ("stage".into(), s(self.stage.as_str())),
            ("found".into(), int(self.found)),
            ("version".into(), int(self.version)),
        ]);
        put_some(&mut item, "position", self.position.clone().map(AttributeValue::M));
        item
    }
}

impl Store {
    /// What stands for a user where something stays of what they did.
    pub async fn user_pseudonym(&self, user_id: &str) -> Result<String, StoreError> {
        let digits = self.keyed(PURPOSE, user_id).await?;
        Ok(format!("erased_{}", &digits[..PSEUDONYM_DIGITS]))
    }

    /// Puts the tombstone of a user, with the audit entry, if it is not there: the first step of
    /// erasing. Whether this call did.
    pub async fn user_erase(&self, user_id: &str, audit: &AuditEntry) -> Result<bool, StoreError> {
        let tombstone = Erasure {
            user_id: user_id.to_owned(),
            subscriptions: BTreeSet::new(),
            pseudonym: self.user_pseudonym(user_id).await?,
            requested_at: audit.at,
            pass: 0,
            began_at: audit.at,
            stage: Stage::Queues,
            found: 0,
            position: Some(Item::new()),
            pk: self.tombstone_of(user_id).await?,
            version: 1,
        };
        let items = vec![self.put_new(tombstone.to_item(audit.at))?];
        let put = self.mutation_commit(items, audit, None).await? == Committed::Done;
        self.erased.put(user_id.to_owned(), None);
        Ok(put)
    }

    async fn tombstone_of(&self, user_id: &str) -> Result<String, StoreError> {
        Ok(keys::erasure(&self.keyed(PURPOSE, user_id).await?))
    }

    /// Whether a user was erased, or is being erased. What is known of it may be a minute old.
    pub async fn is_erased(&self, user_id: &str) -> Result<bool, StoreError> {
        match self.erased.get(user_id, self.context.now()) {
            Some(known) => Ok(known),
            None => self.is_erased_now(user_id).await,
        }
    }

    async fn is_erased_now(&self, user_id: &str) -> Result<bool, StoreError> {
        let now = self.context.now();
        let pk = self.tombstone_of(user_id).await?;
        let erased = self.state_get("is_erased", &pk, ONLY).await?.is_some();
        self.erased.put(user_id.to_owned(), (!erased).then_some(now));
        Ok(erased)
    }

    /// Refuses to write what would be the first of its kind for a user who was erased.
    pub(crate) async fn require_user(&self, user_id: &str) -> Result<(), StoreError> {
        match self.is_erased_now(user_id).await? {
            true => Err(StoreError::Erased),
            false => Ok(()),
        }
    }

    /// Which of these users were erased, or are being erased. What is known of it may be a minute old.
    pub async fn erased_among(&self, users: BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
        let now = self.context.now();
        let (mut erased, mut asked) = (BTreeSet::new(), BTreeMap::new());
        for user in users {
            match self.erased.get(&user, now) {
                Some(true) => drop(erased.insert(user)),
                Some(false) => {}
                None => drop(asked.insert(self.tombstone_of(&user).await?, user)),
            }
        }
        let key = |pk: &String| Item::from([("pk".into(), s(pk)), ("sk".into(), s(ONLY))]);
        let wanted: Vec<Item> = asked.keys().map(key).collect();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            erased.extend(asked.remove(&Reader::new(&item, "tombstone").text("pk")?));
        }
        for user in &erased {
            self.erased.put(user.clone(), None);
        }
        for user in asked.into_values() {
            self.erased.put(user, Some(now));
        }
        Ok(erased)
    }

    /// The users whose erasing is to go on, at most `limit`, each with a pass under way.
    pub async fn erasures_due(&self, now: DateTime<Utc>, limit: i32) -> Result<Vec<Erasure>, StoreError> {
        let page = self
            .dynamodb
            .query()
            .table_name(&self.tables.state)
            .index_name("due")
            .key_condition_expression("due_kind = :kind AND due_at < :now")
            .expression_attribute_values(":kind", s(keys::ERASURES))
            .expression_attribute_values(":now", s(keys::by_instant(now, "~")))
            .limit(limit)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("erasures_due", error))?;
        let mut due = Vec::new();
        for key in page.items() {
            let pk = Reader::new(key, "tombstone").text("pk")?;
            // The index may be behind: what is finished names nobody.
            let item = self.state_get("erasures_due", &pk, ONLY).await?;
            if let Some(item) = item.filter(|item| item.contains_key("user_id")) {
                due.push(Erasure::from_item(&item)?);
            }
        }
        Ok(due)
    }

    /// Begins the next pass, if none is under way; false if somebody else is at it.
    pub async fn erasure_begin(&self, erasure: &mut Erasure, now: DateTime<Utc>) -> Result<bool, StoreError> {
        if !erasure.rests() {
            return Ok(true);
        }
        let account = self.account_get(&erasure.user_id).await?;
        erasure.begin(account.subscriptions.into_iter().map(|own| own.id), now);
        self.erasure_save(erasure, now).await
    }

    /// Notes how far it is, to go on from there at `due_at`; false if somebody else is at it.
    pub async fn erasure_save(&self, erasure: &mut Erasure, due_at: DateTime<Utc>) -> Result<bool, StoreError> {
        let before = erasure.version;
        erasure.version += 1;
        self.tombstone_put(erasure.to_item(due_at), before).await
    }

    /// Ends it: the tombstone forgets whose it is. False if somebody else is at it.
    pub async fn erasure_finish(&self, erasure: &Erasure, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let item = Item::from([
            ("pk".into(), s(&erasure.pk)),
            ("sk".into(), s(ONLY)),
            ("state".into(), s("erased")),
            ("pseudonym".into(), s(&erasure.pseudonym)),
            ("requested_at".into(), at(erasure.requested_at)),
            ("finished_at".into(), at(now)),
        ]);
        self.tombstone_put(item, erasure.version).await
    }

    /// Puts a tombstone in the place of its earlier version. False if that has changed: by somebody
    /// else, or by this one, when an answer was lost; the next call goes on.
    async fn tombstone_put(&self, item: Item, before: u64) -> Result<bool, StoreError> {
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .set_item(Some(item))
            .condition_expression("version = :before")
            .expression_attribute_values(":before", int(before))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("tombstone_put", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure(began_after_s: i64, found: u64) -> Erasure {
        Erasure {
            user_id: "u".into(),
            subscriptions: BTreeSet::new(),
            pseudonym: "erased_0".into(),
            requested_at: DateTime::UNIX_EPOCH,
            pass: 1,
            began_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(began_after_s),
            stage: Stage::Queues,
            found,
            position: None,
            pk: keys::erasure("0"),
            version: 1,
        }
    }

    #[test]
    fn only_a_pass_that_began_late_enough_and_found_nothing_ends_it() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(100);
        let settled_at = DateTime::UNIX_EPOCH + SETTLED;
        assert_eq!(erasure(90, 0).advance(now), Next::Finished);
        assert_eq!(erasure(89, 0).advance(now), Next::Pass(now));
        assert_eq!(erasure(90, 1).advance(now), Next::Pass(now));
        let early = DateTime::UNIX_EPOCH + TimeDelta::seconds(5);
        assert_eq!(erasure(0, 0).advance(early), Next::Pass(settled_at));
    }

    #[test]
    fn a_pass_goes_through_everything_before_it_ends() {
        let mut one = erasure(100, 0);
        one.advance(DateTime::UNIX_EPOCH);
        assert!(!one.rests(), "it is finished");
        let mut one = erasure(0, 3);
        one.advance(DateTime::UNIX_EPOCH);
        assert!(one.rests());
        one.begin(["s".to_owned()], DateTime::UNIX_EPOCH);
        assert_eq!((one.pass, one.stage, one.found), (2, Stage::Events, 0));
        assert_eq!(one.advance(DateTime::UNIX_EPOCH), Next::Stage);
        assert_eq!(one.advance(DateTime::UNIX_EPOCH), Next::Stage);
        assert_eq!((one.stage, one.rests()), (Stage::Queues, false));
    }
}
