//! Forecasts the series of a file: `forecast TRAIN.csv --horizon H --season M [--model auto]`.
//!
//! A series a line, `id,v1,v2,…`, trailing empty fields allowed; lines that hold no numbers are left out. Prints
//! `id,step,mean,lower,upper`, steps from 1, bounds of 95 %. M is the season that the series may have; 1 where none
//! is known: then those of calendars are looked for. Of M = 24, hours, weeks are looked for, too.

use std::{error::Error, fs::File, io::Write};

use metering_domain::forecast::{Model, forecast};

const USAGE: &str = "usage: forecast TRAIN.csv --horizon H --season M [--model auto|linear_regression|…]";
/// Seasons of calendars: days and quarters in weeks and months, months, hours, weeks of the year.
const CALENDAR: [usize; 4] = [7, 12, 24, 52];
const HOURS: usize = 24;
const DAYS: usize = 7;

struct Arguments {
    file: String,
    horizon: usize,
    season: usize,
    model: Option<Model>,
}

fn arguments() -> Option<Arguments> {
    let mut rest = std::env::args().skip(1);
    let mut read = Arguments {
        file: String::new(),
        horizon: 0,
        season: 1,
        model: None,
    };
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--horizon" => read.horizon = rest.next()?.parse().ok()?,
            "--season" => read.season = rest.next()?.parse().ok()?,
            "--model" => match rest.next()?.as_str() {
                "auto" => read.model = None,
                name => read.model = Some(Model::parse(name)?),
            },
            _ if read.file.is_empty() && !argument.starts_with('-') => read.file = argument,
            _ => return None,
        }
    }
    (!read.file.is_empty() && read.horizon > 0).then_some(read)
}

fn cycles(season: usize) -> Vec<usize> {
    match season {
        0 | 1 => CALENDAR.to_vec(),
        HOURS => vec![HOURS, HOURS * DAYS],
        season => vec![season],
    }
}

/// The series of a line, if it holds one.
fn series(line: &str) -> Option<(&str, Vec<f64>)> {
    let mut fields = line.split(',').map(|field| field.trim().trim_matches('"'));
    let id = fields.next()?;
    let values = fields.filter(|field| !field.is_empty() && *field != "NA");
    let values: Vec<f64> = values.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    (!values.is_empty() && values.iter().all(|value| value.is_finite())).then_some((id, values))
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let text = std::io::read_to_string(File::open(&arguments.file)?)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "id,step,mean,lower,upper")?;
    for (id, values) in text.lines().filter_map(series) {
        let Some(done) = forecast(&values, &cycles(arguments.season), arguments.horizon, arguments.model) else {
            continue;
        };
        for (step, interval) in (1..).zip(&done.path) {
            writeln!(
                out,
                "{id},{step},{},{},{}",
                interval.mean, interval.lower, interval.upper
            )?;
        }
    }
    out.flush()?;
    Ok(())
}
