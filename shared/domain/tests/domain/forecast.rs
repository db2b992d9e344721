//! Forecasts: exact where a formula says what is right, better than the others where a series is made for them,
//! and defined for whatever comes in.

#![expect(clippy::float_arithmetic, reason = "forecasts are statistics")]

use metering_domain::forecast::{
    Fit, Forecast, LEVEL, Model, forecast, line_interval, moving_average, seasons,
    smoothing::{State, Weights, smooth_with},
};

/// Air passengers of Australia in millions, 1990 to 2004: `ausair` of the R package fpp2 2.5, used in Hyndman and
/// Athanasopoulos, "Forecasting: Principles and Practice", 2nd ed., section 7.2.
const PASSENGERS: [f64; 15] = [
    17.5534, 21.8601, 23.8866, 26.9293, 26.8885, 28.8314, 30.0751, 30.9535, 30.1857, 31.5797, 32.577569, 33.477398,
    39.021581, 41.386432, 41.596552,
];
/// The first quarters of `austourists` of the same package, section 7.3.
const TOURISTS: [f64; 20] = [
    30.052513, 19.148496, 25.317692, 27.591437, 32.076456, 23.487961, 28.47594, 35.123753, 36.838485, 25.007017,
    30.72223, 28.693759, 36.640986, 23.824609, 29.311683, 31.770309, 35.177877, 19.775244, 29.60175, 34.538842,
];

fn assert_close(what: &str, got: &[f64], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert!(
            (got - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
            "{what}: {got} is not {wanted}"
        );
    }
}

/// `OLS(y, [1, t]).fit().get_prediction([1, 15 … 17]).summary_frame(alpha=0.05)` of statsmodels 0.15.0.
#[test]
fn a_line_and_its_interval_are_those_of_statsmodels() {
    let got = line_interval(&PASSENGERS, 3, LEVEL).expect("an interval");
    let mean: Vec<f64> = got.iter().map(|step| step.mean).collect();
    let lower: Vec<f64> = got.iter().map(|step| step.lower).collect();
    let upper: Vec<f64> = got.iter().map(|step| step.upper).collect();
    assert_close(
        "mean",
        &mean,
        &[42.16785813333334, 43.63215013333334, 45.09644213333334],
    );
    assert_close(
        "lower",
        &lower,
        &[37.68175753001629, 39.042110632300854, 40.392952937134936],
    );
    assert_close(
        "upper",
        &upper,
        &[46.65395873665039, 48.222189634365826, 49.799931329531745],
    );
}

/// `ExponentialSmoothing(…, initialization_method="known")` of statsmodels 0.15.0, with these weights; with a season
/// `ETSModel` of the same (β = α β*), since the other leaves the last place of the season as it was a season before.
#[test]
fn exponential_smoothing_is_that_of_statsmodels() {
    let smooth = |y: &[f64], [level, trend, season, damping]: [f64; 4], start: (f64, f64, &[f64]), steps| -> Fit {
        let weights = Weights {
            level,
            trend,
            season,
            damping,
        };
        let state = State {
            level: start.0,
            trend: start.1,
            season: start.2.to_vec(),
        };
        smooth_with(y, weights, state, steps)
    };
    let simple = smooth(&PASSENGERS, [0.6, 0.0, 0.0, 0.0], (17.5534, 0.0, &[]), 2);
    assert_close(
        "simple",
        &simple.fitted[12..],
        &[32.86981076456243, 36.560872905824965, 39.45620836232999],
    );
    assert_close("simple", &simple.path, &[40.740414544931994, 40.740414544931994]);

    let holt = smooth(&PASSENGERS, [0.8, 0.2, 0.0, 1.0], (15.0, 2.0, &[]), 5);
    assert_close(
        "Holt",
        &holt.fitted[12..],
        &[34.646061240563554, 39.95245738883705, 43.135053356277815],
    );
    let path = [
        43.693508332761525,
        45.48276439426749,
        47.27202045577345,
        49.06127651727942,
        50.850532578785376,
    ];
    assert_close("Holt", &holt.path, &path);

    let damped = smooth(&PASSENGERS, [0.8, 0.2, 0.0, 0.9], (15.0, 2.0, &[]), 5);
    assert_close(
        "damped",
        &damped.fitted[12..],
        &[34.031102529683714, 39.3034140851404, 42.421718898051154],
    );
    let path = [
        42.949462779211636,
        44.0185524388529,
        44.98073313253004,
        45.846695756839466,
        46.62606211871795,
    ];
    assert_close("damped", &damped.path, &path);

    let winters = smooth(&TOURISTS, [0.4, 0.1, 0.3, 1.0], (25.0, 0.5, &[4.0, -6.0, -1.0, 3.0]), 6);
    let fitted = [
        36.56504939452783,
        24.37675255306272,
        27.847403146507382,
        30.92227617356273,
    ];
    assert_close("Holt-Winters", &winters.fitted[16..], &fitted);
    let path = [
        36.59633749615719,
        24.029384930017432,
        31.46223207385098,
        34.53869468445017,
        37.68115992853855,
        25.114207362398783,
    ];
    assert_close("Holt-Winters", &winters.path, &path);
}

