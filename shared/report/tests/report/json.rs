//! The object.

use metering_domain::{
    number::plain,
    report::{Report, ReportFormat},
};
use rust_decimal::Decimal;
use serde_json::Value;

use super::{FORMULA, detailed, extremes, rendered, reports};

const SCHEMA: &str = include_str!("../../schema/report.schema.json");

fn read(report: &Report) -> Value {
    serde_json::from_slice(&rendered(report, ReportFormat::Json)).expect("JSON")
}

/// The digits of a number, as they are written.
fn digits(value: &Value) -> String {
    assert!(value.is_number(), "{value} is no number");
    value.to_string()
}

fn sum(values: &Value, field: &str) -> Decimal {
    let all = values.as_array().expect("a list");
    all.iter()
        .map(|one| digits(&one[field]).parse::<Decimal>().expect("a decimal"))
        .sum()
}

#[test]
fn every_report_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for report in reports().chain(extremes()) {
        let body = read(report);
        let faults: Vec<String> = validator
            .iter_errors(&body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .take(5)
            .collect();
        assert!(faults.is_empty(), "{}: {faults:#?}", report.title);
    }
    let mut wrong = read(&detailed().report());
    wrong["accounts"][0]["usage"][0]["total_value"] = Value::String("12".to_owned());
    assert!(!validator.is_valid(&wrong), "a text passes for a number");
}

#[test]
fn numbers_are_the_models() {
    for report in reports() {
        let (body, account) = (read(report), &report.accounts[0]);
        let of = &body["accounts"][0];
        for (at, line) in account.usage.iter().enumerate() {
            assert_eq!(digits(&of["usage"][at]["total_value"]), plain(line.totals.total));
            assert_eq!(digits(&of["usage"][at]["average_value"]), plain(line.totals.average));
        }
        for (at, line) in account.quotas.iter().enumerate() {
            assert_eq!(digits(&of["quotas"][at]["current_usage"]), plain(line.used));
        }
        assert_eq!(sum(&of["quotas"], "overage_cost"), account.overage_cost);
        assert_eq!(digits(&of["overage_cost"]), plain(account.overage_cost));
        assert_eq!(sum(&of["statements"], "total_cost"), account.total_cost);
        for (at, line) in account.forecasts.iter().enumerate() {
            let forecast = &of["forecasts"][at];
            assert_eq!(digits(&forecast["predicted_value"]), plain(line.made.predicted.mean));
            assert_eq!(forecast["path"].as_array().expect("days").len(), line.made.path.len());
        }
        for (at, line) in account.series.iter().enumerate() {
            let points = &of["series"][at]["points"];
            assert_eq!(points.as_array().expect("points").len(), line.points.len());
            assert_eq!(
                sum(points, "value"),
                line.points.iter().map(|point| point.value).sum::<Decimal>()
            );
        }
        assert_eq!(
            of["anomalies"].as_array().expect("a list").len(),
            account.anomalies.len()
        );
    }
}

#[test]
fn texts_are_as_they_were() {
    let body = read(&detailed().report());
    let resources = body["accounts"][0]["resources"].as_array().expect("a list");
    assert_eq!(resources[0]["resource_id"], FORMULA);
    assert_eq!(body["accounts"][0]["user_id"], "zoë.müller@example.com");
}
