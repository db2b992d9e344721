//! Tables: columns as wide as what is in them, numbers to the right, headers repeated on every page.

use super::{
    font::Weight,
    page::{ACCENT, ACCENT_LIGHT, INK, MARGIN, Mark, Pages, QUIET, RULE, SHADE, Style, WIDTH},
};

/// From the size that reads well to the smallest that can be read.
const SIZES: [f64; 7] = [8.0, 7.5, 7.0, 6.5, 6.0, 5.5, 5.0];
/// Text that would need smaller letters than these is broken into lines.
const UNBROKEN_SIZE_MIN: f64 = 7.0;
const GAP: f64 = 9.0;
/// Text is broken into lines before its column gets narrower than this.
const TEXT_WIDTH_MIN: f64 = 64.0;
/// Halvings after which a cap is found to a fraction of a point.
const CAP_STEPS: usize = 30;
const BAR_WIDTH: f64 = 96.0;
const CELL_LINES_MAX: usize = 5;
const BELOW_LINES_MAX: usize = 8;
/// A full quota ends here, so that there is room for what is above it.
const BAR_FULL_SHARE: f64 = 0.75;

/// What is in a cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// Is broken into lines where needed.
    Text(String),
    /// Is never broken, and ends at the right.
    Number(String),
    /// A share of a quota: 1 is all of it.
    Bar(Option<f64>),
}

/// A row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub cells: Vec<Cell>,
    /// Text over the whole width below.
    pub below: Vec<String>,
    /// A sum of the rows above.
    pub is_total: bool,
}

impl Row {
    pub(super) fn of(cells: Vec<Cell>) -> Self {
        Self {
            cells,
            ..Self::default()
        }
    }
}

/// A table.
pub(super) struct Table {
    pub header: Vec<&'static str>,
    pub rows: Vec<Row>,
}

/// A table's columns.
struct Columns {
    size: f64,
    /// Left edges and widths.
    places: Vec<(f64, f64)>,
    numeric: Vec<bool>,
}

pub(super) fn text(value: impl Into<String>) -> Cell {
    Cell::Text(value.into())
}

pub(super) fn number(value: impl Into<String>) -> Cell {
    Cell::Number(value.into())
}

impl Table {
    pub(super) fn draw(&self, pages: &mut Pages) {
        let columns = self.columns();
        self.draw_header(pages, &columns);
        for row in &self.rows {
            let laid = LaidOut::of(row, &columns);
            if !pages.fits(laid.height) {
                pages.next_page();
                self.draw_header(pages, &columns);
            }
            laid.draw(pages, &columns, row.is_total);
        }
        pages.y += 6.0;
    }

    fn columns(&self) -> Columns {
        let count = self.header.len();
        let numeric: Vec<bool> = (0..count)
            .map(|at| {
                self.rows
                    .iter()
                    .any(|row| matches!(row.cells.get(at), Some(Cell::Number(_))))
            })
            .collect();
        let firm: Vec<bool> = (0..count)
            .map(|at| {
                self.rows
                    .iter()
                    .any(|row| !matches!(row.cells.get(at), None | Some(Cell::Text(_))))
            })
            .collect();
        let room = WIDTH - GAP * (count.max(1) - 1) as f64;
        // Rather a little smaller than broken into lines.
        for size in SIZES.into_iter().filter(|size| *size >= UNBROKEN_SIZE_MIN) {
            let natural: Vec<f64> = (0..count).map(|at| self.natural_width(at, size)).collect();
            if natural.iter().sum::<f64>() <= room {
                return Columns {
                    size,
                    places: places(&natural, &firm, room),
                    numeric,
                };
            }
        }
        let mut natural = Vec::new();
        for size in SIZES {
            natural = (0..count).map(|at| self.natural_width(at, size)).collect::<Vec<f64>>();
            let least: f64 = least(&natural, &firm).iter().sum();
            if least <= room {
                return Columns {
                    size,
                    places: places(&natural, &firm, room),
                    numeric,
                };
            }
        }
        // Not even the smallest size is enough: all columns give way in proportion, and cells are shortened.
        let all: f64 = natural.iter().sum();
        let scaled: Vec<f64> = natural.iter().map(|width| width * room / all).collect();
        Columns {
            size: SIZES[SIZES.len() - 1],
            places: edges(&scaled),
            numeric,
        }
    }

    fn natural_width(&self, at: usize, size: f64) -> f64 {
        let header = self
            .header
            .get(at)
            .map_or(0.0, |header| Weight::Bold.width(header, size));
        let cell = |row: &Row| match row.cells.get(at) {
            Some(Cell::Text(text) | Cell::Number(text)) => weight(row).width(text, size),
            Some(Cell::Bar(_)) => BAR_WIDTH,
            None => 0.0,
        };
        // Half a point more than measured, so that rounding shortens nothing.
        self.rows.iter().map(cell).fold(header, f64::max) + 0.5
    }

    fn draw_header(&self, pages: &mut Pages, columns: &Columns) {
        let style = Style::of(Weight::Bold, columns.size, QUIET);
        let height = style.line_height() + 6.0;
        pages.reserve(height + 2.0 * style.line_height());
        let top = pages.y;
        pages.add(Mark::Area {
            x: MARGIN - 4.0,
            y: top,
            width: WIDTH + 8.0,
            height,
            color: SHADE,
        });
        for (at, header) in self.header.iter().enumerate() {
            let (left, width) = columns.places[at];
            let text = style.shortened(header, width);
            match columns.numeric[at] {
                true => pages.put_right(left + width, top + 3.0, style, text),
                false => pages.put(left, top + 3.0, style, text),
            }
        }
        pages.y += height;
    }
}

fn weight(row: &Row) -> Weight {
    if row.is_total { Weight::Bold } else { Weight::Regular }
}