/// The mean of the last values: Σ of the last seven ÷ 7 = 249.824932 ÷ 7.
#[test]
fn a_moving_average_is_the_mean_of_the_window() {
    let got = moving_average(&PASSENGERS, 7, 2);
    assert_close("path", &got.path, &[35.689276, 35.689276]);
    assert_close("fitted", &got.fitted[7..8], &[25.146_342_857_142_86]);
}

/// Numbers that look random and are the same each time (Steele and Vigna's splitmix), normal by their sum.
fn noise(length: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    };
    (0..length)
        .map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0)
        .collect()
}

fn made(seed: u64, of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    noise(120, seed)
        .iter()
        .enumerate()
        .map(|(day, noise)| of(day as f64, *noise).max(0.0))
        .collect()
}

const WEEK: [f64; 7] = [40.0, 35.0, 30.0, 32.0, 20.0, -70.0, -87.0];

fn weekly(seed: u64) -> Vec<f64> {
    made(seed, |day, noise| 120.0 + WEEK[day as usize % 7] + 6.0 * noise)
}

/// Mean distance over the 30 days after 90, by model and by `auto`.
fn after_ninety(values: &[f64], model: Option<Model>) -> (Forecast, f64) {
    let done = forecast(&values[..90], &[7], 30, model).expect("a forecast");
    let distance = done
        .path
        .iter()
        .zip(&values[90..])
        .map(|(step, value)| (step.mean - value).abs())
        .sum::<f64>()
        / 30.0;
    (done, distance)
}

#[test]
fn different_models_win_on_different_series() {
    let series = [
        (
            "trend",
            made(1, |day, noise| 20.0 + 2.0 * day + 8.0 * noise),
            Model::LinearRegression,
        ),
        ("weekly", weekly(2), Model::Seasonal),
        (
            "shift",
            made(3, |day, noise| if day < 50.0 { 40.0 } else { 130.0 } + 3.0 * noise),
            Model::ExponentialSmoothing,
        ),
        (
            "sparse",
            made(4, |_, noise| if noise > 1.2 { 10.0 * noise } else { 0.0 }),
            Model::MovingAverage,
        ),
    ];
    println!(
        "{:8}{:>26}{:>26}{:>26}{:>26}  auto",
        "", "moving_average", "linear_regression", "exponential_smoothing", "seasonal"
    );
    for (name, values, wanted) in series {
        let (auto, error) = after_ninety(&values, None);
        let errors = Model::ALL.map(|model| format!("{:26.3}", after_ninety(&values, Some(model)).1));
        println!("{name:8}{}  {} {error:.3}", errors.concat(), auto.model.as_str());
        println!("         {}", auto.reason);
        assert_eq!(auto.model, wanted, "{name}: {}", auto.reason);
    }
}

#[test]
fn what_is_asked_for_is_used() {
    for model in Model::ALL {
        let done = forecast(&weekly(2), &[7], 14, Some(model)).expect("a forecast");
        assert_eq!((done.model, done.path.len(), done.totals.len()), (model, 14, 14));
        assert!(done.reason.starts_with(model.as_str()), "{}", done.reason);
        assert_eq!(Model::parse(model.as_str()), Some(model));
    }
    assert_eq!(Model::parse("auto"), None);
}

