//! What heads a report, and the pages of a user among others.

use metering_domain::report::{Account, Report};

use super::page::{ACCENT, MARGIN, Mark, Pages, Style, WIDTH};
use crate::text::{NONE, period, time};

const LABEL_WIDTH: f64 = 92.0;
const TITLE_LINES_MAX: usize = 3;

/// The title block: what it is, whose, of which time.
pub(super) fn title(pages: &mut Pages, report: &Report) {
    pages.add(Mark::Area {
        x: MARGIN,
        y: pages.y,
        width: 40.0,
        height: 3.0,
        color: ACCENT,
    });
    pages.y += 9.0;
    let (top, style) = (pages.y, Style::TITLE);
    pages.put(MARGIN, top, style, style.shortened(&report.title, WIDTH));
    pages.y += style.line_height() + 4.0;
    let mut facts = vec![("Period", period(&report.period, report.zone))];
    match report.accounts.as_slice() {
        [one] => facts.extend(whose(one)),
        all => facts.push(("Users", all.len().to_string())),
    }
    facts.push(("Time zone", report.zone.name().to_owned()));
    facts.push(("Generated", time(report.generated_at, report.zone)));
    let filters: Vec<String> = report
        .filters
        .iter()
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    if !filters.is_empty() {
        facts.push(("Filters", filters.join(", ")));
    }
    for (label, value) in facts {
        fact(pages, label, &value);
    }
    pages.y += 4.0;
    let y = pages.y;
    pages.rule(y);
    pages.y += 6.0;
    notes(pages, &report.notes);
}

fn whose(account: &Account) -> Vec<(&'static str, String)> {
    vec![
        ("User", account.user_id.clone()),
        ("Subscription", account.subscription_id.clone()),
        ("Plan", account.plan.clone().unwrap_or(NONE.to_owned())),
        ("Currency", account.currency.clone()),
    ]
}

fn fact(pages: &mut Pages, label: &str, value: &str) {
    let (name, body) = (Style::NOTE, Style::BODY);
    for (at, line) in body
        .wrapped(value, WIDTH - LABEL_WIDTH, TITLE_LINES_MAX)
        .into_iter()
        .enumerate()
    {
        pages.reserve(body.line_height());
        let top = pages.y;
        if at == 0 {
            pages.put(MARGIN, top + 1.0, name, label.to_owned());
        }
        pages.put(MARGIN + LABEL_WIDTH, top, body, line);
        pages.y += body.line_height();
    }
}

/// What heads the pages of a user among others.
pub(super) fn user(pages: &mut Pages, account: &Account) {
    pages.heading("User");
    for (label, value) in whose(account) {
        fact(pages, label, &value);
    }
}

pub(super) fn notes(pages: &mut Pages, notes: &[String]) {
    for note in notes {
        pages.paragraph(note, Style::NOTE);
    }
}
