//! Writes a report as a file: PDF, CSV, JSON or an Excel workbook, in memory.
//!
//! Every number comes from the model ([`metering_domain::report`]); nothing is computed here but where it stands on the
//! page. Must not know where reports are kept or sent, who asked, or the clock: the same report gives the same file,
//! but for random names inside PDF files.

mod csv;
mod excel;
mod json;
mod pdf;
mod text;

use metering_domain::report::{Report, ReportFormat};

/// Why a file could not be written. None of them is due to what the report says.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The table.
    #[error("the CSV file could not be written")]
    Csv(#[from] ::csv::Error),
    /// The object.
    #[error("the JSON file could not be written")]
    Json(#[from] serde_json::Error),
    /// The workbook.
    #[error("the workbook could not be written")]
    Excel(#[from] rust_xlsxwriter::XlsxError),
    /// The fonts.
    #[error("the font could not be embedded: {0}")]
    Font(String),
}

/// Writes a report as a file.
///
/// # Errors
/// Only those of the libraries that write files.
pub fn render(report: &Report, format: ReportFormat) -> Result<Vec<u8>, RenderError> {
    match format {
        ReportFormat::Csv => csv::render(report),
        ReportFormat::Json => json::render(report),
        ReportFormat::Pdf => pdf::render(report),
        ReportFormat::Excel => excel::render(report),
    }
}