#[test]
fn a_week_is_found_where_there_is_one() {
    assert_eq!(seasons(&weekly(2), &[7]), [7]);
    assert_eq!(seasons(&noise(120, 5), &[7]), [0; 0]);
    let climbing: Vec<f64> = (0..120).map(f64::from).collect();
    assert_eq!(seasons(&climbing, &[7]), [0; 0]);
    // Two weeks say nothing of weeks.
    assert_eq!(seasons(&weekly(2)[..20], &[7]), [0; 0]);
}

/// Of made series of three kinds: about 95 of 100 days, and 95 of 100 totals, lie in their interval.
#[test]
fn intervals_hold_as_much_as_they_say() {
    let (mut days, mut days_inside, mut totals, mut totals_inside) = (0, 0, 0, 0);
    for seed in 0..40 {
        for values in [
            weekly(seed),
            made(seed + 100, |day, noise| 50.0 + day + 10.0 * noise),
            made(seed + 200, |_, noise| 30.0 + 9.0 * noise),
        ] {
            let (done, _) = after_ninety(&values, None);
            days += 30;
            days_inside += done
                .path
                .iter()
                .zip(&values[90..])
                .filter(|(step, y)| (step.lower..=step.upper).contains(*y))
                .count();
            let total: f64 = values[90..].iter().sum();
            totals += 1;
            totals_inside += usize::from(
                done.totals
                    .last()
                    .is_some_and(|all| (all.lower..=all.upper).contains(&total)),
            );
        }
    }
    let share = |inside: usize, all: usize| 100.0 * inside as f64 / all as f64;
    println!(
        "days {:.1} %, totals {:.1} %",
        share(days_inside, days),
        share(totals_inside, totals)
    );
    assert!(
        (92.0..=97.0).contains(&share(days_inside, days)),
        "{}",
        share(days_inside, days)
    );
    assert!(
        (90.0..=100.0).contains(&share(totals_inside, totals)),
        "{}",
        share(totals_inside, totals)
    );
}

#[test]
fn whatever_comes_in_has_a_defined_answer() {
    let mut outlier = weekly(3);
    outlier[60] = 1e12;
    let cases: [(&str, Vec<f64>); 7] = [
        ("constant", vec![5.0; 60]),
        ("zeros", vec![0.0; 60]),
        ("one value", vec![3.0]),
        ("a week", vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        ("an outlier", outlier),
        ("only one day", {
            let mut day = vec![0.0; 40];
            day[20] = 9.0;
            day
        }),
        (
            "huge and tiny",
            (0..50).map(|at| if at % 2 == 0 { 1e12 } else { 1e-9 }).collect(),
        ),
    ];
    for (name, values) in &cases {
        for model in [None].into_iter().chain(Model::ALL.map(Some)) {
            for steps in [1, 30, 365] {
                let done = forecast(values, &[7], steps, model).expect("a forecast");
                assert_eq!((done.path.len(), done.totals.len()), (steps, steps), "{name}");
                for step in done.path.iter().chain(&done.totals) {
                    let all = [step.lower, step.mean, step.upper];
                    assert!(
                        all.iter().all(|value| value.is_finite() && *value >= 0.0),
                        "{name} {model:?}: {step:?}"
                    );
                    assert!(
                        step.lower <= step.mean && step.mean <= step.upper,
                        "{name} {model:?}: {step:?}"
                    );
                }
                assert!(
                    (0.0..=1.0).contains(&done.accuracy),
                    "{name} {model:?}: {}",
                    done.accuracy
                );
                assert_eq!(
                    Some(done),
                    forecast(values, &[7], steps, model),
                    "{name}: the same again"
                );
            }
        }
    }
    let level = forecast(&cases[0].1, &[7], 30, None).expect("a forecast");
    assert!(
        level
            .path
            .iter()
            .all(|step| (step.lower, step.mean, step.upper) == (5.0, 5.0, 5.0)),
        "{:?}",
        level.path[0]
    );
    assert_eq!((level.accuracy, level.backtest.mase), (1.0, Some(0.0)));
    assert_eq!(forecast(&[], &[7], 30, None), None);
}

/// One day of a thousand times the usual does not take the forecast with it.
#[test]
fn an_outlier_is_not_the_future() {
    let mut values = weekly(7);
    let (_, before) = after_ninety(&values, None);
    values[40] = 100_000.0;
    let (done, after) = after_ninety(&values, None);
    println!("{before:.1} without, {after:.1} with the outlier: {}", done.reason);
    assert!(after < 10.0 * before.max(10.0), "{after}: {}", done.reason);
}
