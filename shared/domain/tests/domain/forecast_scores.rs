//! Forecasts by the measures of the M4 competition, on some of its series where they are, else on series made here.
//! The example `forecast` does the same with all of them.

#![expect(clippy::float_arithmetic, reason = "forecasts are statistics")]

use std::{collections::HashMap, env, fs, path::Path};

use metering_domain::forecast::forecast;

/// Every so many of the series: tests are not optimised.
const EVERY: usize = 12;

/// Past and future of a series.
type Known = (Vec<f64>, Vec<f64>);

struct Kind {
    name: &'static str,
    cycles: &'static [usize],
    season: usize,
    steps: usize,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "hourly",
        cycles: &[24, 168],
        season: 24,
        steps: 48,
    },
    Kind {
        name: "weekly",
        cycles: &[7, 12, 24, 52],
        season: 1,
        steps: 13,
    },
];

#[expect(
    clippy::disallowed_methods,
    reason = "the data's folder is no configuration of the service"
)]
fn folder() -> Option<String> {
    env::var("METERING_DATA_DIR").ok()
}

fn read(folder: &str, name: &str) -> HashMap<String, Vec<f64>> {
    let text = fs::read_to_string(Path::new(folder).join("forecast").join(name)).expect("the series");
    let series = |line: &str| {
        let (id, values) = line.split_once(',')?;
        let values = values.split(',').filter(|field| !field.is_empty());
        Some((
            id.to_owned(),
            values.map(|field| field.parse().ok()).collect::<Option<_>>()?,
        ))
    };
    text.lines().filter_map(series).collect()
}

/// Days and weeks, or years, with something that looks like chance.
fn made(kind: &Kind, number: usize) -> Known {
    let turn = |at: usize, cycle: usize| (at as f64 / cycle as f64 * std::f64::consts::TAU).sin();
    let chance = |at: usize| ((at * 7_919 + number * 104_729) % 1_009) as f64 / 1_009.0;
    let value = |at: usize| match kind.season {
        24 => 500.0 + 200.0 * turn(at, 24) + 60.0 * turn(at, 168) + 80.0 * chance(at),
        _ => 900.0 + at as f64 * 0.2 + 300.0 * turn(at, 52) + 60.0 * chance(at),
    };
    let all: Vec<f64> = (0..700 + kind.steps).map(value).collect();
    (all[..700].to_vec(), all[700..].to_vec())
}

fn known(kind: &Kind) -> Vec<Known> {
    let Some(folder) = folder() else {
        return (0..8).map(|number| made(kind, number)).collect();
    };
    let mut past: Vec<_> = read(&folder, &format!("m4_{}_train.csv", kind.name))
        .into_iter()
        .collect();
    past.sort_by(|a, b| a.0.cmp(&b.0));
    let future = read(&folder, &format!("m4_{}_test.csv", kind.name));
    let pair = |(id, past): (String, Vec<f64>)| Some((past, future.get(&id)?.clone()));
    past.into_iter().step_by(EVERY).filter_map(pair).collect()
}

/// sMAPE and mean distance over that of seasonal naive within the past.
fn errors(past: &[f64], future: &[f64], path: &[f64], season: usize) -> (f64, f64) {
    let naive: Vec<f64> = past.iter().zip(&past[season..]).map(|(a, b)| (a - b).abs()).collect();
    let scale = naive.iter().sum::<f64>() / naive.len() as f64;
    let pairs = || path.iter().zip(future);
    let distance: f64 = pairs().map(|(a, b)| (a - b).abs()).sum();
    let relative: f64 = pairs().map(|(a, b)| 200.0 * (a - b).abs() / (a.abs() + b.abs())).sum();
    (relative / future.len() as f64, distance / future.len() as f64 / scale)
}

/// Better than repeating the last season (OWA below 0.9), and the intervals hold about what they say.
#[test]
fn the_measures_of_the_competition() {
    for kind in &KINDS {
        let (mut own, mut naive) = ((0.0, 0.0), (0.0, 0.0));
        let (mut inside, mut all) = (0, 0);
        for (past, future) in known(kind) {
            let done = forecast(&past, kind.cycles, kind.steps, None).expect("a forecast");
            let path: Vec<f64> = done.path.iter().map(|step| step.mean).collect();
            let last = &past[past.len() - kind.season..];
            let repeated: Vec<f64> = last.iter().copied().cycle().take(kind.steps).collect();
            for (sum, path) in [(&mut own, &path), (&mut naive, &repeated)] {
                let (relative, scaled) = errors(&past, &future, path, kind.season);
                *sum = (sum.0 + relative, sum.1 + scaled);
            }
            all += future.len();
            inside += done
                .path
                .iter()
                .zip(&future)
                .filter(|(step, y)| (step.lower..=step.upper).contains(*y))
                .count();
        }
        let owa = f64::midpoint(own.0 / naive.0, own.1 / naive.1);
        let coverage = 100.0 * f64::from(inside as u32) / f64::from(all as u32);
        println!(
            "{}: OWA {owa:.3} against seasonal naive, {coverage:.1} % in the intervals",
            kind.name
        );
        assert!(owa < 0.9, "{}: {owa}", kind.name);
        assert!((85.0..=100.0).contains(&coverage), "{}: {coverage}", kind.name);
    }
}
