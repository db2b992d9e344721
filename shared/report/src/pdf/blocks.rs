//! The sections of a report as tables.

use metering_domain::{
    metric::Kind,
    report::{Account, Money, Overall, Report, StatementBlock},
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use super::{
    page::{MARGIN, Pages, Style, WIDTH},
    table::{Cell, Row, Table, number, text},
};
use crate::text::{
    NONE, change, money, number as digits, number_or_none, percentage, period, probability, resource, rounded, words,
};

pub(super) fn quotas(pages: &mut Pages, report: &Report, account: &Account) {
    let share = |percentage: Option<Decimal>| percentage.and_then(|value| value.to_f64()).map(|value| value / 100.0);
    let mut rows: Vec<Row> = account
        .quotas
        .iter()
        .map(|line| {
            Row::of(vec![
                text(words(&line.metric_type)),
                Cell::Bar(share(line.percentage)),
                number(digits(line.used)),
                number(line.limit.map_or("unlimited".to_owned(), digits)),
                text(line.unit.as_str()),
                number(percentage(line.percentage)),
                number(digits(line.overage)),
                number(money(line.cost, &account.currency)),
            ])
        })
        .collect();
    let label = if account
        .quotas
        .iter()
        .all(|line| line.period == account.quotas[0].period)
    {
        format!("Billing period {}", period(&account.quotas[0].period, report.zone))
    } else {
        "Running billing periods".to_owned()
    };
    pages.paragraph(&label, Style::NOTE);
    rows.push(total(
        vec![
            text("Overage so far"),
            text(""),
            number(""),
            number(""),
            text(""),
            number(""),
            number(""),
        ],
        money(account.overage_cost, &account.currency),
    ));
    Table {
        header: vec!["Metric", "", "Used", "Limit", "Unit", "Share", "Overage", "Cost"],
        rows,
    }
    .draw(pages);
    expected_ends(pages, account);
}

/// Where the running periods are expected to end.
fn expected_ends(pages: &mut Pages, account: &Account) {
    let rows: Vec<Row> = account
        .quotas
        .iter()
        .filter_map(|line| Some((line, line.expected?)))
        .map(|(line, end)| {
            Row::of(vec![
                text(words(&line.metric_type)),
                number(rounded(end.used)),
                number(line.limit.map_or("unlimited".to_owned(), digits)),
                text(line.unit.as_str()),
                number(rounded(end.overage)),
                number(money(end.cost.round_dp(2), &account.currency)),
            ])
        })
        .collect();
    if !rows.is_empty() {
        pages.paragraph("Expected at the end of the billing period", Style::NOTE);
        Table {
            header: vec!["Metric", "Expected", "Limit", "Unit", "Overage", "Cost"],
            rows,
        }
        .draw(pages);
    }
}

fn total(mut cells: Vec<Cell>, amount: String) -> Row {
    cells.push(number(amount));
    Row {
        cells,
        below: Vec::new(),
        is_total: true,
    }
}

/// Milliseconds, or a dash.
fn milliseconds(value: Option<u32>) -> String {
    value.map_or(NONE.to_owned(), |value| digits(Decimal::from(value)))
}

pub(super) fn usage(pages: &mut Pages, account: &Account) {
    let rows = account.usage.iter().map(|line| {
        let totals = &line.totals;
        Row::of(vec![
            text(words(&line.metric_type)),
            number(digits(totals.total)),
            text(line.unit.as_str()),
            number(digits(Decimal::from(totals.count))),
            number(digits(Decimal::from(totals.errors))),
            number(number_or_none(line.previous)),
            number(change(line.change_percentage)),
            text(line.trend.as_str()),
        ])
    });
    Table {
        header: vec![
            "Metric", "Total", "Unit", "Events", "Errors", "Before", "Change", "Trend",
        ],
        rows: rows.collect(),
    }
    .draw(pages);
    let rows = account.usage.iter().map(|line| {
        let totals = &line.totals;
        Row::of(vec![
            text(words(&line.metric_type)),
            number(rounded(totals.average)),
            number(digits(totals.min)),
            number(digits(totals.max)),
            number(milliseconds(totals.p50)),
            number(milliseconds(totals.p95)),
            number(milliseconds(totals.p99)),
            number(probability(line.p_value)),
        ])
    });
    Table {
        header: vec![
            "Metric", "Average", "Smallest", "Largest", "p50 ms", "p95 ms", "p99 ms", "Trend p",
        ],
        rows: rows.collect(),
    }
    .draw(pages);
    pages.paragraph(
        "Totals of levels (storage, sessions) are the level at the end, or the highest number at once; their averages \
         are over time. Trend: Mann-Kendall test of complete days with usage, at 5 %. p50, p95, p99: response times.",
        Style::NOTE,
    );
}

pub(super) fn comparison(pages: &mut Pages, account: &Account) {
    let rows = account.comparison.iter().map(|line| {
        Row::of(vec![
            text(words(&line.metric_type)),
            number(digits(line.current)),
            number(digits(line.previous)),
            number(digits(line.difference)),
            text(line.unit.as_str()),
            number(change(line.change_percentage)),
        ])
    });
    Table {
        header: vec!["Metric", "This period", "Period before", "Difference", "Unit", "Change"],
        rows: rows.collect(),
    }
    .draw(pages);
}

pub(super) fn rows(pages: &mut Pages, account: &Account) {
    for series in &account.series {
        let rows: Vec<Row> = series
            .rows()
            .map(|(point, totals)| {
                Row::of(vec![
                    text(point.label.as_str()),
                    number(digits(totals.total)),
                    number(digits(Decimal::from(totals.count))),
                    number(rounded(totals.average)),
                    number(digits(totals.min)),
                    number(digits(totals.max)),
                    number(digits(Decimal::from(totals.errors))),
                    number(milliseconds(totals.p50)),
                    number(milliseconds(totals.p95)),
                ])
            })
            .collect();
        pages.y += 5.0;
        pages.reserve(60.0);
        let (top, style) = (pages.y, Style::STRONG);
        let title = format!("{} ({})", words(&series.metric_type), series.unit);
        pages.put(MARGIN, top, style, style.shortened(&title, WIDTH));
        pages.y += style.line_height() + 2.0;
        let value = match series.kind {
            Kind::Sum => "Total",
            Kind::Gauge => "At the end",
            Kind::Lease => "Most at once",
        };
        Table {
            header: vec![
                "From", value, "Events", "Average", "Smallest", "Largest", "Errors", "p50 ms", "p95 ms",
            ],
            rows,
        }
        .draw(pages);
    }
}

pub(super) fn resources(pages: &mut Pages, account: &Account) {
    let rows = account.resources.iter().map(|line| {
        Row::of(vec![
            text(words(&line.metric_type)),
            text(resource(&line.resource)),
            number(digits(line.total)),
            text(line.unit.as_str()),
            number(digits(Decimal::from(line.event_count))),
        ])
    });
    Table {
        header: vec!["Metric", "Resource", "Total", "Unit", "Events"],
        rows: rows.collect(),
    }
    .draw(pages);
}

pub(super) fn costs(pages: &mut Pages, report: &Report, account: &Account) {
    for statement in &account.statements {
        pages.reserve(60.0);
        pages.paragraph(&caption(report, statement), Style::NOTE);
        let mut rows: Vec<Row> = statement
            .lines
            .iter()
            .map(|line| {
                Row::of(vec![
                    text(words(&line.metric_type)),
                    number(digits(line.peak.unwrap_or(line.used))),
                    number(line.quota_limit.map_or("unlimited".to_owned(), digits)),
                    text(line.unit.as_str()),
                    number(digits(line.overage)),
                    number(price(line, &account.currency)),
                    number(money(line.cost, &account.currency)),
                ])
            })
            .collect();
        let empty = vec![text("Total"), number(""), number(""), text(""), number(""), number("")];
        rows.push(total(empty, money(statement.total_cost, &account.currency)));
        Table {
            header: vec!["Metric", "Billed on", "Limit", "Unit", "Overage", "Price", "Cost"],
            rows,
        }
        .draw(pages);
    }
    let (style, sum) = (Style::STRONG, money(account.total_cost, &account.currency));
    pages.reserve(style.line_height());
    let top = pages.y;
    pages.put(MARGIN, top, style, "Total of these billing periods".to_owned());
    pages.put_right(MARGIN + WIDTH, top, style, sum);
    pages.y += style.line_height() + 4.0;
}

fn price(line: &metering_domain::statement::Line, currency: &str) -> String {
    match (line.overage_price, line.block_size) {
        (None, _) => NONE.to_owned(),
        (Some(price), None) => money(price, currency),
        (Some(price), Some(block)) => format!("{} / {}", money(price, currency), digits(block)),
    }
}

fn caption(report: &Report, statement: &StatementBlock) -> String {
    let days = period(&statement.period, report.zone);
    let plan = statement.plan.as_deref().unwrap_or(NONE);
    match &statement.id {
        Some(id) => format!("Billing period {days} · plan {plan} · statement {id}"),
        None => format!("Billing period {days} · plan {plan} · not closed yet, as of now"),
    }
}

pub(super) fn overall(pages: &mut Pages, overall: &Overall) {
    pages.heading("All users");
    let rows = overall.lines.iter().map(|line| {
        Row::of(vec![
            text(words(&line.metric_type)),
            number(digits(line.total)),
            text(line.unit.as_str()),
            number(digits(Decimal::from(line.event_count))),
            number(digits(Decimal::from(line.users))),
        ])
    });
    Table {
        header: vec!["Metric", "Total", "Unit", "Events", "Users"],
        rows: rows.collect(),
    }
    .draw(pages);
    let mut rows: Vec<Row> = overall
        .users
        .iter()
        .map(|line| {
            Row::of(vec![
                text(line.user_id.as_str()),
                text(line.plan.as_deref().unwrap_or(NONE)),
                number(percentage(line.highest_percentage)),
                number(digits(Decimal::from(line.anomalies))),
                number(money(line.overage_cost, &line.currency)),
                number(money(line.total_cost, &line.currency)),
            ])
        })
        .collect();
    let sums = overall.overage_cost.iter().zip(&overall.total_cost);
    rows.extend(sums.map(|(overage, costs): (&Money, &Money)| {
        let cells = vec![
            text(format!("Total in {}", costs.currency)),
            text(""),
            number(""),
            number(""),
            number(money(overage.amount, &overage.currency)),
        ];
        total(cells, money(costs.amount, &costs.currency))
    }));
    Table {
        header: vec!["User", "Plan", "Highest quota", "Anomalies", "Overage so far", "Billed"],
        rows,
    }
    .draw(pages);
}
