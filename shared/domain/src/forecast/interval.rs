//! Intervals as wide as the backtest's errors say: for each step, and for the running total.
//!
//! No distribution is assumed. Errors are made comparable over the steps by how they grow, a power of the step,
//! and the interval is their 95 % quantile by distance, as in conformal prediction (Vovk, Gammerman and Shafer,
//! "Algorithmic Learning in a Random World", 2005), a little wider the fewer folds there are.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::backtest::Paths;

/// The share of outcomes that an interval should hold.
pub const LEVEL: f64 = 0.95;
/// How fast errors may grow with the step: not at all to proportionally. Those of totals up to its square.
const GROWTH: (f64, f64) = (0.0, 1.0);
const GROWTH_OF_TOTALS: (f64, f64) = (0.5, 1.5);

/// How far from the mean the bounds are at each step.
pub(super) fn half_widths(errors: &Paths, steps: usize) -> Vec<f64> {
    let power = power(errors, GROWTH);
    let mut sizes: Vec<f64> = comparable(errors, power).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let folds = errors.len().max(1) as f64;
    let factor = quantile(&sizes, LEVEL) * (folds + 0.5) / folds;
    (0..steps).map(|step| factor * scale(step, power)).collect()
}

/// How far from the total until each step its bounds are. The totals of one fold say the same again and again:
/// each fold counts once, and the quantile is that of as few values, of Student's distribution.
pub(super) fn half_widths_of_totals(errors: &Paths, steps: usize) -> Vec<f64> {
    let running = |errors: &Vec<f64>| {
        let mut sum = 0.0;
        let add = |error: &f64| {
            sum += error;
            sum
        };
        errors.iter().map(add).collect()
    };
    let totals: Paths = errors.iter().map(running).collect();
    let power = power(&totals, GROWTH_OF_TOTALS);
    let (mut squares, mut count) = (0.0, 0.0);
    for size in comparable(&totals, power) {
        squares += size * size;
        count += 1.0;
    }
    if count == 0.0 {
        return vec![0.0; steps];
    }
    let freedom = (totals.len() as f64 - 1.0).max(1.0);
    let t = StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(f64::midpoint(1.0, LEVEL)));
    let factor = t * (squares / count).sqrt();
    (0..steps).map(|step| factor * scale(step, power)).collect()
}

fn scale(step: usize, power: f64) -> f64 {
    ((step + 1) as f64).powf(power)
}

/// The sizes of all errors as if each were of the first step.
fn comparable(errors: &Paths, power: f64) -> impl Iterator<Item = f64> {
    let fold = move |errors: &Vec<f64>| -> Vec<f64> {
        errors
            .iter()
            .enumerate()
            .map(|(step, error)| error.abs() / scale(step, power))
            .collect()
    };
    errors.iter().flat_map(fold)
}

/// The power of the step that the root mean square of the errors grows with: the slope of a line through logarithms.
fn power(errors: &Paths, (low, high): (f64, f64)) -> f64 {
    let steps = errors.iter().map(Vec::len).min().unwrap_or(0);
    let points: Vec<(f64, f64)> = (0..steps)
        .filter_map(|step| {
            let squares: f64 = errors.iter().map(|fold| fold[step].powi(2)).sum();
            (squares > 0.0).then(|| (((step + 1) as f64).ln(), (squares / errors.len() as f64).sqrt().ln()))
        })
        .collect();
    let n = points.len().max(1) as f64;
    let (mx, my) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let spread: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let product: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    if spread == 0.0 {
        f64::midpoint(low, high)
    } else {
        (product / spread).clamp(low, high)
    }
}

/// The value below which this share of the sorted values lies, between two of them in proportion; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let below = sorted[place.floor() as usize];
    below + place.fract() * (sorted[place.ceil() as usize] - below)
}
