//! Exponential smoothing: simple, Holt's, damped and Holt-Winters' additive.
//!
//! The recursions are those of Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed.,
//! chapter 8. Parameters are those with the least squared one-step error; the start comes from the first values.

use super::{
    Fit,
    line::{Line, mean},
    search::minimum,
};

/// How many values the start is taken from, in whole seasons where there is one.
const START_VALUES: usize = 10;
/// Seasons that the start is taken from.
const START_SEASONS: usize = 3;
/// Damping of a trend: from where it is gone after some steps to where it is hardly damped.
const PHI: (f64, f64) = (0.8, 0.98);
/// Weights of new values: never none, never all.
const WEIGHT: (f64, f64) = (0.0001, 0.9999);

/// How a trend goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// There is none.
    None,
    /// As it is.
    Straight,
    /// Less with every step.
    Damped,
}

/// The weights of new values, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// α: of the level.
    pub level: f64,
    /// β*: of the trend.
    pub trend: f64,
    /// γ: of the season.
    pub season: f64,
    /// φ: what is left of the trend after each step; 1 for a straight one, 0 for none.
    pub damping: f64,
}

/// The state before the first value.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The level.
    pub level: f64,
    /// What is added to it with each step.
    pub trend: f64,
    /// What is added at each place of the season that comes next; empty without a season.
    pub season: Vec<f64>,
}

impl State {
    /// The state before `values`, as their first ones say.
    fn before(values: &[f64], trend: Trend, season: usize) -> Self {
        let cycle = season.max(1);
        let cycles = (values.len() / cycle).clamp(1, START_SEASONS);
        let length = match season {
            0 | 1 => START_VALUES.min(values.len()),
            _ => (cycles * cycle).min(values.len()),
        };
        let first = &values[..length];
        let line = match trend {
            Trend::None => Line::level(mean(first)),
            // A line through one season would take the season for a trend.
            _ if season > 1 && cycles < 2 => Line::level(mean(first)),
            _ => Line::through(first),
        };
        let mut places = Vec::new();
        if season > 1 {
            places = (0..season)
                .map(|place| {
                    let rest = (place..length).step_by(season).map(|at| first[at] - line.at(at as f64));
                    mean(&rest.collect::<Vec<_>>())
                })
                .collect();
            let excess = mean(&places);
            places.iter_mut().for_each(|value| *value -= excess);
        }
        Self {
            level: line.at(-1.0),
            trend: line.slope,
            season: places,
        }
    }

    /// Goes over the values; what each was expected to be is told to `expected`.
    fn follow(&mut self, values: &[f64], weights: Weights, mut expected: impl FnMut(f64, f64)) {
        let cycle = self.season.len();
        for (at, value) in values.iter().enumerate() {
            let base = self.level + weights.damping * self.trend;
            let season = if cycle > 0 { self.season[at % cycle] } else { 0.0 };
            expected(*value, base + season);
            let level = weights.level * (value - season) + (1.0 - weights.level) * base;
            self.trend = weights.trend * (level - self.level) + (1.0 - weights.trend) * weights.damping * self.trend;
            if cycle > 0 {
                self.season[at % cycle] = weights.season * (value - base) + (1.0 - weights.season) * season;
            }
            self.level = level;
        }
        if cycle > 0 {
            self.season.rotate_left(values.len() % cycle);
        }
    }

    /// The steps that follow.
    fn path(&self, weights: Weights, steps: usize) -> Vec<f64> {
        let (mut level, mut trend) = (self.level, self.trend);
        (0..steps)
            .map(|step| {
                trend *= weights.damping;
                level += trend;
                level + self.season.get(step % self.season.len().max(1)).unwrap_or(&0.0)
            })
            .collect()
    }
}

/// Smooths with given weights from a given state on.
pub fn smooth_with(values: &[f64], weights: Weights, start: State, steps: usize) -> Fit {
    let mut state = start;
    let mut fitted = Vec::with_capacity(values.len());
    state.follow(values, weights, |_, expected| fitted.push(expected));
    Fit {
        fitted,
        path: state.path(weights, steps),
    }
}

/// Smooths with the weights that fit best. A season needs two of its lengths, else it is left out.
pub fn smooth(values: &[f64], trend: Trend, season: usize, steps: usize) -> Fit {
    let season = if season > 1 && values.len() >= 2 * season {
        season
    } else {
        0
    };
    let start = State::before(values, trend, season);
    let weights = best_weights(values, trend, &start);
    smooth_with(values, weights, start, steps)
}

/// A value between two bounds for any number.
fn between((low, high): (f64, f64), x: f64) -> f64 {
    low + (high - low) / (1.0 + (-x).exp())
}

pub(super) fn best_weights(values: &[f64], trend: Trend, start: &State) -> Weights {
    let seasonal = !start.season.is_empty();
    let read = |x: &[f64]| {
        let mut rest = x.iter().copied();
        let mut next = |bounds| between(bounds, rest.next().unwrap_or_default());
        let level = next(WEIGHT);
        let (slope, damping) = match trend {
            Trend::None => (0.0, 0.0),
            Trend::Straight => (next(WEIGHT), 1.0),
            Trend::Damped => (next(WEIGHT), next(PHI)),
        };
        Weights {
            level,
            trend: slope,
            season: if seasonal { next(WEIGHT) } else { 0.0 },
            damping,
        }
    };
    let mut from = vec![0.0];
    match trend {
        Trend::None => {}
        Trend::Straight => from.push(-2.0),
        Trend::Damped => from.extend([-2.0, 1.0]),
    }
    if seasonal {
        from.push(-2.0);
    }
    let mut state = start.clone();
    let best = minimum(&from, |x| {
        state.clone_from(start);
        let mut squares = 0.0;
        state.follow(values, read(x), |value, expected| squares += (value - expected).powi(2));
        squares
    });
    read(&best)
}
