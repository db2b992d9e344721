//! The detector of streams: on real labelled series where `METERING_DATA_DIR` leads to some, else on series made
//! here.

#![expect(clippy::float_arithmetic, reason = "series of statistics")]

use std::{collections::BTreeMap, env, fs, path::Path};

use chrono::{NaiveDateTime, TimeDelta};
use metering_domain::anomaly::{Detector, Score};

/// A week of five minutes.
const WEEK: usize = 2_016;
const LENGTH: usize = 2 * WEEK;

/// A series, and the rows between which its anomalies lie.
struct Labelled {
    name: String,
    rows: Vec<(NaiveDateTime, f64)>,
    windows: Vec<(usize, usize)>,
}

fn start() -> NaiveDateTime {
    instant("2026-03-02 00:00:00")
}

fn instant(text: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").expect("a time")
}

fn every_five_minutes(values: impl IntoIterator<Item = f64>) -> Vec<(NaiveDateTime, f64)> {
    let mut at = start();
    let mut next = |value| {
        let row = (at, value);
        at += TimeDelta::minutes(5);
        row
    };
    values.into_iter().map(&mut next).collect()
}

fn scores(rows: &[(NaiveDateTime, f64)]) -> Vec<Score> {
    let mut detector = Detector::default();
    rows.iter().map(|(at, value)| detector.push(*at, *value)).collect()
}

fn detections(rows: &[(NaiveDateTime, f64)]) -> Vec<usize> {
    let scores = scores(rows);
    (0..scores.len())
        .filter(|index| scores[*index].is_remarkable())
        .collect()
}

/// Numbers between 0 and 1 that look random, always the same.
struct Noise(u64);

impl Noise {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn next(&mut self) -> f64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Roughly normal (the sum of twelve, less six).
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// Busy from 9 to 17:30, with noise of a few per cent.
fn busy_days(noise: &mut Noise) -> Vec<f64> {
    let level = |index: usize| {
        if (108..210).contains(&(index % 288)) {
            80.0
        } else {
            20.0
        }
    };
    (0..LENGTH)
        .map(|index| level(index) * (1.0 + 0.04 * noise.normal()))
        .collect()
}

fn made() -> Vec<Labelled> {
    let mut all = Vec::new();
    for seed in 1..=12_u64 {
        let mut noise = Noise(seed * 7_919);
        let mut values = if seed % 2 == 0 {
            busy_days(&mut noise)
        } else {
            (0..LENGTH).map(|_| 100.0 + 5.0 * noise.normal()).collect()
        };
        let begins = WEEK + usize::try_from(seed).expect("small") * 131;
        match seed % 3 {
            // A spike, a shift, a stretch without anything.
            0 => values[begins..begins + 3].fill(400.0),
            1 => values[begins..].iter_mut().for_each(|value| *value += 90.0),
            _ => values[begins..begins + 290].fill(0.0),
        }
        all.push(Labelled {
            name: format!("made {seed}"),
            rows: every_five_minutes(values),
            windows: vec![(begins - 30, (begins + 290).min(LENGTH - 1))],
        });
    }
    all
}

#[expect(
    clippy::disallowed_methods,
    reason = "the data's folder is no configuration of the service"
)]
fn folder() -> Option<std::path::PathBuf> {
    Some(Path::new(&env::var("METERING_DATA_DIR").ok()?).join("anomaly"))
}

fn rows_of(path: &Path) -> Vec<(NaiveDateTime, f64)> {
    let text = fs::read_to_string(path).expect("a series");
    let row = |line: &str| {
        let (at, value) = line.split_once(',').expect("two columns");
        (instant(at), value.trim().parse().expect("a number"))
    };
    text.lines().skip(1).map(row).collect()
}

fn labelled() -> Vec<Labelled> {
    let Some(folder) = folder() else { return made() };
    let windows = fs::read_to_string(folder.join("windows.json")).expect("the labels");
    let windows: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&windows).expect("windows");
    let read = |(name, windows): (String, Vec<(String, String)>)| {
        let rows = rows_of(&folder.join(&name));
        let row = |text: &String| {
            let at = instant(text);
            rows.iter().rposition(|row| row.0 == at).expect("a row")
        };
        let windows = windows.iter().map(|(from, to)| (row(from), row(to))).collect();
        Labelled { name, rows, windows }
    };
    windows.into_iter().map(read).collect()
}

