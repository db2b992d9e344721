//! The two fonts (Noto Sans, SIL Open Font Licence): how wide text is, and what of them goes into a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use printpdf::ParsedFont;
use subsetter::GlyphRemapper;

use crate::RenderError;

/// Regular or bold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// Stands for letters that the fonts do not have.
const REPLACEMENT: char = '?';
/// Ends a text that was too long.
pub(super) const ELLIPSIS: char = '…';

/// What the whole fonts say.
static REGULAR: LazyLock<Option<ParsedFont>> = LazyLock::new(|| parse(Weight::Regular));
static BOLD: LazyLock<Option<ParsedFont>> = LazyLock::new(|| parse(Weight::Bold));

impl Weight {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Regular => notosans::REGULAR_TTF,
            Self::Bold => notosans::BOLD_TTF,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Regular => "METERA+NotoSans-Regular",
            Self::Bold => "METERB+NotoSans-Bold",
        }
    }

    fn parsed(self) -> Option<&'static ParsedFont> {
        match self {
            Self::Regular => REGULAR.as_ref(),
            Self::Bold => BOLD.as_ref(),
        }
    }

    /// The width of a text in points, by the font's own advances.
    pub(super) fn width(self, text: &str, size: f64) -> f64 {
        let Some(font) = self.parsed() else { return 0.0 };
        let advance = |letter: char| {
            let glyph = font.codepoint_to_glyph.get(&u32::from(letter));
            let advance = glyph.and_then(|glyph| font.glyph_widths.get(glyph));
            f64::from(advance.copied().unwrap_or_default())
        };
        text.chars().map(advance).sum::<f64>() / f64::from(font.units_per_em.max(1)) * size
    }

    /// The text with only letters that the font has.
    pub(super) fn printable(self, text: &str) -> String {
        let has = |letter: char| {
            self.parsed()
                .is_some_and(|font| font.codepoint_to_glyph.contains_key(&u32::from(letter)))
        };
        let letter = |letter: char| match letter {
            letter if letter.is_control() => ' ',
            letter if has(letter) => letter,
            _ => REPLACEMENT,
        };
        text.chars().map(letter).collect()
    }

    /// The font with nothing but these letters.
    pub(super) fn subset(self, letters: &BTreeSet<char>) -> Result<ParsedFont, RenderError> {
        let whole = self
            .parsed()
            .ok_or_else(|| RenderError::Font(format!("{} cannot be read", self.name())))?;
        let mut mapper = GlyphRemapper::new();
        let mut codepoint_to_glyph = BTreeMap::new();
        let mut glyph_widths = BTreeMap::new();
        for letter in letters {
            let Some(glyph) = whole.codepoint_to_glyph.get(&u32::from(*letter)) else {
                continue;
            };
            let renamed = mapper.remap(*glyph);
            codepoint_to_glyph.insert(u32::from(*letter), renamed);
            glyph_widths.insert(renamed, whole.glyph_widths.get(glyph).copied().unwrap_or_default());
        }
        let original_bytes =
            subsetter::subset(self.bytes(), 0, &mapper).map_err(|error| RenderError::Font(error.to_string()))?;
        Ok(ParsedFont {
            original_bytes,
            font_name: Some(self.name().to_owned()),
            codepoint_to_glyph,
            glyph_widths,
            ..whole.clone()
        })
    }
}

fn parse(weight: Weight) -> Option<ParsedFont> {
    let parsed = ParsedFont::from_bytes(weight.bytes(), 0, &mut Vec::new())?;
    Some(ParsedFont {
        // Known already; a copy in memory would be one too many.
        original_bytes: Vec::new(),
        ..parsed
    })
}

/// The text, shortened by an ellipsis if it is wider than that.
pub(super) fn shortened(text: &str, weight: Weight, size: f64, width: f64) -> String {
    if weight.width(text, size) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        let longer = format!("{kept}{letter}{ELLIPSIS}");
        if weight.width(&longer, size) > width {
            break;
        }
        kept.push(letter);
    }
    kept.push(ELLIPSIS);
    kept
}

/// The text in lines no wider than that: broken at blanks, a word that is too long after a letter. More lines than
/// allowed end with an ellipsis.
pub(super) fn wrapped(text: &str, weight: Weight, size: f64, width: f64, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let joined = if line.is_empty() {
            word.to_owned()
        } else {
            format!("{line} {word}")
        };
        if weight.width(&joined, size) <= width {
            line = joined;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for letter in word.chars() {
            line.push(letter);
            if weight.width(&line, size) > width && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::take(&mut line));
                line.push(letter);
            }
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        if let Some(last) = lines.last_mut() {
            let longer = format!("{last}{ELLIPSIS}");
            *last = if weight.width(&longer, size) <= width {
                longer
            } else {
                let mut kept: Vec<char> = last.chars().collect();
                kept.pop();
                kept.into_iter().chain([ELLIPSIS]).collect()
            };
        }
    }
    lines
}
