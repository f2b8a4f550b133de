//! `--format`: the format of the API's response, and of the output.

use super::sources::Sources;
use crate::cli::options;
use crate::error::{Error, Result};
use crate::model::{Format, Operation};
use crate::ui::output;

/// How `details` and `features` print the API's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// As a table.
    Table,
    /// As the API's JSON, with a newline at the end.
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

/// How a command prints its own object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainFormat {
    /// As text.
    Text,
    /// As JSON.
    Json,
}

/// How the response to `operation` is printed: according to `--format`, else as a table on a
/// terminal and as JSON otherwise.
///
/// # Errors
/// The operation does not have the format.
pub(super) fn output_format(sources: &Sources, operation: Operation) -> Result<OutputFormat> {
    match sources.flag(&options::FORMAT) {
        Some("table") => Ok(OutputFormat::Table),
        Some(name) => api_format(sources, name, operation).map(OutputFormat::Body),
        None if output::is_terminal() => Ok(OutputFormat::Table),
        None => Ok(OutputFormat::Json),
    }
}

/// The API's format with this name.
///
/// # Errors
/// The operation does not have the format.
pub(super) fn api_format(sources: &Sources, name: &str, operation: Operation) -> Result<Format> {
    let found = operation.formats().iter().find(|format| format.name() == name);
    found.copied().ok_or_else(|| unsupported(sources, name))
}

/// How a command prints its own object: as text unless `--format json` is given.
///
/// # Errors
/// There is no such format.
pub(super) fn plain_format(sources: &Sources) -> Result<PlainFormat> {
    match sources.flag(&options::FORMAT) {
        None | Some("text") => Ok(PlainFormat::Text),
        Some("json") => Ok(PlainFormat::Json),
        Some(other) => Err(unsupported(sources, other)),
    }
}

/// The error for a format that the command does not have.
pub(super) fn unsupported(sources: &Sources, name: &str) -> Error {
    let names = options::FORMAT.for_command(sources.command()).possible_values.join(", ");
    Error::usage(format!("--format: {name:?} is not supported here ({names})"))
}

/// How a command prints its own list.
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
    /// According to `--format`; in columns without it.
    ///
    /// # Errors
    /// There is no such format.
    pub fn resolve(sources: &Sources) -> Result<TableFormat> {
        match sources.flag(&options::FORMAT) {
            None | Some("table") => Ok(TableFormat::Table),
            Some("json") => Ok(TableFormat::Json),
            Some(other) => Err(unsupported(sources, other)),
        }
    }
}
