//! What each kind of model is made of, and how its parts are chosen or weighted.

use super::{
    Fit, Model,
    backtest::{self, Fold, Paths},
    member::{Candidate, Frame, Member},
    smoothing::Trend,
};

/// Windows of a moving average, in seasons, or in weeks where there is none.
const WINDOWS: [usize; 4] = [1, 2, 4, 8];
/// The unit of windows without a season.
const WINDOW: usize = 7;
/// Parts of a mixture whose error is more than this many times that of the best one have no weight.
const WORST_TIMES: f64 = 2.0;
/// Weights fall with this power of the error.
const POWER: i32 = 2;
/// What is added to errors so that a perfect part does not have all weight, as a share of the worst error.
const ROUNDING: f64 = 1e-9;

/// One contestant: a model of a kind, or a mixture.
pub(super) struct Entry {
    pub model: Model,
    /// The name in the reason.
    pub name: &'static str,
    /// What it is made of.
    pub what: String,
    /// Candidates and their weights, which add up to 1.
    parts: Vec<(usize, f64)>,
    /// What it said at each fold.
    pub tested: Paths,
    pub loss: f64,
}

/// Which kinds a candidate belongs to.
fn kinds(candidate: &Candidate) -> &'static [Model] {
    match candidate.member {
        Member::Line => &[Model::LinearRegression],
        Member::Mean(_) => &[Model::MovingAverage],
        Member::Smoothing(Trend::Damped) => &[Model::ExponentialSmoothing, Model::Seasonal],
        Member::Smoothing(_) => &[Model::ExponentialSmoothing],
        Member::Theta => &[Model::ExponentialSmoothing, Model::Seasonal],
        Member::Naive | Member::Decomposed | Member::Periodic | Member::Autoregression { .. } => &[Model::Seasonal],
    }
}

/// All single models that some kind is made of, as far as they are asked for. The first is seasonal naive.
pub(super) fn candidates(frame: &Frame, asked: Option<Model>) -> Vec<Candidate> {
    let unit = if frame.cycle() > 1 { frame.cycle() } else { WINDOW };
    let mut all = vec![Candidate::plain(Member::Naive)];
    all.extend(
        WINDOWS
            .iter()
            .map(|window| Candidate::plain(Member::Mean(window * unit))),
    );
    all.push(Candidate::plain(Member::Line));
    let smoothing = [Trend::None, Trend::Straight, Trend::Damped].map(Member::Smoothing);
    all.extend(smoothing.into_iter().map(Candidate::plain));
    let both = |member: Member| {
        [false, true].map(|logarithm| Candidate {
            member: member.clone(),
            logarithm,
        })
    };
    all.extend(both(Member::Theta));
    if frame.cycle() > 1 {
        all.extend([Member::Decomposed, Member::Periodic].into_iter().flat_map(both));
    }
    for (differenced, robust, short) in [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (false, false, true),
        (true, false, true),
    ] {
        all.extend(both(Member::Autoregression {
            differenced,
            robust,
            short,
        }));
    }
    all.retain(|candidate| {
        (frame.positive || !candidate.logarithm) && asked.is_none_or(|asked| kinds(candidate).contains(&asked))
    });
    all
}

/// The contestants: the kind asked for, or all of them and seasonal naive.
pub(super) fn entries(
    values: &[f64],
    frame: &Frame,
    asked: Option<Model>,
    folds: &[Fold],
    candidates: &[Candidate],
    tested: &[Paths],
) -> Vec<Entry> {
    let losses: Vec<f64> = tested
        .iter()
        .map(|paths| backtest::loss(&backtest::errors(values, folds, paths), frame.rare))
        .collect();
    let entry = |model: Model, name, what, parts: Vec<(usize, f64)>| {
        let tested = mix(&parts, |at| tested[at].as_slice());
        let loss = backtest::loss(&backtest::errors(values, folds, &tested), frame.rare);
        Entry {
            model,
            name,
            what,
            parts,
            tested,
            loss,
        }
    };
    let of_kind = |model: Model| -> Option<Entry> {
        let places = (0..candidates.len()).filter(|at| kinds(&candidates[*at]).contains(&model));
        if model == Model::Seasonal {
            let parts = weights(places, &losses);
            let what = mixture(&parts, candidates, frame);
            return Some(entry(model, model.as_str(), what, parts));
        }
        let best = places.reduce(|best, next| if losses[next] < losses[best] { next } else { best })?;
        Some(entry(
            model,
            model.as_str(),
            named(&candidates[best], frame),
            vec![(best, 1.0)],
        ))
    };
    let Some(model) = asked else {
        // The last value is what simple smoothing says that forgets at once.
        let kind = if frame.cycle() > 1 {
            Model::Seasonal
        } else {
            Model::ExponentialSmoothing
        };
        let naive = entry(kind, "seasonal_naive", named(&candidates[0], frame), vec![(0, 1.0)]);
        return Model::ALL.into_iter().filter_map(of_kind).chain([naive]).collect();
    };
    of_kind(model).into_iter().collect()
}

