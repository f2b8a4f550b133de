//! `completions`: the completion script of a shell.

use crate::cli::completions;
use crate::doctor;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::ui::output;

/// Prints the completion script.
pub fn run(shell: &str) -> Result<Exit> {
    let Some(text) = completions::of_shell(shell, &doctor::check_ids()) else {
        return Err(Error::usage(format!("{shell:?} is not supported (bash, zsh, fish)")));
    };
    output::write(text.as_bytes())?;
    Ok(Exit::Ok)
}
