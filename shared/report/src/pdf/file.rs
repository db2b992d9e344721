//! The marks on pages as a file.

use std::collections::BTreeSet;

use metering_domain::report::Report;
use printpdf::{
    Color as PdfColor, FontId, Line, LineDashPattern, LinePoint, Mm, Op, PaintMode, PdfDocument, PdfFontHandle,
    PdfPage, PdfSaveOptions, Point, Polygon, PolygonRing, Pt, Rect, Rgb, TextItem, TextMatrix, WindingOrder,
};

use super::{
    font::Weight,
    page::{Color, Mark, PAGE_HEIGHT, Style},
};
use crate::RenderError;

/// Fonts with what was used of them.
struct Fonts {
    regular: FontId,
    bold: FontId,
}

/// The file.
pub(super) fn write(pages: Vec<Vec<Mark>>, report: &Report) -> Result<Vec<u8>, RenderError> {
    let mut document = PdfDocument::new(&report.title);
    let seconds = report.generated_at.timestamp();
    let info = &mut document.metadata.info;
    if let Ok(at) = printpdf::OffsetDateTime::from_unix_timestamp(seconds) {
        (info.creation_date, info.modification_date, info.metadata_date) = (at, at, at);
    }
    info.creator = "usage-metering".to_owned();
    info.producer = "usage-metering".to_owned();
    let letters = |weight: Weight| {
        let of = |mark: &Mark| match mark {
            Mark::Text { style, text, .. } if style.weight == weight => text.chars().collect(),
            _ => Vec::new(),
        };
        pages.iter().flatten().flat_map(of).collect::<BTreeSet<char>>()
    };
    let fonts = Fonts {
        regular: document.add_font(&Weight::Regular.subset(&letters(Weight::Regular))?),
        bold: document.add_font(&Weight::Bold.subset(&letters(Weight::Bold))?),
    };
    document.pages = pages
        .into_iter()
        .map(|marks| PdfPage::new(Mm(210.0), Mm(297.0), ops(marks, &fonts)))
        .collect();
    let mut warnings = Vec::new();
    Ok(document.save(&PdfSaveOptions::default(), &mut warnings))
}

/// Points as the library takes them.
#[expect(clippy::cast_possible_truncation, reason = "a page has a few hundred points")]
fn pt(value: f64) -> Pt {
    Pt(value as f32)
}

fn point(x: f64, y: f64) -> Point {
    Point {
        x: pt(x),
        y: pt(PAGE_HEIGHT - y),
    }
}

fn color((red, green, blue): Color) -> PdfColor {
    let share = |value: u8| f32::from(value) / 255.0;
    PdfColor::Rgb(Rgb::new(share(red), share(green), share(blue), None))
}

/// What is in force on a page, so that only changes are written: most texts look like the one before.
#[derive(Default)]
struct State {
    in_text: bool,
    font: Option<(Weight, f64)>,
    fill: Option<Color>,
    stroke: Option<(Color, f64, bool)>,
}

fn ops(marks: Vec<Mark>, fonts: &Fonts) -> Vec<Op> {
    let mut ops = Vec::with_capacity(marks.len() * 3);
    let mut state = State::default();
    for mark in marks {
        match mark {
            Mark::Text {
                x,
                baseline,
                style,
                text,
            } => {
                state.text(&mut ops, style, fonts);
                ops.push(Op::SetTextMatrix {
                    matrix: TextMatrix::Translate(pt(x), pt(PAGE_HEIGHT - baseline)),
                });
                ops.push(Op::ShowText {
                    items: vec![TextItem::Text(text)],
                });
            }
            Mark::Area {
                x,
                y,
                width,
                height,
                color,
            } => {
                state.filled(&mut ops, color);
                ops.push(Op::DrawRectangle {
                    rectangle: Rect {
                        x: pt(x),
                        y: pt(PAGE_HEIGHT - y - height),
                        width: pt(width),
                        height: pt(height),
                        mode: Some(PaintMode::Fill),
                        winding_order: None,
                    },
                });
            }
            Mark::Line {
                points,
                thickness,
                color,
                dashed,
            } => {
                state.stroked(&mut ops, (color, thickness, dashed));
                ops.push(Op::DrawLine {
                    line: Line {
                        points: path(&points),
                        is_closed: false,
                    },
                });
            }
            Mark::Polygon { points, color } => {
                state.filled(&mut ops, color);
                ops.push(Op::DrawPolygon {
                    polygon: Polygon {
                        rings: vec![PolygonRing { points: path(&points) }],
                        mode: PaintMode::Fill,
                        winding_order: WindingOrder::NonZero,
                    },
                });
            }
        }
    }
    state.no_text(&mut ops);
    ops
}

impl State {
    fn text(&mut self, ops: &mut Vec<Op>, style: Style, fonts: &Fonts) {
        if !self.in_text {
            ops.push(Op::StartTextSection);
            (self.in_text, self.font) = (true, None);
        }
        if self.font != Some((style.weight, style.size)) {
            let font = match style.weight {
                Weight::Regular => &fonts.regular,
                Weight::Bold => &fonts.bold,
            };
            ops.push(Op::SetFont {
                font: PdfFontHandle::External(font.clone()),
                size: pt(style.size),
            });
            self.font = Some((style.weight, style.size));
        }
        self.fill(ops, style.color);
    }

    fn no_text(&mut self, ops: &mut Vec<Op>) {
        if std::mem::take(&mut self.in_text) {
            ops.push(Op::EndTextSection);
        }
    }

    fn fill(&mut self, ops: &mut Vec<Op>, of: Color) {
        if self.fill != Some(of) {
            ops.push(Op::SetFillColor { col: color(of) });
            self.fill = Some(of);
        }
    }

    fn filled(&mut self, ops: &mut Vec<Op>, of: Color) {
        self.no_text(ops);
        self.fill(ops, of);
    }

    fn stroked(&mut self, ops: &mut Vec<Op>, of: (Color, f64, bool)) {
        self.no_text(ops);
        if self.stroke == Some(of) {
            return;
        }
        let (line, thickness, dashed) = of;
        ops.push(Op::SetOutlineColor { col: color(line) });
        ops.push(Op::SetOutlineThickness { pt: pt(thickness) });
        ops.push(Op::SetLineDashPattern {
            dash: match dashed {
                true => LineDashPattern::new(0.0, &[2.5, 1.8]),
                false => LineDashPattern::solid(),
            },
        });
        self.stroke = Some(of);
    }
}

fn path(points: &[(f64, f64)]) -> Vec<LinePoint> {
    let of = |(x, y): &(f64, f64)| LinePoint {
        p: point(*x, *y),
        bezier: false,
    };
    points.iter().map(of).collect()
}
