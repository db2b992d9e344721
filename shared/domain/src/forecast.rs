//! How a series goes on: the path, how sure it is, which model said so and why.
//!
//! Every model forecasts what came after several earlier points of the series ([`backtest`]); from that follow the
//! choice among models, the weights in a mixture, and the width of the intervals. The same input gives the same
//! answer. Must not know what the values are of, nor which days they belong to: gaps are filled by the caller.
//!
//! Everything here is statistics in binary floating point; what is billed never comes from here.

#![expect(clippy::float_arithmetic, reason = "forecasts are statistics")]

mod autoregression;
pub mod backtest;
mod family;
mod interval;
mod line;
mod member;
mod search;
mod season;
pub mod smoothing;
mod theta;
pub mod usage;

use std::fmt::Write;

use backtest::{Backtest, Fold, Paths};
use family::Entry;
pub use interval::LEVEL;
pub use line::{line, line_interval};
use member::Frame;
pub use member::moving_average;
pub use season::seasons;
pub use theta::theta;

/// The last values that count: of more, what came before is left out.
pub const VALUES_MAX: usize = 1_100;

/// Another model takes the preferred one's place only if its error is below this share: what was best in a few folds
/// is so by chance more often than not.
const ADVANTAGE: f64 = 0.8;

/// What a model makes of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// What each value was expected to be from those before it; not a number where there are too few.
    pub fitted: Vec<f64>,
    /// The steps that follow.
    pub path: Vec<f64>,
}

/// An expectation with its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// What is expected.
    pub mean: f64,
    /// Not below this, 39 times of 40.
    pub lower: f64,
    /// Not above this, 39 times of 40.
    pub upper: f64,
}

/// The kinds of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// The line of the least squares through all values.
    LinearRegression,
    /// The mean of the last values; how many, the backtest decides.
    MovingAverage,
    /// Simple, Holt's, damped or theta; with a season Holt-Winters' additive.
    ExponentialSmoothing,
    /// A mixture of models that know the seasons: autoregressions, and decompositions that are smoothed or
    /// regressed; weighted by what the backtest says of each. Without a season the same models without it.
    Seasonal,
}

impl Model {
    /// All, the simplest first: of equals the first one is chosen.
    pub const ALL: [Self; 4] = [
        Self::MovingAverage,
        Self::LinearRegression,
        Self::ExponentialSmoothing,
        Self::Seasonal,
    ];

    /// The name in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinearRegression => "linear_regression",
            Self::MovingAverage => "moving_average",
            Self::ExponentialSmoothing => "exponential_smoothing",
            Self::Seasonal => "seasonal",
        }
    }

    /// The model of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.as_str() == name)
    }
}

/// How a series goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The model used.
    pub model: Model,
    /// What it is made of and why it was used, in a sentence or two.
    pub reason: String,
    /// R² of what each value was expected to be from those before it: 1 − squared errors ÷ squared distances
    /// from the mean, 0 to 1. Of a constant series 1 if it was expected, else 0.
    pub accuracy: f64,
    /// The error in the backtest.
    pub backtest: Backtest,
    /// The seasons found.
    pub seasons: Vec<usize>,
    /// Each step.
    pub path: Vec<Interval>,
    /// The total until each step, its own interval: errors of the steps partly cancel out.
    pub totals: Vec<Interval>,
}

/// Forecasts `steps` of a series; None of an empty one.
///
/// `cycles` are the seasons that it may have. Without a `model` the one with the least error in the backtest is used.
/// The bounds of a series that was never negative are not negative either. Values must be finite.
pub fn forecast(values: &[f64], cycles: &[usize], steps: usize, model: Option<Model>) -> Option<Forecast> {
    let values = &values[values.len().saturating_sub(VALUES_MAX)..];
    if values.is_empty() {
        return None;
    }
    let frame = Frame {
        seasons: seasons(values, cycles),
        positive: values.iter().all(|value| *value > 0.0),
        rare: 2 * values.iter().filter(|value| **value == 0.0).count() > values.len(),
    };
    let folds = backtest::folds(values.len(), steps);
    let candidates = family::candidates(&frame, model);
    let tested = backtest::paths(values, &frame, &folds, &candidates);
    let entries = family::entries(values, &frame, model, &folds, &candidates, &tested);
    let preferred = preferred(&frame);
    let weighed = |entry: &Entry| match preferred == Some(entry.name) {
        true => entry.loss * ADVANTAGE,
        false => entry.loss,
    };
    let entry = entries
        .iter()
        .reduce(|best, next| if weighed(next) < weighed(best) { next } else { best })?;
    let fit = entry.fit(values, &frame, &candidates, steps);
    Some(Forecast {
        model: entry.model,
        reason: reason(entry, &entries, &frame, model, &folds, values),
        accuracy: accuracy(values, &fit.fitted),
        backtest: backtest::measure(values, frame.cycle(), &folds, &entry.tested),
        seasons: frame.seasons,
        path: intervals(
            values,
            &fit.path,
            &interval::half_widths(&errors(values, &folds, entry, &fit), steps),
        ),
        totals: totals(values, &folds, entry, &fit, steps),
    })
}