/// The weights of a mixture: by the error in the backtest; without one all alike.
fn weights(places: impl Iterator<Item = usize>, losses: &[f64]) -> Vec<(usize, f64)> {
    let places: Vec<usize> = places.collect();
    let of = |at: &usize| losses[*at];
    let worst = places.iter().map(of).fold(0.0, f64::max);
    let best = places.iter().map(of).fold(f64::INFINITY, f64::min);
    let raw = |at: &usize| match of(at) {
        loss if loss > WORST_TIMES * best + ROUNDING * worst => 0.0,
        _ if worst == 0.0 => 1.0,
        loss => (worst / (loss + ROUNDING * worst)).powi(POWER),
    };
    let sum: f64 = places.iter().map(raw).sum();
    let parts = places.iter().map(|at| (*at, raw(at) / sum));
    parts.filter(|(_, weight)| *weight > 0.0).collect()
}

/// The weighted sum of paths.
fn mix<'a>(parts: &[(usize, f64)], paths: impl Fn(usize) -> &'a [Vec<f64>]) -> Paths {
    let mut sum: Paths = Vec::new();
    for (at, weight) in parts {
        let paths = paths(*at);
        sum.resize_with(paths.len(), Vec::new);
        for (sum, path) in sum.iter_mut().zip(paths) {
            sum.resize(path.len(), 0.0);
            sum.iter_mut().zip(path).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    sum
}

impl Entry {
    /// Fits the parts to the whole series.
    pub fn fit(&self, values: &[f64], frame: &Frame, candidates: &[Candidate], steps: usize) -> Fit {
        let fits = self.parts.iter().map(|(at, _)| {
            let fit = candidates[*at].fit(values, frame, steps);
            [fit.fitted, fit.path]
        });
        let fits: Vec<[Vec<f64>; 2]> = fits.collect();
        let parts: Vec<(usize, f64)> = self
            .parts
            .iter()
            .enumerate()
            .map(|(at, (_, weight))| (at, *weight))
            .collect();
        let mut both = mix(&parts, |at| &fits[at]);
        let path = both.pop().unwrap_or_default();
        Fit {
            fitted: both.pop().unwrap_or_default(),
            path,
        }
    }
}

/// A candidate in words.
fn named(candidate: &Candidate, frame: &Frame) -> String {
    let cycle = frame.cycle();
    let text = match candidate.member {
        Member::Naive if cycle > 1 => format!("as {cycle} steps before"),
        Member::Naive => "as the last value".to_owned(),
        Member::Mean(window) => format!("the mean of the last {window} values"),
        Member::Line => "the line of least squares".to_owned(),
        Member::Smoothing(trend) => {
            let seasonal = if cycle > 1 {
                format!(" with a season of {cycle}")
            } else {
                String::new()
            };
            let name = match (trend, cycle > 1) {
                (Trend::None, _) => "simple smoothing",
                (Trend::Straight, false) => "Holt's method",
                (Trend::Damped, false) => "Holt's method, damped",
                (Trend::Straight, true) => "Holt-Winters' method",
                (Trend::Damped, true) => "Holt-Winters' method, damped",
            };
            format!("{name}{seasonal}")
        }
        Member::Theta => "the theta method".to_owned(),
        Member::Decomposed => "decomposition, damped".to_owned(),
        Member::Periodic => "decomposition, regressed".to_owned(),
        Member::Autoregression {
            differenced,
            robust,
            short: _,
        } => {
            let of = if differenced { " of changes" } else { "" };
            format!("{}autoregression{of}", if robust { "robust " } else { "" })
        }
    };
    if candidate.logarithm {
        format!("{text} on logarithms")
    } else {
        text
    }
}

/// A mixture in words: the heaviest part by name.
fn mixture(parts: &[(usize, f64)], candidates: &[Candidate], frame: &Frame) -> String {
    let seasons: Vec<String> = frame.seasons.iter().map(ToString::to_string).collect();
    let seasons = if seasons.is_empty() {
        "no season found".to_owned()
    } else {
        format!("seasons {}", seasons.join(", "))
    };
    let heaviest = parts
        .iter()
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    let heaviest = heaviest.map_or(String::new(), |(at, weight)| {
        format!(", first {} ({:.0} %)", named(&candidates[*at], frame), weight * 100.0)
    });
    format!(
        "a mixture of {} models weighted by their backtests ({seasons}){heaviest}",
        parts.len()
    )
}
