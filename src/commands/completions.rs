//! `completions`: what a shell needs to complete the command line.

use crate::cli::completions;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::ui::output;

/// Prints the completions for a shell.
pub fn run(shell: &str) -> Result<Exit> {
    let Some(text) = completions::of_shell(shell) else {
        return Err(Error::usage(format!("{shell:?} is not supported (bash, zsh, fish)")));
    };
    output::write(text.as_bytes())?;
    Ok(Exit::Ok)
}
