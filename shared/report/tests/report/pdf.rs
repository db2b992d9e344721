//! The PDF, by the text that another program finds in it.

#![expect(clippy::float_arithmetic, reason = "geometry")]

use metering_domain::{
    number::plain,
    report::{Report, ReportFormat, Section},
};
use rust_decimal::Decimal;

use super::{FORMULA, detailed, extremes, long_name, rendered, reports};

/// A4 in points.
const PAGE: (f32, f32) = (595.28, 841.89);
const MARGIN: f32 = 40.0;

/// Thousands separated, by other means than the renderer's.
fn grouped(value: Decimal) -> String {
    let text = plain(value);
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(whole.len() - whole.trim_start_matches('-').len());
    let groups: Vec<String> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect();
    format!("{sign}{}{rest}", groups.join(","))
}

fn euros(value: Decimal) -> String {
    let text = grouped(value);
    match text.split_once('.') {
        None => format!("€{text}.00"),
        Some((_, cents)) if cents.len() == 1 => format!("€{text}0"),
        Some(_) => format!("€{text}"),
    }
}

/// The text of each page, as it is extracted.
fn pages(report: &Report) -> Vec<String> {
    let document = lopdf::Document::load_mem(&rendered(report, ReportFormat::Pdf)).expect("a PDF");
    let numbers: Vec<u32> = document.get_pages().keys().copied().collect();
    numbers
        .iter()
        .map(|page| document.extract_text(&[*page]).expect("text"))
        .collect()
}

/// All of it, whatever lines it is broken into.
fn text(report: &Report) -> String {
    pages(report).concat().split_whitespace().collect()
}

fn has(text: &str, wanted: &str) -> bool {
    let wanted: String = wanted.split_whitespace().collect();
    text.contains(&wanted)
}

#[test]
fn numbers_are_the_models() {
    for report in reports() {
        let (text, account) = (text(report), &report.accounts[0]);
        let expect = |wanted: String| assert!(has(&text, &wanted), "{wanted} is not in {}", report.title);
        expect("zoë.müller@example.com".to_owned());
        for line in &account.usage {
            let before = line.previous.map_or("–".to_owned(), grouped);
            let (total, counts) = (grouped(line.totals.total), grouped(Decimal::from(line.totals.count)));
            let errors = line.totals.errors;
            expect(format!("{total}{}{counts}{errors}{before}", line.unit));
        }
        for line in &account.quotas {
            let limit = line.limit.map_or("unlimited".to_owned(), grouped);
            expect(format!("{}{limit}{}", grouped(line.used), line.unit));
        }
        if report.sections.contains(&Section::Quotas) {
            expect(format!("Overage so far{}", euros(account.overage_cost)));
        }
        for statement in &account.statements {
            for line in &statement.lines {
                expect(euros(line.cost));
                let limit = line.quota_limit.map_or("unlimited".to_owned(), grouped);
                let billed = grouped(line.peak.unwrap_or(line.used));
                expect(format!("{billed}{limit}{}{}", line.unit, grouped(line.overage)));
            }
            expect(format!("Total{}", euros(statement.total_cost)));
        }
        if report.sections.contains(&Section::Costs) {
            expect(format!("Total of these billing periods{}", euros(account.total_cost)));
        }
        if report.sections.contains(&Section::Rows) {
            for (point, totals) in account.series.iter().flat_map(|series| series.rows()) {
                expect(format!("{}{}{}", point.label, grouped(totals.total), totals.count));
            }
        }
        for line in &account.forecasts {
            expect(grouped(line.made.predicted.mean.round_dp(2)));
            expect(line.made.forecast.reason.chars().take(40).collect());
        }
        for line in &account.anomalies {
            expect(line.finding.reasons[0].detail.clone());
            expect(grouped(line.finding.observed));
        }
    }
}

#[test]
fn what_looks_like_a_formula_and_what_is_long_is_printed() {
    let mut demo = detailed();
    demo.users = vec![long_name()];
    let text = text(&demo.report());
    assert!(has(&text, FORMULA), "the formula is missing");
    assert!(has(&text, &long_name()), "the name is missing");
}

#[test]
fn pages_are_numbered_and_headers_repeated() {
    for report in reports() {
        let pages = pages(report);
        for (at, page) in pages.iter().enumerate() {
            let page: String = page.split_whitespace().collect();
            let number = format!("Page{}of{}", at + 1, pages.len());
            assert!(page.contains(&number), "{number} is not on its page");
        }
    }
    let report = detailed().report();
    let headers = text(&report).matches("FromTotalEventsAverage").count();
    // Nine tables of 83 rows, of which a page holds some 45.
    assert!(headers >= 18, "{headers} headers");
}

/// Where each text begins and how wide it is, by the fonts of the file.
fn written(report: &Report) -> Vec<Vec<(f32, f32, f32)>> {
    let document = lopdf::Document::load_mem(&rendered(report, ReportFormat::Pdf)).expect("a PDF");
    let pages = document.get_pages();
    pages.values().map(|page| texts(&document, *page)).collect()
}

fn number(object: &lopdf::Object) -> f32 {
    object.as_float().expect("a number")
}

