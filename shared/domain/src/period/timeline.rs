//! The periods of a subscription that was renewed: a schedule whose anchor changed, once per renewal.
//!
//! Must not know why a period was ended early, nor which periods are closed.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{Period, PeriodLength, Schedule};

/// How many renewals a timeline remembers. Those before are as if they had never been, which is
/// why whoever forgets one must take nothing for the periods before the oldest remembered one.
pub const RENEWALS_MAX: usize = 100;

/// The billing periods of one subscription, renewals included.
///
/// Each renewal ends the period that runs and begins one there, anchored at its instant. Time is cut
/// into consecutive periods all the same: from one renewal to the next those of its own schedule, the
/// first one beginning at the renewal, the last one ended by the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    first: Schedule,
    /// Ascending, none twice.
    renewals: Vec<DateTime<Utc>>,
}

impl Timeline {
    /// The periods of a schedule that was renewed at these instants.
    pub fn new(first: Schedule, renewals: impl IntoIterator<Item = DateTime<Utc>>) -> Timeline {
        let mut renewals: Vec<_> = renewals.into_iter().collect();
        renewals.sort_unstable();
        renewals.dedup();
        Timeline { first, renewals }
    }

    /// The zone whose calendar counts.
    pub fn zone(&self) -> Tz {
        self.first.zone
    }

    /// The length of each period that is not ended early.
    pub fn length(&self) -> PeriodLength {
        self.first.length
    }

    /// The anchor before the renewals that are remembered.
    pub fn first_anchor(&self) -> DateTime<Utc> {
        self.first.anchor_instant()
    }

    /// The anchor since the last renewal.
    pub fn anchor_instant(&self) -> DateTime<Utc> {
        self.last_renewal().unwrap_or_else(|| self.first_anchor())
    }

    /// The renewals that are remembered, oldest first.
    pub fn renewals(&self) -> &[DateTime<Utc>] {
        &self.renewals
    }

    /// The last renewal.
    pub fn last_renewal(&self) -> Option<DateTime<Utc>> {
        self.renewals.last().copied()
    }

    /// Whether a renewal ended that period.
    pub fn is_cut(&self, period: &Period) -> bool {
        self.renewals.binary_search(&period.end).is_ok()
    }

    /// The one period that contains an instant. None only near the ends of chrono's range.
    pub fn period_at(&self, at: DateTime<Utc>) -> Option<Period> {
        let before = self.renewals.partition_point(|renewal| *renewal <= at);
        let next = self.renewals.get(before).copied();
        let own = before
            .checked_sub(1)
            .and_then(|index| self.renewals.get(index))
            .copied();
        let natural = match own {
            Some(own) => Schedule::new(self.first.zone, own, self.first.length).period_at(at)?,
            None => self.first.period_at(at)?,
        };
        Some(Period {
            // A renewal in the second pass of a doubled local time has its boundary in the first one.
            start: own.map_or(natural.start, |own| natural.start.max(own)),
            end: next.map_or(natural.end, |next| natural.end.min(next)),
        })
    }

    /// The period after one of this timeline.
    pub fn next(&self, period: &Period) -> Option<Period> {
        self.period_at(period.end)
    }

    /// The period before one of this timeline.
    pub fn previous(&self, period: &Period) -> Option<Period> {
        self.period_at(period.start.checked_sub_signed(TimeDelta::nanoseconds(1))?)
    }

    /// When a renewal asked for at `now` takes place: now, but never at the very start of the period
    /// that it ends, which would be empty and share its start with the next.
    pub fn renewal_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let least = self
            .period_at(now)?
            .start
            .checked_add_signed(TimeDelta::milliseconds(1))?;
        Some(now.max(least))
    }

    /// The timeline with one more renewal, after all others; the oldest is forgotten where there would
    /// be more than [`RENEWALS_MAX`].
    pub fn renewed(&self, at: DateTime<Utc>) -> Timeline {
        let mut after = Timeline::new(self.first.clone(), self.renewals.iter().copied().chain([at]));
        while after.renewals.len() > RENEWALS_MAX {
            let oldest = after.renewals.remove(0);
            after.first = Schedule::new(after.first.zone, oldest, after.first.length);
        }
        after
    }
}
