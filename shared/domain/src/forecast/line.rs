//! Straight lines through series.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Fit, Interval};

/// A line over the places 0, 1, 2 … of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Its value at place 0.
    pub intercept: f64,
    /// What it gains with each step.
    pub slope: f64,
}

/// The mean; 0 of nothing.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Line {
    /// A level line.
    pub fn level(level: f64) -> Self {
        Self {
            intercept: level,
            slope: 0.0,
        }
    }

    /// The line of the least squares.
    pub fn through(values: &[f64]) -> Self {
        let middle = (values.len() as f64 - 1.0) / 2.0;
        let average = mean(values);
        let spread = spread(values.len());
        if spread == 0.0 {
            return Self::level(average);
        }
        let product: f64 = values
            .iter()
            .enumerate()
            .map(|(at, y)| (at as f64 - middle) * (y - average))
            .sum();
        let slope = product / spread;
        Self {
            intercept: average - slope * middle,
            slope,
        }
    }

    /// Its value at a place.
    pub fn at(&self, place: f64) -> f64 {
        self.intercept + self.slope * place
    }
}

/// Σ (x − x̄)² of the places 0 to n − 1.
fn spread(n: usize) -> f64 {
    let n = n as f64;
    n * (n * n - 1.0) / 12.0
}

/// The line of the least squares and how it goes on.
pub fn line(values: &[f64], steps: usize) -> Fit {
    let line = Line::through(values);
    Fit {
        fitted: (0..values.len()).map(|at| line.at(at as f64)).collect(),
        path: (0..steps).map(|step| line.at((values.len() + step) as f64)).collect(),
    }
}

/// The prediction interval of each step around the line, if the rest is independent and normal: `ŷ ± t(n − 2) s
/// √(1 + 1/n + (x − x̄)² ÷ Σ(xᵢ − x̄)²)` (Hyndman and Athanasopoulos, FPP3, section 7.6). None below three values.
pub fn line_interval(values: &[f64], steps: usize, level: f64) -> Option<Vec<Interval>> {
    let n = values.len() as f64;
    let t = StudentsT::new(0.0, 1.0, n - 2.0).ok()?.inverse_cdf(0.5 + level / 2.0);
    let line = Line::through(values);
    let squares: f64 = values
        .iter()
        .enumerate()
        .map(|(at, y)| (y - line.at(at as f64)).powi(2))
        .sum();
    let s = (squares / (n - 2.0)).sqrt();
    let interval = |step: usize| {
        let x = n + step as f64;
        let half = t * s * (1.0 + 1.0 / n + (x - (n - 1.0) / 2.0).powi(2) / spread(values.len())).sqrt();
        let mean = line.at(x);
        Interval {
            mean,
            lower: mean - half,
            upper: mean + half,
        }
    };
    Some((0..steps).map(interval).collect())
}
