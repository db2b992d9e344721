//! A load balancer's request counts over two weeks, one row per five minutes: real ones where they
//! are, else ones like them, made here.

use std::{env, fs, path::Path};

const SERIES: &str = "anomaly/realAWSCloudwatch/elb_request_count_8c0756.csv";
/// The sum of the real series.
const REAL_TOTAL: u64 = 249_327;

/// One row: when, as RFC 3339, and how many.
pub type Row = (String, u64);

/// All rows and their sum.
#[expect(
    clippy::disallowed_methods,
    reason = "the data's folder is no configuration of the service"
)]
pub fn rows() -> (Vec<Row>, u64) {
    let Ok(folder) = env::var("METERING_DATA_DIR") else {
        let rows: Vec<Row> = (0..4_032).map(made).collect();
        let total = rows.iter().map(|(_, value)| value).sum();
        return (rows, total);
    };
    let text = fs::read_to_string(Path::new(&folder).join(SERIES)).expect("the series");
    (text.lines().skip(1).map(read).collect(), REAL_TOTAL)
}

fn made(index: u64) -> Row {
    let (day, hour, minute) = (10 + index / 288, index / 12 % 24, index % 12 * 5);
    (
        format!("2014-04-{day:02}T{hour:02}:{minute:02}:00Z"),
        index * 7_919 % 123,
    )
}

fn read(line: &str) -> Row {
    let (at, value) = line.split_once(',').expect("two columns");
    let whole = value.split('.').next().and_then(|whole| whole.parse().ok());
    (format!("{}Z", at.replace(' ', "T")), whole.expect("a number"))
}
