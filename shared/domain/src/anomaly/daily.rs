//! How far a value lies outside of what the last days showed at this time of the day.
//!
//! Must not know what is unusual: that is for whoever judges the distances.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

use std::collections::VecDeque;

use chrono::{NaiveDate, NaiveDateTime, Timelike as _};

use super::tail::as_f64;

/// Half hours of a day.
const SLOTS: usize = 48;
const SLOT_MINUTES: u32 = 30;
/// Days that are remembered: a week, so that each weekday is among them.
const DAYS: usize = 7;
/// Fewer days make no habit.
const DAYS_LEAST: usize = 3;
/// Moments of the series are forgotten as slowly as this many values.
const MEMORY: usize = 2_000;
/// The share of the variance that the time of the day must explain.
const EXPLAINED_LEAST: f64 = 0.6;
/// From here on single values may not spoil what is explained: an outlier counts as three deviations.
const SETTLED: usize = 500;

/// From where to where the values of half an hour went.
type Range = (f64, f64);

/// What a value is to its time of the day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    /// How far outside of the last days' range around this time; above it positive, inside 0.
    pub distance: f64,
    /// The standard deviation of the whole series.
    pub deviation: f64,
    /// Whether the time of the day explains the series well enough to say so.
    pub is_telling: bool,
}

/// The ranges of each half hour of the last seven days.
#[derive(Clone, Debug)]
pub(super) struct Daily {
    days: [VecDeque<Range>; SLOTS],
    today: [Option<Range>; SLOTS],
    date: Option<NaiveDate>,
    count: usize,
    mean: f64,
    variance: f64,
    /// The mean square of what the time of the day does not explain.
    rest: f64,
}

impl Default for Daily {
    fn default() -> Self {
        Self {
            days: [const { VecDeque::new() }; SLOTS],
            today: [None; SLOTS],
            date: None,
            count: 0,
            mean: 0.0,
            variance: 0.0,
            rest: 0.0,
        }
    }
}

impl Daily {
    /// Judges a value by the days before, then takes it in. None until there are three of them.
    pub fn push(&mut self, at: NaiveDateTime, value: f64) -> Option<Departure> {
        self.turn_to(at.date());
        let slot = ((at.num_seconds_from_midnight() / 60 / SLOT_MINUTES) as usize).min(SLOTS - 1);
        let around = [(slot + SLOTS - 1) % SLOTS, slot, (slot + 1) % SLOTS];
        let days = around.map(|slot| self.days[slot].len()).into_iter().max().unwrap_or(0);
        let known = around.iter().flat_map(|slot| self.days[*slot].iter());
        let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), range| {
            (low.min(range.0), high.max(range.1))
        });
        let range = self.today[slot].get_or_insert((value, value));
        *range = (range.0.min(value), range.1.max(value));
        self.count += 1;
        let weight = 1.0 / as_f64(self.count.min(MEMORY));
        self.mean += weight * (value - self.mean);
        let here = &self.days[slot];
        if days < DAYS_LEAST || here.is_empty() {
            return None;
        }
        let usual = here.iter().map(|range| range.0.midpoint(range.1)).sum::<f64>() / as_f64(here.len());
        self.learn(weight, value, usual);
        let distance = if value < low {
            value - low
        } else {
            (value - high).max(0.0)
        };
        Some(Departure {
            distance,
            deviation: self.variance.sqrt(),
            is_telling: self.rest <= (1.0 - EXPLAINED_LEAST) * self.variance,
        })
    }

    /// At midnight the ranges of the day become history.
    fn turn_to(&mut self, date: NaiveDate) {
        if self.date.replace(date) == Some(date) {
            return;
        }
        for (days, today) in self.days.iter_mut().zip(&mut self.today) {
            if let Some(range) = today.take() {
                days.push_back(range);
                if days.len() > DAYS {
                    days.pop_front();
                }
            }
        }
    }

    fn learn(&mut self, weight: f64, value: f64, usual: f64) {
        let mut unexplained = (value - usual).powi(2);
        if self.count >= SETTLED {
            unexplained = unexplained.min(9.0 * self.variance);
        }
        self.rest += weight * (unexplained - self.rest);
        self.variance += weight * ((value - self.mean).powi(2) - self.variance);
    }
}
