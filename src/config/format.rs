//! `--format`: what the API is asked for, and how its response is shown.

use super::sources::Sources;
use crate::cli::options;
use crate::error::{Error, Result};
use crate::model::{Format, Operation};
use crate::ui::output;

/// How `details` and `features` show the API's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// As a table.
    Table,
    /// As the API's JSON, on lines of its own.
    Json,
    /// As the API's body in the requested format, byte for byte.
    Body(Format),
}

impl OutputFormat {
    /// The format that the API is asked for.
    pub fn requested(self, default: Format) -> Format {
        match self {
            OutputFormat::Body(format) => format,
            OutputFormat::Table | OutputFormat::Json => default,
        }
    }
}

/// How a command shows an object of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainFormat {
    /// As text.
    Text,
    /// As JSON.
    Json,
}

/// How the response to `operation` is shown: as `--format` says, else as suits standard output.
///
/// # Errors
/// The operation does not have the format.
pub(super) fn output_format(sources: &Sources, operation: Operation) -> Result<OutputFormat> {
    match sources.flag(&options::FORMAT) {
        Some("table") => Ok(OutputFormat::Table),
        Some(name) => api_format(name, operation).map(OutputFormat::Body),
        None if output::is_terminal() => Ok(OutputFormat::Table),
        None => Ok(OutputFormat::Json),
    }
}

/// The format of the API that has that name.
///
/// # Errors
/// The operation does not have the format.
pub(super) fn api_format(name: &str, operation: Operation) -> Result<Format> {
    let formats = operation.formats();
    if let Some(format) = formats.iter().find(|format| format.name() == name) {
        return Ok(*format);
    }
    let mut names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
    if !formats.contains(&Format::Text) {
        names.push("table");
    }
    Err(unsupported(name, &names))
}

/// How an object of the command's own is shown; text unless `--format json` is given.
///
/// # Errors
/// There is no such format.
pub(super) fn plain_format(sources: &Sources) -> Result<PlainFormat> {
    match sources.flag(&options::FORMAT) {
        None | Some("text") => Ok(PlainFormat::Text),
        Some("json") => Ok(PlainFormat::Json),
        Some(other) => Err(unsupported(other, &["text", "json"])),
    }
}

fn unsupported(name: &str, names: &[&str]) -> Error {
    Error::usage(format!("--format: {name:?} is not supported here ({})", names.join(", ")))
}

/// How a list of the program's own is shown.
#[cfg(feature = "cloud")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// In columns.
    Table,
    /// As JSON.
    Json,
}

#[cfg(feature = "cloud")]
impl TableFormat {
    /// As `--format` says; in columns without it.
    ///
    /// # Errors
    /// There is no such format.
    pub fn resolve(sources: &Sources) -> Result<TableFormat> {
        match sources.flag(&options::FORMAT) {
            None | Some("table") => Ok(TableFormat::Table),
            Some("json") => Ok(TableFormat::Json),
            Some(other) => Err(unsupported(other, &["table", "json"])),
        }
    }
}
