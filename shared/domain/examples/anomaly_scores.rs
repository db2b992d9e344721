//! Scores a series value by value: `anomaly_scores FILE.csv` prints `timestamp,value,anomaly_score`.
//!
//! The file has the columns `timestamp` (`2014-04-01 00:00:00`, a `T` and fractions are fine) and `value`.
//! Each row is judged by the rows above it only, so a file that is cut gives the same first rows. A score of 0.5
//! is what the service takes for a risk of 50.

use std::{
    error::Error,
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Write as _, stdout},
};

use chrono::NaiveDateTime;
use metering_domain::anomaly::Detector;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: anomaly_scores FILE.csv")?;
    let mut lines = BufReader::new(File::open(&path)?).lines();
    let header = lines.next().transpose()?.unwrap_or_default();
    if header.trim() != "timestamp,value" {
        return Err(format!("{path}:1: the columns must be timestamp,value, not {header}").into());
    }
    let mut out = BufWriter::new(stdout().lock());
    writeln!(out, "timestamp,value,anomaly_score")?;
    let mut detector = Detector::default();
    for (index, line) in lines.enumerate() {
        let line = line?;
        let place = || format!("{path}:{}", index + 2);
        let (timestamp, text) = line
            .split_once(',')
            .ok_or_else(|| format!("{}: two columns are needed", place()))?;
        let text = text.trim();
        let value: f64 = text.parse().map_err(|error| format!("{}: {text}: {error}", place()))?;
        let at = instant(timestamp).map_err(|error| format!("{}: {timestamp}: {error}", place()))?;
        let score = detector.push(at, value).value;
        writeln!(out, "{timestamp},{text},{score}")?;
    }
    Ok(out.flush()?)
}

fn instant(text: &str) -> chrono::ParseResult<NaiveDateTime> {
    let text = text.trim().trim_end_matches('Z').replace('T', " ");
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
}
