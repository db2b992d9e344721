//! The theta method: half the drift of the line, added to simple exponential smoothing.
//!
//! Assimakopoulos and Nikolopoulos, "The theta model", International Journal of Forecasting 16, 2000, in the form
//! of Hyndman and Billah, "Unmasking the Theta method", ibid. 19, 2003.

use super::{
    Fit,
    line::Line,
    smoothing::{State, Trend, Weights, best_weights, smooth_with},
};

/// The forecasts of the theta method.
pub fn theta(values: &[f64], steps: usize) -> Fit {
    let start = State {
        level: values.first().copied().unwrap_or_default(),
        trend: 0.0,
        season: Vec::new(),
    };
    let weights: Weights = best_weights(values, Trend::None, &start);
    let drift = Line::through(values).slope / 2.0;
    let mut fit = smooth_with(values, weights, start, steps);
    let alpha = weights.level;
    // What the smoothed line lags behind a slope of this drift after n values.
    let lag = |n: usize| drift * (1.0 - (1.0 - alpha).powi(i32::try_from(n).unwrap_or(i32::MAX))) / alpha;
    for (at, value) in fit.fitted.iter_mut().enumerate() {
        *value += lag(at);
    }
    for (step, value) in fit.path.iter_mut().enumerate() {
        *value += drift * step as f64 + lag(values.len());
    }
    fit
}
