//! Many events at once: the same flow with one count, and one entry, per counter and 250 events.
//!
//! Sent twice, whole or in part: identities find what the first sending stored. In parallel: each
//! event's insertion decides, the values of those who lost are taken back in one update. Dies
//! half-way: the entry names all its events, and whoever resolves it keeps what was stored and
//! takes back the rest.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, stream};
use metering_domain::{ids::event_id_bits, metric::Kind};
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    count::{Confirmation, Count, Counted},
    counter::Counter,
    event::{Draft, Event, Stored},
    keys::CounterKey,
    track::{Born, Charge, Place, TURNS_MAX, Tracked},
};

/// How many events one count takes: with their ids its item stays below 5 KB.
pub const CHUNK_MAX: usize = 250;
/// How many events are inserted at once.
const CONFIRMS_MAX: usize = 32;
/// How many counters are charged at once.
const COUNTERS_MAX: usize = 8;

/// What became of one of many; an error, if it cannot be told: then it may be sent again.
pub type Outcome = Result<Tracked, Arc<StoreError>>;

/// An event of a batch, by its place in it.
#[derive(Debug, Clone)]
struct Member {
    place: usize,
    event: u128,
    draft: Arc<Draft>,
}

/// Outcomes by place.
type Outcomes = Vec<(usize, Outcome)>;

/// The members that are charged to one counter, in their order.
struct Group {
    charge: Charge,
    members: Vec<Member>,
}

impl Store {
    /// Stores each draft exactly once and charges it, in their order on each counter; the outcomes
    /// in the same order.
    pub async fn track_batch(&self, drafts: &[Draft]) -> Vec<Outcome> {
        let mut firsts: HashMap<&str, usize> = HashMap::new();
        let mut members = Vec::new();
        let mut outcomes: HashMap<usize, Outcome> = HashMap::new();
        for (place, draft) in drafts.iter().enumerate() {
            if firsts.contains_key(draft.id.as_str()) {
                continue;
            }
            firsts.insert(&draft.id, place);
            match event_id_bits(&draft.id) {
                Some(event) => members.push(Member {
                    place,
                    event,
                    draft: Arc::new(draft.clone()),
                }),
                None => drop(outcomes.insert(place, Err(Arc::new(StoreError::busy("track_batch"))))),
            }
        }
        outcomes.extend(self.track_members(members).await);
        let mut all = Vec::with_capacity(drafts.len());
        for (place, draft) in drafts.iter().enumerate() {
            let first = firsts.get(draft.id.as_str()).copied().unwrap_or(place);
            all.push(match outcomes.get(&first) {
                Some(outcome) if first == place => outcome.clone(),
                Some(outcome) => self.repeated(draft, &drafts[first], outcome).await,
                None => Err(Arc::new(StoreError::busy("track_batch"))),
            });
        }
        all
    }

    /// What becomes of an identity that occurred in the batch before.
    async fn repeated(&self, draft: &Draft, first: &Draft, outcome: &Outcome) -> Outcome {
        match outcome {
            Ok(Tracked::Recorded(event, _) | Tracked::Duplicate(event, _)) => Ok(replayed(draft, (**event).clone())),
            outcome if draft.fingerprint == first.fingerprint => outcome.clone(),
            // The first left no event, so this is another one.
            _ => self.track(draft).await.map_err(Arc::new),
        }
    }

