//! How long detection takes: `cargo bench -p metering-domain --bench anomaly`. Times are printed and judged by nobody.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    anomaly::{Bucket, Detector, Usage, detect},
    period::Period,
};
use rust_decimal::Decimal;

const DAYS: i64 = 30;
const RUNS: u32 = 100;
/// Rows whose cost is measured, after a history of each of these lengths.
const MEASURED: u32 = 10_000;
const HISTORIES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn main() {
    let usage = usage();
    let began = Instant::now();
    let mut found = 0;
    for _ in 0..RUNS {
        found = detect(&usage).findings.len();
    }
    let each = began.elapsed() / RUNS;
    println!("{DAYS} days of hours and days, all methods: {each:.2?} ({found} findings)");
    for history in HISTORIES {
        let mut detector = Detector::default();
        for index in 0..history {
            push(&mut detector, index);
        }
        let began = Instant::now();
        for index in history..history + MEASURED {
            push(&mut detector, index);
        }
        let each = began.elapsed() / MEASURED;
        println!("a value of a stream, after {history:>7}: {each:.2?}");
    }
}

/// Busy by day, with something like noise.
fn value(index: u32) -> u32 {
    let busy = if (9..18).contains(&(index % 24)) { 100 } else { 5 };
    busy + index.wrapping_mul(2_654_435_761) % 17
}

fn push(detector: &mut Detector, index: u32) {
    let at = start() + TimeDelta::hours(i64::from(index));
    detector.push(at.naive_utc(), f64::from(value(index)));
}

fn start() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn usage() -> Usage {
    let buckets = |each: TimeDelta, count: i64, values: &dyn Fn(u32) -> u32| {
        let one = |index: i64| {
            let from = start() + each * i32::try_from(index).unwrap_or(0);
            Bucket {
                period: Period {
                    start: from,
                    end: from + each,
                },
                value: Decimal::from(values(u32::try_from(index).unwrap_or(0))),
                is_over: true,
            }
        };
        (0..count).map(one).collect()
    };
    Usage {
        hours: buckets(TimeDelta::hours(1), DAYS * 24, &|hour| {
            if hour == 700 { 4_000 } else { value(hour) }
        }),
        days: buckets(TimeDelta::days(1), DAYS, &|day| {
            (24 * day..24 * day + 24).map(value).sum()
        }),
        zone: Tz::UTC,
        sightings: Vec::new(),
    }
}