fn texts(document: &lopdf::Document, page: lopdf::ObjectId) -> Vec<(f32, f32, f32)> {
    let content = document.get_and_decode_page_content(page).expect("content");
    let fonts = document.get_page_fonts(page).expect("fonts");
    let (mut font, mut size, mut at, mut found) = (Vec::new(), 0.0, (0.0, 0.0), Vec::new());
    for operation in &content.operations {
        let operands = &operation.operands;
        match operation.operator.as_str() {
            "Tf" => (font, size) = (operands[0].as_name().expect("a font").to_vec(), number(&operands[1])),
            "Tm" => at = (number(&operands[4]), number(&operands[5])),
            "Tj" | "TJ" => {
                let widths = widths(document, fonts[&font]);
                let codes = codes(&operands[0]);
                let width: f32 = codes.iter().map(|code| widths.get(code).copied().unwrap_or(0.0)).sum();
                found.push((at.0, at.1, width * size / 1_000.0));
            }
            _ => {}
        }
    }
    found
}

fn codes(object: &lopdf::Object) -> Vec<u16> {
    match object {
        lopdf::Object::String(bytes, _) => bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect(),
        lopdf::Object::Array(all) => all.iter().flat_map(codes).collect(),
        _ => Vec::new(),
    }
}

/// `/W` of the font's descendant: a first code and the widths from it on.
fn widths(document: &lopdf::Document, font: &lopdf::Dictionary) -> std::collections::HashMap<u16, f32> {
    let list = font
        .get_deref(b"DescendantFonts", document)
        .and_then(lopdf::Object::as_array)
        .expect("a list");
    let descendant = document
        .dereference(&list[0])
        .expect("a font")
        .1
        .as_dict()
        .expect("a dictionary");
    let list = descendant
        .get_deref(b"W", document)
        .and_then(lopdf::Object::as_array)
        .expect("widths");
    let mut widths = std::collections::HashMap::new();
    for pair in list.chunks_exact(2) {
        let first = u16::try_from(pair[0].as_i64().expect("a code")).expect("a code");
        for (code, width) in (first..).zip(pair[1].as_array().expect("widths")) {
            widths.insert(code, number(width));
        }
    }
    widths
}

/// The font program that a file carries.
fn embedded(document: &lopdf::Document, font: &lopdf::Dictionary) -> printpdf::ParsedFont {
    let list = font
        .get_deref(b"DescendantFonts", document)
        .and_then(lopdf::Object::as_array)
        .expect("a list");
    let descendant = document
        .dereference(&list[0])
        .expect("a font")
        .1
        .as_dict()
        .expect("a dictionary");
    let descriptor = descendant
        .get_deref(b"FontDescriptor", document)
        .and_then(lopdf::Object::as_dict);
    let program = descriptor.expect("a descriptor").get_deref(b"FontFile2", document);
    let program = program.and_then(lopdf::Object::as_stream).expect("a font program");
    let bytes = program.decompressed_content().expect("bytes");
    printpdf::ParsedFont::from_bytes(&bytes, 0, &mut Vec::new()).expect("a font")
}

/// A letter that names another one's glyph would be as wide as that one.
#[test]
fn only_the_glyphs_that_are_used_are_embedded_and_widths_are_theirs() {
    let document = lopdf::Document::load_mem(&rendered(&detailed().report(), ReportFormat::Pdf)).expect("a PDF");
    let (_, page) = document.get_pages().pop_first().expect("a page");
    let fonts = document.get_page_fonts(page).expect("fonts");
    assert_eq!(fonts.len(), 2);
    for font in fonts.values() {
        let program = embedded(&document, font);
        assert!(
            program.original_bytes.len() < 60_000,
            "{} bytes",
            program.original_bytes.len()
        );
        let widths = widths(&document, font);
        assert!((40..200).contains(&widths.len()));
        for (glyph, width) in widths {
            let advance = program.glyph_widths.get(&glyph).copied();
            let advance = f32::from(advance.expect("a glyph")) * 1_000.0 / f32::from(program.units_per_em);
            assert!(
                (width - advance).abs() <= 1.0,
                "glyph {glyph}: {width} in the list, {advance} in the font"
            );
        }
    }
}

#[test]
fn nothing_overlaps_or_leaves_the_page() {
    for report in reports().chain(extremes()) {
        for (page, mut texts) in written(report).into_iter().enumerate() {
            assert!(!texts.is_empty());
            texts.sort_by(|one, other| (other.1, one.0).partial_cmp(&(one.1, other.0)).expect("numbers"));
            for (x, y, width) in &texts {
                assert!(*width > 0.0, "a text without width on page {}", page + 1);
                assert!(
                    *x >= MARGIN && x + width <= PAGE.0 - MARGIN,
                    "page {}: {x} + {width}",
                    page + 1
                );
                assert!(*y >= 24.0 && *y <= PAGE.1 - 24.0, "page {}: {y}", page + 1);
            }
            for pair in texts.windows(2) {
                let ((left, y, width), (right, other, _)) = (pair[0], pair[1]);
                assert!(
                    (y - other).abs() > 0.5 || left + width <= right + 0.01,
                    "page {}: {pair:?}",
                    page + 1
                );
            }
        }
    }
}

#[test]
fn extremes_can_be_read() {
    for report in extremes() {
        let text = text(report);
        assert!(has(&text, &report.title));
        for note in report
            .notes
            .iter()
            .chain(report.accounts.iter().flat_map(|account| &account.notes))
        {
            assert!(has(&text, note), "{note}");
        }
    }
}
