//! The four files of one report, opened: their totals are the same to the last digit.

use std::io::Cursor;

use calamine::{Data, Reader as _, Xlsx};
use rust_decimal::Decimal;
use serde_json::Value;

/// What the JSON file says is in the table, in the workbook and in the print.
pub fn compare(report_type: &str, pdf: &[u8], csv: &[u8], json: &[u8], excel: &[u8]) {
    let whole: Value = serde_json::from_slice(json).expect("JSON");
    assert_eq!(whole["report_type"], report_type);
    let account = &whole["accounts"][0];
    let totals: Vec<(String, String)> = account["usage"]
        .as_array()
        .expect("usage")
        .iter()
        .map(|line| (text(&line["metric_type"]), line["total_value"].to_string()))
        .collect();
    assert!(totals.len() >= 3, "{totals:?}");
    assert_eq!(totals, table(csv, "usage"), "{report_type}: CSV");
    let cells = cells(excel);
    let print = printed(pdf).to_lowercase();
    for (metric, total) in &totals {
        let number: Decimal = total.parse().expect("a number");
        let is_there = cells.iter().any(|row| {
            let named = row.iter().any(|cell| cell.to_string() == *metric);
            named
                && row
                    .iter()
                    .any(|cell| matches!(cell, Data::Float(value) if value.to_string().parse() == Ok(number)))
        });
        assert!(is_there, "{report_type}: {metric} {total} is in no row of the workbook");
        let name = metric.replace('_', " ");
        assert!(print.contains(&name), "{report_type}: {name} is not printed: {print}");
        let whole_part = total.split('.').next().expect("digits");
        let digits: String = print.chars().filter(|letter| *letter != ',').collect();
        assert!(digits.contains(whole_part), "{report_type}: {total} is not printed");
    }
    // Nothing that a spreadsheet would compute came from a text.
    let table = String::from_utf8(csv.to_vec()).expect("UTF-8");
    assert!(!table.lines().any(|line| {
        line.split(',')
            .any(|field| field.starts_with("=") || field.starts_with("\"="))
    }));
    if report_type == "detailed" {
        let is_text = |cell: &&Data| matches!(cell, Data::String(text) if text.starts_with("=HYPERLINK"));
        assert!(
            cells.iter().flatten().any(|cell| is_text(&cell)),
            "the resource is a text"
        );
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Metrics and values of a section of the table.
fn table(bytes: &[u8], section: &str) -> Vec<(String, String)> {
    let mut reader = csv::Reader::from_reader(bytes);
    let headers = reader.headers().expect("a header").clone();
    let column = |name: &str| headers.iter().position(|header| header == name).expect("a column");
    let (of, metric, value) = (column("section"), column("metric_type"), column("value"));
    let records = reader.records().map(|record| record.expect("a record"));
    records
        .filter(|record| &record[of] == section)
        .map(|record| (record[metric].to_owned(), record[value].to_owned()))
        .collect()
}

fn cells(bytes: &[u8]) -> Vec<Vec<Data>> {
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(bytes.to_vec())).expect("a workbook");
    let sheets = book.worksheets();
    sheets
        .iter()
        .flat_map(|(_, range)| range.rows().map(<[Data]>::to_vec))
        .collect()
}

fn printed(bytes: &[u8]) -> String {
    let document = lopdf::Document::load_mem(bytes).expect("a PDF");
    let pages: Vec<u32> = document.get_pages().keys().copied().collect();
    document.extract_text(&pages).expect("text")
}