    /// Events of different identities.
    async fn track_members(&self, members: Vec<Member>) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let members = match self.known(members, &mut outcomes).await {
            Ok(members) => members,
            Err((members, error)) => return all_failed(&members, error),
        };
        let (groups, singles) = self.grouped(members, &mut outcomes).await;
        let charged = stream::iter(groups).map(|group| self.charge_group(group));
        let charged: Vec<Outcomes> = charged.buffer_unordered(COUNTERS_MAX).collect().await;
        outcomes.extend(charged.into_iter().flatten());
        // Gauges depend on their order, history is charged to nothing.
        for member in singles {
            outcomes.push((member.place, self.track(&member.draft).await.map_err(Arc::new)));
        }
        outcomes
    }

    /// Answers what is stored already, and gives back the rest.
    async fn known(
        &self,
        members: Vec<Member>,
        outcomes: &mut Outcomes,
    ) -> Result<Vec<Member>, (Vec<Member>, StoreError)> {
        let identified: Vec<u128> = members
            .iter()
            .filter(|member| member.draft.identified)
            .map(|member| member.event)
            .collect();
        let Some(now) = members.first().map(|member| member.draft.now) else {
            return Ok(members);
        };
        let mut stored = match self.events_stored(&identified, now).await {
            Ok(stored) => stored,
            Err(error) => return Err((members, error)),
        };
        let mut rest = Vec::new();
        for member in members {
            match stored.remove(&member.event) {
                Some(Stored::Event(event)) => outcomes.push((member.place, self.found(&member.draft, *event).await)),
                Some(Stored::Tombstone { .. }) | None => rest.push(member),
            }
        }
        Ok(rest)
    }

    /// An event that is there already, without its counter.
    async fn found(&self, draft: &Draft, event: Event) -> Outcome {
        let tracked = replayed(draft, event);
        if let Tracked::Duplicate(event, _) = &tracked
            && event.late
        {
            self.late_note(event).await.map_err(Arc::new)?;
        }
        Ok(tracked)
    }

    /// Members by counter, and those that go one by one.
    async fn grouped(&self, members: Vec<Member>, outcomes: &mut Outcomes) -> (Vec<Group>, Vec<Member>) {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_key: HashMap<CounterKey, usize> = HashMap::new();
        let mut singles = Vec::new();
        for member in members {
            match self.place(&member.draft, false, &[]).await {
                Ok(Place::Charge(charge)) if member.draft.metric.kind == Kind::Sum => {
                    let group = *by_key.entry(charge.key.clone()).or_insert_with(|| {
                        groups.push(Group {
                            charge,
                            members: Vec::new(),
                        });
                        groups.len() - 1
                    });
                    groups[group].members.push(member);
                }
                Ok(Place::Charge(_) | Place::History(_)) => singles.push(member),
                Ok(Place::Done(tracked)) => outcomes.push((member.place, Ok(tracked))),
                Err(error) => outcomes.push((member.place, Err(Arc::new(error)))),
            }
        }
        (groups, singles)
    }

    /// Charges a group in chunks, one after another. Where its counter turns out to be closed, the
    /// rest goes one by one, each to the counter that is right for it then.
    async fn charge_group(&self, group: Group) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let same = |a: &Member, b: &Member| a.draft.enforce == b.draft.enforce;
        let chunks = group.members.chunk_by(same).flat_map(|run| run.chunks(CHUNK_MAX));
        let mut closed = false;
        for chunk in chunks {
            let mut open = chunk.to_vec();
            if !closed && let Err(error) = self.charge_chunk(&group.charge, &mut open, &mut outcomes).await {
                outcomes.extend(all_failed(&open, error));
                open.clear();
            }
            closed |= !open.is_empty();
            for member in open {
                outcomes.push((member.place, self.track(&member.draft).await.map_err(Arc::new)));
            }
        }
        outcomes
    }

    /// Charges members that are enforced alike. What is left in `open` in the end met a closed
    /// counter.
    async fn charge_chunk(
        &self,
        charge: &Charge,
        open: &mut Vec<Member>,
        outcomes: &mut Outcomes,
    ) -> Result<(), StoreError> {
        let mut chosen = open.clone();
        let mut waits = 0;
        for _ in 0..TURNS_MAX {
            let Some(first) = chosen.first() else { return Ok(()) };
            let events: Vec<_> = chosen.iter().map(|member| (member.event, member.draft.value)).collect();
            let what = Count {
                key: &charge.key,
                events: &events,
                enforce: first.draft.enforce,
                reservation: None,
                converts: None,
            };
            match self.count(what).await? {
                Counted::Pending(attempt, counter) => {
                    open.retain(|member| !chosen.iter().any(|one| one.event == member.event));
                    let again = self.confirm_chunk(charge, &attempt, *counter, &chosen, outcomes).await;
                    open.extend(again);
                    chosen.clone_from(open);
                }
                Counted::Missing => match self.birth(&first.draft, charge).await? {
                    Born::There => {}
                    Born::Closed => return Ok(()),
                },
                Counted::Sealed => return Ok(()),
                Counted::TooLittle(counter) | Counted::NoHold(counter) => {
                    chosen = self.choose(charge, *counter, open, outcomes, &mut waits).await?;
                }
            }
        }
        Err(StoreError::busy("charge_chunk"))
    }

    /// Inserts the events of a count and settles its entry; those whose attempt was given up.
    async fn confirm_chunk(
        &self,
        charge: &Charge,
        attempt: &str,
        counter: Counter,
        chosen: &[Member],
        outcomes: &mut Outcomes,
    ) -> Vec<Member> {
        let events = events_of(charge, attempt, &counter, chosen);
        let confirms = chosen.iter().cloned().zip(events).map(|(member, event)| async move {
            let confirmed = self.confirm(&event, member.draft.now).await;
            (member, event, confirmed)
        });
        let confirmed: Vec<_> = stream::iter(confirms).buffered(CONFIRMS_MAX).collect().await;
        let (mut back, mut all_known, mut again) = (Decimal::ZERO, true, Vec::new());
        for (member, event, confirmed) in confirmed {
            let outcome = match confirmed {
                Ok(Confirmation::Stored) => Ok(Tracked::Recorded(Box::new(event), None)),
                Ok(Confirmation::Adopted(found)) => self.found(&member.draft, *found).await,
                Ok(Confirmation::Another(found)) => {
                    back += member.draft.value;
                    self.found(&member.draft, *found).await
                }
                Ok(Confirmation::Abandoned) => {
                    back += member.draft.value;
                    again.push(member);
                    continue;
                }
                Err(error) => {
                    all_known = false;
                    Err(Arc::new(error))
                }
            };
            outcomes.push((member.place, outcome));
        }
        // What is not known now is for whoever resolves the entry.
        if all_known && let Err(error) = self.settle(&charge.key, attempt, back).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a batch's entry stays until it is resolved");
        }
        again
    }

    /// Where not all fit: adopts what earlier sendings left, then chooses, in order, each that
    /// fits; if none does, waits for entries that could make room, or denies all. An empty choice
    /// with nothing left open is the end.
    async fn choose(
        &self,
        charge: &Charge,
        counter: Counter,
        open: &mut Vec<Member>,
        outcomes: &mut Outcomes,
        waits: &mut u32,
    ) -> Result<Vec<Member>, StoreError> {
        let mut adopted = false;
        for member in open.clone() {
            let Some(attempt) = counter.attempt_of(member.event, member.draft.value) else {
                continue;
            };
            let attempt = attempt.to_owned();
            let confirmed = self
                .confirm_sum(&member.draft, charge, attempt, counter.clone(), true)
                .await?;
            if let Some(tracked) = confirmed {
                outcomes.push((member.place, Ok(tracked)));
                open.retain(|other| other.event != member.event);
                adopted = true;
            }
        }
        // Expired holds first: what comes first must not lose to what fits without their room.
        if adopted || self.holds_expire(&counter, self.context.now()).await? {
            return Ok(open.clone());
        }
        let fitting = fitting(counter.remaining, open);
        if !fitting.is_empty() {
            return Ok(fitting);
        }
        let least = open.iter().map(|member| member.draft.value).min().unwrap_or_default();
        if self.make_room(&counter, least, self.context.now(), waits).await? {
            return Ok(open.clone());
        }
        let denied = std::mem::take(open);
        self.deny(charge, counter, denied, outcomes).await?;
        Ok(Vec::new())
    }

    /// Denies what is not stored after all.
    async fn deny(
        &self,
        charge: &Charge,
        counter: Counter,
        denied: Vec<Member>,
        outcomes: &mut Outcomes,
    ) -> Result<(), StoreError> {
        let denied = match self.known(denied, outcomes).await {
            Ok(denied) => denied,
            Err((members, error)) => {
                outcomes.extend(all_failed(&members, error));
                return Ok(());
            }
        };
        for _ in &denied {
            self.denied(&charge.key);
        }
        let counter = Box::new(self.with_denials(counter));
        let refusals = denied
            .iter()
            .map(|member| (member.place, Ok(Tracked::Denied(counter.clone()))));
        outcomes.extend(refusals);
        Ok(())
    }
}

