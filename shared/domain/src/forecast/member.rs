//! The single models: each makes a path of a series. The named models are chosen or mixed from these.

use super::{
    Fit,
    autoregression::{Lags, autoregression},
    line::{line, mean},
    season::decomposed,
    smoothing::{Trend, smooth},
    theta::theta,
};

/// The longest season that has a level of its own for each place in an autoregression.
const PLACES_MAX: usize = 31;
/// Values before the present one that an autoregression without a short season looks at.
const RECENT: usize = 9;
/// Autoregressions look at no more values back than this share of the series.
const RECENT_SHARE: usize = 6;
/// Values that the rest of a decomposition is continued from.
const RECENT_OF_REST: usize = 3;
/// How much the levels of the places of a season are held towards 0, and those of a season of seasons.
const HELD: (f64, f64) = (0.3, 10.0);
/// A path leaves the range of its series by no more than this many times that range.
const BEYOND_MAX: f64 = 3.0;

/// A single model.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Member {
    /// As one season ago; without a season as the last value.
    Naive,
    /// The mean of the last values.
    Mean(usize),
    /// The line through all values.
    Line,
    /// Exponential smoothing with this trend, and with the season if there is one.
    Smoothing(Trend),
    /// The theta method on what is left without the seasons.
    Theta,
    /// Exponential smoothing with a damped trend of what is left without the seasons.
    Decomposed,
    /// A short autoregression of what is left without seasons that do not change.
    Periodic,
    /// Regression on earlier values.
    Autoregression {
        /// Of the changes, not of the values.
        differenced: bool,
        /// Far values weigh less.
        robust: bool,
        /// Few values just before.
        short: bool,
    },
}

/// A model, and whether it is fitted to the logarithms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub member: Member,
    pub logarithm: bool,
}

/// What is known of a series before it is modelled.
pub(super) struct Frame {
    /// Seasons found, the shortest first.
    pub seasons: Vec<usize>,
    /// Everything is above 0, so that logarithms exist.
    pub positive: bool,
    /// More than half of all values are 0.
    pub rare: bool,
}

impl Frame {
    /// The shortest season; 1 without.
    pub fn cycle(&self) -> usize {
        self.seasons.first().copied().unwrap_or(1)
    }
}

impl Candidate {
    pub fn plain(member: Member) -> Self {
        Self {
            member,
            logarithm: false,
        }
    }

    /// The model's path, and what it expected of each value.
    pub fn fit(&self, values: &[f64], frame: &Frame, steps: usize) -> Fit {
        if !self.logarithm {
            return self.member.fit(values, frame, steps).within(values);
        }
        let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        let mut fit = self.member.fit(&logarithms, frame, steps);
        let all = fit.fitted.iter_mut().chain(&mut fit.path);
        all.for_each(|value| *value = value.exp());
        fit.within(values)
    }
}

impl Fit {
    /// The path without what no model can mean: a recursion that runs away.
    fn within(mut self, values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let last = values.last().copied().unwrap_or_default();
        // A straight trend may go on for as long as it is asked for.
        let times = BEYOND_MAX.max(2.0 * self.path.len() as f64 / values.len().max(1) as f64);
        let room = times * (high - low);
        for value in &mut self.path {
            *value = if value.is_finite() {
                value.clamp(low - room, high + room)
            } else {
                last
            };
        }
        self
    }
}

impl Member {
    fn fit(&self, values: &[f64], frame: &Frame, steps: usize) -> Fit {
        let seasons = &frame.seasons;
        match self {
            Self::Naive => naive(values, frame.cycle(), steps),
            Self::Mean(window) => moving_average(values, *window, steps),
            Self::Line => line(values, steps),
            Self::Smoothing(trend) => smooth(values, *trend, frame.cycle(), steps),
            Self::Theta => decomposed(values, seasons, false, steps, theta),
            Self::Decomposed => decomposed(values, seasons, false, steps, |rest, steps| {
                smooth(rest, Trend::Damped, 1, steps)
            }),
            Self::Periodic => decomposed(values, seasons, true, steps, |rest, steps| {
                let lags = Lags {
                    lags: (1..=RECENT_OF_REST).collect(),
                    ..Lags::default()
                };
                autoregression(rest, &lags, steps)
            }),
            Self::Autoregression {
                differenced,
                robust,
                short,
            } => {
                let lags = Lags {
                    robust: *robust,
                    ..lags(values.len(), seasons, *short)
                };
                if *differenced {
                    return changes(values, |changes| autoregression(changes, &lags, steps));
                }
                autoregression(values, &lags, steps)
            }
        }
    }
}

/// Which earlier values say something in a series of this length.
fn lags(length: usize, seasons: &[usize], short: bool) -> Lags {
    let cycle = seasons.first().copied().unwrap_or(1);
    let recent = if (2..=PLACES_MAX).contains(&cycle) {
        cycle + 2
    } else {
        RECENT
    };
    let recent = if short { 2 } else { recent };
    let mut lags: Vec<usize> = (1..=recent.min(length / RECENT_SHARE).max(1)).collect();
    let mut places = Vec::new();
    if cycle > PLACES_MAX {
        lags.extend(cycle - 1..=cycle + 1);
    } else if cycle > 1 {
        lags.extend(cycle - 1..=cycle + 1);
        places.push((cycle, HELD.0));
        places.extend(seasons.iter().skip(1).map(|longer| (*longer, HELD.1)));
    }
    lags.sort_unstable();
    lags.dedup();
    Lags {
        lags,
        places,
        robust: false,
    }
}

/// A model of the changes, as one of the values.
fn changes(values: &[f64], fit: impl Fn(&[f64]) -> Fit) -> Fit {
    let changes: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let inner = fit(&changes);
    let mut fitted = vec![f64::NAN; values.len().min(1)];
    fitted.extend(inner.fitted.iter().zip(values).map(|(change, before)| before + change));
    let mut level = values.last().copied().unwrap_or_default();
    let climb = |change: &f64| {
        level += change;
        level
    };
    Fit {
        fitted,
        path: inner.path.iter().map(climb).collect(),
    }
}

/// As one cycle ago.
fn naive(values: &[f64], cycle: usize, steps: usize) -> Fit {
    let cycle = cycle.clamp(1, values.len().max(1));
    let last = values.get(values.len() - cycle.min(values.len())..).unwrap_or_default();
    let before = |at: usize| at.checked_sub(cycle).map_or(f64::NAN, |before| values[before]);
    Fit {
        fitted: (0..values.len()).map(before).collect(),
        path: last.iter().copied().cycle().take(steps).collect(),
    }
}

/// The mean of the last `window` values, or of all if there are less.
pub fn moving_average(values: &[f64], window: usize, steps: usize) -> Fit {
    let before = |end: usize| {
        let start = end.saturating_sub(window.max(1));
        if start == end {
            f64::NAN
        } else {
            mean(&values[start..end])
        }
    };
    Fit {
        fitted: (0..values.len()).map(before).collect(),
        path: vec![before(values.len()); steps],
    }
}