/// How narrow columns may get: text is broken into lines, numbers and bars are not.
fn least(natural: &[f64], firm: &[bool]) -> Vec<f64> {
    let width = |(natural, firm): (&f64, &bool)| {
        if *firm { *natural } else { natural.min(TEXT_WIDTH_MIN) }
    };
    natural.iter().zip(firm).map(width).collect()
}

/// Columns as wide as they would like; what is missing, the widest texts go without; what is left, is spread.
fn places(natural: &[f64], firm: &[bool], room: f64) -> Vec<(f64, f64)> {
    let wanted: f64 = natural.iter().sum();
    if wanted <= room {
        // A table of two narrow columns is not torn apart.
        let extra = ((room - wanted) / natural.len().max(1) as f64).min(room * 0.12);
        let widths: Vec<f64> = natural.iter().map(|width| width + extra).collect();
        return edges(&widths);
    }
    let least = least(natural, firm);
    let capped = |cap: f64| {
        let width = |(natural, least): (&f64, &f64)| natural.min(cap.max(*least));
        natural.iter().zip(&least).map(width).collect::<Vec<f64>>()
    };
    // The widest texts go without first: the largest cap under which all columns fit.
    let (mut low, mut high) = (0.0, room);
    for _ in 0..CAP_STEPS {
        let cap = (low + high) / 2.0;
        match capped(cap).iter().sum::<f64>() <= room {
            true => low = cap,
            false => high = cap,
        }
    }
    edges(&capped(low))
}

fn edges(widths: &[f64]) -> Vec<(f64, f64)> {
    let mut left = MARGIN;
    let place = |width: &f64| {
        let place = (left, *width);
        left += width + GAP;
        place
    };
    widths.iter().map(place).collect()
}

/// A row in lines.
struct LaidOut {
    style: Style,
    cells: Vec<LaidOutCell>,
    below: Vec<String>,
    height: f64,
}

enum LaidOutCell {
    Lines(Vec<String>),
    Number(String),
    Bar(Option<f64>),
}

impl LaidOut {
    fn of(row: &Row, columns: &Columns) -> Self {
        let style = Style::of(weight(row), columns.size, INK);
        let cell = |(cell, (_, width)): (&Cell, &(f64, f64))| match cell {
            Cell::Text(text) => LaidOutCell::Lines(style.wrapped(text, *width, CELL_LINES_MAX)),
            Cell::Number(text) => LaidOutCell::Number(style.shortened(text, *width)),
            Cell::Bar(share) => LaidOutCell::Bar(*share),
        };
        let cells: Vec<LaidOutCell> = row.cells.iter().zip(&columns.places).map(cell).collect();
        let lines = cells.iter().map(|cell| match cell {
            LaidOutCell::Lines(lines) => lines.len(),
            LaidOutCell::Number(_) | LaidOutCell::Bar(_) => 1,
        });
        let lines = lines.max().unwrap_or(1);
        let note = Self::note(columns);
        let below: Vec<String> = row
            .below
            .iter()
            .flat_map(|text| note.wrapped(text, WIDTH - 12.0, BELOW_LINES_MAX))
            .collect();
        Self {
            height: lines as f64 * style.line_height() + below.len() as f64 * note.line_height() + 5.0,
            style,
            cells,
            below,
        }
    }

    fn note(columns: &Columns) -> Style {
        Style::of(Weight::Regular, (columns.size - 0.5).max(5.0), QUIET)
    }

    fn draw(self, pages: &mut Pages, columns: &Columns, is_total: bool) {
        let (top, style) = (pages.y + 2.5, self.style);
        if is_total {
            pages.add(Mark::Line {
                points: vec![(MARGIN, pages.y), (MARGIN + WIDTH, pages.y)],
                thickness: 0.9,
                color: QUIET,
                dashed: false,
            });
        }
        let mut bottom = top + style.line_height();
        for (at, cell) in self.cells.into_iter().enumerate() {
            let (left, width) = columns.places[at];
            match cell {
                LaidOutCell::Lines(lines) => {
                    let mut y = top;
                    for line in lines {
                        // A text in a column of numbers stands where they end.
                        match columns.numeric[at] {
                            true => pages.put_right(left + width, y, style, line),
                            false => pages.put(left, y, style, line),
                        }
                        y += style.line_height();
                    }
                    bottom = bottom.max(y);
                }
                LaidOutCell::Number(text) => pages.put_right(left + width, top, style, text),
                LaidOutCell::Bar(share) => bar(pages, left, top + style.size * 0.3, share),
            }
        }
        let note = Self::note(columns);
        for line in self.below {
            pages.put(MARGIN + 12.0, bottom, note, line);
            bottom += note.line_height();
        }
        pages.y += self.height;
        let y = pages.y;
        pages.add(Mark::Line {
            points: vec![(MARGIN, y), (MARGIN + WIDTH, y)],
            thickness: 0.4,
            color: RULE,
            dashed: false,
        });
    }
}

/// How much of a quota is used; what is above it is darker.
fn bar(pages: &mut Pages, x: f64, y: f64, share: Option<f64>) {
    let Some(share) = share else { return };
    let (height, full) = (6.0, BAR_WIDTH * BAR_FULL_SHARE);
    let area = |x: f64, width: f64, color| Mark::Area {
        x,
        y,
        width,
        height,
        color,
    };
    pages.add(area(x, full, ACCENT_LIGHT));
    pages.add(area(x, full * share.clamp(0.0, 1.0), ACCENT));
    if share > 1.0 {
        let above = (full * (share - 1.0)).min(BAR_WIDTH - full);
        pages.add(area(x + full + 1.0, (above - 1.0).max(0.5), INK));
    }
}
