//! The sheets of all users together.

use metering_domain::report::Report;
use rust_decimal::Decimal;

use super::{
    count, label, number, option,
    sheet::{Cell, Sheet},
};
use crate::text;

pub(super) fn overall(report: &Report) -> Sheet {
    let columns = [
        ("Metric", 22),
        ("Unit", 16),
        ("Total", 14),
        ("Events", 12),
        ("Users", 10),
    ];
    let mut sheet = Sheet::new("All users", &columns);
    for line in report.overall.iter().flat_map(|overall| &overall.lines) {
        sheet.rows.push(vec![
            label(&line.metric_type),
            label(&line.unit),
            number(line.total),
            count(line.event_count),
            Cell::Number(Decimal::from(line.users)),
        ]);
    }
    sheet
}

pub(super) fn users(report: &Report) -> Sheet {
    let columns = [
        ("User", 24),
        ("Subscription", 38),
        ("Plan", 16),
        ("Highest quota %", 16),
        ("Anomalies", 11),
        ("Overage so far", 15),
        ("Billed", 12),
        ("Currency", 10),
    ];
    let mut sheet = Sheet::new("Users", &columns);
    let Some(overall) = &report.overall else { return sheet };
    for line in &overall.users {
        sheet.rows.push(vec![
            label(&line.user_id),
            label(&line.subscription_id),
            label(line.plan.as_deref().unwrap_or(text::NONE)),
            option(line.highest_percentage),
            Cell::Number(Decimal::from(line.anomalies)),
            Cell::Money(line.overage_cost),
            Cell::Money(line.total_cost),
            label(&line.currency),
        ]);
    }
    for (overage, costs) in overall.overage_cost.iter().zip(&overall.total_cost) {
        let mut total = vec![label("Total")];
        total.extend(std::iter::repeat_n(Cell::Empty, 4));
        total.extend([
            Cell::Money(overage.amount),
            Cell::Money(costs.amount),
            label(&costs.currency),
        ]);
        sheet.rows.push(total);
    }
    sheet
}
