//! The rolling-origin backtest: models forecast what came after several earlier points, and are held
//! against it (Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of Forecasting 16, 2000).

use super::{
    line::mean,
    member::{Candidate, Frame},
};

/// Folds at most.
const FOLDS_MAX: usize = 12;
/// A fold forecasts at least so many steps, if the series is long enough.
const STEPS_MIN: usize = 7;
/// A fold forecasts at most this share of the series.
const STEPS_SHARE: usize = 5;
/// Models see at least so many values.
const VALUES_MIN: usize = 4;

/// One earlier point, and what came after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    /// Models see the values before this place.
    pub origin: usize,
    /// And forecast so many.
    pub steps: usize,
}

/// The points to test at: the latest first, as far back as the middle of the series.
pub(super) fn folds(length: usize, steps: usize) -> Vec<Fold> {
    let steps = steps.max(STEPS_MIN).min(length / STEPS_SHARE).max(1);
    let stride = (steps / 2).max(1);
    let earliest = (length / 2).max(VALUES_MIN);
    (0..FOLDS_MAX)
        .map_while(|fold| length.checked_sub(steps + fold * stride))
        .take_while(|origin| *origin >= earliest)
        .map(|origin| Fold { origin, steps })
        .collect()
}

/// What one model, or a mixture, said at each fold.
pub(super) type Paths = Vec<Vec<f64>>;

/// What each candidate says at each fold.
pub(super) fn paths(values: &[f64], frame: &Frame, folds: &[Fold], candidates: &[Candidate]) -> Vec<Paths> {
    let at = |candidate: &Candidate| -> Paths {
        let path = |fold: &Fold| candidate.fit(&values[..fold.origin], frame, fold.steps).path;
        folds.iter().map(path).collect()
    };
    candidates.iter().map(at).collect()
}

/// The differences from what came, by fold and step.
pub(super) fn errors(values: &[f64], folds: &[Fold], paths: &Paths) -> Paths {
    let of = |(fold, path): (&Fold, &Vec<f64>)| {
        let came = &values[fold.origin..];
        path.iter().zip(came).map(|(mean, value)| value - mean).collect()
    };
    folds.iter().zip(paths).map(of).collect()
}

/// How wrong it was: half the mean distance of the steps, half that of their total. Of rare usage only the total: the
/// least distance has 0, the median, whatever usage adds up to.
pub(super) fn loss(errors: &Paths, rare: bool) -> f64 {
    let fold = |errors: &Vec<f64>| {
        let total = mean(errors).abs();
        let distance = mean(&errors.iter().map(|error| error.abs()).collect::<Vec<_>>());
        if rare { total } else { f64::midpoint(distance, total) }
    };
    mean(&errors.iter().map(fold).collect::<Vec<_>>())
}

/// The error of a backtest in the field's measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backtest {
    /// Mean distance over that of seasonal naive within the series, one season ahead (Hyndman and Koehler, 2006):
    /// below 1 is better. None if there is no fold, or naive is never wrong and this is.
    pub mase: Option<f64>,
    /// Mean of `200 |y − ŷ| ÷ (|y| + |ŷ|)` in percent, 0 where both are 0. None if there is no fold.
    pub smape: Option<f64>,
    /// How many earlier points it was tested at.
    pub folds: usize,
}

/// Measures the errors of some paths.
pub(super) fn measure(values: &[f64], cycle: usize, folds: &[Fold], paths: &Paths) -> Backtest {
    if folds.is_empty() {
        return Backtest {
            mase: None,
            smape: None,
            folds: 0,
        };
    }
    let of = |(fold, path): (&Fold, &Vec<f64>)| {
        let came = &values[fold.origin..];
        let pairs: Vec<(f64, f64)> = path.iter().copied().zip(came.iter().copied()).collect();
        let distance = mean(&pairs.iter().map(|(a, b)| (a - b).abs()).collect::<Vec<_>>());
        let relative = |(a, b): &(f64, f64)| {
            let size = a.abs() + b.abs();
            if size == 0.0 { 0.0 } else { 200.0 * (a - b).abs() / size }
        };
        (distance, mean(&pairs.iter().map(relative).collect::<Vec<_>>()))
    };
    let (distances, relatives): (Vec<f64>, Vec<f64>) = folds.iter().zip(paths).map(of).unzip();
    let cycle = if values.len() > cycle { cycle.max(1) } else { 1 };
    let naive = values.iter().zip(values.iter().skip(cycle)).map(|(a, b)| (a - b).abs());
    let (scale, distance) = (mean(&naive.collect::<Vec<_>>()), mean(&distances));
    let mase = match (scale > 0.0, distance > 0.0) {
        (true, _) => Some(distance / scale),
        (false, false) => Some(0.0),
        (false, true) => None,
    };
    Backtest {
        mase,
        smape: Some(mean(&relatives)),
        folds: folds.len(),
    }
}
