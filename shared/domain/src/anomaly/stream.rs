//! Scores each value of a series by what came before it, at a constant cost.
//!
//! Several views of the series (the value, means, changes between adjacent windows, spread, the habit
//! of the day) each say how surprising the present is, as −log10 of a probability that the view's own history
//! gives. Each view's surprise is divided by what is taken for remarkable there, and the largest counts. After a
//! remarkable value the detector is silent for a while: one incident is one detection.
//!
//! The divisors were chosen on public labelled series of server metrics (Numenta Anomaly Benchmark), on coarse
//! steps, by what also held on series left out, resampled or generated. Must not know metrics, users or risks.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

use std::collections::VecDeque;

use chrono::NaiveDateTime;

use super::{
    daily::Daily,
    tail::{Tail, as_f64},
};

/// Before so many values nothing is remarkable.
const WARM_UP: usize = 100;
/// A view over windows of w values is heard after so many times w,
const WINDOWS_LEAST: usize = 6;
/// A tail's mean is at least this share of the view's standard deviation,
const SCALE_SHARE: f64 = 0.05;
/// this share of that of the series, so that what repeats itself exactly leaves room,
const SERIES_SHARE: f64 = 0.02;
/// this share of the value itself, so that rounding errors are no surprise,
const ROUNDING: f64 = 1e-9;
/// and for the habit of the day this share of the series' standard deviation.
const DAILY_SHARE: f64 = 0.1;
/// After a detection as much silence as this share of the values so far,
const SILENCE_SHARE: usize = 20;
/// but at least and at most so many values.
const SILENCE_MIN: usize = 24;
const SILENCE_MAX: usize = 300;

/// Widths of the windows whose adjacent means are compared; the largest decides what is remembered.
const CHANGES: [usize; 3] = [6, 24, 96];
/// The width of the window of means, spread and habit.
const SHORT: usize = CHANGES[0];
const REMEMBERED: usize = 2 * CHANGES[2];

/// From which aspect a value surprises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The value itself.
    Value,
    /// The mean of the last few values.
    Mean,
    /// The mean of a window against the window before, of so many values each.
    Change(usize),
    /// How much the last few values scatter.
    Spread,
    /// What the last days showed at this time.
    Daily,
}

impl View {
    /// The name in reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            View::Value => "value",
            View::Mean => "mean",
            View::Change(_) => "change",
            View::Spread => "spread",
            View::Daily => "time_of_day",
        }
    }

    /// −log10 of the probability that is remarkable.
    fn remarkable(self) -> f64 {
        match self {
            View::Value => 3.5,
            View::Change(24) => 4.0,
            View::Daily => 4.5,
            View::Mean | View::Spread | View::Change(SHORT) => 5.0,
            View::Change(_) => 6.0,
        }
    }

    fn width(self) -> usize {
        match self {
            View::Value => 1,
            View::Change(width) => width,
            View::Mean | View::Spread | View::Daily => SHORT,
        }
    }
}

/// What one value is to the series before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// 0 to 1; from [`Score::REMARKABLE`] on it is a detection. Doubling the surprise halves the distance to 1.
    pub value: f64,
    /// The view that it surprises most.
    pub view: View,
}

impl Score {
    /// From here on a value is a detection.
    pub const REMARKABLE: f64 = 0.5;

    const NONE: Score = Score {
        value: 0.0,
        view: View::Value,
    };

    /// Whether the value is a detection.
    pub fn is_remarkable(&self) -> bool {
        self.value >= Self::REMARKABLE
    }
}

/// Both tails of what a view shows.
#[derive(Clone, Debug)]
struct Tails {
    high: Tail,
    low: Tail,
    /// What is not history yet: windows that overlap the present one would hide it.
    waiting: VecDeque<f64>,
    delay: usize,
}

impl Tails {
    /// What the view's own spread allows as the mean of its tail.
    fn scale_min(&self, value: f64, series: f64) -> f64 {
        let spread = (SCALE_SHARE * self.high.deviation()).max(SERIES_SHARE * series);
        spread.max(ROUNDING * value.abs())
    }

    /// Judges by the view's own spread, but not finer than that of the series.
    fn surprise_in(&mut self, value: f64, series: f64) -> f64 {
        self.surprise(value, self.scale_min(value, series))
    }

    fn new(delay: usize) -> Self {
        Self {
            high: Tail::default(),
            low: Tail::default(),
            waiting: VecDeque::with_capacity(delay + 1),
            delay,
        }
    }

