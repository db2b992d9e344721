//! What is expected and what was unusual, as tables.

use metering_domain::{
    anomaly::Reason,
    report::{Account, AnomalyLine, ForecastLine, Report, statistic},
    trend::change_percentage,
};
use rust_decimal::Decimal;

use super::{
    page::{Pages, Style},
    table::{Row, Table, number, text},
};
use crate::text::{NONE, change, money, number as digits, period, rounded, time, words};

pub(super) fn forecasts(pages: &mut Pages, report: &Report, account: &Account) {
    let float = |value: Option<f64>| value.and_then(statistic).map_or(NONE.to_owned(), rounded);
    let rows = account.forecasts.iter().map(|line| {
        let (made, tested) = (&line.made, &line.made.forecast.backtest);
        let cells = vec![
            text(words(&line.metric_type)),
            number(rounded(made.predicted.mean)),
            number(format!(
                "{} – {}",
                rounded(made.predicted.lower),
                rounded(made.predicted.upper)
            )),
            text(line.unit.as_str()),
            text(words(made.forecast.model.as_str())),
            number(float(tested.mase)),
            number(float(tested.smape)),
        ];
        Row {
            cells,
            below: vec![exhausted(report, line), format!("Model: {}.", made.forecast.reason)],
            is_total: false,
        }
    });
    Table {
        header: vec![
            "Metric",
            "Expected",
            "95 % interval",
            "Unit",
            "Model",
            "MASE",
            "sMAPE %",
        ],
        rows: rows.collect(),
    }
    .draw(pages);
    pages.paragraph("By billing period", Style::NOTE);
    let mut sum = Decimal::ZERO;
    let mut rows = Vec::new();
    for line in &account.forecasts {
        sum = sum.saturating_add(line.expected_cost);
        rows.extend(line.made.periods.iter().map(|of| {
            Row::of(vec![
                text(words(&line.metric_type)),
                text(period(&of.period, report.zone)),
                number(rounded(of.predicted)),
                number(of.quota_limit.map_or("unlimited".to_owned(), digits)),
                text(line.unit.as_str()),
                number(rounded(of.overage)),
                number(money(of.cost.round_dp(2), &account.currency)),
            ])
        }));
    }
    Table {
        header: vec![
            "Metric",
            "Billing period",
            "Expected",
            "Limit",
            "Unit",
            "Overage",
            "Cost",
        ],
        rows,
    }
    .draw(pages);
    let expected = money(sum.round_dp(2), &account.currency);
    pages.paragraph(
        &format!("Expected cost of overage in these periods: {expected}."),
        Style::BODY,
    );
}

/// When a quota runs out, as far as can be told.
fn exhausted(report: &Report, line: &ForecastLine) -> String {
    let at = |at| time(at, report.zone);
    let (lower, upper) = line.made.exhausted_between;
    match (line.made.exhausted_at, lower, upper) {
        (Some(expected), _, _) if expected <= report.generated_at => "The quota is used up.".to_owned(),
        (Some(expected), Some(lower), Some(upper)) => {
            format!(
                "The quota is expected to run out on {}, between {} and {}.",
                at(expected),
                at(lower),
                at(upper)
            )
        }
        (Some(expected), _, _) => format!("The quota is expected to run out on {}.", at(expected)),
        (None, Some(lower), _) => {
            format!(
                "The quota is not expected to run out, but may as early as {}.",
                at(lower)
            )
        }
        (None, None, _) => "The quota is not expected to run out within the forecast.".to_owned(),
    }
}

pub(super) fn anomalies(pages: &mut Pages, report: &Report, account: &Account) {
    let rows = account.anomalies.iter().map(|line| Row {
        cells: vec![
            text(period(&line.finding.window, report.zone)),
            text(words(&line.metric_type)),
            text(words(line.finding.anomaly_type.as_str())),
            number(line.finding.risk.to_string()),
            text(line.finding.severity().as_str()),
            number(digits(line.finding.observed)),
            number(rounded(line.finding.expected)),
            text(words(line.status.as_str())),
        ],
        below: explained(line),
        is_total: false,
    });
    Table {
        header: vec![
            "When", "Metric", "What", "Risk", "Severity", "Observed", "Expected", "Status",
        ],
        rows: rows.collect(),
    }
    .draw(pages);
}

fn explained(line: &AnomalyLine) -> Vec<String> {
    let finding = &line.finding;
    let deviation = change_percentage(finding.expected, finding.observed);
    let usual = format!(
        "Found by the {} method ({}); usual: {} to {} {}; {} from what was expected.",
        finding.method.as_str(),
        line.id,
        rounded(finding.expected_lower),
        rounded(finding.expected_upper),
        line.unit,
        change(deviation),
    );
    let reason = |reason: &Reason| format!("{} ({} points)", reason.detail, reason.points);
    let reasons = finding.reasons.iter().map(reason);
    let note = line.note.iter().map(|note| format!("Note: {note}"));
    std::iter::once(usual).chain(reasons).chain(note).collect()
}
