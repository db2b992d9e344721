//! Reads the files again and holds them against the model: every type in every format.

#[path = "../support/demo.rs"]
mod demo;

mod csv;
mod excel;
mod json;
mod pdf;

use std::sync::LazyLock;

use demo::{Demo, FORMULA};
use metering_domain::{
    aggregate::Granularity,
    report::{Report, ReportFormat, ReportType},
};
use metering_report::render;

/// Three months, of each type.
static REPORTS: LazyLock<Vec<Report>> = LazyLock::new(|| {
    let demo = |report_type: &ReportType| Demo::of(*report_type).report();
    ReportType::ALL.iter().map(demo).collect()
});

/// The smallest, the largest and the oddest.
static EXTREMES: LazyLock<Vec<Report>> = LazyLock::new(|| made_extreme().iter().map(Demo::report).collect());

fn reports() -> impl Iterator<Item = &'static Report> {
    REPORTS.iter()
}

fn extremes() -> impl Iterator<Item = &'static Report> {
    EXTREMES.iter()
}

fn detailed() -> Demo {
    Demo::of(ReportType::Detailed)
}

/// A name of 60 letters, some beyond ASCII.
fn long_name() -> String {
    let name = "Wolfeschlegelsteinhausenbergerdorff-Świętosławska-Nuñez-Ærøy";
    assert_eq!(name.chars().count(), 60);
    name.to_owned()
}

fn made_extreme() -> Vec<Demo> {
    vec![
        Demo {
            days: 1,
            metrics: 1,
            ..detailed()
        },
        Demo { days: 1, ..detailed() },
        Demo {
            days: 1,
            granularity: Granularity::Hourly,
            metrics: 2,
            ..detailed()
        },
        Demo {
            days: 366,
            metrics: 1,
            ..Demo::of(ReportType::Forecast)
        },
        Demo {
            days: 366,
            ..Demo::of(ReportType::Summary)
        },
        Demo {
            users: vec![long_name()],
            ..detailed()
        },
        Demo {
            users: vec![long_name(), "u2".to_owned()],
            days: 40,
            ..Demo::of(ReportType::Summary)
        },
        Demo {
            is_used: false,
            ..detailed()
        },
        Demo {
            is_used: false,
            metrics: 0,
            ..Demo::of(ReportType::Anomaly)
        },
        Demo {
            users: Vec::new(),
            ..detailed()
        },
    ]
}

fn rendered(report: &Report, format: ReportFormat) -> Vec<u8> {
    render(report, format).expect("a file")
}
