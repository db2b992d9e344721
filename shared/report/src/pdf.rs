//! A PDF for people: A4, one column, fonts embedded, text that can be searched and copied.
//!
//! Numbers that are billed or counted are printed to the last digit; averages, forecasts and errors, which are
//! statistics, to two places. Laid out by ourselves ([`page`], [`table`], [`chart`]); the library writes the file.

#![expect(clippy::float_arithmetic, reason = "geometry, never quantities")]

mod blocks;
mod chart;
mod file;
mod font;
mod head;
mod outlook;
mod page;
mod table;

use metering_domain::report::{Account, Report, Section};

use crate::{RenderError, text};
use page::{Pages, Style};

/// The file.
pub(crate) fn render(report: &Report) -> Result<Vec<u8>, RenderError> {
    let mut pages = Pages::new(running_title(report));
    head::title(&mut pages, report);
    if let Some(overall) = &report.overall {
        blocks::overall(&mut pages, overall);
    }
    for account in &report.accounts {
        if report.overall.is_some() {
            pages.next_page();
            head::user(&mut pages, account);
        }
        head::notes(&mut pages, &account.notes);
        for section in &report.sections {
            draw(&mut pages, report, account, *section);
        }
    }
    file::write(pages.finish(&text::time(report.generated_at, report.zone)), report)
}

/// What stands on top of every page but the first.
fn running_title(report: &Report) -> String {
    let who = match report.accounts.as_slice() {
        [one] => one.user_id.clone(),
        all => format!("{} users", all.len()),
    };
    format!(
        "{} · {} · {who}",
        report.title,
        text::period(&report.period, report.zone)
    )
}

/// A section with its heading; nothing of one that is empty.
fn draw(pages: &mut Pages, report: &Report, account: &Account, section: Section) {
    let is_empty = match section {
        Section::Quotas => account.quotas.is_empty(),
        Section::Usage => account.usage.is_empty(),
        Section::Comparison => account.comparison.is_empty(),
        Section::Charts | Section::Rows => account.series.is_empty(),
        Section::Resources => account.resources.is_empty(),
        Section::Forecasts => account.forecasts.is_empty(),
        Section::Anomalies => account.anomalies.is_empty(),
        Section::Costs => account.statements.is_empty(),
    };
    if is_empty {
        if section == Section::Anomalies {
            pages.heading(text::heading(section));
            pages.paragraph("Nothing unusual was found in this period.", Style::BODY);
        }
        return;
    }
    pages.heading(text::heading(section));
    match section {
        Section::Quotas => blocks::quotas(pages, report, account),
        Section::Usage => blocks::usage(pages, account),
        Section::Comparison => blocks::comparison(pages, account),
        Section::Charts => chart::charts(pages, report, account),
        Section::Rows => blocks::rows(pages, account),
        Section::Resources => blocks::resources(pages, account),
        Section::Forecasts => outlook::forecasts(pages, report, account),
        Section::Anomalies => outlook::anomalies(pages, report, account),
        Section::Costs => blocks::costs(pages, report, account),
    }
}
