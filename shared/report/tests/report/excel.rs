//! The workbook, as another library reads it.

use std::io::Cursor;

use calamine::{Data, Range, Reader, Xlsx};
use metering_domain::{
    number::plain,
    report::{Report, ReportFormat, Section},
};
use rust_decimal::Decimal;

use super::{FORMULA, detailed, extremes, rendered, reports};

type Book = Xlsx<Cursor<Vec<u8>>>;

fn open(report: &Report) -> Book {
    Xlsx::new(Cursor::new(rendered(report, ReportFormat::Excel))).expect("a workbook")
}

fn sheet(book: &mut Book, name: &str) -> Range<Data> {
    book.worksheet_range(name)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The cells below a header, from top to bottom.
fn column(range: &Range<Data>, name: &str) -> Vec<Data> {
    let header = range.rows().next().expect("a header");
    let at = header
        .iter()
        .position(|cell| cell == name)
        .unwrap_or_else(|| panic!("{name}: {header:?}"));
    range.rows().skip(1).map(|row| row[at].clone()).collect()
}

/// What a cell shows of a number, to the last of 15 digits; an empty one is nothing.
fn decimal(cell: &Data) -> Option<Decimal> {
    match cell {
        Data::Float(value) => Some(value.to_string().parse().expect("a decimal")),
        Data::Int(value) => Some(Decimal::from(*value)),
        Data::Empty => None,
        other => panic!("{other:?} is no number"),
    }
}

fn decimals(range: &Range<Data>, name: &str) -> Vec<Option<Decimal>> {
    column(range, name).iter().map(decimal).collect()
}

#[test]
fn numbers_are_the_models() {
    for report in reports() {
        let (mut book, account) = (open(report), &report.accounts[0]);
        let usage = sheet(&mut book, "Usage");
        let expected: Vec<_> = account.usage.iter().map(|line| Some(line.totals.total)).collect();
        assert_eq!(decimals(&usage, "Total"), expected);
        let expected: Vec<_> = account.usage.iter().map(|line| Some(line.totals.average)).collect();
        assert_eq!(decimals(&usage, "Average"), expected);
        let expected: Vec<_> = account.usage.iter().map(|line| line.change_percentage).collect();
        assert_eq!(decimals(&usage, "Change %"), expected);
        if report.sections.contains(&Section::Quotas) {
            let quotas = sheet(&mut book, "Quotas");
            let sum: Decimal = decimals(&quotas, "Cost").into_iter().flatten().sum();
            assert_eq!(sum, account.overage_cost);
            assert!(
                column(&quotas, "Period start")
                    .iter()
                    .all(|cell| matches!(cell, Data::DateTime(_)))
            );
        }
        if report.sections.contains(&Section::Costs) {
            let costs = sheet(&mut book, "Costs");
            let (kinds, amounts) = (column(&costs, "Metric"), decimals(&costs, "Cost"));
            let totals = kinds.iter().zip(&amounts).filter(|(kind, _)| **kind == "Total");
            assert_eq!(
                totals.filter_map(|(_, amount)| *amount).sum::<Decimal>(),
                account.total_cost
            );
            let lines = kinds.iter().zip(&amounts).filter(|(kind, _)| **kind != "Total");
            assert_eq!(
                lines.filter_map(|(_, amount)| *amount).sum::<Decimal>(),
                account.total_cost
            );
        }
        if report.sections.contains(&Section::Rows) {
            let details = sheet(&mut book, "Details");
            let rows = || account.series.iter().flat_map(|series| series.rows());
            let expected: Vec<_> = rows().map(|(_, totals)| Some(totals.total)).collect();
            assert_eq!(decimals(&details, "Total"), expected);
            let first = &account.series[0].points[1].period;
            let local = first.start.with_timezone(&report.zone).naive_local();
            let written = column(&details, "From")
                .iter()
                .filter_map(Data::as_datetime_of)
                .collect::<Vec<_>>();
            assert!(written.contains(&local), "{local} of {written:?}");
        }
        if report.sections.contains(&Section::Forecasts) {
            let forecast = sheet(&mut book, "Forecast");
            for (cell, line) in column(&forecast, "Expected").iter().zip(&account.forecasts) {
                // With more than 15 digits it is a text.
                let written = match cell {
                    Data::String(text) => text.clone(),
                    cell => plain(decimal(cell).expect("a number")),
                };
                assert_eq!(written, plain(line.made.predicted.mean));
            }
        }
        if report.sections.contains(&Section::Anomalies) {
            let anomalies = sheet(&mut book, "Anomalies");
            let expected: Vec<_> = account
                .anomalies
                .iter()
                .map(|line| Some(line.finding.observed))
                .collect();
            assert_eq!(decimals(&anomalies, "Observed"), expected);
            assert!(
                column(&anomalies, "Note").contains(&Data::String(account.anomalies[0].note.clone().expect("a note")))
            );
        }
    }
}

trait LocalTime {
    fn as_datetime_of(&self) -> Option<chrono::NaiveDateTime>;
}

impl LocalTime for Data {
    /// By the days since 1899-12-30 that workbooks count in.
    fn as_datetime_of(&self) -> Option<chrono::NaiveDateTime> {
        let Data::DateTime(value) = self else { return None };
        let epoch = chrono::NaiveDate::from_ymd_opt(1899, 12, 30)?.and_hms_opt(0, 0, 0)?;
        let minutes = Decimal::try_from(value.as_f64()).ok()? * Decimal::from(1_440);
        Some(epoch + chrono::TimeDelta::minutes(i64::try_from(minutes.round()).ok()?))
    }
}

#[test]
fn formulas_are_texts() {
    let mut book = open(&detailed().report());
    let resources = sheet(&mut book, "Resources");
    assert!(column(&resources, "Resource").contains(&Data::String(FORMULA.to_owned())));
    for name in book.sheet_names() {
        let formulas = book.worksheet_formula(&name).expect("a sheet");
        assert_eq!(formulas.used_cells().count(), 0, "{name}");
    }
}

#[test]
fn charts_are_there_and_show_the_values() {
    for report in reports() {
        let bytes = rendered(report, ReportFormat::Excel);
        let charts = count(&bytes, b"xl/charts/chart");
        // Each name is in the archive twice: before its content and in the directory.
        assert_eq!(charts, 2 * report.accounts[0].series.len(), "{}", report.title);
        let mut book = open(report);
        let data = sheet(&mut book, "Chart data");
        let used: Vec<_> = column(&data, "API calls: used").iter().filter_map(decimal).collect();
        let expected: Vec<_> = report.accounts[0].series[2]
            .points
            .iter()
            .map(|point| point.value)
            .collect();
        assert_eq!(used, expected);
    }
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
}

#[test]
fn extremes_can_be_read() {
    for report in extremes() {
        let mut book = open(report);
        for name in book.sheet_names() {
            sheet(&mut book, &name);
        }
        if let Some(overall) = &report.overall {
            let all = sheet(&mut book, "All users");
            assert_eq!(decimals(&all, "Total")[0], Some(overall.lines[0].total));
        }
    }
}
