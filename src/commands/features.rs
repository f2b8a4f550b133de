//! `features`: what RackConnect automates on this server.

use super::{format, once, print_table, unknown_server};
use crate::api::client::Answer;
use crate::api::{Format, Operation, body};
use crate::error::Result;
use crate::exit::Exit;
use crate::output;
use crate::settings::Settings;

/// Asks for the features and prints them.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = format(settings, Operation::Features)?;
    let Answer::Body(bytes) = once::ask(settings, Operation::Features, format.unwrap_or(Format::Json))? else {
        return Err(unknown_server());
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let features = body::features(&bytes)?;
    match format {
        Some(_) => {}
        None if output::is_terminal() => print_table(&features)?,
        None => output::body(&bytes)?,
    }
    Ok(Exit::Ok)
}
