//! Standard output: the answer and nothing else.

use std::io::{self, ErrorKind, IsTerminal};

use super::deadline::{output_deadline, write_all_by};
use crate::error::{Error, Kind, Result, plain};
use crate::exit::Exit;
use crate::model::NamedStatus;
use crate::ui::escape_control;
#[cfg(feature = "cloud")]
use crate::ui::escape_in_json;

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes a line.
///
/// # Errors
/// It cannot be written. A closed pipe is not an error: its reader has read enough.
pub fn line(text: &str) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a body unchanged; on a terminal, control characters are escaped and a newline is added.
///
/// # Errors
/// As for [`line()`].
pub fn body(bytes: &[u8]) -> Result<()> {
    if !is_terminal() {
        return write(bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    text.lines().try_for_each(|text| line(&escape_control(&text.replace('\t', "    "))))
}

/// Writes a body that may be JSON. On a terminal JSON is indented.
///
/// # Errors
/// As for [`line()`].
#[cfg(feature = "cloud")]
pub fn json(bytes: &[u8]) -> Result<()> {
    let pretty = is_terminal().then(|| super::pretty_json(bytes)).flatten();
    body(pretty.as_ref().map_or(bytes, String::as_bytes))
}

/// Writes a body, and a newline if it does not end with one.
///
/// # Errors
/// As for [`line()`].
pub fn body_as_line(bytes: &[u8]) -> Result<()> {
    body(bytes)?;
    if is_terminal() || bytes.ends_with(b"\n") { Ok(()) } else { write(b"\n") }
}

/// Writes bytes as they are.
///
/// # Errors
/// As for [`line()`].
pub fn write(bytes: &[u8]) -> Result<()> {
    let reason = match write_all_by(&io::stdout(), bytes, output_deadline()) {
        Ok(()) => return Ok(()),
        Err(err) if err.kind() == ErrorKind::BrokenPipe => return Ok(()),
        Err(err) if err.kind() == ErrorKind::TimedOut => {
            "nobody has read it by the deadline".to_owned()
        }
        Err(err) => plain(&err),
    };
    Err(Error::new(Kind::Other, format!("cannot write to standard output: {reason}")))
}

/// The outcome of a command whose answer has been `printed`: an unsuccessful one stays, even if
/// nothing could be written.
///
/// # Errors
/// The outcome, or that the answer of a successful one could not be written.
pub fn outcome(printed: Result<()>, outcome: Result<Exit>) -> Result<Exit> {
    match (printed, outcome) {
        (Err(err), Ok(Exit::Ok)) => Err(err),
        (Err(err), outcome) => {
            log::error!("{err}");
            outcome
        }
        (Ok(()), outcome) => outcome,
    }
}

/// Writes a table of tasks or features: the status, then the name.
///
/// # Errors
/// As for [`line()`].
pub fn table(rows: &[NamedStatus]) -> Result<()> {
    let width = rows.iter().map(|row| row.status.chars().count()).max().unwrap_or(0);
    rows.iter().try_for_each(|row| {
        line(&escape_control(&format!("  {:width$}  {}", row.status, row.name)))
    })
}

/// Writes a JSON document as a line. Control characters are escaped as in JSON: a terminal may show
/// it.
///
/// # Errors
/// As for [`line()`].
#[cfg(feature = "cloud")]
pub fn json_line(document: &serde_json::Value) -> Result<()> {
    line(&escape_in_json(document.to_string()))
}

/// Writes rows in columns, separated by two spaces, with control characters escaped.
///
/// # Errors
/// As for [`line()`].
#[cfg(feature = "cloud")]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> Result<()> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| escape_control(cell))).collect();
    let length = |text: &String| text.chars().count();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| length(&row[column])).max().unwrap_or(0)
    });
    rows.iter().try_for_each(|row| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(cells.join("  ").trim_end())
    })
}
