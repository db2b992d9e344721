//! Each value from the ones before it, and from its place in the season: a ridge regression, continued
//! step by step.

use super::{Fit, line::mean};

/// How much the weights of earlier values are held towards 0, as a share of the number of values.
const RIDGE: f64 = 1e-3;
/// Keeps the intercept from being as good as none.
const RIDGE_OF_INTERCEPT: f64 = 1e-6;
/// How often far values are weighed anew.
const ROBUST_PASSES: usize = 3;
/// The median distance from the middle, in standard deviations of a normal distribution: 1 ÷ 0.6745.
const NORMAL_MAD: f64 = 1.4826;
/// What is nearer than this, in deviations of the series, is no rest.
const NO_REST: f64 = 1e-6;

/// What a value depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Lags {
    /// How many steps back, ascending.
    pub lags: Vec<usize>,
    /// Cycles with a level for each place, and how much those are held towards 0.
    pub places: Vec<(usize, f64)>,
    /// Values far from what was expected weigh less (Huber: "Robust estimation of a location parameter",
    /// Annals of Mathematical Statistics 35, 1964, by reweighting).
    pub robust: bool,
}

/// The regression's columns: earlier values, then one for each place of each cycle.
struct Columns {
    lags: Vec<usize>,
    cycles: Vec<(usize, f64)>,
}

impl Columns {
    fn of(lags: &Lags, length: usize) -> Self {
        let fits = |lag: &usize| *lag > 0 && 2 * lag < length;
        let mut cycles = vec![(1, RIDGE_OF_INTERCEPT)];
        cycles.extend(lags.places.iter().copied().filter(|(cycle, _)| 2 * cycle <= length));
        Self {
            lags: lags.lags.iter().copied().filter(fits).collect(),
            cycles,
        }
    }

    fn longest(&self) -> usize {
        self.lags.last().copied().unwrap_or(0)
    }

    fn width(&self) -> usize {
        self.lags.len() + self.cycles.iter().map(|(cycle, _)| cycle).sum::<usize>()
    }

    /// The columns of the places that step `at` is in.
    fn places(&self, at: usize) -> impl Iterator<Item = usize> {
        self.cycles.iter().scan(self.lags.len(), move |base, (cycle, _)| {
            let column = *base + at % cycle;
            *base += cycle;
            Some(column)
        })
    }

    fn expected(&self, weights: &[f64], values: &[f64], at: usize) -> f64 {
        let earlier: f64 = self
            .lags
            .iter()
            .zip(weights)
            .map(|(lag, weight)| values[at - lag] * weight)
            .sum();
        earlier + self.places(at).map(|column| weights[column]).sum::<f64>()
    }

    /// The weights of the least squares, each step counted as much as `counted` says. None if there are none.
    fn solve(&self, values: &[f64], counted: &[f64]) -> Option<Vec<f64>> {
        let (k, first) = (self.lags.len(), self.longest());
        let mut gram = vec![vec![0.0; self.width()]; self.width()];
        let mut target = vec![0.0; self.width()];
        let mut row = vec![0.0; k];
        for at in first..values.len() {
            row.iter_mut()
                .zip(&self.lags)
                .for_each(|(x, lag)| *x = values[at - lag]);
            let count = counted[at];
            for (i, x) in row.iter().enumerate() {
                gram[i]
                    .iter_mut()
                    .zip(&row[..=i])
                    .for_each(|(sum, y)| *sum += count * x * y);
                target[i] += count * x * values[at];
            }
            for column in self.places(at) {
                gram[column].iter_mut().zip(&row).for_each(|(sum, x)| *sum += count * x);
                self.places(at)
                    .take_while(|other| *other <= column)
                    .for_each(|other| gram[column][other] += count);
                target[column] += count * values[at];
            }
        }
        let held = std::iter::repeat_n(RIDGE * (values.len() - first) as f64, k);
        let held = held.chain(
            self.cycles
                .iter()
                .flat_map(|(cycle, ridge)| std::iter::repeat_n(*ridge, *cycle)),
        );
        held.enumerate().for_each(|(i, ridge)| gram[i][i] += ridge);
        cholesky(gram, target)
    }
}

/// Regression on earlier values, then the steps that follow. The mean where there is too little to regress on.
pub(super) fn autoregression(values: &[f64], lags: &Lags, steps: usize) -> Fit {
    let (n, centre) = (values.len(), mean(values));
    let columns = Columns::of(lags, n);
    let first = columns.longest();
    let level = || Fit {
        fitted: vec![f64::NAN; n],
        path: vec![centre; steps],
    };
    let scale = mean(&values.iter().map(|value| (value - centre).powi(2)).collect::<Vec<_>>()).sqrt();
    if scale <= f64::EPSILON * centre.abs() || n <= first + columns.lags.len() + 2 {
        return level();
    }
    let mut scaled: Vec<f64> = values.iter().map(|value| (value - centre) / scale).collect();
    let mut counted = vec![1.0; n];
    let Some(mut weights) = columns.solve(&scaled, &counted) else {
        return level();
    };
    for _ in 0..if lags.robust { ROBUST_PASSES } else { 0 } {
        let rest = |at: usize| (scaled[at] - columns.expected(&weights, &scaled, at)).abs();
        let rest: Vec<f64> = (first..n).map(rest).collect();
        let mut sorted = rest.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let usual = sorted[sorted.len() / 2] * NORMAL_MAD + NO_REST;
        counted[first..]
            .iter_mut()
            .zip(&rest)
            .for_each(|(count, rest)| *count = (usual / rest).min(1.0));
        let Some(better) = columns.solve(&scaled, &counted) else {
            break;
        };
        weights = better;
    }
    let unscaled = |value: f64| centre + scale * value;
    let expected = |at: usize| unscaled(columns.expected(&weights, &scaled, at));
    let mut fitted = vec![f64::NAN; first];
    fitted.extend((first..n).map(expected));
    for at in n..n + steps {
        let next = columns.expected(&weights, &scaled, at);
        scaled.push(next);
    }
    let path = scaled[n..].iter().copied().map(unscaled).collect();
    Fit { fitted, path }
}

/// Solves `matrix x = target` for a symmetric positive matrix whose lower half is given; None if it is not positive.
fn cholesky(mut matrix: Vec<Vec<f64>>, mut x: Vec<f64>) -> Option<Vec<f64>> {
    let n = x.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for i in 0..n {
        let (above, below) = matrix.split_at_mut(i);
        let row = &mut below[0];
        for (j, other) in above.iter().enumerate() {
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let square = row[i] - dot(&row[..i], &row[..i]);
        if !square.is_finite() || square <= 0.0 {
            return None;
        }
        row[i] = square.sqrt();
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| matrix[k][i] * x[k]).sum();
        x[i] = (x[i] - sum) / matrix[i][i];
    }
    Some(x)
}