    /// Judges, then learns what came `delay` values before.
    fn surprise(&mut self, value: f64, scale_min: f64) -> f64 {
        let surprise = self
            .high
            .surprise(value, scale_min)
            .max(self.low.surprise(-value, scale_min));
        self.waiting.push_back(value);
        if self.waiting.len() > self.delay
            && let Some(value) = self.waiting.pop_front()
        {
            self.high.push(value);
            self.low.push(-value);
        }
        surprise
    }
}

/// A detector that is given a series value by value. The same values give the same scores, always.
#[derive(Clone, Debug)]
pub struct Detector {
    last: VecDeque<f64>,
    count: usize,
    silent_until: usize,
    detected_at: Option<usize>,
    value: Tails,
    mean: Tails,
    changes: [Tails; CHANGES.len()],
    spread: Tails,
    departure: Tails,
    daily: Daily,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            last: VecDeque::with_capacity(REMEMBERED + 1),
            count: 0,
            silent_until: 0,
            detected_at: None,
            value: Tails::new(0),
            mean: Tails::new(SHORT),
            changes: CHANGES.map(Tails::new),
            spread: Tails::new(SHORT),
            departure: Tails::new(0),
            daily: Daily::default(),
        }
    }
}

impl Detector {
    /// Judges the value that follows, by those before it. `at` is its time on the clock of whoever lives by
    /// it; times that repeat or go back are taken as they are. What is not finite is passed over.
    pub fn push(&mut self, at: NaiveDateTime, value: f64) -> Score {
        if !value.is_finite() {
            return Score::NONE;
        }
        let surprises = self.surprises(at, value);
        let index = self.count;
        self.count += 1;
        if index < self.silent_until {
            return Score::NONE;
        }
        let heard = surprises.into_iter().filter(|(view, _)| self.hears(*view, index));
        let strongest = heard
            .map(|(view, surprise)| (view, surprise / view.remarkable()))
            .max_by(|one, other| one.1.total_cmp(&other.1));
        let score = strongest.map_or(Score::NONE, |(view, times)| Score {
            value: 1.0 - (-times).exp2(),
            view,
        });
        if index >= WARM_UP && score.is_remarkable() {
            self.detected_at = Some(index);
            self.silent_until = index + 1 + (index / SILENCE_SHARE).clamp(SILENCE_MIN, SILENCE_MAX);
        }
        if index < WARM_UP { Score::NONE } else { score }
    }

    /// Whether a view has seen enough, and does not only repeat what was detected a moment ago.
    fn hears(&self, view: View, index: usize) -> bool {
        let width = view.width();
        index >= WINDOWS_LEAST * width && self.detected_at.is_none_or(|at| index - at > width)
    }

    fn surprises(&mut self, at: NaiveDateTime, value: f64) -> Vec<(View, f64)> {
        let series = self.value.high.deviation();
        let mut surprises = vec![(View::Value, self.value.surprise_in(value, series))];
        self.last.push_back(value);
        if self.last.len() > REMEMBERED {
            self.last.pop_front();
        }
        for (width, tails) in CHANGES.into_iter().zip(&mut self.changes) {
            let Some(before) = window(&self.last, 2 * width, width) else {
                break;
            };
            let Some(now) = window(&self.last, width, 0) else { break };
            let (now, before) = (mean(now.iter()), mean(before.iter()));
            surprises.push((View::Change(width), tails.surprise_in(now - before, series)));
        }
        if let Some(short) = window(&self.last, SHORT, 0).filter(|_| self.last.len() >= 2 * SHORT) {
            let level = mean(short.iter());
            let squares = short.iter().map(|value| (value - level).powi(2)).sum::<f64>();
            let spread = (squares / as_f64(SHORT)).sqrt();
            surprises.push((View::Mean, self.mean.surprise_in(level, series)));
            surprises.push((View::Spread, self.spread.surprise_in(spread, series)));
            if let Some(departure) = self.daily.push(at, level) {
                let scale_min = DAILY_SHARE * departure.deviation;
                let surprise = self.departure.surprise(departure.distance, scale_min);
                if departure.is_telling {
                    surprises.push((View::Daily, surprise));
                }
            }
        }
        surprises
    }
}

/// The values from `from` to `to` places before the end.
fn window(values: &VecDeque<f64>, from: usize, to: usize) -> Option<Vec<f64>> {
    let (start, end) = (values.len().checked_sub(from)?, values.len() - to);
    Some(values.range(start..end).copied().collect())
}

fn mean<'a>(values: impl ExactSizeIterator<Item = &'a f64>) -> f64 {
    let count = as_f64(values.len());
    values.sum::<f64>() / count
}
