//! Seasons: found in a series, taken out of it before a forecast, and added to it again.

use stlrs::Mstl;

use super::{Fit, line::mean};

/// A season is looked for where it fits into the series this often.
const CYCLES_MIN: usize = 3;
/// How far from 0 an autocorrelation is by chance, once in twenty times on this side, in standard errors.
const SIGNIFICANT: f64 = 1.645;
/// Changes further from the median than this many median distances are cut.
const OUTLIER: f64 = 10.0;
/// Length of the smoother that lets a season change so little that it is as good as fixed.
const FIXED: usize = 101;

/// Those of `cycles` that the series repeats itself in, ascending; 1 and less are no cycles.
///
/// A cycle counts if the autocorrelation of the changes at its lag is significant by Bartlett's formula (as in
/// Makridakis, Spiliotis and Assimakopoulos, "The M4 Competition", International Journal of Forecasting 36, 2020,
/// appendix) and not below that of the lags beside it. Changes, since a slow drift looks alike at all lags.
pub fn seasons(values: &[f64], cycles: &[usize]) -> Vec<usize> {
    let mut changes: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    cut(&mut changes);
    let middle = mean(&changes);
    let squares: f64 = changes.iter().map(|change| (change - middle).powi(2)).sum();
    if squares == 0.0 || !squares.is_finite() {
        return Vec::new();
    }
    let correlation = |lag: usize| -> f64 {
        let later = changes.get(lag..).unwrap_or_default();
        changes
            .iter()
            .zip(later)
            .map(|(a, b)| (a - middle) * (b - middle))
            .sum::<f64>()
            / squares
    };
    let is_season = |cycle: usize| {
        let before: f64 = (1..cycle).map(|lag| correlation(lag).powi(2)).sum();
        let bound = SIGNIFICANT * ((1.0 + 2.0 * before) / changes.len() as f64).sqrt();
        let here = correlation(cycle);
        here > bound && here >= correlation(cycle - 1) && here >= correlation(cycle + 1)
    };
    let mut found: Vec<usize> = cycles.iter().copied().filter(|cycle| *cycle > 1).collect();
    found.retain(|cycle| values.len() >= CYCLES_MIN * cycle && is_season(*cycle));
    found.sort_unstable();
    found.dedup();
    found
}

/// Cuts what is far from the median: a single outlier would hide every season.
fn cut(changes: &mut [f64]) {
    let median = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let middle = median(changes.to_vec());
    let spread = median(changes.iter().map(|change| (change - middle).abs()).collect());
    // Where most changes are alike, none is usual enough to cut others by.
    if spread > 0.0 {
        let far = OUTLIER * spread;
        changes
            .iter_mut()
            .for_each(|change| *change = change.clamp(middle - far, middle + far));
    }
}

/// A series fitted by `fit` without its seasons, which are added again (Bandara, Hyndman and Bergmeir, "MSTL",
/// 2021). `fixed` seasons do not change over time; others do slowly. Seasons need two of their lengths.
pub(super) fn decomposed(
    values: &[f64],
    seasons: &[usize],
    fixed: bool,
    steps: usize,
    fit: impl Fn(&[f64], usize) -> Fit,
) -> Fit {
    let seasons: Vec<usize> = seasons
        .iter()
        .copied()
        .filter(|cycle| values.len() >= 2 * cycle)
        .collect();
    let mut params = Mstl::params();
    if fixed {
        params.seasonal_lengths(&vec![FIXED; seasons.len()]);
    }
    // It refuses a series without seasons.
    let Ok(parts) = params.fit(values, &seasons) else {
        return fit(values, steps);
    };
    let season = |at: usize| parts.seasonal().iter().map(|part| part[at]).sum::<f64>();
    let rest: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(at, value)| value - season(at))
        .collect();
    let mut done = fit(&rest, steps);
    done.fitted
        .iter_mut()
        .enumerate()
        .for_each(|(at, value)| *value += season(at));
    for (step, value) in done.path.iter_mut().enumerate() {
        let ago = |cycle: usize| values.len() - cycle + step % cycle;
        *value += parts
            .seasonal()
            .iter()
            .zip(&seasons)
            .map(|(part, cycle)| part[ago(*cycle)])
            .sum::<f64>();
    }
    done
}
