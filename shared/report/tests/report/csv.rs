//! The table.

use std::collections::HashMap;

use metering_domain::{
    number::plain,
    report::{Report, ReportFormat, Section},
};
use rust_decimal::Decimal;

use super::{FORMULA, detailed, extremes, rendered, reports};

type Record = HashMap<String, String>;

/// The records by the names of the columns; a cell that is missing or too much is a fault.
fn read(report: &Report) -> Vec<Record> {
    let bytes = rendered(report, ReportFormat::Csv);
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    assert!(text.ends_with("\r\n"));
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().expect("a header").clone();
    reader
        .records()
        .map(|record| {
            let record = record.expect("a record");
            names
                .iter()
                .zip(&record)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        })
        .collect()
}

fn of<'a>(records: &'a [Record], section: &str) -> Vec<&'a Record> {
    records.iter().filter(|record| record["section"] == section).collect()
}

fn decimal(record: &Record, column: &str) -> Decimal {
    record[column]
        .parse()
        .unwrap_or_else(|_| panic!("{column} of {record:?}"))
}

#[test]
fn numbers_are_the_models() {
    for report in reports() {
        let (records, account) = (read(report), &report.accounts[0]);
        let usage = of(&records, "usage");
        assert_eq!(usage.len(), account.usage.len());
        for (record, line) in usage.iter().zip(&account.usage) {
            assert_eq!(record["metric_type"], line.metric_type);
            assert_eq!(record["value"], plain(line.totals.total));
            assert_eq!(record["average"], plain(line.totals.average));
            assert_eq!(record["event_count"], line.totals.count.to_string());
            assert_eq!(
                record["response_time_ms_p95"],
                line.totals.p95.map_or(String::new(), |time| time.to_string())
            );
        }
        for (record, line) in of(&records, "quota").iter().zip(&account.quotas) {
            assert_eq!(decimal(record, "value"), line.used);
            assert_eq!(decimal(record, "overage_cost"), line.cost);
        }
        let sum: Decimal = of(&records, "quota")
            .iter()
            .map(|record| decimal(record, "overage_cost"))
            .sum();
        assert_eq!(sum, account.overage_cost);
        let sum: Decimal = of(&records, "cost").iter().map(|record| decimal(record, "cost")).sum();
        assert_eq!(sum, account.total_cost);
        if report.sections.contains(&Section::Rows) {
            let rows: usize = account.series.iter().map(|series| series.rows().count()).sum();
            assert_eq!(of(&records, "bucket").len(), rows);
            // What a reader gets who adds the days of a sum.
            let calls = of(&records, "bucket")
                .into_iter()
                .filter(|record| record["metric_type"] == "api_calls");
            let sum: Decimal = calls.map(|record| decimal(record, "value")).sum();
            assert_eq!(sum, account.usage[2].totals.total);
        }
        for (record, line) in of(&records, "forecast").iter().zip(&account.forecasts) {
            assert_eq!(decimal(record, "value"), line.made.predicted.mean);
            assert_eq!(decimal(record, "expected_upper"), line.made.predicted.upper);
            assert!(record["detail"].contains("MASE"));
        }
        let days: usize = account.forecasts.iter().map(|line| line.made.path.len()).sum();
        assert_eq!(of(&records, "forecast_day").len(), days);
        for (record, line) in of(&records, "anomaly").iter().zip(&account.anomalies) {
            assert_eq!(decimal(record, "value"), line.finding.observed);
            assert!(record["detail"].contains(&line.finding.reasons[0].detail));
        }
        assert_eq!(of(&records, "anomaly").len(), account.anomalies.len());
    }
}

#[test]
fn formulas_are_texts_and_numbers_stay_numbers() {
    let records = read(&detailed().report());
    let resources = of(&records, "resource");
    assert!(resources.iter().any(|record| record["name"] == format!("'{FORMULA}")));
    for record in &records {
        for (column, value) in record {
            if value.starts_with(['=', '+', '@', '\t', '\r']) {
                panic!("{column} is a formula: {value}");
            }
            assert!(
                !value.starts_with('-') || value.parse::<Decimal>().is_ok(),
                "{column} is a formula: {value}"
            );
        }
    }
    // Down from 1,234.56, without an apostrophe.
    let fallen = of(&records, "comparison")
        .into_iter()
        .find(|record| record["metric_type"] == "storage_usage");
    assert!(decimal(fallen.expect("storage"), "difference") < Decimal::ZERO);
}

#[test]
fn extremes_can_be_read() {
    for report in extremes() {
        let records = read(report);
        let notes: usize =
            report.notes.len() + report.accounts.iter().map(|account| account.notes.len()).sum::<usize>();
        assert_eq!(of(&records, "note").len(), notes);
        if let Some(overall) = &report.overall {
            let totals = of(&records, "overall");
            assert_eq!(decimal(totals[0], "value"), overall.lines[0].total);
            assert_eq!(of(&records, "user").len(), overall.users.len());
        }
    }
}
