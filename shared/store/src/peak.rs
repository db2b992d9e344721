//! Peaks: the highest level that a gauge or a lease reached in each billing period, and the level
//! that each period began with.
//!
//! Both are written with the change that raises them, in the same update. A period in which nothing
//! changed is noted by the next change after it, from the level that this change finds; until then
//! the counter itself still has that level.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{metric::Kind, period::Period};
use rust_decimal::Decimal;

use crate::{StoreError, counter::Counter, keys::instant, subscription::Target};

/// How many periods a counter keeps; closed ones are in statements.
const PERIODS_MAX: usize = 13;

/// What a counter notes of its periods, by their starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peaks {
    /// The highest level in each.
    pub highest: BTreeMap<String, Decimal>,
    /// The level each began with.
    pub carried: BTreeMap<String, Decimal>,
}

impl Peaks {
    fn drop_oldest(&mut self) {
        for noted in [&mut self.highest, &mut self.carried] {
            while noted.len() > PERIODS_MAX {
                noted.pop_first();
            }
        }
    }
}

impl Counter {
    /// The highest level in a period, the one carried into it included. None if the counter was born
    /// after it, or if it is too long ago to be known.
    pub fn peak_in(&self, period: &Period) -> Option<Decimal> {
        let start = instant(period.start);
        if let Some(peak) = self.peaks.highest.get(&start) {
            return Some(*peak);
        }
        let is_later = self.peaks.highest.keys().next_back().is_none_or(|last| *last < start);
        let was_born = self.period.start < period.end;
        (is_later && was_born).then(|| self.carried_to(period.start))
    }

    /// The level with which a period ended, as far as that is known.
    pub fn level_at_end(&self, period: &Period) -> Decimal {
        let mut later = self.peaks.carried.range(instant(period.end)..);
        let noted = later.next().map(|(_, level)| *level);
        noted.unwrap_or_else(|| self.carried_to(period.end))
    }

    /// The level at an instant after the last change: a gauge keeps its own, of a lease those were
    /// left that had not expired.
    fn carried_to(&self, at: DateTime<Utc>) -> Decimal {
        match self.kind {
            Kind::Sum | Kind::Gauge => self.used,
            Kind::Lease => self.held(at),
        }
    }

    /// What is noted of periods before a change at `now`: all that began since the last one, up to
    /// the present one.
    pub(crate) fn peaks_carried(&self, target: &Target, now: DateTime<Utc>) -> Result<Peaks, StoreError> {
        let mut peaks = self.peaks.clone();
        let newest = |noted: &BTreeMap<String, Decimal>| noted.keys().next_back().cloned();
        let (peaked, carried) = (newest(&peaks.highest), newest(&peaks.carried));
        let mut period = target.period_at(now)?;
        for _ in 0..PERIODS_MAX {
            let start = instant(period.start);
            let level = self.carried_to(period.start);
            if carried.as_ref().is_none_or(|last| start > *last) {
                peaks.carried.insert(start.clone(), level);
            }
            if peaked.as_ref().is_none_or(|last| start > *last) {
                peaks.highest.insert(start.clone(), level);
            } else if carried.as_ref().is_some_and(|last| start <= *last) {
                break;
            }
            if period.start <= self.period.start {
                break;
            }
            period = target.period_at(period.start - TimeDelta::milliseconds(1))?;
        }
        peaks.drop_oldest();
        Ok(peaks)
    }

    /// What is noted after a change at `now` that left `level`: the period of its own time and the
    /// present one see it. Of an earlier period it is not known how high the level was, so a late
    /// change raises none before the last one noted.
    pub(crate) fn peaks_after(
        &self,
        target: &Target,
        own: &Period,
        now: DateTime<Utc>,
        level: Decimal,
    ) -> Result<Peaks, StoreError> {
        let mut peaks = self.peaks_carried(target, now)?;
        let latest = self.peaks.highest.keys().next_back().cloned();
        let before = self.carried_to(now);
        for start in [instant(own.start), instant(target.period_at(now)?.start)] {
            if latest.as_ref().is_none_or(|latest| start >= *latest) {
                let peak = peaks.highest.entry(start).or_insert(before);
                *peak = level.max(*peak);
            }
        }
        peaks.drop_oldest();
        Ok(peaks)
    }
}
