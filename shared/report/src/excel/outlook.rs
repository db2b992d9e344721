//! The sheets of what is expected and of what was unusual.

use chrono::{DateTime, Utc};
use metering_domain::{
    anomaly::Reason,
    forecast::usage::PeriodForecast,
    report::{AnomalyLine, ForecastLine, Report, statistic},
};

use super::{
    count, label, listed, number, option,
    sheet::{Cell, Sheet},
    time,
};

pub(super) fn forecasts(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Unit", 16),
        ("Expected", 16),
        ("Lower", 16),
        ("Upper", 16),
        ("Model", 22),
        ("MASE", 10),
        ("sMAPE %", 10),
        ("Runs out", 17),
        ("Earliest", 17),
        ("Latest", 17),
        ("Expected overage", 16),
        ("Expected cost", 14),
        ("Why", 80),
    ];
    listed(report, "Forecast", &columns, |account| {
        let line = |line: &ForecastLine| {
            let (made, tested) = (&line.made, &line.made.forecast.backtest);
            let at = |at: Option<DateTime<Utc>>| at.map_or(Cell::Empty, |at| time(report, at));
            vec![
                label(&line.metric_type),
                label(&line.unit),
                number(made.predicted.mean),
                number(made.predicted.lower),
                number(made.predicted.upper),
                label(made.forecast.model.as_str()),
                option(tested.mase.and_then(statistic)),
                option(tested.smape.and_then(statistic)),
                at(made.exhausted_at),
                at(made.exhausted_between.0),
                at(made.exhausted_between.1),
                number(line.expected_overage),
                Cell::Money(line.expected_cost),
                label(&made.forecast.reason),
            ]
        };
        account.forecasts.iter().map(line).collect()
    })
}

pub(super) fn forecast_periods(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Unit", 16),
        ("Period start", 17),
        ("Period end", 17),
        ("Expected", 16),
        ("Limit", 14),
        ("Expected overage", 16),
        ("Expected cost", 14),
    ];
    listed(report, "Forecast by period", &columns, |account| {
        let row = |line: &ForecastLine| {
            let of = |period: &PeriodForecast| {
                vec![
                    label(&line.metric_type),
                    label(&line.unit),
                    time(report, period.period.start),
                    time(report, period.period.end),
                    number(period.predicted),
                    period.quota_limit.map_or(label("unlimited"), number),
                    number(period.overage),
                    Cell::Money(period.cost),
                ]
            };
            line.made.periods.iter().map(of).collect::<Vec<_>>()
        };
        account.forecasts.iter().flat_map(row).collect()
    })
}

pub(super) fn anomalies(report: &Report) -> Sheet {
    let columns = [
        ("From", 17),
        ("Until", 17),
        ("Metric", 22),
        ("Unit", 16),
        ("What", 18),
        ("Method", 13),
        ("Severity", 10),
        ("Risk", 8),
        ("Confidence", 11),
        ("Observed", 14),
        ("Expected", 14),
        ("Lower", 14),
        ("Upper", 14),
        ("Status", 15),
        ("Reasons", 80),
        ("Note", 40),
        ("Id", 38),
    ];
    listed(report, "Anomalies", &columns, |account| {
        let line = |line: &AnomalyLine| {
            let finding = &line.finding;
            let reason = |reason: &Reason| format!("{} ({} points)", reason.detail, reason.points);
            let reasons: Vec<String> = finding.reasons.iter().map(reason).collect();
            vec![
                time(report, finding.window.start),
                time(report, finding.window.end),
                label(&line.metric_type),
                label(&line.unit),
                label(finding.anomaly_type.as_str()),
                label(finding.method.as_str()),
                label(finding.severity().as_str()),
                count(u64::from(finding.risk)),
                number(finding.confidence),
                number(finding.observed),
                number(finding.expected),
                number(finding.expected_lower),
                number(finding.expected_upper),
                label(line.status.as_str()),
                label(&reasons.join("; ")),
                line.note.as_deref().map_or(Cell::Empty, label),
                label(&line.id),
            ]
        };
        account.anomalies.iter().map(line).collect()
    })
}
