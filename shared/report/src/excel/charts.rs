//! The charts: a sheet with the values, one with charts of them.

use metering_domain::{
    metric::Kind,
    report::{Account, ForecastLine, Report, Series},
};
use rust_decimal::Decimal;
use rust_xlsxwriter::{
    Chart, ChartFormat, ChartLine, ChartLineDashType, ChartSolidFill, ChartType, Color, Workbook, XlsxError,
};

use super::sheet::{A4, Cell, Formats};
use crate::text;

const ACCENT: u32 = 0x1C_62_96;
const RULE: u32 = 0xD6_DC_E2;
const LIMIT: u32 = 0x1F_29_33;
const DATA: &str = "Chart data";
/// More buckets than this are drawn as days.
const POINTS_MAX: usize = 400;
const CHART_WIDTH: u32 = 900;
const CHART_HEIGHT: u32 = 300;
/// Rows that a chart covers, and one between.
const CHART_ROWS: u32 = 17;

/// Where the values of a chart are.
struct Block {
    title: String,
    unit: String,
    column: u16,
    rows: u32,
    has_limit: bool,
    has_forecast: bool,
}

/// One line of a block.
struct Line {
    label: String,
    value: Option<Decimal>,
    expected: Option<(Decimal, Decimal, Decimal)>,
}

/// Both sheets; none where nothing was used.
pub(super) fn write(report: &Report, workbook: &mut Workbook) -> Result<(), XlsxError> {
    let formats = Formats::new();
    let mut blocks = Vec::new();
    let mut all = Vec::new();
    for account in &report.accounts {
        for series in &account.series {
            let forecast = account
                .forecasts
                .iter()
                .find(|line| line.metric_type == series.metric_type);
            all.push((title(report, account, series), series, forecast));
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    workbook.add_worksheet().set_name("Charts")?.set_screen_gridlines(false);
    let data = workbook.add_worksheet().set_name(DATA)?;
    let mut column = 0_u16;
    for (title, series, forecast) in all {
        let lines = lines(series, forecast);
        // Where buckets of sums are held against a limit of a whole period, nothing would be seen.
        let limit = series.limit.filter(|_| series.kind != Kind::Sum);
        let head = ["From", "Used", "Limit", "Expected", "Lower", "Upper"];
        for (at, name) in (column..).zip(head) {
            let name = if name == "Used" {
                format!("{title}: used")
            } else {
                name.to_owned()
            };
            formats.put(data, 0, at, &Cell::Text(name))?;
            data.set_column_width(at, if at == column { 17.0 } else { 13.0 })?;
        }
        for (row, line) in (1..).zip(&lines) {
            let number = |value: Option<Decimal>| value.map_or(Cell::Empty, Cell::Number);
            let cells = [
                Cell::Text(line.label.clone()),
                number(line.value),
                number(limit),
                number(line.expected.map(|(mean, _, _)| mean)),
                number(line.expected.map(|(_, lower, _)| lower)),
                number(line.expected.map(|(_, _, upper)| upper)),
            ];
            for (at, cell) in (column..).zip(&cells) {
                formats.put(data, row, at, cell)?;
            }
        }
        blocks.push(Block {
            title,
            unit: series.unit.clone(),
            column,
            rows: u32::try_from(lines.len()).unwrap_or(u32::MAX),
            has_limit: limit.is_some(),
            has_forecast: forecast.is_some(),
        });
        column += 7;
    }
    data.set_freeze_panes(1, 0)?;
    let sheet = workbook.worksheet_from_name("Charts")?;
    sheet.set_paper_size(A4).set_print_fit_to_pages(1, 0);
    for (at, block) in (0_u32..).zip(&blocks) {
        sheet.insert_chart(at * CHART_ROWS, 0, &block.chart())?;
    }
    Ok(())
}

fn title(report: &Report, account: &Account, series: &Series) -> String {
    let metric = text::words(&series.metric_type);
    match report.overall {
        Some(_) => format!("{metric}, {}", account.user_id),
        None => metric,
    }
}

/// Buckets, or days where there are too many; then the forecast.
fn lines(series: &Series, forecast: Option<&ForecastLine>) -> Vec<Line> {
    let known = |label: String, value: Decimal| Line {
        label,
        value: Some(value),
        expected: None,
    };
    let by_day = series.points.len() > POINTS_MAX || forecast.is_some();
    let mut lines: Vec<Line> = match by_day {
        true => series
            .days()
            .into_iter()
            .map(|(date, value, _)| known(date, value))
            .collect(),
        false => series
            .points
            .iter()
            .map(|point| known(point.label.clone(), point.value))
            .collect(),
    };
    for (date, step) in forecast.iter().flat_map(|forecast| &forecast.made.path) {
        lines.push(Line {
            label: date.to_string(),
            value: None,
            expected: Some((step.mean, step.lower, step.upper)),
        });
    }
    lines
}

impl Block {
    fn chart(&self) -> Chart {
        let last = self.rows;
        let values = |offset: u16| (DATA, 1, self.column + offset, last, self.column + offset);
        let mut chart = Chart::new(ChartType::Column);
        chart
            .add_series()
            .set_name("Used")
            .set_categories(values(0))
            .set_values(values(1))
            .set_format(ChartFormat::new().set_solid_fill(ChartSolidFill::new().set_color(Color::RGB(ACCENT))))
            .set_gap(40);
        let mut lines = Chart::new(ChartType::Line);
        let mut line = |name: &str, offset: u16, color: u32, dash: ChartLineDashType, width: f64| {
            let mut stroke = ChartLine::new();
            stroke.set_color(Color::RGB(color)).set_dash_type(dash).set_width(width);
            lines
                .add_series()
                .set_name(name)
                .set_categories(values(0))
                .set_values(values(offset))
                .set_format(ChartFormat::new().set_line(&stroke));
        };
        if self.has_limit {
            line("Limit", 2, LIMIT, ChartLineDashType::Dash, 1.25);
        }
        if self.has_forecast {
            line("Expected", 3, ACCENT, ChartLineDashType::Solid, 1.75);
            line("Lower", 4, ACCENT, ChartLineDashType::SquareDot, 0.75);
            line("Upper", 5, ACCENT, ChartLineDashType::SquareDot, 0.75);
        }
        if self.has_limit || self.has_forecast {
            chart.combine(&lines);
        }
        chart.title().set_name(&self.title);
        let mut grid = ChartLine::new();
        grid.set_color(Color::RGB(RULE)).set_width(0.5);
        chart
            .y_axis()
            .set_name(&self.unit)
            .set_min(0)
            .set_major_gridlines_line(&grid);
        chart
            .x_axis()
            .set_label_interval(u16::try_from(last / 9).unwrap_or(u16::MAX).max(1));
        if self.has_limit || self.has_forecast {
            chart
                .legend()
                .set_position(rust_xlsxwriter::ChartLegendPosition::Bottom);
        } else {
            chart.legend().set_hidden();
        }
        chart.set_width(CHART_WIDTH).set_height(CHART_HEIGHT);
        chart
    }
}