#[test]
fn labelled_anomalies_are_found_with_few_false_alarms() {
    let (mut found, mut wanted, mut wrong, mut series) = (0, 0, 0, 0);
    for one in labelled() {
        let probation = (one.rows.len() * 15 / 100).min(750);
        let hits = detections(&one.rows);
        let counted: Vec<&usize> = hits.iter().filter(|hit| **hit >= probation).collect();
        let inside = |hit: usize| one.windows.iter().any(|(from, to)| (*from..=*to).contains(&hit));
        let here = one
            .windows
            .iter()
            .filter(|(from, to)| counted.iter().any(|hit| (*from..=*to).contains(*hit)));
        let (here, false_here) = (here.count(), counted.iter().filter(|hit| !inside(***hit)).count());
        println!(
            "{}: {here} of {} found, {false_here} false",
            one.name,
            one.windows.len()
        );
        found += here;
        wanted += one.windows.len();
        wrong += false_here;
        series += 1;
    }
    println!("{found} of {wanted} found, {wrong} false in {series} series");
    assert!(found * 100 >= wanted * 85, "{found} of {wanted}");
    assert!(wrong <= 3 * series, "{wrong} false in {series} series");
}

#[test]
fn quiet_series_give_no_alarm_after_a_week() {
    let square = |index: usize| {
        if (108..210).contains(&(index % 288)) {
            80.0
        } else {
            20.0
        }
    };
    let mut quiet = vec![
        ("flat".to_owned(), every_five_minutes([45.0; LENGTH])),
        ("flat, not whole".to_owned(), every_five_minutes([0.1; LENGTH])),
        ("zero".to_owned(), every_five_minutes([0.0; LENGTH])),
        ("square".to_owned(), every_five_minutes((0..LENGTH).map(square))),
        ("noisy days".to_owned(), every_five_minutes(busy_days(&mut Noise(5)))),
    ];
    if let Some(folder) = folder() {
        for file in fs::read_dir(folder.join("artificialNoAnomaly")).expect("a folder") {
            let path = file.expect("a file").path();
            quiet.push((path.display().to_string(), rows_of(&path)));
        }
    }
    for (name, rows) in quiet {
        let late: Vec<usize> = detections(&rows).into_iter().filter(|hit| *hit >= WEEK).collect();
        assert!(late.is_empty(), "{name}: {late:?}");
    }
}

#[test]
fn a_value_is_judged_by_those_before_it_only() {
    for one in labelled().into_iter().take(6) {
        let whole = scores(&one.rows);
        for cut in [150, 1_000, one.rows.len() - 1] {
            assert_eq!(scores(&one.rows[..cut]), whole[..cut], "{}", one.name);
        }
    }
}

#[test]
fn what_is_no_number_is_passed_over() {
    let rows = every_five_minutes(busy_days(&mut Noise(3)));
    let mut odd = Detector::default();
    let mut kept = Vec::new();
    for (index, (at, value)) in rows.iter().enumerate() {
        if index % 100 == 50 {
            for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert_eq!(odd.push(*at, none).value.to_bits(), 0.0_f64.to_bits());
            }
        }
        kept.push(odd.push(*at, *value));
    }
    assert_eq!(kept, scores(&rows));
}

#[test]
fn the_time_of_day_is_the_users() {
    let mut values = busy_days(&mut Noise(11));
    // The twelfth day does not begin.
    let day = 11 * 288;
    values[day + 100..day + 220].fill(20.0);
    let hits = detections(&every_five_minutes(values));
    assert!(hits.iter().any(|hit| (day + 100..day + 130).contains(hit)), "{hits:?}");
}

#[test]
fn enormous_values_are_scored() {
    let mut values = vec![1e12; 500];
    values.extend([1e308, -1e308, 1e308]);
    values.extend(vec![1e12; 500]);
    for score in scores(&every_five_minutes(values)) {
        assert!((0.0..=1.0).contains(&score.value), "{score:?}");
    }
}
