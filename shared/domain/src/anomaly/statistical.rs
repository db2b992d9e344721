//! How far a value lies from the mean of what came before: more than three standard deviations.
//!
//! Twice: against all of the history, and against the history without what a robust decomposition (STL; Cleveland
//! et al. 1990) takes for outliers, since one spike widens the deviation so much that the next one hides in it.
//! Must not know what the values mean.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

use statrs::function::erf::erfc;
use stlrs::Stl;

use super::{AnomalyType, Bucket, Evidence, Grain, HISTORY_MIN, Method, float, tail::as_f64};

/// More than so many standard deviations from the mean; exactly three are not, whatever rounding makes of them.
const DEVIATIONS: f64 = 3.0;
const ROUNDING: f64 = 1e-9;
/// A deviation is never less than this share of the mean plus a third of a unit: a history that is constant
/// is no line that one more unit crosses.
const SHARE_MIN: f64 = 0.05;
const UNITS_MIN: f64 = 1.0 / 3.0;
/// z = 3 is a risk of 70; each further 1.75 deviations halve the distance to 100.
const Z_HALVING: f64 = 1.75;
/// A residual this many robust deviations from the median is an outlier (Iglewicz & Hoaglin 1993).
const OUTLIER: f64 = 3.5;
/// What makes the median absolute deviation of normal values their standard deviation.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// The least deviation of a history with this mean.
pub(super) fn deviation_min(mean: f64) -> f64 {
    SHARE_MIN * mean.abs() + UNITS_MIN
}

/// The mean and deviation of values that come one by one (Welford 1962), of the history as a whole population.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: usize,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        self.count += 1;
        let from_old = value - self.mean;
        self.mean += from_old / as_f64(self.count);
        self.squares += from_old * (value - self.mean);
    }

    fn deviation(&self) -> f64 {
        let own = (self.squares / as_f64(self.count.max(1))).sqrt();
        own.max(deviation_min(self.mean))
    }

    fn z(&self, value: f64) -> f64 {
        (value - self.mean) / self.deviation()
    }
}

/// What lies out of the ordinary. Of hours most of which are empty only those with usage are compared, and none is
/// too low: a user who comes once a day would else surprise every day.
pub(super) fn look(buckets: &[Bucket], grain: Grain) -> Vec<Evidence> {
    let values: Vec<f64> = buckets.iter().map(|bucket| float(bucket.value)).collect();
    let empty = values.iter().filter(|value| **value == 0.0).count();
    let is_sparse = grain == Grain::Hour && 2 * empty > values.len();
    let outliers = outliers(&values, is_sparse, grain);
    let (mut all, mut clean) = (Moments::default(), Moments::default());
    let mut found = Vec::new();
    for (index, bucket) in buckets.iter().enumerate() {
        let value = values[index];
        if is_sparse && value == 0.0 {
            continue;
        }
        if all.count >= HISTORY_MIN {
            let robustly = outliers[index] && clean.count >= HISTORY_MIN && is_beyond(&clean, value);
            let (code, by) = if is_beyond(&all, value) {
                ("z_score", Some(all))
            } else {
                ("robust_z_score", robustly.then_some(clean))
            };
            let is_judged = |z: f64| z > 0.0 || (bucket.is_over && !is_sparse);
            if let Some(moments) = by.filter(|moments| is_judged(moments.z(value))) {
                found.push(evidence(grain, index, value, code, moments));
            }
        }
        if bucket.is_over {
            all.push(value);
            if !outliers[index] {
                clean.push(value);
            }
        }
    }
    found
}

fn is_beyond(history: &Moments, value: f64) -> bool {
    history.z(value).abs() > DEVIATIONS + ROUNDING
}

fn evidence(grain: Grain, index: usize, value: f64, code: &'static str, history: Moments) -> Evidence {
    let z = history.z(value);
    let (count, reach) = (as_f64(history.count), DEVIATIONS * history.deviation());
    let against = if code == "z_score" { "" } else { " without outliers" };
    Evidence {
        anomaly_type: if z > 0.0 { AnomalyType::Spike } else { AnomalyType::Drop },
        method: Method::Statistical,
        grain,
        index,
        code,
        detail: format!("z = {z:.2} against {} before{against}", plural(history.count, grain)),
        points: 100.0 * (1.0 - (-z.abs() / Z_HALVING).exp2()),
        confidence: (1.0 - erfc(z.abs() / std::f64::consts::SQRT_2)) * count / (count + 1.0),
        expected: history.mean,
        lower: (history.mean - reach).max(0.0),
        upper: history.mean + reach,
    }
}

fn plural(count: usize, grain: Grain) -> String {
    match grain {
        Grain::Hour => format!("{count} hours"),
        Grain::Day => format!("{count} days"),
    }
}

/// Which values lie far from the season and trend that most of them follow. A season needs two of it.
fn outliers(values: &[f64], is_sparse: bool, grain: Grain) -> Vec<bool> {
    let season = match grain {
        Grain::Hour => 24,
        Grain::Day => 7,
    };
    let residuals = if is_sparse || values.len() < 2 * season {
        values.to_vec()
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the decomposition computes in single precision"
        )]
        let series: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        match Stl::params().robust(true).fit(&series, season) {
            Ok(fit) => fit.remainder().iter().map(|rest| f64::from(*rest)).collect(),
            // Too short, which was seen above.
            Err(_) => values.to_vec(),
        }
    };
    let counted: Vec<f64> = values
        .iter()
        .zip(&residuals)
        .filter(|(value, _)| !is_sparse || **value != 0.0)
        .map(|(_, rest)| *rest)
        .collect();
    let middle = median(counted.clone());
    let spread = MAD_TO_DEVIATION * median(counted.iter().map(|rest| (rest - middle).abs()).collect());
    residuals
        .iter()
        .map(|rest| (rest - middle).abs() > OUTLIER * spread + UNITS_MIN)
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(0.0);
    let lower = values.len().checked_sub(1).and_then(|last| values.get(last / 2));
    lower.map_or(upper, |lower| lower.midpoint(upper))
}
