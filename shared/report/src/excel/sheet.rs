//! A sheet: a frozen header, rows of typed cells, columns as wide as they should be.

#![expect(clippy::float_arithmetic, reason = "the height of rows")]

use chrono::NaiveDateTime;
use metering_domain::number::plain;
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use rust_xlsxwriter::{Color, Format, FormatAlign, FormatBorder, Workbook, Worksheet, XlsxError};

use super::is_exact;
use crate::text::number;

/// The paper size's number in workbooks (ECMA-376, part 1, 18.3.1.63).
pub(super) const A4: u8 = 9;
const ACCENT: u32 = 0x1C_62_96;
const SHADE: u32 = 0xF4_F6_F8;
/// Texts of more letters than a cell holds are cut off.
const CELL_CHARS_MAX: usize = 32_767;

/// The widest that a column gets for its texts, in letters.
const WIDTH_MAX: usize = 64;

/// A row is no higher than so many lines.
const LINES_MAX: usize = 12;
/// In points.
const LINE_HEIGHT: f64 = 15.0;
/// The sheet of facts, which is no table.
pub(super) const ABOUT: &str = "Report";

/// What is in a cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Empty,
    Text(String),
    Number(Decimal),
    Money(Decimal),
    /// A local time.
    Time(NaiveDateTime),
}

/// A sheet to be.
pub(super) struct Sheet {
    name: String,
    columns: Vec<(&'static str, u16)>,
    pub rows: Vec<Vec<Cell>>,
}

/// How cells look.
pub(super) struct Formats {
    header: Format,
    header_right: Format,
    text: Format,
    long: Format,
    number: Format,
    whole: Format,
    money: Format,
    time: Format,
}

impl Formats {
    pub(super) fn new() -> Self {
        let cell = || Format::new().set_align(FormatAlign::Top);
        let header = || {
            Format::new()
                .set_bold()
                .set_font_color(Color::RGB(ACCENT))
                .set_background_color(Color::RGB(SHADE))
                .set_border_bottom(FormatBorder::Thin)
        };
        Self {
            header: header().set_align(FormatAlign::Left).set_indent(1),
            header_right: header().set_align(FormatAlign::Right),
            text: cell().set_align(FormatAlign::Left).set_indent(1),
            long: cell().set_align(FormatAlign::Left).set_indent(1).set_text_wrap(),
            number: cell().set_num_format("#,##0.#########_)"),
            whole: cell().set_num_format("#,##0_)"),
            money: cell().set_num_format("#,##0.00#######_)"),
            time: cell()
                .set_num_format("yyyy-mm-dd hh:mm")
                .set_align(FormatAlign::Left)
                .set_indent(1),
        }
    }

    /// Writes a cell. Numbers that no spreadsheet holds to the last digit are texts.
    pub(super) fn put(&self, sheet: &mut Worksheet, row: u32, column: u16, cell: &Cell) -> Result<(), XlsxError> {
        match cell {
            Cell::Empty => {}
            Cell::Text(text) => {
                let is_long = text.chars().count() > WIDTH_MAX;
                let text: String = text.chars().take(CELL_CHARS_MAX).collect();
                let format = if is_long { &self.long } else { &self.text };
                sheet.write_string_with_format(row, column, text, format)?;
            }
            Cell::Number(value) | Cell::Money(value) => {
                let format = match cell {
                    Cell::Money(_) => &self.money,
                    // A trailing point would be shown after whole numbers.
                    _ if value.fract().is_zero() => &self.whole,
                    _ => &self.number,
                };
                match value.to_f64().filter(|_| is_exact(*value)) {
                    Some(float) => sheet.write_number_with_format(row, column, float, format)?,
                    None => sheet.write_string_with_format(row, column, plain(*value), &self.text)?,
                };
            }
            Cell::Time(at) => {
                sheet.write_datetime_with_format(row, column, at, &self.time)?;
            }
        }
        Ok(())
    }
}

impl Sheet {
    pub(super) fn new(name: &str, columns: &[(&'static str, u16)]) -> Self {
        Self {
            name: name.to_owned(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// As many letters as the longest cell of a column has, and two; longer texts are wrapped.
    fn width(&self, column: usize) -> u16 {
        let letters = self.rows.iter().map(|row| match row.get(column) {
            Some(Cell::Text(text)) => text.chars().count() + 2,
            Some(Cell::Number(value) | Cell::Money(value)) => number(*value).len() + 2,
            Some(Cell::Time(_) | Cell::Empty) | None => 0,
        });
        u16::try_from(letters.max().unwrap_or(0).min(WIDTH_MAX)).unwrap_or(0)
    }

    /// Whether a column is one of numbers.
    fn is_numeric(&self, column: usize) -> bool {
        let number = |row: &Vec<Cell>| matches!(row.get(column), Some(Cell::Number(_) | Cell::Money(_)));
        self.rows.iter().any(number) && !self.name.eq(ABOUT)
    }

    /// How many lines the texts of a row take.
    fn lines(&self, row: &[Cell]) -> usize {
        let lines = row.iter().map(|cell| match cell {
            // Words are wrapped before the edge: a tenth of the room is not used.
            Cell::Text(text) => (text.chars().count() * 10).div_ceil(WIDTH_MAX * 9),
            _ => 1,
        });
        lines.max().unwrap_or(1).clamp(1, LINES_MAX)
    }

    pub(super) fn write(&self, workbook: &mut Workbook) -> Result<(), XlsxError> {
        let formats = Formats::new();
        let sheet = workbook.add_worksheet().set_name(&self.name)?;
        for (column, (name, width)) in (0..).zip(&self.columns) {
            let format = match self.is_numeric(usize::from(column)) {
                true => &formats.header_right,
                false => &formats.header,
            };
            sheet.write_string_with_format(0, column, *name, format)?;
            sheet.set_column_width(column, f64::from(self.width(usize::from(column)).max(*width)))?;
        }
        sheet.set_freeze_panes(1, 0)?;
        // Printed, all columns are on one page, and each page has the header.
        sheet
            .set_landscape()
            .set_paper_size(A4)
            .set_print_fit_to_pages(1, 0)
            .set_repeat_rows(0, 0)?;
        for (row, cells) in (1..).zip(&self.rows) {
            for (column, cell) in (0..).zip(cells) {
                formats.put(sheet, row, column, cell)?;
            }
            // Not every program makes rows as high as their texts.
            let lines = self.lines(cells);
            if lines > 1 {
                sheet.set_row_height(row, LINE_HEIGHT * lines as f64)?;
            }
        }
        Ok(())
    }
}
