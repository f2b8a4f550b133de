//! `completions`: what a shell needs to complete the command line.

use crate::cli::completions;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::ui::output;

/// Prints the completions for a shell.
pub fn run(shell: &str) -> Result<Exit> {
    let text = match shell {
        "bash" => completions::bash(),
        "zsh" => completions::zsh(),
        "fish" => completions::fish(),
        _ => {
            return Err(Error::usage(format!(
                "there are no completions for {shell:?}: one of bash, zsh and fish"
            )));
        }
    };
    output::write(text.as_bytes())?;
    Ok(Exit::Ok)
}