/// The events of a chunk as they are to be stored; above the cap is what comes after it is reached.
fn events_of(charge: &Charge, attempt: &str, counter: &Counter, chosen: &[Member]) -> Vec<Event> {
    let total: Decimal = chosen.iter().map(|member| member.draft.value).sum();
    let now = chosen.first().map(|member| member.draft.now);
    let mut left = now.map_or(counter.remaining, |now| counter.left(now)) + total;
    let event = |member: &Member| {
        left -= member.draft.value;
        charge.event(&member.draft, attempt, counter.arm, left)
    };
    chosen.iter().map(event).collect()
}

/// In order, each that fits into what is left by those before it.
fn fitting(mut left: Decimal, open: &[Member]) -> Vec<Member> {
    let fits = |member: &&Member| {
        let value = member.draft.value;
        let fits = value <= left.max(Decimal::ZERO);
        if fits {
            left -= value;
        }
        fits
    };
    open.iter().filter(fits).cloned().collect()
}

/// An event that is there already: the same again, or another under its name.
fn replayed(draft: &Draft, event: Event) -> Tracked {
    if event.fingerprint == draft.fingerprint {
        Tracked::Duplicate(Box::new(event), None)
    } else {
        Tracked::OtherFingerprint(Box::new(event))
    }
}

fn all_failed(members: &[Member], error: StoreError) -> Outcomes {
    let error = Arc::new(error);
    let outcome = || match *error {
        StoreError::Erased => Ok(Tracked::Erased),
        _ => Err(error.clone()),
    };
    members.iter().map(|member| (member.place, outcome())).collect()
}
