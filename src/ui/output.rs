//! Standard output: the answer and nothing else.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::error::{Error, Kind, Result};
use crate::ui::escape_control;

/// Whether a person reads standard output.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes a line.
///
/// # Errors
/// It cannot be written. A pipe that nobody reads any more is no error: its reader has had enough.
pub fn line(text: &str) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a body as it came; on a terminal with control characters made escape_control and a newline at the end.
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

/// Writes bytes as they are.
///
/// # Errors
/// As for [`line()`].
pub fn write(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(why) if why.kind() != ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Other, format!("cannot write to standard output: {why}")))
        }
        _ => Ok(()),
    }
}
