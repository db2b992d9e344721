//! Pages that fill from top to bottom: text, lines and areas in points, y growing downward.

use super::font::{Weight, shortened, wrapped};

/// A4.
pub(super) const PAGE_WIDTH: f64 = 595.28;
pub(super) const PAGE_HEIGHT: f64 = 841.89;
/// Left and right.
pub(super) const MARGIN: f64 = 48.0;
/// Between the margins.
pub(super) const WIDTH: f64 = PAGE_WIDTH - 2.0 * MARGIN;
const TOP: f64 = 46.0;
const TOP_CONTINUED: f64 = 64.0;
const BOTTOM: f64 = PAGE_HEIGHT - 56.0;
const FOOTER: f64 = PAGE_HEIGHT - 34.0;
const LINE_FACTOR: f64 = 1.36;
/// A heading needs so much below it, or it moves to the next page.
const KEPT_WITH_HEADING: f64 = 80.0;
/// A paragraph of no more lines than this stays on one page.
const KEPT_LINES_MAX: usize = 5;
const PARAGRAPH_LINES_MAX: usize = 40;

/// Red, green and blue, 0 to 255.
pub(super) type Color = (u8, u8, u8);
pub(super) const INK: Color = (31, 41, 51);
pub(super) const QUIET: Color = (98, 110, 122);
pub(super) const RULE: Color = (214, 220, 226);
pub(super) const SHADE: Color = (244, 246, 248);
pub(super) const ACCENT: Color = (28, 98, 150);
pub(super) const ACCENT_LIGHT: Color = (203, 222, 236);

/// How text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub weight: Weight,
    pub size: f64,
    pub color: Color,
}

impl Style {
    pub(super) const BODY: Style = Style::of(Weight::Regular, 8.5, INK);
    pub(super) const NOTE: Style = Style::of(Weight::Regular, 7.5, QUIET);
    pub(super) const STRONG: Style = Style::of(Weight::Bold, 9.0, INK);
    const HEADING: Style = Style::of(Weight::Bold, 12.0, ACCENT);
    pub(super) const TITLE: Style = Style::of(Weight::Bold, 22.0, INK);

    pub(super) const fn of(weight: Weight, size: f64, color: Color) -> Style {
        Style { weight, size, color }
    }

    pub(super) fn line_height(self) -> f64 {
        self.size * LINE_FACTOR
    }

    pub(super) fn width(self, text: &str) -> f64 {
        self.weight.width(text, self.size)
    }

    pub(super) fn shortened(self, text: &str, width: f64) -> String {
        shortened(&self.weight.printable(text), self.weight, self.size, width)
    }

    pub(super) fn wrapped(self, text: &str, width: f64, lines_max: usize) -> Vec<String> {
        wrapped(&self.weight.printable(text), self.weight, self.size, width, lines_max)
    }
}

/// Something on a page.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    Text {
        x: f64,
        baseline: f64,
        style: Style,
        text: String,
    },
    Area {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        color: Color,
    },
    Line {
        points: Vec<(f64, f64)>,
        thickness: f64,
        color: Color,
        dashed: bool,
    },
    Polygon {
        points: Vec<(f64, f64)>,
        color: Color,
    },
}

/// Pages, the last one being filled.
pub(super) struct Pages {
    done: Vec<Vec<Mark>>,
    running_title: String,
    /// How far the last page is filled.
    pub y: f64,
}

impl Pages {
    pub(super) fn new(running_title: String) -> Self {
        Self {
            done: vec![Vec::new()],
            running_title,
            y: TOP,
        }
    }

    pub(super) fn add(&mut self, mark: Mark) {
        if let Some(page) = self.done.last_mut() {
            page.push(mark);
        }
    }

    pub(super) fn next_page(&mut self) {
        let style = Style::NOTE;
        self.done.push(Vec::new());
        let title = style.shortened(&self.running_title, WIDTH);
        self.put(MARGIN, 34.0, style, title);
        self.rule(46.0);
        self.y = TOP_CONTINUED;
    }

    /// Goes to the next page if so much does not fit on this one.
    pub(super) fn reserve(&mut self, height: f64) {
        if self.y + height > BOTTOM {
            self.next_page();
        }
    }

    pub(super) fn fits(&self, height: f64) -> bool {
        self.y + height <= BOTTOM
    }

    /// A line of text whose top is there; only letters that the font has are passed in.
    pub(super) fn put(&mut self, x: f64, top: f64, style: Style, text: String) {
        if !text.is_empty() {
            self.add(Mark::Text {
                x,
                baseline: top + style.size * 1.07,
                style,
                text,
            });
        }
    }

    /// One that ends there.
    pub(super) fn put_right(&mut self, right: f64, top: f64, style: Style, text: String) {
        self.put(right - style.width(&text), top, style, text);
    }

    pub(super) fn rule(&mut self, y: f64) {
        self.add(Mark::Line {
            points: vec![(MARGIN, y), (MARGIN + WIDTH, y)],
            thickness: 0.6,
            color: RULE,
            dashed: false,
        });
    }

    pub(super) fn heading(&mut self, text: &str) {
        let style = Style::HEADING;
        self.y += 14.0;
        self.reserve(KEPT_WITH_HEADING);
        let top = self.y;
        self.put(MARGIN, top, style, style.shortened(text, WIDTH));
        self.y += style.line_height() + 4.0;
    }

    pub(super) fn paragraph(&mut self, text: &str, style: Style) {
        let lines = style.wrapped(text, WIDTH, PARAGRAPH_LINES_MAX);
        // A short one is not torn apart.
        self.reserve(lines.len().min(KEPT_LINES_MAX) as f64 * style.line_height());
        for line in lines {
            self.reserve(style.line_height());
            let top = self.y;
            self.put(MARGIN, top, style, line);
            self.y += style.line_height();
        }
        self.y += 3.0;
    }

    /// All pages, numbered.
    pub(super) fn finish(mut self, generated: &str) -> Vec<Vec<Mark>> {
        let count = self.done.len();
        let style = Style::NOTE;
        for (at, page) in self.done.iter_mut().enumerate() {
            let number = format!("Page {} of {count}", at + 1);
            page.push(Mark::Text {
                x: MARGIN + WIDTH - style.width(&number),
                baseline: FOOTER,
                style,
                text: number,
            });
            page.push(Mark::Text {
                x: MARGIN,
                baseline: FOOTER,
                style,
                text: style.shortened(&format!("Generated {generated}"), WIDTH / 2.0),
            });
        }
        self.done
    }
}
