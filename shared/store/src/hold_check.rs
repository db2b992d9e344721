//! Holds held against the records of reservations.
//!
//! What was decided and not carried out is carried out first, as anybody may at any time; what then
//! still differs is for [`crate::reconcile`] to see twice. A hold is written before its record: one
//! without a record whose maker may be at work is left alone for a minute.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    counter::{Counter, Hold},
    item::{Item, s},
    keys::{self, Owner},
    mutation::ONLY,
    reservation::{Reservation, State},
    resolve::STALE,
};

/// Reservations that were made so long before are listed: none but leases is held for longer than a
/// day, and a night that failed is made up for.
const MADE_WITHIN: TimeDelta = TimeDelta::days(3);
/// How many of them one page reads,
const PAGE: usize = 250;
/// and how many pages.
const PAGES_MAX: usize = 40;
/// How many holds of one counter are found wrong at once: each is an item of a transaction.
const FIXES_MAX: usize = 50;

/// What must become of a hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Fix {
    /// It is nobody's: there is no record, and from now on there must be none.
    Unrecorded(Hold),
    /// Its reservation is held by another counter.
    Foreign,
    /// It must be this, by its record.
    Recorded(Hold),
}

/// What is wrong with the holds of a counter.
pub(crate) enum Holds {
    /// These, by their reservations; none is wrong if there are none.
    Wrong(BTreeMap<String, Fix>),
    /// Somebody is at work.
    Busy,
}

impl Store {
    /// A user's reservations of the last days, after the commits among them were carried out.
    pub(crate) async fn reservations_settled(
        &self,
        user_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Reservation>, StoreError> {
        let kind = keys::reservations(user_id);
        let oldest = keys::instant(now - MADE_WITHIN);
        let (mut found, mut before) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let (mut sort_keys, next) = self.kind_list(&kind, before.as_deref(), PAGE).await?;
            let listed = sort_keys.len();
            sort_keys.retain(|key| *key > oldest);
            let page = self.reservations_by_sort(&sort_keys).await?;
            found.extend(page.into_iter().map(|(_, one)| one));
            before = next.filter(|_| sort_keys.len() == listed);
            if before.is_none() {
                break;
            }
        }
        let events = self.reservation_events(&found, now).await?;
        let is_open = |one: &&Reservation| one.state == State::Committed && !events.contains_key(&one.id);
        for open in found.iter().filter(is_open) {
            // Until then its writer is at work.
            if open.decision.as_ref().is_some_and(|decision| now - decision.at > STALE) {
                self.commit_finish(open, now).await?;
            }
        }
        Ok(found)
    }

    /// Carries out what is decided of the holds on a counter; whether anything was.
    pub(crate) async fn holds_settle(&self, counter: &Counter, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut settled = self.holds_expire(counter, now).await?;
        for record in self.records_of(counter).await?.into_values() {
            match record.state {
                State::Held => continue,
                State::Committed => drop(self.commit_finish(&record, now).await?),
                State::Released | State::Expired => self.hold_drop(&record, now).await?,
            }
            settled = true;
        }
        Ok(settled)
    }

    /// The records of the holds on a counter.
    async fn records_of(&self, counter: &Counter) -> Result<HashMap<String, Reservation>, StoreError> {
        let key = |id: &String| Item::from([("pk".into(), s(keys::reservation(id))), ("sk".into(), s(ONLY))]);
        let wanted: Vec<Item> = counter.holds.keys().map(key).collect();
        let mut records = HashMap::new();
        for item in self.batch_get(&self.tables.state, &wanted).await? {
            if let Some(record) = Reservation::from_item(&item)? {
                records.insert(record.id.clone(), record);
            }
        }
        Ok(records)
    }

    /// What is wrong with the holds of a counter, by their records and the user's reservations.
    pub(crate) async fn holds_check(
        &self,
        counter: &Counter,
        reservations: &[Reservation],
        now: DateTime<Utc>,
    ) -> Result<Holds, StoreError> {
        let records = self.records_of(counter).await?;
        let mut wrong = BTreeMap::new();
        for (id, hold) in &counter.holds {
            match records.get(id) {
                _ if hold.expires_at <= now => return Ok(Holds::Busy),
                Some(record) if record.state_at(now) != State::Held => return Ok(Holds::Busy),
                Some(record) if !is_of(record, counter) => drop(wrong.insert(id.clone(), Fix::Foreign)),
                Some(record) if record.quantity != hold.quantity => {
                    let quantity = record.quantity;
                    wrong.insert(
                        id.clone(),
                        Fix::Recorded(Hold {
                            quantity,
                            ..hold.clone()
                        }),
                    );
                }
                Some(_) => {}
                None if now - hold.made_at <= STALE => return Ok(Holds::Busy),
                None => drop(wrong.insert(id.clone(), Fix::Unrecorded(hold.clone()))),
            }
        }
        let lost = reservations.iter().filter(|one| {
            one.state_at(now) == State::Held && now - one.created_at > STALE && !counter.holds.contains_key(&one.id)
        });
        for one in lost.filter(|one| is_of(one, counter)) {
            let hold = Hold {
                quantity: one.quantity,
                expires_at: one.held_until,
                made_at: one.created_at,
            };
            wrong.insert(one.id.clone(), Fix::Recorded(hold));
        }
        Ok(Holds::Wrong(wrong.into_iter().take(FIXES_MAX).collect()))
    }
}

/// Whether a reservation is held by this counter.
fn is_of(record: &Reservation, counter: &Counter) -> bool {
    let owner: Owner = record.owner();
    owner == counter.key.owner && record.counter == counter.key.sk()
}

/// What the holds of a counter add up to once these are as they must be.
pub(crate) fn held_after(counter: &Counter, fixes: &BTreeMap<String, Fix>) -> Decimal {
    let kept = counter.holds.iter().filter(|(id, _)| !fixes.contains_key(*id));
    let kept = kept.map(|(_, hold)| hold.quantity);
    let recorded = fixes.values().map(|fix| match fix {
        Fix::Recorded(hold) => hold.quantity,
        Fix::Unrecorded(_) | Fix::Foreign => Decimal::ZERO,
    });
    kept.chain(recorded).sum()
}