/// What is known to be good: the mixture where there is a season, the mean of rare usage.
fn preferred(frame: &Frame) -> Option<&'static str> {
    let model = match (frame.rare, frame.seasons.is_empty()) {
        (true, _) => Model::MovingAverage,
        (false, false) => Model::Seasonal,
        (false, true) => return None,
    };
    Some(model.as_str())
}

/// The errors that intervals come from: those of the backtest, or without any those of one step within the series.
fn errors(values: &[f64], folds: &[Fold], entry: &Entry, fit: &Fit) -> Paths {
    if !folds.is_empty() {
        return backtest::errors(values, folds, &entry.tested);
    }
    let rest = values.iter().zip(&fit.fitted).map(|(value, expected)| value - expected);
    rest.filter(|rest| rest.is_finite()).map(|rest| vec![rest]).collect()
}

fn totals(values: &[f64], folds: &[Fold], entry: &Entry, fit: &Fit, steps: usize) -> Vec<Interval> {
    let mut sum = 0.0;
    let running: Vec<f64> = fit
        .path
        .iter()
        .map(|mean| {
            sum += clipped(values, *mean);
            sum
        })
        .collect();
    intervals(
        values,
        &running,
        &interval::half_widths_of_totals(&errors(values, folds, entry, fit), steps),
    )
}

/// What was never negative stays so.
fn clipped(values: &[f64], value: f64) -> f64 {
    if values.iter().any(|value| *value < 0.0) {
        value
    } else {
        value.max(0.0)
    }
}

fn intervals(values: &[f64], means: &[f64], half_widths: &[f64]) -> Vec<Interval> {
    let interval = |(mean, half): (&f64, &f64)| Interval {
        mean: clipped(values, *mean),
        lower: clipped(values, mean - half),
        upper: clipped(values, mean + half),
    };
    means.iter().zip(half_widths).map(interval).collect()
}

fn accuracy(values: &[f64], fitted: &[f64]) -> f64 {
    let known: Vec<(f64, f64)> = values
        .iter()
        .copied()
        .zip(fitted.iter().copied())
        .filter(|(_, f)| f.is_finite())
        .collect();
    let middle = line::mean(&known.iter().map(|(value, _)| *value).collect::<Vec<_>>());
    let squares: f64 = known.iter().map(|(value, _)| (value - middle).powi(2)).sum();
    let missed: f64 = known.iter().map(|(value, expected)| (value - expected).powi(2)).sum();
    // What a constant series is missed by is rounding.
    let rounding = known.iter().map(|(value, _)| (value * 1e-9).powi(2)).sum::<f64>();
    match (squares > 0.0, missed <= rounding) {
        (_, true) if !known.is_empty() => 1.0,
        (true, _) => (1.0 - missed / squares).clamp(0.0, 1.0),
        _ => 0.0,
    }
}

/// Why this model.
fn reason(
    entry: &Entry,
    entries: &[Entry],
    frame: &Frame,
    asked: Option<Model>,
    folds: &[Fold],
    values: &[f64],
) -> String {
    let mut text = match asked {
        Some(model) => format!("{} as asked for: {}", model.as_str(), entry.what),
        None => format!("{}: {}", entry.model.as_str(), entry.what),
    };
    if folds.is_empty() {
        text.push_str("; the series is too short for a backtest");
        return text;
    }
    if entries.len() > 1 {
        let preferred = preferred(frame).map_or(String::new(), |name| format!(", {name} preferred"));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "; chosen of {} in a backtest of {} folds{preferred} (MASE ",
            entries.len(),
            folds.len()
        );
        for (at, entry) in entries.iter().enumerate() {
            let mase = backtest::measure(values, frame.cycle(), folds, &entry.tested).mase;
            let mase = mase.map_or("none".to_owned(), |mase| format!("{mase:.3}"));
            let _ = write!(text, "{}{} {mase}", if at > 0 { ", " } else { "" }, entry.name);
        }
        text.push(')');
    }
    text
}
