//! `features`: what RackConnect automates on this server.

use super::{format, once, print_table, unknown_server};
use crate::api::client::Answer;
use crate::api::response;
use crate::config::Settings;
use crate::error::Result;
use crate::exit::Exit;
use crate::model::{Format, Operation};
use crate::ui::output;

/// Asks for the features and prints them.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = format(settings, Operation::Features)?;
    let Answer::Body(bytes) =
        once::ask(settings, Operation::Features, format.unwrap_or(Format::Json))?
    else {
        return Err(unknown_server());
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let features = response::features(&bytes)?;
    match format {
        Some(_) => {}
        None if output::is_terminal() => print_table(&features)?,
        None => output::body(&bytes)?,
    }
    Ok(Exit::Ok)
}
