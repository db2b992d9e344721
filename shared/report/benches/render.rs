//! How long each format takes for a year of days of all metrics, and how much memory: `cargo bench -p metering-report
//! --bench render`. Figures are printed and judged by nobody; aimed at are 300 ms and 128 MB. A year of hours, the
//! largest report that there may be, comes last.
//!
//! Each format is rendered by a process of its own, so that its peak (`VmHWM`, Linux) is not another one's. What the
//! process held before, with the report in it, is printed beside.

#[path = "../tests/support/demo.rs"]
mod demo;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use demo::Demo;
use metering_domain::{
    aggregate::Granularity,
    report::{ReportFormat, ReportType},
};
use metering_report::render;

const DAYS: i64 = 366;
const RUNS: u32 = 5;
/// Says to a process of this program what to render.
const CHILD: &str = "--render";

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != CHILD).skip(1);
    if let (Some(report_type), Some(format), Some(granularity)) = (arguments.next(), arguments.next(), arguments.next())
    {
        measure(&report_type, &format, &granularity);
        return;
    }
    let program = std::env::current_exe().expect("a program");
    for report_type in ReportType::ALL {
        for format in ReportFormat::ALL {
            child(&program, *report_type, *format, Granularity::Daily);
        }
    }
    for format in ReportFormat::ALL {
        child(&program, ReportType::Detailed, *format, Granularity::Hourly);
    }
}

fn child(program: &Path, report_type: ReportType, format: ReportFormat, granularity: Granularity) {
    let arguments = [CHILD, report_type.as_str(), format.as_str(), granularity.as_str()];
    let status = Command::new(program).args(arguments).status();
    assert!(status.expect("a process").success());
}

fn measure(report_type: &str, format: &str, granularity: &str) {
    let report_type = ReportType::parse(report_type).expect("a type");
    let format = ReportFormat::parse(format).expect("a format");
    let report = Demo {
        days: DAYS,
        granularity: Granularity::parse(granularity).expect("a granularity"),
        ..Demo::of(report_type)
    }
    .report();
    let before = peak();
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..RUNS {
        let began = Instant::now();
        bytes = render(&report, format).expect("a file").len();
        times.push(began.elapsed());
    }
    let after = peak();
    let best = times.iter().min().copied().unwrap_or_default();
    let worst = times.iter().max().copied().unwrap_or(Duration::ZERO);
    println!(
        "{:>8} as {:<5}, {DAYS} days × {} metrics, {granularity}: {best:>9.2?} to {worst:>9.2?}, peak {after} (before: {before}), {} kB",
        report_type.as_str(),
        format.as_str(),
        report.accounts[0].series.len(),
        bytes / 1_000
    );
}

/// The most memory that this process ever held.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kilobytes.map_or("unknown".to_owned(), |kilobytes| format!("{} MB", kilobytes / 1_024))
}
