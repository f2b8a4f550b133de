//! `features`: what RackConnect automates on this server.

use super::once;
use crate::api::client::Answer;
use crate::api::response;
use crate::config::{OutputFormat, Settings, output_format};
use crate::error::Result;
use crate::exit::Exit;
use crate::model::{Format, Operation};
use crate::ui::output;

/// Asks for the features and prints them.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = output_format(settings, Operation::Features)?;
    let requested = format.requested(Format::Json);
    let Answer::Body(bytes) = once::ask(settings, Operation::Features, requested)? else {
        return Err(response::unknown_server());
    };
    if let OutputFormat::Body(_) = format {
        output::body(&bytes)?;
    }
    let features = response::features(&bytes)?;
    match format {
        OutputFormat::Body(_) => {}
        OutputFormat::Table => output::table(&features)?,
        OutputFormat::Json => output::body_as_line(&bytes)?,
    }
    Ok(Exit::Ok)
}
