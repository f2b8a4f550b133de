//! `man`: the manual page.

use crate::cli::man;
use crate::error::Result;
use crate::exit::Exit;
use crate::ui::output;

/// Prints the manual page in roff.
pub fn run() -> Result<Exit> {
    output::write(man::page().as_bytes())?;
    Ok(Exit::Ok)
}
