//! A workbook: a sheet per section, numbers as numbers, dates as dates, charts of the workbook's own.
//!
//! Texts are written as texts, whatever they begin with. A number of more than 15 digits, which no spreadsheet can hold, is
//! written as text, so that it is not rounded silently. Times are on the report's calendar.

mod charts;
mod outlook;
mod sheet;
mod users;

use chrono::{DateTime, NaiveDateTime, Utc};
use metering_domain::{
    number::plain,
    report::{Account, ComparisonLine, QuotaLine, Report, ResourceLine, Section, Series, UsageLine},
};
use rust_decimal::Decimal;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Workbook};

use crate::{RenderError, text};
use sheet::{Cell, Sheet};

/// The workbook.
pub(crate) fn render(report: &Report) -> Result<Vec<u8>, RenderError> {
    let mut workbook = Workbook::new();
    let mut properties = DocProperties::new()
        .set_title(&report.title)
        .set_author("usage-metering");
    if let Ok(at) = ExcelDateTime::from_timestamp(report.generated_at.timestamp()) {
        properties = properties.set_creation_datetime(&at);
    }
    workbook.set_properties(&properties);
    about(report).write(&mut workbook)?;
    if report.overall.is_some() {
        users::overall(report).write(&mut workbook)?;
        users::users(report).write(&mut workbook)?;
    }
    for section in &report.sections {
        match section {
            Section::Quotas => quotas(report).write(&mut workbook)?,
            Section::Usage => usage(report).write(&mut workbook)?,
            Section::Comparison => comparison(report).write(&mut workbook)?,
            Section::Charts => charts::write(report, &mut workbook)?,
            Section::Rows => rows(report).write(&mut workbook)?,
            Section::Resources => resources(report).write(&mut workbook)?,
            Section::Forecasts => {
                outlook::forecasts(report).write(&mut workbook)?;
                outlook::forecast_periods(report).write(&mut workbook)?;
            }
            Section::Anomalies => outlook::anomalies(report).write(&mut workbook)?,
            Section::Costs => costs(report).write(&mut workbook)?,
        }
    }
    Ok(workbook.save_to_buffer()?)
}

/// An instant on the report's calendar.
fn local(report: &Report, at: DateTime<Utc>) -> NaiveDateTime {
    at.with_timezone(&report.zone).naive_local()
}

fn time(report: &Report, at: DateTime<Utc>) -> Cell {
    Cell::Time(local(report, at))
}

fn number(value: Decimal) -> Cell {
    Cell::Number(value)
}

fn option(value: Option<Decimal>) -> Cell {
    value.map_or(Cell::Empty, Cell::Number)
}

fn count(value: u64) -> Cell {
    Cell::Number(Decimal::from(value))
}

fn milliseconds(value: Option<u32>) -> Cell {
    option(value.map(Decimal::from))
}

