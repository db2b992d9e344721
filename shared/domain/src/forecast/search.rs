//! The least value of a function of few numbers, without derivatives.

/// Evaluations after which the search ends, for each number.
const EVALUATIONS_PER_NUMBER: usize = 40;
/// The size of the first simplex.
const STEP: f64 = 1.0;
/// A simplex whose values differ by less than this share is at its end.
const TOLERANCE: f64 = 1e-7;

/// Where `f` is least near `from`, by the simplex of Nelder and Mead ("A simplex method for function minimization",
/// Computer Journal 7, 1965). The same every time; what is not a number counts as endless.
pub(super) fn minimum(from: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let n = from.len();
    let mut left = EVALUATIONS_PER_NUMBER * n;
    let mut value = |x: &[f64]| {
        left = left.saturating_sub(1);
        let y = f(x);
        (if y.is_nan() { f64::INFINITY } else { y }, left > 0)
    };
    let mut simplex: Vec<(f64, Vec<f64>)> = (0..=n)
        .map(|corner| {
            let mut x = from.to_vec();
            if let Some(x) = corner.checked_sub(1).and_then(|place| x.get_mut(place)) {
                *x += STEP;
            }
            (value(&x).0, x)
        })
        .collect();
    loop {
        simplex.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (best, worst) = (simplex[0].0, simplex[n].0);
        if worst - best <= TOLERANCE * best.abs() {
            break;
        }
        let centre: Vec<f64> = (0..n)
            .map(|i| simplex[..n].iter().map(|(_, x)| x[i]).sum::<f64>() / n as f64)
            .collect();
        let away = |by: f64| -> Vec<f64> {
            centre
                .iter()
                .zip(&simplex[n].1)
                .map(|(c, w)| c + by * (c - w))
                .collect()
        };
        let reflected = away(1.0);
        let (y, more) = value(&reflected);
        if !more {
            break;
        }
        if y < best {
            let expanded = away(2.0);
            let further = value(&expanded).0;
            simplex[n] = if further < y {
                (further, expanded)
            } else {
                (y, reflected)
            };
        } else if y < simplex[n - 1].0 {
            simplex[n] = (y, reflected);
        } else {
            let contracted = if y < worst { away(0.5) } else { away(-0.5) };
            let nearer = value(&contracted).0;
            if nearer < y.min(worst) {
                simplex[n] = (nearer, contracted);
            } else {
                let first = simplex[0].1.clone();
                for (y, x) in simplex.iter_mut().skip(1) {
                    x.iter_mut()
                        .zip(&first)
                        .for_each(|(x, first)| *x = f64::midpoint(*x, *first));
                    *y = value(x).0;
                }
            }
        }
    }
    simplex.swap_remove(0).1
}
