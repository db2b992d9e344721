//! Draws what the domain laid out.

use metering_domain::report::{
    Account, Report, Series,
    chart::{Canvas, Layout, Panel, layout, panels, tick_text},
};

use super::{
    font::Weight,
    page::{ACCENT, ACCENT_LIGHT, INK, MARGIN, Mark, Pages, QUIET, RULE, Style, WIDTH},
};
use crate::text;

const PANEL_HEIGHT: f64 = 104.0;
/// Room for `100,000`.
const AXIS_WIDTH_MIN: f64 = 28.0;
const LABEL: Style = Style::of(Weight::Regular, 6.5, QUIET);

/// A chart of each metric, none of them torn apart by the end of a page.
pub(super) fn charts(pages: &mut Pages, report: &Report, account: &Account) {
    for series in &account.series {
        let forecast = account
            .forecasts
            .iter()
            .find(|line| line.metric_type == series.metric_type);
        let all = panels(series, forecast, report.zone);
        let title = Style::STRONG;
        let height = |_: &Panel| PANEL_HEIGHT + LABEL.line_height() + 8.0;
        pages.reserve(title.line_height() + all.iter().map(height).sum::<f64>());
        let top = pages.y;
        pages.put(
            MARGIN,
            top,
            title,
            title.shortened(&text::words(&series.metric_type), WIDTH),
        );
        pages.y += title.line_height();
        for panel in &all {
            draw(pages, panel, series);
        }
        pages.y += 4.0;
    }
}

/// What the signs mean, beyond bars.
fn legend(panel: &Panel, series: &Series) -> Option<String> {
    let spec = &panel.spec;
    let mut parts = Vec::new();
    if spec.expected.iter().any(Option::is_some) {
        parts.push("dotted: expected".to_owned());
    }
    if spec.band.iter().any(Option::is_some) {
        parts.push("shaded: 95 % interval".to_owned());
    }
    if let (true, Some(limit)) = (spec.limit.iter().any(Option::is_some), series.limit) {
        parts.push(format!("dashed: limit {}", text::number(limit)));
    }
    (!parts.is_empty()).then(|| parts.join(" · "))
}

fn draw(pages: &mut Pages, panel: &Panel, series: &Series) {
    let width_of = |text: &str| LABEL.width(text);
    let canvas = Canvas {
        width: WIDTH,
        height: PANEL_HEIGHT,
        axis_width_min: AXIS_WIDTH_MIN,
        line_height: LABEL.line_height(),
        text_width: &width_of,
    };
    let of = layout(&panel.spec, &canvas);
    let mut caption = panel.title.clone();
    if let Some(legend) = legend(panel, series) {
        caption = format!("{caption} · {legend}");
    }
    if let Some(limit) = of.limit_above {
        caption = format!("{caption} (the limit of {} is far above)", tick_text(limit, 1.0));
    }
    let top = pages.y;
    pages.put(MARGIN, top, LABEL, LABEL.shortened(&caption, WIDTH));
    let origin = top + LABEL.line_height() + 2.0;
    marks(pages, &of, origin);
    pages.y = origin + PANEL_HEIGHT + 6.0;
}

fn marks(pages: &mut Pages, of: &Layout, origin: f64) {
    let Some(plot) = of.plot else { return };
    let moved = |points: &[(f64, f64)]| points.iter().map(|(x, y)| (MARGIN + x, origin + y)).collect::<Vec<_>>();
    let line = |points: &[(f64, f64)], thickness, color, dashed| Mark::Line {
        points: moved(points),
        thickness,
        color,
        dashed,
    };
    for tick in &of.y_ticks {
        let across = [(plot.x, tick.at), (plot.x + plot.width, tick.at)];
        pages.add(line(&across, 0.4, RULE, false));
        let top = origin + tick.at - LABEL.line_height() / 2.0;
        pages.put(MARGIN + tick.text_x, top, LABEL, tick.label.clone());
    }
    let bottom = plot.y + plot.height;
    for tick in &of.x_ticks {
        pages.add(line(&[(tick.at, bottom), (tick.at, bottom + 2.0)], 0.5, QUIET, false));
        pages.put(MARGIN + tick.text_x, origin + bottom + 2.5, LABEL, tick.label.clone());
    }
    for band in &of.bands {
        pages.add(Mark::Polygon {
            points: moved(band),
            color: ACCENT_LIGHT,
        });
    }
    for (_, bar) in &of.bars {
        pages.add(Mark::Area {
            x: MARGIN + bar.x,
            y: origin + bar.y,
            width: bar.width,
            height: bar.height,
            color: ACCENT,
        });
    }
    for points in &of.lines {
        pages.add(line(points, 1.2, ACCENT, false));
    }
    for points in &of.expected {
        pages.add(line(points, 1.0, ACCENT, true));
    }
    for limit in &of.limits {
        pages.add(line(&[(limit.from_x, limit.y), (limit.to_x, limit.y)], 0.8, INK, true));
    }
    pages.add(line(
        &[(plot.x, bottom), (plot.x + plot.width, bottom)],
        0.7,
        QUIET,
        false,
    ));
}
