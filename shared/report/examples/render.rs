//! Writes reports of a user that does not exist into a folder, to be looked at:
//! `cargo run -p metering-report --example render -- target/reports`.

#[path = "../tests/support/demo.rs"]
mod demo;

use std::path::Path;

use demo::Demo;
use metering_domain::{
    aggregate::Granularity,
    report::{ReportFormat, ReportType},
};
use metering_report::render;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    std::fs::create_dir_all(&folder)?;
    let write = |name: &str, demo: &Demo, format: ReportFormat| -> Result<(), Box<dyn std::error::Error>> {
        let path = Path::new(&folder).join(format!("{name}.{}", format.extension()));
        std::fs::write(&path, render(&demo.report(), format)?)?;
        println!("{}", path.display());
        Ok(())
    };
    for report_type in ReportType::ALL {
        for format in ReportFormat::ALL {
            write(report_type.as_str(), &Demo::of(*report_type), *format)?;
        }
    }
    for (name, demo) in others() {
        write(name, &demo, ReportFormat::Pdf)?;
        write(name, &demo, ReportFormat::Excel)?;
    }
    Ok(())
}

/// The smallest, the largest and the oddest.
fn others() -> Vec<(&'static str, Demo)> {
    let detailed = Demo::of(ReportType::Detailed);
    let long_name = "Wolfeschlegelsteinhausenbergerdorff-Świętosławska-Nuñez.60ltr";
    vec![
        (
            "one-metric-one-day",
            Demo {
                days: 1,
                metrics: 1,
                ..detailed.clone()
            },
        ),
        (
            "one-metric-one-day-hourly",
            Demo {
                days: 1,
                metrics: 1,
                granularity: Granularity::Hourly,
                ..detailed.clone()
            },
        ),
        (
            "eleven-metrics-one-day",
            Demo {
                days: 1,
                ..detailed.clone()
            },
        ),
        (
            "one-metric-one-year",
            Demo {
                days: 366,
                metrics: 1,
                ..Demo::of(ReportType::Summary)
            },
        ),
        (
            "eleven-metrics-one-year",
            Demo {
                days: 366,
                ..detailed.clone()
            },
        ),
        (
            "year-forecast",
            Demo {
                days: 366,
                metrics: 3,
                ..Demo::of(ReportType::Forecast)
            },
        ),
        (
            "long-name",
            Demo {
                users: vec![long_name.to_owned()],
                ..detailed.clone()
            },
        ),
        (
            "several-users",
            Demo {
                users: vec![long_name.to_owned(), "u2".to_owned(), "u3".to_owned()],
                metrics: 3,
                ..Demo::of(ReportType::Summary)
            },
        ),
        (
            "unused",
            Demo {
                is_used: false,
                metrics: 0,
                ..detailed
            },
        ),
    ]
}
