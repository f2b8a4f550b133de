//! `--format`: what the API is asked for, and how its answer is shown.

use super::Settings;
use crate::cli::options;
use crate::error::{Error, Result};
use crate::model::{Format, Operation};
use crate::ui::output;

/// How `details` and `features` show what the API answered.
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

/// How the answer is shown: as `--format` says, else as suits what standard output is.
///
/// # Errors
/// The command does not have that format.
pub fn output_format(settings: &Settings, operation: Operation) -> Result<OutputFormat> {
    match settings.flag(&options::FORMAT) {
        Some("table") => Ok(OutputFormat::Table),
        Some(_) => {
            Ok(api_format(settings, operation)?.map_or(OutputFormat::Json, OutputFormat::Body))
        }
        None if output::is_terminal() => Ok(OutputFormat::Table),
        None => Ok(OutputFormat::Json),
    }
}

/// The format of the API that `--format` names, if it is given.
///
/// # Errors
/// The operation does not have that format.
pub fn api_format(settings: &Settings, operation: Operation) -> Result<Option<Format>> {
    let Some(name) = settings.flag(&options::FORMAT) else { return Ok(None) };
    let formats = operation.formats();
    if let Some(format) = formats.iter().find(|format| format.name() == name) {
        return Ok(Some(*format));
    }
    let mut names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
    if !formats.contains(&Format::Text) {
        names.push("table");
    }
    Err(unsupported_format(name, &names))
}

/// The error of a `--format` that a command does not have.
pub fn unsupported_format(name: &str, names: &[&str]) -> Error {
    Error::usage(format!("--format: {name:?} is not supported here ({})", names.join(", ")))
}