fn label(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

/// What the whole is about.
fn about(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(sheet::ABOUT, &[("About", 18), ("", 60)]);
    let mut add = |name: &str, value: Cell| sheet.rows.push(vec![label(name), value]);
    add("Title", label(&report.title));
    add("Type", label(report.report_type.as_str()));
    add("Period start", time(report, report.period.start));
    add("Period end", time(report, report.period.end));
    add("Time zone", label(report.zone.name()));
    add("Generated", time(report, report.generated_at));
    for account in &report.accounts {
        add("User", label(&account.user_id));
        add("Subscription", label(&account.subscription_id));
        add("Plan", label(account.plan.as_deref().unwrap_or(text::NONE)));
        if report.sections.contains(&Section::Quotas) {
            add(
                &format!("Overage so far ({})", account.currency),
                Cell::Money(account.overage_cost),
            );
        }
        if report.sections.contains(&Section::Costs) {
            add(
                &format!("Billed ({})", account.currency),
                Cell::Money(account.total_cost),
            );
        }
        for note in &account.notes {
            add("Note", label(note));
        }
    }
    for (name, value) in &report.filters {
        add(&format!("Filter: {name}"), label(value));
    }
    for note in &report.notes {
        add("Note", label(note));
    }
    sheet
}

/// A sheet with a row per line of each account, which begins with the user.
fn listed(
    report: &Report,
    name: &str,
    columns: &[(&'static str, u16)],
    of: impl Fn(&Account) -> Vec<Vec<Cell>>,
) -> Sheet {
    let all: Vec<(&'static str, u16)> = std::iter::once(("User", 18)).chain(columns.iter().copied()).collect();
    let mut sheet = Sheet::new(name, &all);
    for account in &report.accounts {
        for mut row in of(account) {
            row.insert(0, label(&account.user_id));
            sheet.rows.push(row);
        }
    }
    sheet
}

/// The last columns of quotas, which only a forecast fills.
const EXPECTED_COLUMNS: usize = 3;

fn quotas(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Unit", 16),
        ("Period start", 17),
        ("Period end", 17),
        ("Used", 14),
        ("Limit", 14),
        ("Share %", 10),
        ("Overage", 12),
        ("Cost", 12),
        ("Currency", 10),
        ("Expected at the end", 18),
        ("Expected overage", 16),
        ("Expected cost", 14),
    ];
    let is_forecast = report.sections.contains(&Section::Forecasts);
    let shown = if is_forecast {
        columns.len()
    } else {
        columns.len() - EXPECTED_COLUMNS
    };
    listed(report, "Quotas", &columns[..shown], |account| {
        let line = |line: &QuotaLine| {
            let mut row = vec![
                label(&line.metric_type),
                label(&line.unit),
                time(report, line.period.start),
                time(report, line.period.end),
                number(line.used),
                line.limit.map_or(label("unlimited"), number),
                option(line.percentage),
                number(line.overage),
                Cell::Money(line.cost),
                label(&account.currency),
                option(line.expected.map(|end| end.used)),
                option(line.expected.map(|end| end.overage)),
                line.expected.map_or(Cell::Empty, |end| Cell::Money(end.cost)),
            ];
            row.truncate(shown);
            row
        };
        account.quotas.iter().map(line).collect()
    })
}

fn usage(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Unit", 16),
        ("Total", 14),
        ("Events", 12),
        ("Average", 14),
        ("Smallest", 12),
        ("Largest", 12),
        ("Errors", 10),
        ("p50 ms", 10),
        ("p95 ms", 10),
        ("p99 ms", 10),
        ("Period before", 14),
        ("Change %", 11),
        ("Trend", 12),
        ("Trend p", 12),
    ];
    listed(report, "Usage", &columns, |account| {
        let line = |line: &UsageLine| {
            let totals = &line.totals;
            vec![
                label(&line.metric_type),
                label(&line.unit),
                number(totals.total),
                count(totals.count),
                number(totals.average),
                number(totals.min),
                number(totals.max),
                count(totals.errors),
                milliseconds(totals.p50),
                milliseconds(totals.p95),
                milliseconds(totals.p99),
                option(line.previous),
                option(line.change_percentage),
                label(line.trend.as_str()),
                option(line.p_value),
            ]
        };
        account.usage.iter().map(line).collect()
    })
}

fn comparison(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Unit", 16),
        ("This period", 14),
        ("Period before", 14),
        ("Difference", 14),
        ("Change %", 11),
    ];
    listed(report, "Comparison", &columns, |account| {
        let line = |line: &ComparisonLine| {
            vec![
                label(&line.metric_type),
                label(&line.unit),
                number(line.current),
                number(line.previous),
                number(line.difference),
                option(line.change_percentage),
            ]
        };
        account.comparison.iter().map(line).collect()
    })
}

fn rows(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Unit", 16),
        ("From", 17),
        ("Until", 17),
        ("Total", 14),
        ("Events", 12),
        ("Average", 14),
        ("Smallest", 12),
        ("Largest", 12),
        ("Errors", 10),
        ("p50 ms", 10),
        ("p95 ms", 10),
        ("p99 ms", 10),
    ];
    listed(report, "Details", &columns, |account| {
        let row = |series: &Series| {
            series
                .rows()
                .map(|(point, totals)| {
                    vec![
                        label(&series.metric_type),
                        label(&series.unit),
                        time(report, point.period.start),
                        time(report, point.period.end),
                        number(totals.total),
                        count(totals.count),
                        number(totals.average),
                        number(totals.min),
                        number(totals.max),
                        count(totals.errors),
                        milliseconds(totals.p50),
                        milliseconds(totals.p95),
                        milliseconds(totals.p99),
                    ]
                })
                .collect::<Vec<_>>()
        };
        account.series.iter().flat_map(row).collect()
    })
}

fn resources(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Resource", 40),
        ("Total", 14),
        ("Unit", 16),
        ("Events", 12),
    ];
    listed(report, "Resources", &columns, |account| {
        let line = |line: &ResourceLine| {
            vec![
                label(&line.metric_type),
                label(&text::resource(&line.resource)),
                number(line.total),
                label(&line.unit),
                count(line.event_count),
            ]
        };
        account.resources.iter().map(line).collect()
    })
}

fn costs(report: &Report) -> Sheet {
    let columns = [
        ("Statement", 38),
        ("Period start", 17),
        ("Period end", 17),
        ("Metric", 22),
        ("Unit", 16),
        ("Billed on", 14),
        ("Limit", 14),
        ("Overage", 12),
        ("Price", 12),
        ("Per", 8),
        ("Cost", 12),
        ("Currency", 10),
    ];
    listed(report, "Costs", &columns, |account| {
        let mut rows = Vec::new();
        for block in &account.statements {
            let id = block.id.as_deref().unwrap_or("not closed yet");
            let (start, end) = (time(report, block.period.start), time(report, block.period.end));
            for line in &block.lines {
                rows.push(vec![
                    label(id),
                    start.clone(),
                    end.clone(),
                    label(&line.metric_type),
                    label(&line.unit),
                    number(line.peak.unwrap_or(line.used)),
                    line.quota_limit.map_or(label("unlimited"), number),
                    number(line.overage),
                    line.overage_price.map_or(Cell::Empty, Cell::Money),
                    option(line.block_size),
                    Cell::Money(line.cost),
                    label(&account.currency),
                ]);
            }
            let mut total = vec![label(id), start, end, label("Total")];
            total.extend(std::iter::repeat_n(Cell::Empty, 6));
            total.extend([Cell::Money(block.total_cost), label(&account.currency)]);
            rows.push(total);
        }
        rows
    })
}

/// Whether a spreadsheet holds the number to the last digit: at most 15 digits.
fn is_exact(value: Decimal) -> bool {
    plain(value)
        .bytes()
        .filter(u8::is_ascii_digit)
        .skip_while(|digit| *digit == b'0')
        .count()
        <= 15
}
